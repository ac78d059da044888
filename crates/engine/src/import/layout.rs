//! Reading an OCI layout: index, manifests, blobs.

use std::{
    error,
    io::Read,
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_oci::{Descriptor, Digest, Index, Platform, image::MAX_DOCUMENT_BYTES, media_type};

use super::Selector;
use crate::{Error, ErrorKind};

/// How deep an index may point to an index.
const INDEX_DEPTH_MAX: usize = 4;

/// A folder that holds an OCI layout.
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let layout = Self { root: root.to_path_buf() };
        if fs::symlink_metadata(root.join("oci-layout")).is_err() {
            return Err(Error::new(ErrorKind::NotFound, format!("{} is not an OCI layout", root.display()))
                .label("no file oci-layout in it")
                .help("give a folder that `galley build -o type=oci,tar=false,dest=FOLDER` or `skopeo copy … oci:FOLDER` wrote"));
        }
        Ok(layout)
    }

    /// The bytes of the manifest that `selector` and `platform` mean.
    pub(super) fn manifest(&self, selector: &Selector, platform: &Platform) -> Result<Vec<u8>, Error> {
        let bytes = self.read(&self.root.join("index.json"), MAX_DOCUMENT_BYTES as u64)?;
        let index = Index::parse(&bytes).map_err(|error| self.broken(error))?;
        let mut descriptor = self.select(&index, selector, platform)?;
        for _ in 0..INDEX_DEPTH_MAX {
            let bytes = self.document(&descriptor)?;
            if !media_type::is_index(&descriptor.media_type) {
                return Ok(bytes);
            }
            let index = Index::parse(&bytes).map_err(|error| self.broken(error))?;
            descriptor = index.select(platform).cloned().ok_or_else(|| self.no_platform(platform))?;
        }
        Err(self.broken("its indexes point to each other without end"))
    }

    fn select(&self, index: &Index, selector: &Selector, platform: &Platform) -> Result<Descriptor, Error> {
        let name = |descriptor: &Descriptor| {
            descriptor.annotations.get("org.opencontainers.image.ref.name").cloned()
        };
        let named = |tag: &str| index.manifests.iter().find(|one| name(one).as_deref() == Some(tag)).cloned();
        let found = match selector {
            Selector::Tag(tag) => named(tag),
            Selector::Digest(digest) => match index.manifests.iter().find(|one| one.digest == *digest) {
                Some(descriptor) => Some(descriptor.clone()),
                None => self.by_digest(digest),
            },
            Selector::Any => named("latest").or_else(|| index.select(platform).cloned()),
        };
        found.ok_or_else(|| {
            let known: Vec<String> = index.manifests.iter().filter_map(name).collect();
            let what = match selector {
                Selector::Tag(tag) => format!("no image tagged {tag:?}"),
                Selector::Digest(digest) => format!("no manifest {digest}"),
                Selector::Any => format!("no image for {platform}"),
            };
            let error =
                Error::new(ErrorKind::NotFound, format!("{what} in the layout {}", self.root.display()));
            if known.is_empty() { error } else { error.help(format!("it has: {}", known.join(", "))) }
        })
    }

    /// A manifest that the index does not list, but whose blob is there.
    fn by_digest(&self, digest: &Digest) -> Option<Descriptor> {
        let size = fs::metadata(self.blob_path(digest)).ok()?.len();
        let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, *digest, size);
        let bytes = self.document(&descriptor).ok()?;
        if Index::parse(&bytes).is_ok() {
            media_type::OCI_INDEX.clone_into(&mut descriptor.media_type);
        }
        Some(descriptor)
    }

    /// A small blob, checked against its digest.
    pub(super) fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let bytes = self.read(&self.blob_path(&descriptor.digest), MAX_DOCUMENT_BYTES as u64)?;
        let found = Digest::sha256(&bytes);
        if found == descriptor.digest {
            return Ok(bytes);
        }
        Err(self.broken(format!("blob {} has the content of {found}", descriptor.digest)))
    }

    /// A layer's blob, to be checked while it is read.
    pub(super) fn open_blob(&self, descriptor: &Descriptor) -> Result<fs::File, Error> {
        let path = self.blob_path(&descriptor.digest);
        fs::File::open(path).map_err(|source| self.broken(source))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(|source| self.broken(source))?;
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|source| self.broken(source))?;
        if bytes.len() as u64 > bytes_max {
            return Err(self.broken(format!("{} has more than {bytes_max} bytes", path.display())));
        }
        Ok(bytes)
    }

    fn no_platform(&self, platform: &Platform) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("no image for {platform} in the layout {}", self.root.display()),
        )
    }

    pub(super) fn broken(&self, why: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
        Error::new(ErrorKind::Input, format!("the OCI layout {} is broken", self.root.display())).because(why)
    }
}
