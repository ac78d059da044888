//! Images out of a file or a folder: what `docker save`, `podman save`, `skopeo copy` and `galley save` write.
//!
//! ```text
//! input ─ spool ─▶ plain tar ─ files ─▶ names and places ─┬─ oci: index.json ────────┐
//!                                                         ├─ docker: manifest.json ──┼─▶ BaseImage, names
//!                                                         └─ legacy: repositories ───┘
//! ```
//! The tar is read once for the places of its files; then each file is read where it is. Nothing of it ever becomes a
//! path of this machine.

mod docker;
mod files;
mod legacy;
mod oci;
mod source;
mod spool;

use std::{
    fs::File,
    io::{Read, Seek},
    path::Path,
    sync::Arc,
};

use fs_err as fs;
use galley_oci::{Digest, Platform, Reference, image::MAX_DOCUMENT_BYTES};
use galley_store::Store;

use self::files::Files;
pub use self::files::MAX_ARCHIVE_FILES;
use super::{bring, broken};
use crate::{Cancel, Error, ErrorKind, Fetcher, images, ports::BaseImage, steps::files::store_error};

/// The most images that one archive may hold.
pub const MAX_IMAGES: usize = 4096;

/// The file that makes a folder an OCI layout.
const LAYOUT: &str = "oci-layout";
/// The list of images in an OCI layout.
const INDEX: &str = "index.json";
/// The list of images in a docker archive.
const MANIFEST: &str = "manifest.json";
/// The list of names in a docker archive of before version 1.10.
const REPOSITORIES: &str = "repositories";

/// A file or folder that holds images.
#[derive(Debug)]
pub struct Archive {
    /// As messages call it.
    name: String,
    files: Files,
}

/// An image of an archive, and what it is called there.
#[derive(Clone, Debug)]
pub struct Archived {
    /// Its names; none when the archive gives none.
    pub names: Vec<Reference>,
    /// What it is: of several, the image for this machine.
    pub base: BaseImage,
    /// All images of an index, when there are several and no platform was asked for.
    pub platforms: Vec<BaseImage>,
}

/// An image that is in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// The names that it has got.
    pub names: Vec<Reference>,
    /// Those of them that another image had before.
    pub taken: Vec<(Reference, Digest)>,
}

impl Archive {
    /// The archive or folder at `path`. What is compressed is unpacked into the store's temporary files first.
    pub fn open(store: &Store, path: &Path, stop: &Cancel) -> Result<Self, Error> {
        let name = path.display().to_string();
        let cannot = |error: std::io::Error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Input,
            };
            Error::new(kind, format!("cannot read the archive {name}")).because(error)
        };
        let (file, _) = fs::File::open(path).map_err(cannot)?.into_parts();
        if file.metadata().map_err(cannot)?.is_dir() {
            let files = Files::folder(path.to_path_buf(), file.into(), stop);
            return Ok(Self { name, files });
        }
        Self::read(store, &name, file, stop)
    }

    /// The archive in `file`, which messages call `name`. What comes once, as from a pipe, is kept in the store's temporary
    /// files until it is loaded.
    pub fn read(store: &Store, name: &str, mut file: File, stop: &Cancel) -> Result<Self, Error> {
        let whole = file.metadata().is_ok_and(|metadata| metadata.is_file())
            && file.stream_position().is_ok_and(|position| position == 0);
        let plain =
            if whole { spool::plain(store, name, file, stop) } else { spool::spool(store, name, file, stop) };
        Ok(Self { name: name.to_owned(), files: Files::index(name, plain?, stop)? })
    }

    /// The images in it. Of an index all, or the one for `platform`; of several entries with one name those for `platform`,
    /// or for this machine when none is given.
    pub fn images(
        self: &Arc<Self>,
        store: &Store,
        platform: Option<&Platform>,
    ) -> Result<Vec<Archived>, Error> {
        let reader = Images { archive: self, store, platform };
        let mut images = if self.has(INDEX) { oci::images(&reader)? } else { Vec::new() };
        if images.is_empty() {
            images = match (self.has(MANIFEST), self.has(REPOSITORIES)) {
                (true, _) => docker::images(&reader)?,
                (false, true) => legacy::images(&reader)?,
                (false, false) => return Err(self.unknown()),
            };
        } else if self.has(MANIFEST) {
            docker::add_names(&reader, &mut images)?;
        }
        if let Some(platform) = platform {
            images.iter().try_for_each(|image| self.check_platform(image, platform))?;
        }
        Ok(images)
    }

    fn has(&self, path: &str) -> bool {
        self.files.has(path)
    }

    fn unknown(&self) -> Error {
        let message = format!("{} holds no images", self.name);
        let error = Error::new(ErrorKind::Input, message);
        if self.has(LAYOUT) {
            return error.label("an OCI layout without any image");
        }
        error
            .help(
                "`load` takes what `save` writes: docker archives and OCI layouts, as they are or compressed",
            )
            .help("an archive of plain files becomes an image with `import`")
    }

    fn check_platform(&self, image: &Archived, platform: &Platform) -> Result<(), Error> {
        let own = image.base.config.platform();
        if platform.rank(&own).is_some() {
            return Ok(());
        }
        let message = format!("{} of {} is for {own}, not for {platform}", image.title(), self.name);
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// A small file that has to be there.
    fn document(&self, path: &str) -> Result<Vec<u8>, Error> {
        let piece = self.files.open(&self.name, path)?;
        let bytes_max = MAX_DOCUMENT_BYTES as u64;
        if piece.size() > bytes_max {
            let why =
                format!("{path} has {} bytes, more than the {bytes_max} that are accepted", piece.size());
            return Err(broken(&self.name, why));
        }
        let mut bytes = Vec::new();
        piece.reader().read_to_end(&mut bytes).map_err(|error| broken(&self.name, error))?;
        Ok(bytes)
    }
}

