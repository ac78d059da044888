//! Where /etc/hosts and /etc/resolv.conf are mounted when an image has /etc without them: a layer below all others.
//!
//! A sandbox makes mount points that are missing in the upper directory, where each of them is a new inode of each step that
//! has to be told from what the step did.

use fs_err as fs;
use galley_oci::Stack;
use galley_sandbox::{Layers, Lower};
use galley_store::{Store, TempDir};

use super::{scratch_error, set_mode};
use crate::{Error, snapshot::LOWERS_MAX, steps::files::store_error};

/// The layer, as long as the process needs it.
#[derive(Debug)]
pub(super) struct MountPoints(TempDir);

impl MountPoints {
    pub(super) fn make(store: &Store) -> Result<Self, Error> {
        let temp = store.temp_dir("points").map_err(store_error)?.removed_later();
        let etc = temp.diff().join("etc");
        fs::create_dir_all(&etc).map_err(scratch_error)?;
        for name in ["hosts", "resolv.conf"] {
            let path = etc.join(name);
            fs::write(&path, "").map_err(scratch_error)?;
            set_mode(&path, 0o644)?;
        }
        set_mode(&etc, 0o755)?;
        Ok(Self(temp))
    }

    /// Puts the layer below all others, where that has room for one more. Not where the image has no /etc: a step may rename the
    /// one that is made for it, which the kernel refuses for directories of a layer below.
    pub(super) fn support(&self, layers: &mut Layers, stack: &Stack) {
        let has_etc = stack.get(b"etc").is_some_and(|found| found.entry.is_directory());
        if has_etc && (1..LOWERS_MAX).contains(&layers.lowers.len()) {
            layers.lowers.push(Lower::Directory(self.0.diff()));
        }
    }
}
