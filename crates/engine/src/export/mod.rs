//! Outputs: what a build leaves outside the store.
//!
//! `oci` and `docker` are archives (or folders) of an image, `tar` and `local` are its files alone. Each appears under
//! its name only when it is whole.

mod destination;
mod files;
mod image;
mod layout;
mod local;
pub mod save;
mod tar;

use galley_oci::{Platform, Reference, TimePolicy};

pub use self::{
    destination::Destination,
    image::{PackOptions, PackedBlob, PackedImage},
};
use crate::{Error, Fetcher, Snapshot, image::Assembled};

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
    /// Where the bytes are, and how those come that are elsewhere.
    pub fetcher: Fetcher<'a>,
    /// The files.
    pub snapshot: &'a Snapshot,
    /// The image.
    pub image: &'a Assembled,
    /// For whom it is.
    pub platform: &'a Platform,
    /// Its names.
    pub names: &'a [Reference],
    /// The times of files in `tar` and `local` outputs.
    pub times: TimePolicy,
}

impl Exported<'_> {
    /// Packs the image: manifest, config, compressed layers.
    pub fn pack(&self, options: &PackOptions) -> Result<PackedImage, Error> {
        PackedImage::pack(&self.fetcher, self.image, self.platform, options)
    }

    /// Writes one output. `packed` is used by those that need an image; its blobs must be at hand.
    pub fn write(&self, output: &Output, packed: Option<&PackedImage>) -> Result<(), Error> {
        let store = self.fetcher.store;
        if !output.needs_image() {
            self.snapshot.fetch(&self.fetcher)?;
        }
        match (output.kind, &output.destination) {
            (OutputKind::Tar, destination) => tar::write(store, self.snapshot, self.times, destination),
            (OutputKind::Local, Destination::Folder(folder) | Destination::File(folder)) => {
                local::write(store, self.snapshot, self.times, folder)
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
                        let mut packed = self.pack(&PackOptions::default())?;
                        packed.bring(&self.fetcher)?;
                        made = packed;
                        &made
                    }
                };
                let image = layout::Named { image: packed, names: self.names };
                layout::write(&self.fetcher, kind, &[image], destination)
            }
        }
    }
}
