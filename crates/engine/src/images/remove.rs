//! `galley rmi`: names go first, the image with its last name.

use std::collections::BTreeSet;

use galley_oci::{Digest, Reference};
use galley_store::{Store, Tag};

use super::{find, unreadable};
use crate::{Error, ErrorKind};

/// What `galley rmi` did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// This name is gone.
    Untagged(Reference),
    /// The image itself is gone; its layers go with the next collection unless others need them.
    Deleted(Digest),
}

/// Removes the name `name`, and the image when that was its last name. An id removes every name of the image, if it
/// has several only with `force`. `used` tells which container needs an image.
pub fn remove(
    store: &Store,
    name: &str,
    force: bool,
    used: &dyn Fn(&Digest) -> Option<String>,
) -> Result<Vec<Removed>, Error> {
    let image = find(store, name)?;
    let all = store.whole_tags().map_err(unreadable)?;
    // An image of another platform is removed with the name that has all of them.
    let tags: Vec<&Tag> = all.iter().filter(|tag| tag.images().contains(&image.id)).collect();
    let wanted = name.parse::<Reference>().ok().map(Reference::with_default_tag);
    let named = tags.iter().find(|tag| wanted.as_ref() == Some(&tag.reference));
    let doomed: Vec<&Tag> = match named {
        Some(tag) => vec![tag],
        None if tags.len() > 1 && !force => return Err(several_names(name, &tags)),
        None => tags,
    };
    let lost = lost(&all, &doomed, image.id);
    if let Some(container) = lost.iter().find_map(used).filter(|_| !force) {
        return Err(Error::new(ErrorKind::Usage, format!("image {name} is used by container {container}"))
            .help(format!("remove the container first (`galley rm {container}`), or use --force")));
    }
    let mut removed = Vec::new();
    for tag in doomed {
        store.untag(&tag.reference).map_err(unreadable)?;
        removed.push(Removed::Untagged(tag.reference.clone()));
    }
    for id in lost {
        store.remove_image(&id).map_err(unreadable)?;
        removed.push(Removed::Deleted(id));
    }
    Ok(removed)
}

/// The images that have no name any more when `doomed` are gone.
fn lost(all: &[Tag], doomed: &[&Tag], image: Digest) -> Vec<Digest> {
    let mut images = vec![image];
    images.extend(doomed.iter().flat_map(|tag| tag.images()));
    let mut seen = BTreeSet::new();
    images.retain(|id| seen.insert(*id));
    let is_doomed = |tag: &Tag| doomed.iter().any(|doomed| doomed.reference == tag.reference);
    images.retain(|id| !all.iter().any(|tag| !is_doomed(tag) && tag.images().contains(id)));
    images
}

fn several_names(name: &str, tags: &[&Tag]) -> Error {
    let names: Vec<String> = tags.iter().map(|tag| tag.reference.familiar()).collect();
    Error::new(ErrorKind::Usage, format!("image {name} has several names: {}", names.join(", ")))
        .help("remove one name after the other, or use --force")
}
