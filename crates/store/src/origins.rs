//! Where the bytes of a layer's files are while the layer has no directory of its own.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use galley_oci::{Digest, Kind, Tree, digest::Algorithm};

use crate::{Layer, Store, StoreError};

/// Where the bytes of one file are.
#[derive(Clone)]
pub enum Origin {
    /// In a layer of the store, which never changes. Only these outlive the process.
    Layer {
        /// The layer.
        layer: Layer,
        /// The file's index in that layer's tree.
        index: usize,
    },
    /// In a file of the host: of a build context, or unpacked from an archive for this build.
    Path(PathBuf),
    /// In memory: the text of a heredoc.
    Bytes(Arc<[u8]>),
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer { layer, index } => write!(f, "Layer({}, {index})", layer.id()),
            Self::Path(path) => write!(f, "Path({})", path.display()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// The origin of each file of a tree, by path. Paths that the tree does not have are ignored; empty files need none.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    by_path: HashMap<Box<[u8]>, Origin>,
}

impl Origins {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says where the bytes of `path` are; the last word on a path counts.
    pub fn insert(&mut self, path: impl Into<Box<[u8]>>, origin: Origin) {
        self.by_path.insert(path.into(), origin);
    }

    /// Where the bytes of `path` are.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Origin> {
        self.by_path.get(path)
    }

    /// How many paths have an origin.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_path.len()
    }

    /// Whether no path has an origin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// By entry index, with references to references replaced by what they lead to.
    pub(crate) fn resolve(mut self, store: &Store, tree: &Tree) -> Result<Resolved, StoreError> {
        let mut resolved = Vec::with_capacity(self.by_path.len());
        for (index, entry) in tree.entries().iter().enumerate() {
            let Kind::File { size: 1.., .. } = entry.kind else { continue };
            let Some(origin) = self.by_path.remove(&entry.path) else {
                let path = path_of(&entry.path);
                return Err(StoreError::NoOrigin { layer: tree.layer_id(), path });
            };
            resolved.push((index, origin.flat(store)?));
        }
        Ok(Resolved { by_index: resolved })
    }
}

impl Origin {
    fn flat(self, store: &Store) -> Result<Self, StoreError> {
        match self {
            Self::Layer { layer, index } => match store.origin(&layer, index)? {
                Some(origin) => Ok(origin),
                None => Ok(Self::Layer { layer, index }),
            },
            other => Ok(other),
        }
    }
}

/// Origins by entry index, ascending.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    by_index: Vec<(usize, Origin)>,
}

impl Resolved {
    pub(crate) fn get(&self, index: usize) -> Option<&Origin> {
        let at = self.by_index.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(&self.by_index[at].1)
    }

    /// The files of the host after the entry `index`.
    pub(crate) fn paths_after(&self, index: usize) -> impl Iterator<Item = &Path> {
        let from = self.by_index.partition_point(|(other, _)| *other <= index);
        self.by_index[from..].iter().filter_map(|(_, origin)| match origin {
            Origin::Path(path) => Some(path.as_path()),
            _ => None,
        })
    }

    /// Whether a byte is in a file outside of the store, which others may write to.
    pub(crate) fn is_outside(&self) -> bool {
        self.by_index.iter().any(|(_, origin)| matches!(origin, Origin::Path(_)))
    }

    /// Whether every byte is in a file whose digest this process has found since it was written for the last time.
    pub(crate) fn were_hashed_here(&self) -> bool {
        let here = |origin: &Origin| matches!(origin, Origin::Layer { layer, .. } if layer.was_hashed_here());
        self.by_index.iter().all(|(_, origin)| here(origin))
    }

    /// As references to layers; `None` when a byte lives elsewhere.
    pub(crate) fn references(&self) -> Option<References> {
        let mut numbers = HashMap::new();
        let mut references = References::default();
        for (index, origin) in &self.by_index {
            let Origin::Layer { layer, index: from } = origin else { return None };
            let number = *numbers.entry(*layer.id()).or_insert_with(|| {
                references.layers.push(*layer.id());
                references.layers.len() - 1
            });
            references.files.push((u32::try_from(*index).ok()?, number as u32, u32::try_from(*from).ok()?));
        }
        Some(references)
    }
}

