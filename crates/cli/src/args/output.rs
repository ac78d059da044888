//! `--output`: what it may say, and what it means.

use std::path::PathBuf;

use galley_engine::{
    blobs::Packing,
    export::{Annotation, OutputKind},
};
use galley_oci::compress::Compression;

use super::{annotation, csv};

const TYPES: &str = "oci, docker, tar, local, image, registry, cacheonly";

/// One `--output`, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputSpec {
    pub(crate) target: OutputTarget,
    /// `name=`, as further tags.
    pub(crate) names: Vec<String>,
    /// `rewrite-timestamp=true`.
    pub(crate) rewrite_times: bool,
    pub(crate) packing: PackingSpec,
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputTarget {
    /// `type=image` without a push: the local store, where results go anyway.
    Store,
    /// `type=docker` without a file: the local store, and a Docker engine when one runs here.
    Load,
    /// `type=registry`, and `type=image,push=true`.
    Registry {
        /// `push-by-digest=true`: under no tag.
        by_digest: bool,
        /// `store=true`: into the local store too.
        store: bool,
    },
    /// `type=cacheonly`.
    Nothing,
    /// Something outside of the store.
    Write {
        /// What.
        kind: OutputKind,
        /// Where; none is standard output.
        destination: Option<PathBuf>,
        /// `tar=false`: a folder instead of an archive.
        folder: bool,
        /// `platform-split`: a folder for each platform.
        split: Option<bool>,
    },
}

/// How the image of an output is packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackingSpec {
    /// `compression=`, `compression-level=`.
    pub(crate) packing: Packing,
    /// `force-compression=true`.
    pub(crate) force: bool,
    /// `oci-mediatypes=false`.
    pub(crate) docker_types: bool,
    /// `annotation…=`.
    pub(crate) annotations: Vec<Annotation>,
}

/// Understands `-o DIR`, `-o -` and `-o type=…,dest=…,…`.
pub(crate) fn parse(text: &str) -> Result<OutputSpec, String> {
    if text == "-" {
        return Ok(OutputSpec::files(OutputKind::Tar, None));
    }
    if !text.contains('=') && !text.contains(',') {
        return Ok(OutputSpec::files(OutputKind::Local, Some(PathBuf::from(text))));
    }
    let mut keys = Keys::default();
    for (key, value) in csv::pairs(text)? {
        keys.take(&key, value)?;
    }
    keys.finish()
}

impl OutputSpec {
    /// What `--push` means.
    pub(crate) fn push() -> Self {
        Self::of(OutputTarget::Registry { by_digest: false, store: false })
    }

    fn files(kind: OutputKind, destination: Option<PathBuf>) -> Self {
        let folder = kind == OutputKind::Local;
        Self::of(OutputTarget::Write { kind, destination, folder, split: None })
    }

    fn of(target: OutputTarget) -> Self {
        Self { target, names: Vec::new(), rewrite_times: false, packing: PackingSpec::default() }
    }
}

#[derive(Default)]
struct Keys {
    kind: Option<String>,
    destination: Option<PathBuf>,
    folder: bool,
    split: Option<bool>,
    names: Vec<String>,
    rewrite_times: bool,
    push: bool,
    by_digest: bool,
    store: bool,
    packing: PackingSpec,
}

