//! A docker archive: `manifest.json` lists configs, names and layers by their paths.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::Arc,
};

use galley_oci::{
    Descriptor, Digest, ImageConfig, Reference, Sha256,
    compress::{self, Compression, Format, PREFIX_BYTES},
    media_type,
};
use serde::Deserialize;

use super::{
    super::layer,
    Archived, Images, MANIFEST,
    source::{Source, blob_path},
};
use crate::{
    Error, ErrorKind,
    ports::{BaseImage, BlobSource},
};

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Item {
    fn names(&self, reader: &Images<'_>) -> Result<Vec<Reference>, Error> {
        self.repo_tags.iter().flatten().map(|name| reader.name(name)).collect()
    }
}

fn items(reader: &Images<'_>) -> Result<Vec<Item>, Error> {
    let bytes = reader.archive.document(MANIFEST)?;
    let items: Vec<Item> = serde_json::from_slice(&bytes)
        .map_err(|error| reader.broken(format!("{MANIFEST} is malformed: {error}")))?;
    reader.check_count(items.len())?;
    Ok(items)
}

/// The images that `manifest.json` lists.
pub(super) fn images(reader: &Images<'_>) -> Result<Vec<Archived>, Error> {
    let mut layers = HashMap::new();
    let mut images: Vec<Archived> = Vec::new();
    for item in items(reader)? {
        let config = reader.archive.document(&item.config)?;
        let (names, paths) = (item.names(reader)?, item.layers.unwrap_or_default());
        let base = image(reader, config, &paths, &mut layers)?;
        match images.iter_mut().find(|image| image.base.id == base.id) {
            Some(image) => image.names.extend(names),
            None => images.push(Archived { names, base, platforms: Vec::new() }),
        }
    }
    Ok(images)
}

/// Gives images of the layout in the same archive the names that they have in `manifest.json` alone.
pub(super) fn add_names(reader: &Images<'_>, images: &mut [Archived]) -> Result<(), Error> {
    // Of an image for several platforms docker lists more than it has saved.
    for item in items(reader)?.into_iter().filter(|item| reader.archive.has(&item.config)) {
        let id = Digest::sha256(&reader.archive.document(&item.config)?);
        let names = item.names(reader)?;
        if let Some(image) = images.iter_mut().find(|image| image.base.id == id) {
            for name in names {
                if !image.names.contains(&name) {
                    image.names.push(name);
                }
            }
        }
    }
    Ok(())
}

/// What was found out about the layers of an archive, which images share.
pub(super) type Known = HashMap<String, Found>;

/// What a layer's file is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    compression: Compression,
    /// Of the file; unknown when it is a plain tar, whose digest is the diffID.
    digest: Option<Digest>,
    size: u64,
}

/// The image of `config` whose layers are at `paths`.
pub(super) fn image(
    reader: &Images<'_>,
    config: Vec<u8>,
    paths: &[String],
    known: &mut Known,
) -> Result<BaseImage, Error> {
    let parsed = ImageConfig::parse(&config).map_err(|error| reader.broken(error))?;
    let diff_ids = &parsed.rootfs.diff_ids;
    if diff_ids.len() != paths.len() {
        let why = format!("{MANIFEST} has {} layers and the config {}", paths.len(), diff_ids.len());
        return Err(reader.broken(why));
    }
    let mut blobs = Vec::new();
    for (path, diff_id) in paths.iter().zip(diff_ids) {
        let found = look_once(reader, path, known)?;
        // By docker's name a plain layer is known as one that nobody has compressed yet.
        let media_type = media_type::docker_layer(found.compression);
        blobs.push(Descriptor::new(media_type, found.digest.unwrap_or(*diff_id), found.size));
    }
    let places = blobs.iter().zip(paths).map(|(blob, path)| (blob.digest, path.clone()));
    let source: Arc<dyn BlobSource> = Arc::new(Source::new(reader.archive, places.collect()));
    let name = &reader.archive.name;
    let layers = blobs.iter().zip(diff_ids).map(|(blob, id)| layer(reader.store, name, blob, id, &source));
    let layers = layers.collect::<Result<_, _>>()?;
    let id = Digest::sha256(&config);
    Ok(BaseImage { name: name.clone(), id, config: parsed, document: config, layers, manifest: None })
}

/// What the file `path` is; found out once.
pub(super) fn look_once(reader: &Images<'_>, path: &str, known: &mut Known) -> Result<Found, Error> {
    if let Some(found) = known.get(path) {
        return Ok(*found);
    }
    let found = look(reader, path)?;
    known.insert(path.to_owned(), found);
    Ok(found)
}

fn look(reader: &Images<'_>, path: &str) -> Result<Found, Error> {
    let name = &reader.archive.name;
    let piece = reader.archive.files.open(name, path)?;
    let mut prefix = Vec::new();
    let read = piece.reader().take(PREFIX_BYTES as u64).read_to_end(&mut prefix);
    read.map_err(|error| reader.broken(error))?;
    let compression = match compress::detect(&prefix) {
        // An empty layer is nothing but zeros.
        Some(Format::Tar) | None => Compression::None,
        Some(Format::Gzip) => Compression::Gzip,
        Some(Format::Zstd) => Compression::Zstd,
        Some(Format::Bzip2 | Format::Xz) => {
            let message = format!("{path} in {name} is compressed in a way that layers of images are not");
            return Err(Error::new(ErrorKind::Input, message).help("layers are plain, gzip or zstd"));
        }
    };
    let digest = match compression {
        Compression::None => None,
        _ => Some(match digest_in(path) {
            Some(digest) => digest,
            None => hash(piece.reader()).map_err(|error| reader.broken(error))?,
        }),
    };
    Ok(Found { compression, digest, size: piece.size() })
}

/// The digest that the path of a layout's blob names; whoever reads the blob checks it.
fn digest_in(path: &str) -> Option<Digest> {
    let digest: Digest = path.strip_prefix("blobs/")?.replacen('/', ":", 1).parse().ok()?;
    (blob_path(&digest) == path).then_some(digest)
}

/// SHA-256 of everything that `reader` gives.
pub(super) fn hash(mut reader: impl Read) -> io::Result<Digest> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