/// The largest `refs` file that is read: four million files.
pub(crate) const REFERENCES_BYTES_MAX: usize = 64 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"gly-ref1";
const DIGEST_BYTES: usize = 32;
const FILE_BYTES: usize = 12;

/// The `refs` file of a layer: for each file that is not empty, the layer and the entry that have its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    /// Layers, in the order of their first mention.
    pub(crate) layers: Vec<Digest>,
    /// Entry index, number of the layer, entry index there; ascending.
    pub(crate) files: Vec<(u32, u32, u32)>,
}

impl References {
    /// The layer and entry that have the bytes of entry `index`.
    pub(crate) fn get(&self, index: usize) -> Option<(&Digest, usize)> {
        let index = u32::try_from(index).ok()?;
        let at = self.files.binary_search_by_key(&index, |(index, ..)| *index).ok()?;
        let (_, layer, from) = self.files[at];
        Some((self.layers.get(layer as usize)?, from as usize))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let number = |out: &mut Vec<u8>, number: u32| out.extend_from_slice(&number.to_le_bytes());
        number(&mut out, self.layers.len() as u32);
        number(&mut out, self.files.len() as u32);
        for layer in &self.layers {
            out.extend_from_slice(layer.bytes());
        }
        for &(index, layer, from) in &self.files {
            [index, layer, from].into_iter().for_each(|value| number(&mut out, value));
        }
        let checksum = Digest::blake3(&out);
        out.extend_from_slice(checksum.bytes());
        out
    }

    /// `None` when a byte is wrong: the checksum is checked before anything is believed.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
        let body = (Digest::blake3(body).bytes() == checksum).then_some(body)?.strip_prefix(MAGIC)?;
        let (layer_count, body) = take_number(body)?;
        let (file_count, body) = take_number(body)?;
        let (layers, files) = body.split_at_checked((layer_count as usize).checked_mul(DIGEST_BYTES)?)?;
        if files.len() != (file_count as usize).checked_mul(FILE_BYTES)? {
            return None;
        }
        let layers: Vec<_> = layers.chunks_exact(DIGEST_BYTES).filter_map(digest).collect();
        let files: Vec<_> = files.chunks_exact(FILE_BYTES).filter_map(file).collect();
        let sound = files.is_sorted_by_key(|(index, ..)| *index)
            && files.iter().all(|(_, layer, _)| (*layer as usize) < layers.len());
        sound.then_some(Self { layers, files })
    }
}

fn take_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

fn digest(bytes: &[u8]) -> Option<Digest> {
    Some(Digest::new(Algorithm::Blake3, bytes.try_into().ok()?))
}

fn file(bytes: &[u8]) -> Option<(u32, u32, u32)> {
    let (index, bytes) = take_number(bytes)?;
    let (layer, bytes) = take_number(bytes)?;
    Some((index, layer, take_number(bytes)?.0))
}

/// A tree's path as one of the host, for messages and for joining.
pub(crate) fn path_of(path: &[u8]) -> PathBuf {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    Path::new(OsStr::from_bytes(path)).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> References {
        References {
            layers: vec![Digest::blake3(b"a"), Digest::blake3(b"b")],
            files: vec![(1, 0, 7), (3, 1, 0)],
        }
    }

    #[test]
    fn the_encoding_is_pinned() {
        let encoded = example().encode();
        assert_eq!(encoded.len(), 8 + 8 + 2 * 32 + 2 * 12 + 32);
        assert_eq!(Digest::blake3(&encoded).short(), "601e6ef9fa47");
        assert_eq!(References::decode(&encoded), Some(example()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let encoded = example().encode();
        for bit in 0..encoded.len() * 8 {
            let mut damaged = encoded.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(References::decode(&damaged), None, "bit {bit}");
        }
    }

    proptest! {
        /// Behind a good checksum anything may stand: it is refused or it is sound, and nothing panics.
        #[test]
        fn any_body_is_refused_or_sound(body in proptest::collection::vec(any::<u8>(), 0..200), index in 0_usize..9) {
            let mut bytes = [MAGIC.as_slice(), &body].concat();
            bytes.extend_from_slice(Digest::blake3(&bytes).bytes());
            if let Some(references) = References::decode(&bytes) {
                prop_assert_eq!(references.encode(), bytes);
                let _ = references.get(index);
            }
            let _ = References::decode(&body);
        }
    }
}
