//! `galley rmi`: names go first, the image with its last name.

use galley_oci::{Digest, Reference};
use galley_store::Store;

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
    let tags: Vec<Reference> = store
        .tags()
        .map_err(unreadable)?
        .into_iter()
        .filter_map(|(tag, id)| (id == image.id).then_some(tag))
        .collect();
    let named =
        name.parse::<Reference>().ok().map(Reference::with_default_tag).filter(|name| tags.contains(name));
    let doomed = match named {
        Some(name) => vec![name],
        None if tags.len() > 1 && !force => return Err(several_names(name, &tags)),
        None => tags.clone(),
    };
    let last = doomed.len() == tags.len();
    if last
        && !force
        && let Some(container) = used(&image.id)
    {
        return Err(Error::new(ErrorKind::Usage, format!("image {name} is used by container {container}"))
            .help(format!("remove the container first (`galley rm {container}`), or use --force")));
    }
    let mut removed = Vec::new();
    for tag in doomed {
        store.untag(&tag).map_err(unreadable)?;
        removed.push(Removed::Untagged(tag));
    }
    if last {
        store.remove_image(&image.id).map_err(unreadable)?;
        removed.push(Removed::Deleted(image.id));
    }
    Ok(removed)
}

fn several_names(name: &str, tags: &[Reference]) -> Error {
    let names: Vec<String> = tags.iter().map(Reference::familiar).collect();
    Error::new(ErrorKind::Usage, format!("image {name} has several names: {}", names.join(", ")))
        .help("remove one name after the other, or use --force")
}