impl Keys {
    fn take(&mut self, key: &str, value: Option<String>) -> Result<(), String> {
        let text = value.clone().unwrap_or_default();
        let truth = || truth(key, value.as_deref());
        match key {
            "type" => self.kind = Some(text),
            "dest" if text.is_empty() || text == "-" => self.destination = None,
            "dest" => self.destination = Some(PathBuf::from(text)),
            "name" => self.names.extend(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned)),
            "tar" => self.folder = !truth()?,
            "platform-split" => self.split = Some(truth()?),
            "rewrite-timestamp" => self.rewrite_times = truth()?,
            "push" => self.push = truth()?,
            "push-by-digest" => self.by_digest = truth()?,
            "store" => self.store = truth()?,
            "compression" => self.packing.packing.compression = compression(&text)?,
            "compression-level" => self.packing.packing.level = Some(level(&text)?),
            "force-compression" => self.packing.force = truth()?,
            "oci-mediatypes" => self.packing.docker_types = !truth()?,
            // What galley does anyway: layers are unpacked in the store.
            "unpack" if truth()? => {}
            "mode" if text == "copy" => {}
            "unpack"
            | "mode"
            | "oci-artifact"
            | "name-canonical"
            | "dangling-name-prefix"
            | "attestation-inline"
            | "attestation-prefix"
            | "prefer-nondist-layers" => {
                return Err(format!("{key}={text} is not supported yet"));
            }
            "registry.insecure" => {
                return Err("registry.insecure is not supported: name the registry in \
                            GALLEY_INSECURE_REGISTRIES, registries.conf or daemon.json"
                    .to_owned());
            }
            other => match annotation::of_output(other, &text) {
                Some(annotation) => self.packing.annotations.push(annotation?),
                None => {
                    return Err(format!(
                        "unknown key {other:?}: known are type, dest, name, tar, push, push-by-digest, store, \
                         compression, compression-level, force-compression, oci-mediatypes, annotation.…, \
                         platform-split, rewrite-timestamp"
                    ));
                }
            },
        }
        Ok(())
    }

    fn finish(self) -> Result<OutputSpec, String> {
        self.packing.check()?;
        let push = OutputTarget::Registry { by_digest: self.by_digest, store: self.store };
        let target = match self.kind.as_deref() {
            None => return Err(format!("type= is missing: {TYPES}")),
            Some("image") if !self.push && !self.by_digest => OutputTarget::Store,
            Some("image" | "registry") => push,
            Some(_) if self.push || self.by_digest => {
                return Err("push= goes with type=image".to_owned());
            }
            Some(_) if self.store => return Err("store= goes with type=registry".to_owned()),
            Some("tar" | "local" | "cacheonly") if self.packing != PackingSpec::default() => {
                return Err("compression, media types and annotations go with an image: \
                            type=oci, docker, image or registry"
                    .to_owned());
            }
            Some(kind) if self.split.is_some() && !matches!(kind, "tar" | "local") => {
                return Err("platform-split= goes with type=local and type=tar".to_owned());
            }
            Some("cacheonly") => OutputTarget::Nothing,
            Some("docker") if self.destination.is_none() && !self.folder => OutputTarget::Load,
            Some("oci") => self.write(OutputKind::Oci)?,
            Some("docker") => self.write(OutputKind::Docker)?,
            Some("tar") if self.folder => {
                return Err("tar=false makes no sense with type=tar: use type=local".to_owned());
            }
            Some("tar") => self.write(OutputKind::Tar)?,
            Some("local") => self.write(OutputKind::Local)?,
            Some(other) => return Err(format!("unknown type {other:?}: known are {TYPES}")),
        };
        let (names, rewrite_times, packing) = (self.names, self.rewrite_times, self.packing);
        Ok(OutputSpec { target, names, rewrite_times, packing })
    }

    fn write(&self, kind: OutputKind) -> Result<OutputTarget, String> {
        let folder = self.folder || kind == OutputKind::Local;
        if folder && self.destination.is_none() {
            return Err("dest= is missing: a directory cannot go to standard output".to_owned());
        }
        let (destination, split) = (self.destination.clone(), self.split);
        Ok(OutputTarget::Write { kind, destination, folder, split })
    }
}

