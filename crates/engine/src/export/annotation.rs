//! Free metadata of manifests and indexes, and of what names them.

use std::collections::BTreeMap;

use galley_oci::Platform;

/// What carries an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The manifest.
    Manifest,
    /// What names the manifest, in an index or in a layout.
    ManifestDescriptor,
    /// The index of several images.
    Index,
    /// What names the index in a layout.
    IndexDescriptor,
}

/// One annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// What carries it.
    pub carrier: Carrier,
    /// Only in the image for it.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// The annotations of `carrier` in an image for `platform`; an index is for none.
pub(super) fn on(
    all: &[Annotation],
    carrier: Carrier,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let meant = |one: &&Annotation| {
        let here = match (&one.platform, platform) {
            (None, _) => true,
            (Some(wanted), Some(platform)) => platform.matches(wanted),
            (Some(_), None) => false,
        };
        one.carrier == carrier && here
    };
    all.iter().filter(meant).map(|one| (one.key.clone(), one.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_carries_what() {
        let one = |carrier, platform: &str, value: &str| {
            let platform = Some(platform).filter(|text| !text.is_empty()).map(|text| text.parse().unwrap());
            Annotation { carrier, platform, key: "k".to_owned(), value: value.to_owned() }
        };
        let all = [
            one(Carrier::Manifest, "", "all"),
            one(Carrier::Manifest, "linux/arm64/v8", "arm"),
            one(Carrier::Index, "", "index"),
        ];
        let value = |carrier, platform: Option<&str>| {
            let platform: Option<Platform> = platform.map(|text| text.parse().unwrap());
            on(&all, carrier, platform.as_ref()).remove("k")
        };
        assert_eq!(value(Carrier::Manifest, Some("linux/amd64")).as_deref(), Some("all"));
        assert_eq!(value(Carrier::Manifest, Some("linux/arm64")).as_deref(), Some("arm"));
        assert_eq!(value(Carrier::Index, None).as_deref(), Some("index"));
        assert_eq!(value(Carrier::IndexDescriptor, None), None);
    }
}
