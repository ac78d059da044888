//! `galley rmi`: names go first, the image with its last name.

use std::collections::BTreeSet;

use galley_oci::{Digest, Reference};
use galley_store::{Store, Tag};

use super::{find, no_such_image, unreadable};
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
/// has several only with `force`. `used` tells which container needs an image, and is not asked with `force`.
pub fn remove(
    store: &Store,
    name: &str,
    force: bool,
    used: &dyn Fn(&Digest) -> Result<Option<String>, Error>,
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
    let user = || lost.iter().find_map(|id| used(id).transpose()).transpose();
    if let Some(container) = if force { None } else { user()? } {
        return Err(Error::new(ErrorKind::Usage, format!("image {name} is used by container {container}"))
            .help(format!("remove the container first (`galley rm {container}`), or use --force")));
    }
    store.make_room().map_err(unreadable)?;
    let mut removed = Vec::new();
    for tag in doomed {
        // A build that ends just now may have given the name to another image.
        if store.untag_if(tag).map_err(unreadable)? {
            removed.push(Removed::Untagged(tag.reference.clone()));
        }
    }
    // One that somebody has found meanwhile, to name it or to make a container of it, stays.
    let gone = store.remove_images(&lost, force).map_err(unreadable)?;
    if removed.is_empty() && gone.is_empty() && lost.contains(&image.id) {
        let is_there = store.image(&image.id).map_err(unreadable)?.is_some();
        return Err(if is_there { in_use(image.id) } else { no_such_image(store, name) });
    }
    removed.extend(gone.into_iter().map(Removed::Deleted));
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

fn in_use(image: Digest) -> Error {
    let message = format!("image {} is in use by another process of galley", image.short());
    Error::new(ErrorKind::Usage, message).help("try again when that has ended")
}

fn several_names(name: &str, tags: &[&Tag]) -> Error {
    let names: Vec<String> = tags.iter().map(|tag| tag.reference.familiar()).collect();
    Error::new(ErrorKind::Usage, format!("image {name} has several names: {}", names.join(", ")))
        .help("remove one name after the other, or use --force")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{container::testing::Pantry, images};

    /// Removes `name`, and does something just when it is decided what goes.
    fn remove_while(
        pantry: &Pantry,
        name: &str,
        force: bool,
        other: impl Fn(&Store),
    ) -> Result<Vec<Removed>, Error> {
        let done = Cell::new(false);
        remove(&pantry.store, name, force, &|_| {
            if !done.replace(true) {
                other(&pantry.reopened());
            }
            Ok(None)
        })
    }

    fn untagged(name: &str) -> Removed {
        Removed::Untagged(name.parse::<Reference>().unwrap().with_default_tag())
    }

    #[test]
    fn an_image_goes_with_its_last_name() {
        let pantry = Pantry::new();
        let id = find(&pantry.store, "app").unwrap().id;
        images::tag(&pantry.store, "app", "other").unwrap();
        let nothing = |_: &Store| {};
        assert_eq!(remove_while(&pantry, "other", false, nothing).unwrap(), [untagged("other")]);
        let all = [untagged("app"), Removed::Deleted(id)];
        assert_eq!(remove_while(&pantry, "app", false, nothing).unwrap(), all);
        assert_eq!(find(&pantry.store, "app").unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn an_image_that_gets_a_name_meanwhile_stays() {
        let pantry = Pantry::new();
        let id = find(&pantry.store, "app").unwrap().id;
        let removed =
            remove_while(&pantry, "app", false, |store| images::tag(store, "app", "other").unwrap());
        assert_eq!(removed.unwrap(), [untagged("app")]);
        assert_eq!(find(&pantry.store, "other").unwrap().id, id);
    }

    #[test]
    fn an_image_of_which_a_container_is_made_meanwhile_stays() {
        let pantry = Pantry::new();
        let id = find(&pantry.store, "app").unwrap().id;
        let removed = remove_while(&pantry, "app", false, |_| drop(pantry.create("web", &[]).unwrap()));
        assert_eq!(removed.unwrap(), [untagged("app")]);
        assert!(pantry.reopened().image(&id).unwrap().is_some());
        // Who insists gets it.
        assert_eq!(remove_while(&pantry, &id.to_string(), true, |_| {}).unwrap(), [Removed::Deleted(id)]);
    }

    #[test]
    fn an_image_that_another_process_uses_stays() {
        let pantry = Pantry::new();
        let id = find(&pantry.store, "app").unwrap().id;
        // As a process that is about to make a container.
        let user = pantry.reopened();
        user.image(&id).unwrap().unwrap();
        user.settle();
        assert_eq!(remove_while(&pantry, "app", false, |_| {}).unwrap(), [untagged("app")]);
        let error = remove_while(&pantry, &id.to_string(), true, |_| {}).unwrap_err();
        assert!(error.message.ends_with("is in use by another process of galley"), "{error}");
        drop(user);
        assert_eq!(remove_while(&pantry, &id.to_string(), false, |_| {}).unwrap(), [Removed::Deleted(id)]);
    }

    #[test]
    fn a_name_that_is_given_to_another_image_meanwhile_stays() {
        let pantry = Pantry::new();
        let old = find(&pantry.store, "app").unwrap().id;
        let new = pantry.image("new");
        let removed = remove_while(&pantry, "app", false, |store| images::tag(store, "new", "app").unwrap());
        assert_eq!(removed.unwrap(), [Removed::Deleted(old)]);
        assert_eq!(find(&pantry.store, "app").unwrap().id, new);
    }

    #[test]
    fn of_two_who_remove_an_image_the_last_does() {
        let pantry = Pantry::new();
        let other = |store: &Store| drop(remove(store, "app", true, &|_| Ok(None)).unwrap());
        // The first takes the name. The second has found the image, which keeps it from the first.
        let removed = remove_while(&pantry, "app", false, other).unwrap();
        assert_eq!(removed.len(), 1);
        assert_eq!(pantry.reopened().images().unwrap().len(), 0);
    }

    #[test]
    fn what_cannot_be_looked_at_keeps_images() {
        let pantry = Pantry::new();
        let failing = |_: &Digest| Err(Error::new(ErrorKind::Store, "container x is damaged"));
        let error = remove(&pantry.store, "app", false, &failing).unwrap_err();
        assert_eq!(error.message, "container x is damaged");
        assert!(find(&pantry.store, "app").is_ok());
        assert_eq!(remove(&pantry.store, "app", true, &failing).unwrap().len(), 2);
    }
}
