//! WORKDIR: a directory that has to be there.

use galley_oci::{Time, Tree, stack::Stack};

use super::draft::{Draft, NewDirectory};
use crate::Error;

/// The layer that makes `path`: every missing directory on the way, mode 0755, owned by `owner`. What is there already
/// stays as it is.
pub(crate) fn make(below: &Stack, path: &[u8], owner: (u32, u32), now: Time) -> Result<Tree, Error> {
    let mut draft = Draft::new(below);
    let resolved = draft.resolve(path)?;
    let new = NewDirectory { mode: 0o755, uid: owner.0, gid: owner.1, mtime: now };
    draft.make_directories(&resolved, &new)?;
    Ok(draft.finish(&[]).0)
}
