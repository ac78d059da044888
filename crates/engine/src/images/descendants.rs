//! Images that were made of another one.

use std::collections::BTreeSet;

use galley_oci::{Digest, ImageConfig};
use galley_store::Store;

use super::{config, lookup, unreadable};
use crate::Error;

/// The image that `name` means and all that were made of it; nothing when there is none. What an image was made of is not
/// written down, but both its layers and its history begin with those of the other.
pub fn with_descendants(store: &Store, name: &str) -> Result<BTreeSet<Digest>, Error> {
    let Some(image) = lookup(store, name)? else { return Ok(BTreeSet::new()) };
    let (mut all, own) = (BTreeSet::from([image.id]), config(&image)?);
    for other in store.images().map_err(unreadable)? {
        // One that cannot be read is no reason to fail.
        if config(&other).is_ok_and(|other| is_made_of(&other, &own)) {
            all.insert(other.id);
        }
    }
    Ok(all)
}

fn is_made_of(image: &ImageConfig, base: &ImageConfig) -> bool {
    let (layers, below) = (&image.rootfs.diff_ids, &base.rootfs.diff_ids);
    let (history, before) = (&image.history, &base.history);
    let same = history.iter().zip(before).all(|(one, other)| one.created_by == other.created_by);
    let is_more = layers.len() > below.len() || history.len() > before.len();
    !below.is_empty() && layers.starts_with(below) && history.len() >= before.len() && same && is_more
}

#[cfg(test)]
mod tests {
    use galley_oci::History;

    use super::*;

    fn image(layers: &[&str], history: &[&str]) -> ImageConfig {
        let mut image = ImageConfig::default();
        image.rootfs.diff_ids = layers.iter().map(|layer| Digest::sha256(layer.as_bytes())).collect();
        let instruction = |text: &&str| History { created_by: (*text).to_owned(), ..History::default() };
        image.history = history.iter().map(instruction).collect();
        image
    }

    #[test]
    fn layers_and_history_tell_what_an_image_was_made_of() {
        let base = image(&["a"], &["FROM", "CMD"]);
        assert!(is_made_of(&image(&["a", "b"], &["FROM", "CMD", "RUN"]), &base));
        assert!(is_made_of(&image(&["a"], &["FROM", "CMD", "ENV"]), &base));
        assert!(!is_made_of(&image(&["a"], &["FROM", "CMD"]), &base), "the same");
        assert!(!is_made_of(&image(&["a", "b"], &["FROM", "RUN"]), &base), "both are made of one base");
        assert!(!is_made_of(&image(&["b"], &["FROM", "CMD", "RUN"]), &base));
        assert!(!is_made_of(&image(&["a"], &["FROM"]), &base), "the other way round");
        assert!(!is_made_of(&image(&["a"], &["RUN"]), &image(&[], &[])), "nothing is no base");
    }
}
