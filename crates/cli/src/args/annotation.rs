//! `--annotation` and the `annotation…` keys of `--output`: free metadata of manifests and of the index that lists them.

use std::str::FromStr;

use galley_engine::export::{Annotation, Carrier};
use galley_oci::Platform;

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
        "manifest-descriptor" => Carrier::ManifestDescriptor,
        "index" => Carrier::Index,
        "index-descriptor" => Carrier::IndexDescriptor,
        other => {
            return Err(format!(
                "unknown type {other:?} of an annotation: known are manifest, manifest-descriptor, index, \
                 index-descriptor"
            ));
        }
    };
    if platform.is_some() && matches!(carrier, Carrier::Index | Carrier::IndexDescriptor) {
        return Err(format!("{kind} annotations have no platform: an index is for all of them"));
    }
    Ok(Annotation { carrier, platform, key: key.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carriers(text: &str) -> Vec<(Carrier, Option<String>)> {
        let carrier = |one: Annotation| {
            assert_eq!((one.key.as_str(), one.value.as_str()), ("a.b", "c=d"));
            (one.carrier, one.platform.map(|platform| platform.to_string()))
        };
        parse(text).unwrap().into_iter().map(carrier).collect()
    }

    #[test]
    fn where_annotations_go() {
        use Carrier::{Index, IndexDescriptor, Manifest, ManifestDescriptor};
        assert_eq!(carriers("a.b=c=d"), [(Manifest, None)]);
        assert_eq!(
            carriers("manifest,manifest-descriptor,index,index-descriptor:a.b=c=d"),
            [Manifest, ManifestDescriptor, Index, IndexDescriptor].map(|carrier| (carrier, None))
        );
        let arm = Some("linux/arm64".to_owned());
        assert_eq!(carriers("manifest[linux/arm64/v8]:a.b=c=d"), [(Manifest, arm)]);
        let of_output = |name: &str| of_output(name, "c=d").map(|found| found.map(|found| found.carrier));
        assert_eq!(of_output("annotation.a.b"), Some(Ok(Manifest)));
        assert_eq!(of_output("annotation[linux/amd64].a"), Some(Ok(Manifest)));
        assert_eq!(of_output("annotation-manifest-descriptor.a"), Some(Ok(ManifestDescriptor)));
        assert_eq!(of_output("annotation-index.a"), Some(Ok(Index)));
        assert_eq!(of_output("name"), None);
    }

    #[test]
    fn what_is_refused() {
        for text in ["a", "=b", "index[linux/arm64]:a=b", "manifets:a=b", "manifest[x/y/z/w]:a=b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
