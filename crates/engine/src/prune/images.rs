//! `image prune`.

use std::collections::BTreeSet;

use galley_oci::Digest;
use galley_store::{Image, Keep, ObjectKind, Policy, Store, Tag};

use super::{Filter, failed};
use crate::{
    Error, container,
    images::{self, Removed},
};

/// What went.
#[derive(Clone, Debug, Default)]
pub struct PrunedImages {
    /// Names and images, in order.
    pub removed: Vec<Removed>,
    /// How much was freed.
    pub bytes: u64,
}

/// Removes images without a name, with `all` also those with one that no container is made of. Layers that came with them
/// go too, where nothing else needs them; those that steps have made stay as the cache of these steps.
pub fn images(store: &Store, all: bool, filter: &Filter) -> Result<PrunedImages, Error> {
    let used: BTreeSet<Digest> =
        container::configs(store)?.into_iter().map(|(_, config)| config.image_id).collect();
    let tags = store.whole_tags().map_err(failed)?;
    let named = |id: &Digest| tags.iter().any(|tag| tag.images().contains(id));
    let doomed: Vec<Image> = store
        .images()
        .map_err(failed)?
        .into_iter()
        .filter(|image| !used.contains(&image.id) && (all || !named(&image.id)) && takes(filter, image))
        .collect();
    let ids: BTreeSet<Digest> = doomed.iter().map(|image| image.id).collect();
    let mut pruned = PrunedImages::default();
    for tag in tags.iter().filter(|tag| goes(tag, &ids)) {
        // A build that ends just now may have given the name to another image.
        if store.untag_if(tag).map_err(failed)? {
            pruned.removed.push(Removed::Untagged(tag.reference.clone()));
        }
    }
    if ids.is_empty() {
        return Ok(pruned);
    }
    store.let_go();
    let policy = Policy { images: true, given_up: given_up(&doomed), ..Policy::new(Keep::Reachable) };
    let collected = store.collect(&policy).map_err(failed)?;
    pruned.bytes = collected.bytes();
    let went = collected.objects.iter().filter(|object| object.kind == ObjectKind::Image);
    pruned.removed.extend(went.map(|object| Removed::Deleted(object.id)));
    Ok(pruned)
}

/// A name of several platforms goes as a whole or not at all.
fn goes(tag: &Tag, doomed: &BTreeSet<Digest>) -> bool {
    tag.images().iter().all(|image| doomed.contains(image))
}

/// The images, and what came with them.
fn given_up(images: &[Image]) -> BTreeSet<Digest> {
    let layers = images.iter().flat_map(|image| &image.layers).filter_map(|layer| {
        let blob = layer.blob.as_ref()?;
        Some([layer.layer, blob.digest])
    });
    layers.flatten().chain(images.iter().map(|image| image.id)).collect()
}

fn takes(filter: &Filter, image: &Image) -> bool {
    let labels = images::config(image).ok().map(|config| config.config.labels).unwrap_or_default();
    filter.takes(Some(images::created(image)), &labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::testing::Pantry;

    /// What it is made of nobody can tell.
    #[test]
    fn beside_a_container_that_cannot_be_read_no_image_goes() {
        let pantry = Pantry::new();
        let container = pantry.create("web", &[]).unwrap();
        // What it was last doing does not matter.
        fs_err::write(container.folder.path().join("state.json"), "").unwrap();
        let pruned = images(&pantry.reopened(), true, &Filter::default()).unwrap();
        assert_eq!(pruned.removed, []);
        fs_err::write(container.folder.path().join("config.json"), "").unwrap();
        let error = images(&pantry.reopened(), true, &Filter::default()).unwrap_err();
        assert_eq!(error.message, format!("container {} is damaged", container.short_id()));
        assert_eq!(pantry.store.tags().unwrap().len(), 1);
    }
}