impl PackingSpec {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.packing.compression == Compression::Zstd && self.docker_types {
            return Err(
                "compression=zstd conflicts with oci-mediatypes=false: docker has no name for it".to_owned()
            );
        }
        let most = match self.packing.compression {
            Compression::None => return Ok(()),
            Compression::Gzip => 9,
            Compression::Zstd => 22,
        };
        match self.packing.level {
            Some(level) if !(0..=most).contains(&level) => {
                Err(format!("compression-level={level} is not between 0 and {most}"))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "uncompressed" => Ok(Compression::None),
        "estargz" => Err("compression=estargz is not supported: galley writes plain gzip, which every \
                          registry and runtime reads; there is nothing here that pulls lazily"
            .to_owned()),
        other => Err(format!("unknown compression {other:?}: known are gzip, zstd, uncompressed")),
    }
}

pub(crate) fn level(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("compression-level={text} is no number"))
}

/// A key with nothing after it is true.
pub(crate) fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None => Ok(true),
        Some(text) => super::truth(text).ok_or_else(|| format!("{key}={text} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(kind: OutputKind, destination: Option<&str>, folder: bool) -> Result<OutputTarget, String> {
        let destination = destination.map(PathBuf::from);
        Ok(OutputTarget::Write { kind, destination, folder, split: None })
    }

    fn refused(why: &str) -> Result<OutputTarget, String> {
        Err(why.to_owned())
    }

    #[test]
    fn what_outputs_mean() {
        let push = |by_digest, store| Ok(OutputTarget::Registry { by_digest, store });
        let cases = [
            ("out", write(OutputKind::Local, Some("out"), true)),
            ("-", write(OutputKind::Tar, None, false)),
            ("type=oci,dest=a.tar", write(OutputKind::Oci, Some("a.tar"), false)),
            ("type=oci,dest=-", write(OutputKind::Oci, None, false)),
            ("type=oci,dest=,tar=T", write(OutputKind::Oci, None, false)),
            ("type=oci,dest=d,tar=false", write(OutputKind::Oci, Some("d"), true)),
            ("type=docker,dest=a.tar", write(OutputKind::Docker, Some("a.tar"), false)),
            ("type=local,\"dest=a,b\"", write(OutputKind::Local, Some("a,b"), true)),
            ("type=tar", write(OutputKind::Tar, None, false)),
            ("type=docker", Ok(OutputTarget::Load)),
            ("type=image,name=a:1", Ok(OutputTarget::Store)),
            ("type=image,push=true", push(false, false)),
            ("type=image,push-by-digest=true,name=a", push(true, false)),
            ("type=registry,store=true", push(false, true)),
            ("type=cacheonly", Ok(OutputTarget::Nothing)),
            ("type=local", refused("dest= is missing: a directory cannot go to standard output")),
            ("type=tar,push=true", refused("push= goes with type=image")),
            ("type=oci,store=true", refused("store= goes with type=registry")),
            ("type=zip", refused(&format!("unknown type \"zip\": known are {TYPES}"))),
            ("dest=x", refused(&format!("type= is missing: {TYPES}"))),
            ("type=oci,compression-level=10", refused("compression-level=10 is not between 0 and 9")),
            (
                "type=oci,compression=lz4",
                refused("unknown compression \"lz4\": known are gzip, zstd, uncompressed"),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).map(|spec| spec.target), expected, "{text}");
        }
        for text in [
            "type=oci,dset=x",
            "type=oci,platform-split=true",
            "type=tar,compression=zstd",
            "type=local,dest=d,annotation.a=b",
            "type=oci,compression=zstd,oci-mediatypes=false",
            "type=oci,compression=estargz",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn how_images_are_packed() {
        let spec =
            parse("type=oci,compression=zstd,compression-level=19,force-compression=true,annotation.a=b")
                .unwrap();
        let PackingSpec { packing, force, docker_types, annotations } = spec.packing;
        assert_eq!(packing, Packing { compression: Compression::Zstd, level: Some(19) });
        assert!(force && !docker_types && annotations.len() == 1);
        assert!(parse("type=docker,oci-mediatypes=false").unwrap().packing.docker_types);
    }
}
