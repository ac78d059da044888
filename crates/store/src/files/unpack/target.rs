//! Where the entries of an archive go.

use std::io::Read;

use galley_oci::{Kind, Meta, Tree};

use crate::StoreError;

/// Makes what the unpacker decides. All paths are real ones: what is above them are directories.
pub(super) trait Target: Sized {
    /// Makes the new directory `path`; it gets its attributes at the end.
    fn directory(&mut self, path: &[u8]) -> Result<(), StoreError>;

    /// Makes the new file `path` with the next `size` bytes of `input`; gives their BLAKE3.
    fn file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        size: u64,
        input: &mut dyn Read,
    ) -> Result<[u8; 32], StoreError>;

    /// Makes `path` a further name of the file `target`.
    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError>;

    /// Gives what is at `path` other attributes.
    fn relabel(&mut self, path: &[u8], meta: &Meta, kind: &Kind) -> Result<(), StoreError>;

    /// Makes the new link, device or pipe `path`.
    fn special(&mut self, path: &[u8], meta: &Meta, kind: &Kind) -> Result<(), StoreError>;

    /// Makes `path` hide what lower layers have there.
    fn whiteout(&mut self, path: &[u8]) -> Result<(), StoreError>;

    /// Removes `path` with all that is below it.
    fn remove(&mut self, path: &[u8]) -> Result<(), StoreError>;

    /// That was all: `tree` is what was made.
    fn finish(self, tree: &Tree) -> Result<(), StoreError>;
}
