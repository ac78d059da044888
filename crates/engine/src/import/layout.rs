//! Reading an OCI layout: index, manifests, blobs.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use fs_err as fs;
use galley_oci::{Descriptor, Digest, Index, Platform, image::MAX_DOCUMENT_BYTES, media_type};
use galley_store::Store;

use super::{broken, describe, find_manifest, listed, verified::Verified};
use crate::{
    Error, ErrorKind,
    ports::{BaseImage, BlobSource},
};

/// Which image of a layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The only one, or the one tagged `latest`.
    Any,
    /// The one with this `org.opencontainers.image.ref.name`.
    Tag(String),
    /// The manifest or index with this digest.
    Digest(Digest),
}

/// A folder that holds an OCI layout.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl BlobSource for Layout {
    fn name(&self) -> String {
        format!("the OCI layout {}", self.root.display())
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        let path = self.blob_path(&blob.digest);
        let file = fs::File::open(path).map_err(|source| broken(&self.name(), source))?;
        Ok(Box::new(Verified::new(file, blob)))
    }
}

impl Layout {
    /// The layout at `root`.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let layout = Self { root: root.to_path_buf() };
        if fs::symlink_metadata(root.join("oci-layout")).is_err() {
            return Err(Error::new(ErrorKind::NotFound, format!("{} is not an OCI layout", root.display()))
                .label("no file oci-layout in it")
                .help("give a folder that `galley build -o type=oci,tar=false,dest=FOLDER` or `skopeo copy … oci:FOLDER` wrote"));
        }
        Ok(layout)
    }

    /// The image that `selector` and `platform` mean.
    pub fn image(&self, store: &Store, selector: &Selector, platform: &Platform) -> Result<BaseImage, Error> {
        let (manifest, config) = self.documents(selector, platform)?;
        let source: Arc<dyn BlobSource> = Arc::new(self.clone());
        describe(store, &self.name(), manifest, config, &source)
    }

    /// Manifest and config of the image that `selector` and `platform` mean.
    pub fn documents(&self, selector: &Selector, platform: &Platform) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let first = self.entry(selector, platform)?;
        let read = |descriptor: &Descriptor| self.document(descriptor);
        let (_, manifest) = find_manifest(&self.name(), first, platform, &read)?;
        let parsed = galley_oci::Manifest::parse(&manifest).map_err(|error| broken(&self.name(), error))?;
        let config = self.document(&parsed.config)?;
        Ok((manifest, config))
    }

    /// The manifest or index that `selector` means, or the one for `platform`.
    pub fn entry(&self, selector: &Selector, platform: &Platform) -> Result<(Descriptor, Vec<u8>), Error> {
        let bytes = self.read(&self.root.join("index.json"), MAX_DOCUMENT_BYTES as u64)?;
        let index = Index::parse(&bytes).map_err(|error| broken(&self.name(), error))?;
        let first = self.select(&index, selector, platform)?;
        let bytes = self.document(&first)?;
        Ok((first, bytes))
    }

    fn select(&self, index: &Index, selector: &Selector, platform: &Platform) -> Result<Descriptor, Error> {
        let name = |descriptor: &Descriptor| {
            descriptor.annotations.get("org.opencontainers.image.ref.name").cloned()
        };
        let nearest = |entries: Vec<&Descriptor>| {
            let rank = |one: &&Descriptor| {
                one.platform.as_ref().map_or(usize::MAX - 1, |own| platform.rank(own).unwrap_or(usize::MAX))
            };
            entries.into_iter().min_by_key(rank).cloned()
        };
        let named = |tag: &str| {
            nearest(index.manifests.iter().filter(|one| name(one).as_deref() == Some(tag)).collect())
        };
        // A single one is taken, whomever it is for, as in BuildKit: the plan warns.
        let only = || if index.manifests.len() == 1 { index.manifests.first().cloned() } else { None };
        let found = match selector {
            Selector::Tag(tag) => named(tag),
            Selector::Digest(digest) => match index.manifests.iter().find(|one| one.digest == *digest) {
                Some(descriptor) => Some(descriptor.clone()),
                None => self.by_digest(digest),
            },
            Selector::Any => named("latest").or_else(|| index.select(platform).cloned()).or_else(only),
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
            if known.is_empty() { error } else { error.help(format!("it has: {}", listed(&known))) }
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
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let bytes = self.read(&self.blob_path(&descriptor.digest), MAX_DOCUMENT_BYTES as u64)?;
        let found = Digest::sha256(&bytes);
        if found == descriptor.digest {
            return Ok(bytes);
        }
        Err(broken(&self.name(), format!("blob {} has the content of {found}", descriptor.digest)))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(|source| broken(&self.name(), source))?;
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|source| broken(&self.name(), source))?;
        if bytes.len() as u64 > bytes_max {
            return Err(broken(&self.name(), format!("{} has more than {bytes_max} bytes", path.display())));
        }
        Ok(bytes)
    }
}
