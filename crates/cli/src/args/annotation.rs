//! `--annotation` and the `annotation…` keys of `--output`: free metadata of a manifest and of what names it.

use std::{collections::BTreeMap, str::FromStr};

use galley_oci::Platform;

/// What carries an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// The manifest.
    Manifest,
    /// What names the manifest in the index of a layout.
    Descriptor,
}

/// One annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    pub(crate) carrier: Carrier,
    /// Only when the image is for it.
    platform: Option<Platform>,
    key: String,
    value: String,
}

/// Understands `--annotation [TYPE[[PLATFORM]],…:]KEY=VALUE`.
pub(crate) fn parse(text: &str) -> Result<Vec<Annotation>, String> {
    let missing = || format!("{text:?} is not KEY=VALUE");
    let (name, value) = text.split_once('=').ok_or_else(missing)?;
    let (carriers, key) = name.split_once(':').unwrap_or(("manifest", name));
    if key.is_empty() {
        return Err(missing());
    }
    carriers.split(',').map(|carrier| annotation(carrier, key, value)).collect()
}

/// Understands the key `annotation[-TYPE][[PLATFORM]].KEY` of an output; none when `name` is another key.
pub(crate) fn of_output(name: &str, value: &str) -> Option<Result<Annotation, String>> {
    let (carrier, key) = name.strip_prefix("annotation")?.split_once('.')?;
    let carrier = match carrier.strip_prefix('-') {
        Some(carrier) => carrier.to_owned(),
        None => format!("manifest{carrier}"),
    };
    Some(annotation(&carrier, key, value))
}

fn annotation(carrier: &str, key: &str, value: &str) -> Result<Annotation, String> {
    let (kind, platform) = match carrier.strip_suffix(']').and_then(|carrier| carrier.split_once('[')) {
        Some((kind, platform)) => {
            let platform = Platform::from_str(platform).map_err(|error| format!("{carrier}: {error}"))?;
            (kind, Some(platform))
        }
        None => (carrier, None),
    };
    let carrier = match kind {
        "manifest" => Carrier::Manifest,
        "manifest-descriptor" => Carrier::Descriptor,
        "index" | "index-descriptor" => {
            return Err(format!(
                "{kind} annotations are not supported: an image for one platform has no index"
            ));
        }
        other => {
            return Err(format!(
                "unknown type {other:?} of an annotation: known are manifest, manifest-descriptor"
            ));
        }
    };
    Ok(Annotation { carrier, platform, key: key.to_owned(), value: value.to_owned() })
}

/// The annotations of `carrier` in an image for `platform`.
pub(crate) fn on(all: &[Annotation], carrier: Carrier, platform: &Platform) -> BTreeMap<String, String> {
    let meant = |one: &&Annotation| {
        one.carrier == carrier && one.platform.as_ref().is_none_or(|wanted| wanted.rank(platform).is_some())
    };
    all.iter().filter(meant).map(|one| (one.key.clone(), one.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(text: &str, carrier: Carrier) -> BTreeMap<String, String> {
        on(&parse(text).unwrap(), carrier, &Platform::new("linux", "amd64"))
    }

    #[test]
    fn where_annotations_go() {
        let one = BTreeMap::from([("a.b".to_owned(), "c=d".to_owned())]);
        assert_eq!(carried("a.b=c=d", Carrier::Manifest), one);
        assert_eq!(carried("manifest,manifest-descriptor:a.b=c=d", Carrier::Descriptor), one);
        assert_eq!(carried("manifest[linux/amd64]:a.b=c=d", Carrier::Manifest), one);
        assert!(carried("manifest[linux/arm64]:a.b=c=d", Carrier::Manifest).is_empty());
        let of_output = |name: &str| of_output(name, "c=d").map(|found| found.map(|found| found.carrier));
        assert_eq!(of_output("annotation.a.b"), Some(Ok(Carrier::Manifest)));
        assert_eq!(of_output("annotation[linux/amd64].a"), Some(Ok(Carrier::Manifest)));
        assert_eq!(of_output("annotation-manifest-descriptor.a"), Some(Ok(Carrier::Descriptor)));
        assert_eq!(of_output("name"), None);
    }

    #[test]
    fn what_is_refused() {
        for text in ["a", "=b", "index:a=b", "manifets:a=b", "manifest[x/y/z/w]:a=b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
