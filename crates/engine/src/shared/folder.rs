//! A cache in a folder: an OCI layout, in which caches live side by side under their tags.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_oci::{Descriptor, Digest, Index, Manifest, image::MAX_DOCUMENT_BYTES};
use rustix::{fs::FlockOperation, io::Errno};

use crate::{Cancel, Error, ErrorKind, Fetcher, build::LOCK_POLL, export::PackedImage};

/// The tag of a cache that was given none.
pub const DEFAULT_TAG: &str = "latest";

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// What files are called until they are whole.
const TEMPORARY: &str = ".galley-";
const TAG: &str = "org.opencontainers.image.ref.name";
/// How deep an index may point to an index.
const DEPTH_MAX: usize = 4;

/// Where to write a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFolder {
    /// The layout, made when it is missing.
    pub path: PathBuf,
    /// Under which tag; what had it before has none any more.
    pub tag: String,
    /// Blobs that nothing in the layout leads to are removed afterwards.
    pub reset: bool,
}

/// Writes `cache` into a folder. Blobs come first and the index last, so that the folder is valid at every moment; two
/// galleys that write into one folder wait for each other.
pub fn write(fetcher: &Fetcher<'_>, cache: &PackedImage, folder: &CacheFolder) -> Result<(), Error> {
    let path = folder.path.as_path();
    fs::create_dir_all(path.join("blobs/sha256")).map_err(|source| cannot(path, source))?;
    let _lock = lock(path, fetcher.stop)?;
    let layout = path.join("oci-layout");
    if fs::symlink_metadata(&layout).is_err() {
        place(path, &layout, &mut &*LAYOUT)?;
    }
    for layer in &cache.layers {
        if fetcher.stop.is_cancelled() {
            return Err(cancelled());
        }
        let target = blob_path(path, &layer.descriptor.digest);
        if !is_there(&target, layer.descriptor.size) {
            let mut content: Box<dyn Read> = match &layer.elsewhere {
                Some(source) => source.open(&layer.descriptor)?,
                None => Box::new(from_store(fetcher, &layer.descriptor)?),
            };
            place(path, &target, &mut content)?;
        }
    }
    place(path, &blob_path(path, &cache.config_descriptor.digest), &mut &*cache.config)?;
    place(path, &blob_path(path, &cache.descriptor.digest), &mut &*cache.manifest)?;
    let index = indexed(path, cache, &folder.tag)?;
    place(path, &path.join("index.json"), &mut &*index.to_compact_bytes())?;
    if folder.reset { remove_unreached(path, &index) } else { Ok(()) }
}

/// Held by whoever writes; the kernel takes it back from the dead.
fn lock(path: &Path, stop: &Cancel) -> Result<fs::File, Error> {
    let folder = fs::File::open(path).map_err(|source| cannot(path, source))?;
    loop {
        match rustix::fs::flock(folder.file(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(Errno::WOULDBLOCK) if stop.is_cancelled() => return Err(cancelled()),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_POLL),
            Err(errno) => return Err(cannot(path, errno.into())),
        }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled")
}

fn is_there(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

fn from_store(fetcher: &Fetcher<'_>, blob: &Descriptor) -> Result<fs::File, Error> {
    let lost = || Error::new(ErrorKind::Store, format!("blob {} is not in the store", blob.digest));
    let file = fetcher.store.open_blob(&blob.digest).map_err(|error| lost().because(error))?;
    file.ok_or_else(|| lost().help("build again: the blob is made anew"))
}

/// The index with `cache` under `tag`, and all else that was in it.
fn indexed(path: &Path, cache: &PackedImage, tag: &str) -> Result<Index, Error> {
    let mut index = match read_document(&path.join("index.json")) {
        Ok(bytes) => Index::parse(&bytes).map_err(|error| not_ours(path, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Index::new(Vec::new()),
        Err(error) => return Err(cannot(path, error)),
    };
    index.manifests.retain(|entry| entry.annotations.get(TAG).is_none_or(|other| other != tag));
    let mut entry = cache.descriptor.clone();
    entry.annotations.insert(TAG.to_owned(), tag.to_owned());
    index.manifests.push(entry);
    Ok(index)
}

fn read_document(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // What is cut off here is too long for a document, and malformed too.
    fs::File::open(path)?.take(MAX_DOCUMENT_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file appears when it is whole. After a power cut it may not be; who reads it notices.
fn place(folder: &Path, path: &Path, content: &mut dyn Read) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source: io::Error| match source.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => cannot(folder, source),
    };
    let mut file = tempfile::Builder::new()
        // The person's umask decides, as for any file they make.
        .prefix(TEMPORARY)
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(path.parent().unwrap_or(folder))
        .map_err(failed)?;
    io::copy(content, &mut file).map_err(failed)?;
    file.flush().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Removes the blobs that no entry of the index leads to, and what killed writers left.
fn remove_unreached(path: &Path, index: &Index) -> Result<(), Error> {
    let mut reached = HashSet::new();
    reach(path, &index.manifests, &mut reached, 0);
    let failed = |source| cannot(path, source);
    for entry in fs::read_dir(path.join("blobs/sha256")).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let digest = format!("sha256:{name}").parse::<Digest>();
        if name.starts_with(TEMPORARY) || digest.is_ok_and(|digest| !reached.contains(&digest)) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn reach(path: &Path, entries: &[Descriptor], reached: &mut HashSet<Digest>, depth: usize) {
    for entry in entries {
        if !reached.insert(entry.digest) || depth > DEPTH_MAX {
            continue;
        }
        let blob = blob_path(path, &entry.digest);
        if entry.size > MAX_DOCUMENT_BYTES as u64 || !is_there(&blob, entry.size) {
            continue;
        }
        let Ok(bytes) = read_document(&blob) else { continue };
        if let Ok(index) = Index::parse(&bytes) {
            reach(path, &index.manifests, reached, depth + 1);
        }
        if let Ok(manifest) = Manifest::parse(&bytes) {
            reached.insert(manifest.config.digest);
            reached.extend(manifest.layers.iter().map(|layer| layer.digest));
        }
    }
}

fn blob_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

fn cannot(path: &Path, source: io::Error) -> Error {
    let kind = ErrorKind::Usage.unless_disk(&source);
    Error::new(kind, format!("cannot write the cache in {}", path.display())).because(source)
}

fn not_ours(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = format!("{} holds something else than an OCI layout", path.display());
    Error::new(ErrorKind::Usage, message)
        .because(error)
        .help("give an empty folder, or one that does not exist")
}
