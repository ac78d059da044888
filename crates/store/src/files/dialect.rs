//! How overlayfs and devices are written on disk: as root with the kernel's own means, in a user namespace with those
//! that are allowed there.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use galley_oci::{Kind, Meta, stand_in, tree::Xattrs};
use rustix::{
    fs::{FileType, Mode, OFlags, XattrFlags},
    io::Errno,
    thread::{CapabilitySet, CapabilitySets, capabilities},
};

use super::owner;
use crate::{StoreError, error::At};

/// The prefix of overlayfs' own attributes for root.
const TRUSTED_PREFIX: &str = "trusted.overlay.";
/// The same in a user namespace (mount option `userxattr`).
const USER_PREFIX: &str = "user.overlay.";

/// What makes a directory opaque for an overlay that root mounts. Without CAP_SYS_ADMIN it is neither written nor seen.
pub(super) const OPAQUE_FOR_ROOT: &str = "trusted.overlay.opaque";
/// The same for overlays in a user namespace.
pub(super) const OPAQUE_FOR_USERS: &str = "user.overlay.opaque";

/// What an empty file says that stands in for a device, so that it is one still when a step moved it or gave it to
/// somebody else. Not an attribute of overlayfs' own, which it would not copy.
const DEVICE: &str = stand_in::ATTRIBUTE;

/// Which of the two ways this store uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    user_namespace: bool,
}

impl Dialect {
    pub(crate) const fn new(user_namespace: bool) -> Self {
        Self { user_namespace }
    }

    /// The attribute that makes a directory hide what is below it.
    const fn opaque(self) -> &'static str {
        if self.user_namespace { OPAQUE_FOR_USERS } else { OPAQUE_FOR_ROOT }
    }

    /// Makes the open directory opaque. Root of a container may not write root's mark and writes that of user namespaces;
    /// see [`super::opaque`].
    pub(crate) fn make_opaque(self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        let set = |name| rustix::fs::fsetxattr(directory, name, b"y", XattrFlags::empty());
        match set(self.opaque()) {
            Err(Errno::PERM) => set(OPAQUE_FOR_USERS),
            result => result,
        }
    }

    /// Whether this process can see which directories are opaque.
    pub(crate) fn sees_opaque(self) -> bool {
        let may = |set: CapabilitySets| set.effective.contains(CapabilitySet::SYS_ADMIN);
        self.user_namespace || capabilities(None).is_ok_and(may)
    }

    /// The open directory is opaque no longer, if it was; says whether it was. Who may not touch the mark cannot mount an
    /// overlay that would mind it.
    pub(crate) fn make_transparent(self, directory: BorrowedFd<'_>) -> Result<bool, Errno> {
        // Asking is cheap; removing what is not there starts a transaction of the file system.
        let marked = rustix::fs::fgetxattr(directory, self.opaque(), &mut [0_u8; 1][..]);
        if matches!(marked, Err(Errno::NODATA | Errno::NOTSUP)) {
            return Ok(false);
        }
        match rustix::fs::fremovexattr(directory, self.opaque()) {
            Ok(()) => Ok(true),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Explains why a file could not get its attributes.
    pub(crate) fn owned(self, set: Result<(), Errno>, path: &Path, meta: &Meta) -> Result<(), StoreError> {
        if self.user_namespace && set == Err(Errno::INVAL) {
            return Err(StoreError::UnmappedOwner { path: path.to_owned(), uid: meta.uid, gid: meta.gid });
        }
        set.at("set the attributes of", path)
    }

    /// Hides `name` of lower layers. The kernel lets everybody make this one device.
    pub(crate) fn make_whiteout(self, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0)
    }

    /// Makes a device, or an empty file in its place where that is not allowed.
    pub(crate) fn make_device(
        self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        kind: &Kind,
    ) -> Result<(), Errno> {
        let (file_type, major, minor) = match *kind {
            Kind::CharDevice { major, minor } => (FileType::CharacterDevice, major, minor),
            Kind::BlockDevice { major, minor } => (FileType::BlockDevice, major, minor),
            _ => return Err(Errno::INVAL),
        };
        // On disk, a character device 0:0 would be a whiteout.
        let allowed = !self.user_namespace && (major, minor) != (0, 0);
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o600);
        match allowed.then(|| rustix::fs::mknodat(directory, name, file_type, mode, device)) {
            Some(Err(Errno::PERM)) | None => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                mark(rustix::fs::openat(directory, name, flags, mode)?.as_fd(), kind)
            }
            Some(made) => made,
        }
    }
}

/// Marks an empty file as a device. Where the file system has no such attributes, the tree alone knows.
fn mark(file: BorrowedFd<'_>, kind: &Kind) -> Result<(), Errno> {
    let Some(value) = stand_in::text(kind) else { return Ok(()) };
    match rustix::fs::fsetxattr(file, DEVICE, value.as_bytes(), XattrFlags::empty()) {
        Err(Errno::NOTSUP) => Ok(()),
        Ok(()) if owner::is_marked() => {
            // Who looks for owners only then looks for devices too.
            rustix::fs::fsetxattr(file, owner::ATTRIBUTE, b"0:0", XattrFlags::empty())
        }
        set => set,
    }
}

/// The device that an empty file with these attributes stands in for.
pub(crate) fn stands_in_for(attributes: &Xattrs) -> Option<Kind> {
    let (_, value) = attributes.iter().find(|(name, _)| **name == *DEVICE.as_bytes())?;
    stand_in::device(value)
}

/// Whether an attribute is how this store writes something down, and none of the image's.
pub(crate) fn is_ours(name: &[u8]) -> bool {
    overlay_attribute(name).is_some()
        || [DEVICE, owner::ATTRIBUTE].iter().any(|ours| *name == *ours.as_bytes())
}

/// What an attribute of overlayfs says, without its prefix; `None` for other attributes.
pub(crate) fn overlay_attribute(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(TRUSTED_PREFIX.as_bytes()).or_else(|| name.strip_prefix(USER_PREFIX.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_write_stands_in_for_a_device() {
        let read = |value: &[u8]| stands_in_for(&vec![(DEVICE.as_bytes().into(), value.into())]);
        assert_eq!(read(b"b 259:70000"), Some(Kind::BlockDevice { major: 259, minor: 70_000 }));
        assert_eq!(read(b"c 1:3"), Some(Kind::CharDevice { major: 1, minor: 3 }));
        for other in
            [&b""[..], b"c", b"c 1", b"c 1:", b"d 1:3", b"c -1:3", b"c 1:4294967296", b"c 1:3 ", b"\xff 1:3"]
        {
            assert_eq!(read(other), None, "{}", String::from_utf8_lossy(other));
        }
        assert_eq!(stands_in_for(&Vec::new()), None);
    }
}
