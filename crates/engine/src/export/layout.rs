//! OCI layouts, as an archive or a folder, and the docker archive, which is the same with a `manifest.json`.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::Path,
};

use fs_err as fs;
use galley_oci::{Descriptor, Index, Platform, image::to_compact, reference::Reference};
use serde::Serialize;

use super::{
    Destination, OutputKind, Packed, PackedImage,
    destination::write_stream,
    tar::{TarFile, write_failed},
};
use crate::{Cancel, Error, ErrorKind, Fetcher};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What is packed, and its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) packed: &'a Packed,
    pub(super) names: &'a [Reference],
}

/// Writes `images`, whose blobs are in the store, to `destination`. What they share is written once.
pub(super) fn write(
    fetcher: &Fetcher<'_>,
    kind: OutputKind,
    images: &[Named<'_>],
    destination: &Destination,
) -> Result<(), Error> {
    let (files, store) = (Files::new(kind, images), fetcher.store);
    let written = match destination {
        Destination::Folder(folder) => files.write_folder(fetcher, folder),
        _ => write_stream(destination, || store.failpoint("export"), |out| files.write_tar(fetcher, out)),
    };
    written.map_err(|error| match fetcher.stop.is_cancelled() {
        true => Error::new(ErrorKind::Cancelled, "cancelled"),
        false => error,
    })
}

/// Everything an archive holds beside the layers' blobs, which stay in the store until they are copied.
struct Files<'a> {
    small: BTreeMap<String, Vec<u8>>,
    layers: Vec<&'a Descriptor>,
}

impl<'a> Files<'a> {
    fn new(kind: OutputKind, images: &[Named<'a>]) -> Self {
        let mut small = BTreeMap::new();
        for image in images.iter().flat_map(|named| &named.packed.images) {
            small.insert(blob_name(&image.descriptor), image.manifest.clone());
            small.insert(format!("blobs/sha256/{}", image.id().hex()), image.config.clone());
        }
        for index in images.iter().filter_map(|named| named.packed.index.as_ref()) {
            small.insert(blob_name(&index.descriptor), index.document.clone());
        }
        let index = Index::new(images.iter().flat_map(entries).collect());
        small.insert("index.json".to_owned(), to_compact(&index));
        small.insert("oci-layout".to_owned(), LAYOUT.to_vec());
        if kind == OutputKind::Docker {
            let manifests: Vec<_> = images.iter().map(docker_manifest).collect();
            small.insert("manifest.json".to_owned(), to_compact(&manifests));
        }
        let all = images.iter().flat_map(|named| &named.packed.images);
        let layers = all.flat_map(|image| &image.layers).map(|layer| &layer.descriptor);
        Self { small, layers: layers.collect() }
    }

    fn write_tar(&self, fetcher: &Fetcher<'_>, out: &mut dyn Write) -> Result<(), Error> {
        let mut tar = TarFile::new(out);
        tar.folder("blobs")?;
        tar.folder("blobs/sha256")?;
        let mut names: BTreeMap<String, Option<&Descriptor>> =
            self.layers.iter().map(|&layer| (blob_name(layer), Some(layer))).collect();
        names.extend(self.small.keys().map(|name| (name.clone(), None)));
        for (name, layer) in names {
            match layer {
                Some(layer) => tar.file(&name, 0o444, layer.size, &mut open_blob(fetcher, layer)?)?,
                None => {
                    let bytes = self.small.get(&name).map(Vec::as_slice).unwrap_or_default();
                    let mode = if name.starts_with("blobs/") { 0o444 } else { 0o644 };
                    tar.file(&name, mode, bytes.len() as u64, &mut &*bytes)?;
                }
            }
        }
        tar.finish()
    }

    /// Blobs first, the index last: a layout is valid at every moment.
    fn write_folder(&self, fetcher: &Fetcher<'_>, folder: &Path) -> Result<(), Error> {
        let cannot = |source| write_failed("the layout", source);
        fs::create_dir_all(folder.join("blobs/sha256")).map_err(cannot)?;
        for layer in &self.layers {
            let path = folder.join(blob_name(layer));
            if !fs::metadata(&path).is_ok_and(|metadata| metadata.len() == layer.size) {
                place(&path, &mut open_blob(fetcher, layer)?)?;
            }
        }
        let (blobs, entry): (Vec<_>, Vec<_>) =
            self.small.iter().partition(|(name, _)| name.starts_with("blobs/"));
        fetcher.store.failpoint("export");
        for (name, bytes) in blobs.into_iter().chain(entry) {
            place(&folder.join(name), &mut &**bytes)?;
        }
        Ok(())
    }
}

fn place(path: &Path, content: &mut dyn Read) -> Result<(), Error> {
    let destination = Destination::File(path.to_path_buf());
    write_stream(
        &destination,
        || (),
        |out| io::copy(content, out).map(drop).map_err(|source| write_failed("the layout", source)),
    )
}

fn open_blob<'a>(fetcher: &Fetcher<'a>, layer: &Descriptor) -> Result<Stoppable<'a>, Error> {
    let lost = || Error::new(ErrorKind::Store, format!("blob {} is not in the store", layer.digest));
    let file = fetcher.store.open_blob(&layer.digest).map_err(|error| lost().because(error))?;
    let file = file.ok_or_else(|| lost().help("build again: the blob is made anew"))?;
    Ok(Stoppable { file, stop: fetcher.stop })
}

/// A file that cannot be read any more when somebody has pressed Ctrl-C.
struct Stoppable<'a> {
    file: fs::File,
    stop: &'a Cancel,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.file.read(buffer)
    }
}

fn blob_name(blob: &Descriptor) -> String {
    format!("blobs/{}/{}", blob.digest.algorithm().name(), blob.digest.hex())
}

/// One entry for each name, as BuildKit writes it; one without a name when there is none.
fn entries(Named { packed, names }: &Named<'_>) -> Vec<Descriptor> {
    let created = packed.created().truncated().rfc3339();
    let entry = |name: Option<&Reference>| {
        let mut descriptor = packed.descriptor().clone();
        let annotations = &mut descriptor.annotations;
        annotations.insert("org.opencontainers.image.created".to_owned(), created.clone());
        if let Some(name) = name {
            annotations.insert("io.containerd.image.name".to_owned(), name.canonical());
            let tag = name.tag.clone().unwrap_or_default();
            annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
        }
        descriptor
    };
    let named: Vec<Descriptor> = names.iter().map(|name| entry(Some(name))).collect();
    if named.is_empty() { vec![entry(None)] } else { named }
}

/// What `docker load` reads first.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The list knows nothing of platforms: of several images it has the one for this machine.
fn docker_manifest(Named { packed, names }: &Named<'_>) -> DockerManifest {
    let here = Platform::of_this_machine();
    let rank = |image: &&PackedImage| {
        let own = image.descriptor.platform.as_ref();
        own.and_then(|own| here.rank(own)).unwrap_or(usize::MAX)
    };
    let image = packed.images.iter().min_by_key(rank).unwrap_or(&packed.images[0]);
    DockerManifest {
        config: format!("blobs/sha256/{}", image.id().hex()),
        repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
        layers: image.layers.iter().map(|layer| blob_name(&layer.descriptor)).collect(),
    }
}
