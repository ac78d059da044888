//! Images as a lock holds them, and the lock that a Dockerfile's names make.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use galley_engine::{
    Error, ErrorKind,
    ports::{BaseImage, ImageSource, LayoutReference},
};
use galley_oci::{Digest, Platform, Reference};

use super::{Lock, Locked};
use crate::ports::StoreImages;

/// The images that a lock names, and no others.
#[derive(Debug)]
pub(crate) struct LockedImages<'a> {
    pub(crate) images: &'a StoreImages<'a>,
    pub(crate) lock: Lock,
    /// Where it was read from.
    pub(crate) path: PathBuf,
}

impl ImageSource for LockedImages<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        // A digest in the Dockerfile is a lock of its own.
        if reference.digest.is_some() {
            return self.images.resolve(reference, platform);
        }
        let name = reference.familiar();
        let Some(locked) = self.lock.images.get(&reference.canonical()) else {
            let message = format!("{name} is not in {}", self.path.display());
            return Err(Error::new(ErrorKind::Input, message).help("add it with `galley lock`"));
        };
        let now = match locked {
            Locked::Digest(_) => self.images.digest(reference)?.map(Locked::Digest),
            Locked::Id(_) => self.images.local_id(reference)?.map(Locked::Id),
        };
        if let Some(now) = now
            && now != *locked
        {
            return Err(self.moved(&name, locked, &now));
        }
        resolve(self.images, reference, locked, platform)
    }

    fn layout(&self, layout: &LayoutReference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        self.images.layout(layout, platform)
    }

    fn is_slow(&self, reference: &Reference) -> bool {
        self.images.is_slow(reference)
    }

    fn looked_in(&self, reference: &Reference) -> String {
        self.images.looked_in(reference)
    }
}

impl LockedImages<'_> {
    fn moved(&self, name: &str, locked: &Locked, now: &Locked) -> Error {
        let path = self.path.display();
        let message = format!("{name} is not what {path} says any more");
        Error::new(ErrorKind::Input, message)
            .label("this name has moved")
            .help(format!("the lock says {}, it is {} now", digest(locked), digest(now)))
            .help(format!(
                "take the new one with `galley lock --update {name}`, or the locked one with --offline"
            ))
    }
}

/// The image that `locked` means.
fn resolve(
    images: &StoreImages<'_>,
    reference: &Reference,
    locked: &Locked,
    platform: &Platform,
) -> Result<Option<BaseImage>, Error> {
    match locked {
        Locked::Digest(digest) => {
            images.of_registry(&Reference { digest: Some(*digest), ..reference.clone() }, platform)
        }
        Locked::Id(_) => images.of_store(reference, platform),
    }
}

const fn digest(locked: &Locked) -> &Digest {
    match locked {
        Locked::Digest(digest) | Locked::Id(digest) => digest,
    }
}

/// Makes a lock of the names that a plan asks for.
#[derive(Debug)]
pub(crate) struct Locker<'a> {
    images: &'a StoreImages<'a>,
    /// What was known before.
    old: Lock,
    /// What is to be asked for again.
    update: Update,
    new: Mutex<Lock>,
}

/// Which names are asked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    Nothing,
    All,
    /// An image.
    Name(Reference),
    /// A URL or a git repository, as the lock calls it.
    Address(String),
}

impl Update {
    /// Whether the address of this name is asked for again.
    pub(crate) fn is_of(&self, address: &str) -> bool {
        match self {
            Self::All => true,
            Self::Address(wanted) => wanted == address,
            Self::Nothing | Self::Name(_) => false,
        }
    }
}

impl<'a> Locker<'a> {
    pub(crate) fn new(images: &'a StoreImages<'a>, old: Lock, update: Update) -> Self {
        Self { images, old, update, new: Mutex::default() }
    }

    /// The lock of all names that were asked for.
    pub(crate) fn into_lock(self) -> Lock {
        self.new.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the name means at its registry; where that has none, or cannot be asked, in the local store.
    fn ask(&self, reference: &Reference) -> Result<Option<Locked>, Error> {
        let local = || Ok::<_, Error>(self.images.local_id(reference)?.map(Locked::Id));
        match self.images.digest(reference) {
            Ok(Some(digest)) => Ok(Some(Locked::Digest(digest))),
            Ok(None) => local(),
            Err(error) => local()?.map_or(Err(error), |local| Ok(Some(local))),
        }
    }

    fn lock(&self, reference: &Reference) -> Result<Option<Locked>, Error> {
        let name = reference.canonical();
        if let Some(known) = self.new.lock().unwrap_or_else(PoisonError::into_inner).images.get(&name) {
            return Ok(Some(*known));
        }
        let again = match &self.update {
            Update::Nothing | Update::Address(_) => false,
            Update::All => true,
            Update::Name(wanted) => wanted == reference,
        };
        let old = self.old.images.get(&name).filter(|_| !again).copied();
        let locked = match old {
            Some(old) => Some(old),
            None => self.ask(reference)?,
        };
        if let Some(locked) = locked {
            self.new.lock().unwrap_or_else(PoisonError::into_inner).images.insert(name, locked);
        }
        Ok(locked)
    }
}

impl ImageSource for Locker<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        if reference.digest.is_some() {
            return self.images.resolve(reference, platform);
        }
        match self.lock(reference)? {
            Some(locked) => resolve(self.images, reference, &locked, platform),
            None => Ok(None),
        }
    }

    fn layout(&self, layout: &LayoutReference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        self.images.layout(layout, platform)
    }

    fn is_slow(&self, reference: &Reference) -> bool {
        self.images.is_slow(reference)
    }

    fn looked_in(&self, reference: &Reference) -> String {
        self.images.looked_in(reference)
    }

    fn suggest(&self, name: &str) -> Vec<String> {
        self.images.suggest(name)
    }
}
