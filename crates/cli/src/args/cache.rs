//! `--cache-from` and `--cache-to`: what they may say, and what it means.

use std::{path::PathBuf, sync::Arc};

use galley_engine::{
    blobs::Packing,
    import::Selector,
    shared::{CacheFolder, DEFAULT_TAG, Extent},
};
use galley_oci::Reference;

use super::{
    csv,
    output::{self, truth},
};

const FROM_KEYS: &str = "type, ref, src, tag, digest";
const TO_KEYS: &str = "type, ref, dest, tag, reset, mode, compression, compression-level, ignore-error";

/// One `--cache-from`, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheFrom {
    /// As it was typed, for messages.
    pub(crate) text: Arc<str>,
    pub(crate) place: CacheSource,
}

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CacheSource {
    /// In an OCI layout.
    Local { path: PathBuf, selector: Selector },
    /// At a registry: a cache, or an image with one in its config.
    Registry(Reference),
}

/// One `--cache-to`, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheTo {
    pub(crate) place: CacheTarget,
    /// `mode=`.
    pub(crate) extent: Extent,
    /// `compression=`, `compression-level=`.
    pub(crate) packing: Packing,
    /// `ignore-error=true`: a failure is a warning.
    pub(crate) ignore_error: bool,
}

/// Where a cache goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CacheTarget {
    /// Into the config of the image.
    Inline,
    /// Into an OCI layout.
    Local(CacheFolder),
    /// To a registry.
    Registry(Reference),
}

/// Understands `--cache-from type=…,…`, and `--cache-from IMAGE`.
pub(crate) fn parse_from(text: &str) -> Result<CacheFrom, String> {
    let keys = Keys::read(text, FROM_KEYS, &["src", "digest"])?;
    let place = match keys.kind.as_str() {
        "registry" => CacheSource::Registry(keys.reference()?),
        "local" => CacheSource::Local { path: keys.path("src")?, selector: keys.selector()? },
        "inline" => {
            return Err("type=inline goes with --cache-to; the cache in an image is read with \
                        type=registry,ref=IMAGE"
                .to_owned());
        }
        other => return Err(unknown(other, "registry and local")),
    };
    Ok(CacheFrom { text: text.into(), place })
}

/// Understands `--cache-to type=…,…`, and `--cache-to IMAGE`.
pub(crate) fn parse_to(text: &str) -> Result<CacheTo, String> {
    let own = ["dest", "reset", "mode", "compression", "compression-level", "ignore-error"];
    let keys = Keys::read(text, TO_KEYS, &own)?;
    let place = match keys.kind.as_str() {
        "registry" => CacheTarget::Registry(keys.reference()?),
        "inline" => CacheTarget::Inline,
        "local" => {
            let tag = keys.tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned());
            CacheTarget::Local(CacheFolder { path: keys.path("dest")?, tag, reset: keys.reset })
        }
        other => return Err(unknown(other, "registry, local and inline")),
    };
    let extent = match (keys.mode.as_deref(), &place) {
        (None | Some("min"), _) => Extent::Min,
        (Some("max"), CacheTarget::Inline) => {
            return Err("type=inline has mode=min only: an image has no layers of other stages".to_owned());
        }
        (Some("max"), _) => Extent::Max,
        (Some(other), _) => return Err(format!("unknown mode {other:?}: known are min and max")),
    };
    output::PackingSpec { packing: keys.packing, ..Default::default() }.check()?;
    Ok(CacheTo { place, extent, packing: keys.packing, ignore_error: keys.ignore_error })
}

fn unknown(kind: &str, known: &str) -> String {
    match kind {
        "" => format!("type= is missing: known are {known}"),
        "gha" | "s3" | "azblob" => format!(
            "type={kind} is not supported: galley speaks to registries and folders; a folder (type=local) \
             can be kept by whatever keeps files there"
        ),
        other => format!("unknown type {other:?}: known are {known}"),
    }
}

#[derive(Default)]
struct Keys {
    kind: String,
    reference: Option<String>,
    path: Option<PathBuf>,
    tag: Option<String>,
    digest: Option<String>,
    mode: Option<String>,
    packing: Packing,
    reset: bool,
    ignore_error: bool,
}

impl Keys {
    /// `own` are the keys that only one of the two flags has.
    fn read(text: &str, known: &str, own: &[&str]) -> Result<Self, String> {
        let pairs = csv::pairs(text)?;
        if let [(_, None)] = pairs.as_slice() {
            // The short form; the key was made lower case.
            return Ok(Self {
                kind: "registry".to_owned(),
                reference: Some(text.to_owned()),
                ..Self::default()
            });
        }
        let mut keys = Self::default();
        for (key, value) in pairs {
            let shared = ["type", "ref", "tag", "image-manifest", "oci-mediatypes", "registry.insecure"];
            let accepted = shared.contains(&key.as_str())
                || own.contains(&key.as_str())
                || (key == "force-compression" && own.contains(&"compression"));
            if !accepted {
                return Err(format!("unknown key {key:?}: known are {known}"));
            }
            keys.take(&key, value)?;
        }
        Ok(keys)
    }