impl Archived {
    /// As messages call it.
    fn title(&self) -> String {
        self.names.first().map_or_else(|| format!("image {}", self.base.id.short()), Reference::familiar)
    }
}

/// What reading the lists of images needs.
#[derive(Clone, Copy)]
struct Images<'a> {
    archive: &'a Arc<Archive>,
    store: &'a Store,
    platform: Option<&'a Platform>,
}

impl Images<'_> {
    fn wanted(&self) -> Platform {
        self.platform.cloned().unwrap_or_else(Platform::of_this_machine)
    }

    fn broken(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        broken(&self.archive.name, why)
    }

    fn check_count(&self, images: usize) -> Result<(), Error> {
        if images <= MAX_IMAGES {
            return Ok(());
        }
        Err(self.broken(format!("it lists {images} images, more than the {MAX_IMAGES} that are accepted")))
    }

    /// A name in a list, which must be one that an image can have.
    fn name(&self, text: &str) -> Result<Reference, Error> {
        let reference: Reference = text.parse().map_err(|error| self.broken(error))?;
        match reference.digest {
            None => Ok(reference.with_default_tag()),
            Some(_) => Err(self.broken(format!("the name {text:?} has a digest, which a tag cannot have"))),
        }
    }
}

/// Brings every image of `archive` into the store; then, when all of them are whole, they get their names.
pub fn load(
    fetcher: &Fetcher<'_>,
    archive: Archive,
    platform: Option<&Platform>,
) -> Result<Vec<Loaded>, Error> {
    let bring_all = || {
        let images = Arc::new(archive).images(fetcher.store, platform)?;
        let bases = images.iter().flat_map(|image| [&image.base].into_iter().chain(&image.platforms));
        bases.into_iter().try_for_each(|base| bring(fetcher, base).map(drop))?;
        Ok(images)
    };
    let images = bring_all().map_err(|error: Error| match fetcher.stop.is_cancelled() {
        true => Error::new(ErrorKind::Cancelled, "cancelled"),
        false => error,
    })?;
    fetcher.store.barrier().map_err(store_error)?;
    images.into_iter().map(|image| name(fetcher.store, image)).collect()
}

fn name(store: &Store, image: Archived) -> Result<Loaded, Error> {
    let (id, names) = (image.base.id, image.names);
    let mut all = Vec::new();
    for base in &image.platforms {
        let image = store.image(&base.id).map_err(store_error)?;
        all.extend(image.map(|image| (image, base.config.platform().normalised())));
    }
    let mut taken = Vec::new();
    for name in &names {
        match store.resolve(name).map_err(store_error)? {
            Some(old) if old == id => {}
            Some(old) => taken.push((name.clone(), old)),
            None => {}
        }
        if all.is_empty() {
            store.tag(name, &id).map_err(store_error)?;
        } else {
            images::name_all(store, name, &all)?;
        }
    }
    Ok(Loaded { id, names, taken })
}

#[cfg(test)]
mod tests;
