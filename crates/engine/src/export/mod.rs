//! Outputs: what a build leaves outside the store.
//!
//! `oci` and `docker` are archives (or folders) of an image, `tar` and `local` are its files alone. Each appears under
//! its name only when it is whole.

mod destination;
mod files;
mod image;
mod layout;
mod local;
mod tar;

use galley_oci::{Platform, Reference, TimePolicy};
use galley_store::{Image, Store};

pub use self::{destination::Destination, image::PackedImage};
use crate::{Error, Snapshot};

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

/// What outputs are written from.
#[derive(Debug)]
pub struct Exported<'a> {
    /// Where the bytes are.
    pub store: &'a Store,
    /// The files.
    pub snapshot: &'a Snapshot,
    /// The image; in the store's format.
    pub image: &'a Image,
    /// For whom it is.
    pub platform: &'a Platform,
    /// Its names.
    pub names: &'a [Reference],
    /// The times of files in `tar` and `local` outputs.
    pub times: TimePolicy,
}

impl Exported<'_> {
    /// Packs the image: manifest, config, compressed layers.
    pub fn pack(&self) -> Result<PackedImage, Error> {
        PackedImage::pack(self.store, self.image, self.platform)
    }

    /// Writes one output. `packed` is used by those that need an image.
    pub fn write(&self, output: &Output, packed: Option<&PackedImage>) -> Result<(), Error> {
        match (output.kind, &output.destination) {
            (OutputKind::Tar, destination) => tar::write(self.store, self.snapshot, self.times, destination),
            (OutputKind::Local, Destination::Folder(folder) | Destination::File(folder)) => {
                local::write(self.store, self.snapshot, self.times, folder)
            }
            (OutputKind::Local, Destination::Stream(_)) => {
                Err(Error::new(crate::ErrorKind::Usage, "files cannot be written to standard output")
                    .help("use -o type=tar, or name a folder: -o type=local,dest=FOLDER"))
            }
            (kind, destination) => {
                let made;
                let packed = match packed {
                    Some(packed) => packed,
                    None => {
                        made = self.pack()?;
                        &made
                    }
                };
                layout::write(self.store, kind, packed, self.names, destination)
            }
        }
    }
}