    fn take(&mut self, key: &str, value: Option<String>) -> Result<(), String> {
        let text = value.clone().unwrap_or_default();
        let truth = || truth(key, value.as_deref());
        match key {
            "type" => self.kind = text,
            "ref" => self.reference = Some(text),
            "src" | "dest" => {
                self.path = Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty())
            }
            "tag" => self.tag = Some(text).filter(|tag| !tag.is_empty()),
            "digest" => self.digest = Some(text),
            "mode" => self.mode = Some(text),
            "reset" => self.reset = truth()?,
            "ignore-error" => self.ignore_error = truth()?,
            "compression" => self.packing.compression = output::compression(&text)?,
            "compression-level" => self.packing.level = Some(output::level(&text)?),
            // What galley does anyway: a cache is an OCI image manifest.
            "image-manifest" | "oci-mediatypes" if truth()? => {}
            "image-manifest" | "oci-mediatypes" => {
                return Err(format!("{key}={text} is not supported: a cache is an OCI image manifest"));
            }
            "force-compression" if !truth()? => {}
            "force-compression" => {
                return Err(
                    "force-compression=true is not supported: layers that came from another cache stay \
                            as they are, which moves no bytes"
                        .to_owned(),
                );
            }
            _ => {
                return Err("registry.insecure is not supported: name the registry in \
                            GALLEY_INSECURE_REGISTRIES, registries.conf or daemon.json"
                    .to_owned());
            }
        }
        Ok(())
    }

    fn reference(&self) -> Result<Reference, String> {
        let text = self.reference.as_deref().ok_or("ref= is missing: REGISTRY/NAME:TAG")?;
        let reference: Reference = text.parse().map_err(|error| format!("{text:?} is no name: {error}"))?;
        Ok(reference.with_default_tag())
    }

    fn path(&self, key: &str) -> Result<PathBuf, String> {
        self.path.clone().ok_or_else(|| format!("{key}= is missing: a folder"))
    }

    fn selector(&self) -> Result<Selector, String> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.parse().map(Selector::Digest).map_err(|error| format!("{error}")),
            (None, Some(tag)) => Ok(Selector::Tag(tag.clone())),
            (None, None) => Ok(Selector::Any),
        }
    }
}

#[cfg(test)]
mod tests {
    use galley_oci::compress::Compression;

    use super::*;

    fn registry(text: &str) -> Reference {
        text.parse::<Reference>().unwrap()
    }

    #[test]
    fn where_caches_come_from() {
        let place = |text: &str| parse_from(text).map(|from| from.place);
        let local = |selector| Ok(CacheSource::Local { path: "c".into(), selector });
        assert!(place("user/App:c").unwrap_err().starts_with("\"user/App:c\" is no name: "));
        assert_eq!(place("user/app:c"), Ok(CacheSource::Registry(registry("user/app:c"))));
        assert_eq!(
            place("type=registry,ref=h:5000/a"),
            Ok(CacheSource::Registry(registry("h:5000/a:latest")))
        );
        assert_eq!(place("type=local,src=c"), local(Selector::Any));
        assert_eq!(place("type=local,src=c,tag=t"), local(Selector::Tag("t".to_owned())));
        let digest = galley_oci::Digest::sha256(b"");
        assert_eq!(place(&format!("type=local,src=c,digest={digest}")), local(Selector::Digest(digest)));
        for (text, why) in [
            ("type=local", "src= is missing: a folder"),
            ("type=registry", "ref= is missing: REGISTRY/NAME:TAG"),
            ("src=c", "type= is missing: known are registry and local"),
            ("type=local,src=c,mode=max", "unknown key \"mode\": known are type, ref, src, tag, digest"),
            ("type=zip", "unknown type \"zip\": known are registry and local"),
        ] {
            assert_eq!(place(text), Err(why.to_owned()), "{text}");
        }
        assert!(place("type=gha").unwrap_err().starts_with("type=gha is not supported: "));
        assert!(place("type=inline").is_err());
    }

    #[test]
    fn where_caches_go() {
        let plain = CacheTo {
            place: CacheTarget::Inline,
            extent: Extent::Min,
            packing: Packing::default(),
            ignore_error: false,
        };
        let folder = CacheFolder { path: "c".into(), tag: "latest".to_owned(), reset: false };
        let local = CacheTo { place: CacheTarget::Local(folder.clone()), ..plain.clone() };
        assert_eq!(parse_to("type=inline"), Ok(plain.clone()));
        assert_eq!(parse_to("type=local,dest=c"), Ok(local.clone()));
        let reset = CacheTarget::Local(CacheFolder { tag: "t".to_owned(), reset: true, ..folder });
        assert_eq!(parse_to("type=local,dest=c,tag=t,reset"), Ok(CacheTo { place: reset, ..plain.clone() }));
        let packing = Packing { compression: Compression::Zstd, level: Some(3) };
        let full = CacheTo {
            place: CacheTarget::Registry(registry("docker.io/user/app:c")),
            extent: Extent::Max,
            packing,
            ignore_error: true,
        };
        let text = "type=registry,ref=user/app:c,mode=max,compression=zstd,compression-level=3,ignore-error=true,\
                    image-manifest=true,oci-mediatypes=true,force-compression=false";
        assert_eq!(parse_to(text), Ok(full));
        for text in [
            "type=inline,mode=max",
            "type=local,dest=c,mode=all",
            "type=local,src=c",
            "type=s3,bucket=b",
            "type=registry,ref=a,image-manifest=false",
            "type=registry,ref=a,force-compression=true",
            "type=registry,ref=a,compression-level=10",
        ] {
            assert!(parse_to(text).is_err(), "{text}");
        }
    }
}
