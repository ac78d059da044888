//! Outputs: what a build leaves outside the store.
//!
//! `oci` and `docker` are archives (or folders) of an image, `tar` and `local` are its files alone. Each appears under
//! its name only when it is whole.

mod annotation;
mod destination;
mod files;
mod image;
mod layout;
mod local;
mod packed;
pub mod save;
mod tar;

use galley_oci::{Platform, Reference, TimePolicy};

use self::files::Files;
pub use self::{
    annotation::{Annotation, Carrier},
    destination::Destination,
    image::{PackOptions, PackedBlob, PackedImage},
    packed::{Packed, PackedIndex},
};
use crate::{Error, ErrorKind, Fetcher, Snapshot, image::Assembled};

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// An OCI image layout.
    Oci,
    /// The same with the `manifest.json` that `docker load` reads.
    Docker,
    /// The image's files as one tar.
    Tar,
    /// The image's files as a folder.
    Local,
}

/// One output of a build.
#[derive(Debug)]
pub struct Output {
    /// What to write.
    pub kind: OutputKind,
    /// Where to.
    pub destination: Destination,
    /// Whether each platform's files have a folder of their own; when nobody says so, those of an index have.
    pub split: Option<bool>,
}

impl Output {
    /// `oci archive out.tar`, for displays.
    #[must_use]
    pub fn describe(&self) -> String {
        let folder = matches!(self.destination, Destination::Folder(_));
        let kind = match (self.kind, folder) {
            (OutputKind::Oci, false) => "oci archive",
            (OutputKind::Oci, true) => "oci layout",
            (OutputKind::Docker, false) => "docker archive",
            (OutputKind::Docker, true) => "docker layout",
            (OutputKind::Tar, _) => "tar of files",
            (OutputKind::Local, _) => "files",
        };
        format!("{kind} to {}", self.destination.name())
    }

    /// Whether it needs manifest, config and compressed layers.
    #[must_use]
    pub const fn needs_image(&self) -> bool {
        matches!(self.kind, OutputKind::Oci | OutputKind::Docker)
    }
}

/// What was made for one platform.
#[derive(Debug)]
pub struct Made {
    /// The files.
    pub snapshot: Snapshot,
    /// The image; none where nothing but its files is asked for, which needs no digest of them.
    pub image: Option<Assembled>,
    /// For whom it is.
    pub platform: Platform,
}

/// What outputs are written from.
#[derive(Debug)]
pub struct Exported<'a> {
    /// Where the bytes are, and how those come that are elsewhere.
    pub fetcher: Fetcher<'a>,
    /// One for each platform, in the order asked for: one at least.
    pub made: &'a [Made],
    /// The images are listed in an index, even when it is one.
    pub is_index: bool,
    /// The names.
    pub names: &'a [Reference],
    /// The times of files in `tar` and `local` outputs.
    pub times: TimePolicy,
}

impl Exported<'_> {
    /// Packs the images: manifests, configs, compressed layers, the index.
    pub fn pack(&self, options: &PackOptions) -> Result<Packed, Error> {
        let images = self.made.iter().map(|one| {
            let missing = || Error::new(ErrorKind::Internal, "no image was put together");
            let image = one.image.as_ref().ok_or_else(missing)?;
            PackedImage::pack(&self.fetcher, image, &one.platform, options)
        });
        let mut images: Vec<PackedImage> = images.collect::<Result<_, _>>()?;
        match images.pop() {
            Some(only) if images.is_empty() && !self.is_index => Ok(Packed::single(only)),
            last => {
                images.extend(last);
                Ok(Packed::listed(images, options))
            }
        }
    }

    /// Writes one output. `packed` is used by those that need an image; its blobs must be at hand.
    pub fn write(&self, output: &Output, packed: Option<&Packed>) -> Result<(), Error> {
        self.fetcher.store.settle();
        if output.needs_image() {
            return self.write_image(output, packed);
        }
        let store = self.fetcher.store;
        self.made.iter().try_for_each(|one| one.snapshot.fetch(&self.fetcher))?;
        let files = Files::of(store, self.made, output.split.unwrap_or(self.is_index))?;
        match (output.kind, &output.destination) {
            (OutputKind::Local, Destination::Folder(folder) | Destination::File(folder)) => {
                local::write(&files, self.times, folder)
            }
            (OutputKind::Local, Destination::Stream(_)) => {
                Err(Error::new(ErrorKind::Usage, "files cannot be written to standard output")
                    .help("use -o type=tar, or name a folder: -o type=local,dest=FOLDER"))
            }
            (_, destination) => tar::write(store, &files, self.times, destination),
        }
    }

    fn write_image(&self, output: &Output, packed: Option<&Packed>) -> Result<(), Error> {
        let made;
        let packed = match packed {
            Some(packed) => packed,
            None => {
                let mut packed = self.pack(&PackOptions::default())?;
                packed.bring(&self.fetcher)?;
                made = packed;
                &made
            }
        };
        let named = layout::Named { packed, names: self.names };
        layout::write(&self.fetcher, output.kind, &[named], &output.destination)
    }
}
