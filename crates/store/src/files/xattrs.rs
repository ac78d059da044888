//! Extended attributes: which become part of a tree, and in which form.

use std::os::fd::BorrowedFd;

use galley_oci::tree::Xattrs;
use rustix::{fs::XattrFlags, io::Errno};

use super::dialect::is_ours;

const CAPABILITY: &[u8] = b"security.capability";

/// Of the machine, not of the image: its policy modules write these on every file.
const OF_THE_MACHINE: [&[u8]; 4] =
    [b"security.selinux", b"security.ima", b"security.evm", b"security.SMACK64"];

/// The kernel's own limits.
const LIST_BYTES_MAX: usize = 64 * 1024;
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// All attributes of an open file, as they are, sorted by name.
pub(crate) fn read(file: BorrowedFd<'_>) -> Result<Xattrs, Errno> {
    let mut small = [0_u8; 256];
    let listed = match rustix::fs::flistxattr(file, &mut small[..]) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => small[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut large = vec![0; LIST_BYTES_MAX];
            let length = rustix::fs::flistxattr(file, &mut large[..])?;
            large.truncate(length);
            large
        }
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in listed.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if let Some(value) = value(file, name)? {
            attributes.push((name.into(), value.into()));
        }
    }
    attributes.sort_unstable();
    Ok(attributes)
}

fn value(file: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut small = [0_u8; 256];
    match rustix::fs::fgetxattr(file, name, &mut small[..]) {
        Ok(length) => Ok(Some(small[..length].to_vec())),
        Err(Errno::RANGE) => {
            let mut large = vec![0; VALUE_BYTES_MAX];
            let length = rustix::fs::fgetxattr(file, name, &mut large[..])?;
            large.truncate(length);
            Ok(Some(large))
        }
        // Gone meanwhile, or one that only the kernel may read.
        Err(Errno::NODATA | Errno::PERM) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What of `attributes` belongs to the image, in the image's form; `None` when nothing does.
pub(crate) fn of_image(attributes: Xattrs) -> Option<Box<Xattrs>> {
    let kept: Xattrs = attributes
        .into_iter()
        .filter(|(name, _)| !is_ours(name) && !OF_THE_MACHINE.contains(&&**name))
        .map(|(name, value)| {
            let value = if *name == *CAPABILITY { capability_v2(value) } else { value };
            (name, value)
        })
        .collect();
    (!kept.is_empty()).then(|| Box::new(kept))
}

/// What of `attributes` belongs to a build context: not those that only root sees, or two users would get two trees.
pub(crate) fn of_context(mut attributes: Xattrs) -> Option<Box<Xattrs>> {
    attributes.retain(|(name, _)| !name.starts_with(b"trusted."));
    of_image(attributes)
}

/// Version 3 of the capability attribute names the user namespace that it counts in; in the image it counts where the
/// image runs, which is what version 2 says.
fn capability_v2(value: Box<[u8]>) -> Box<[u8]> {
    const REVISION_2: u8 = 2;
    const REVISION_3: u8 = 3;
    const BYTES_2: usize = 20;
    const BYTES_3: usize = 24;
    if value.len() != BYTES_3 || value[3] != REVISION_3 {
        return value;
    }
    let mut value = value.into_vec();
    value.truncate(BYTES_2);
    value[3] = REVISION_2;
    value.into()
}

/// Sets the attributes of an open file. What this file system or this user namespace cannot hold is left to the tree,
/// but capabilities must work.
pub(crate) fn write(file: BorrowedFd<'_>, attributes: &Xattrs) -> Result<(), Errno> {
    // Whatever a tree says, what overlayfs and we read is written only by us.
    for (name, value) in attributes.iter().filter(|(name, _)| !is_ours(name)) {
        match rustix::fs::fsetxattr(file, &**name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(Errno::PERM | Errno::INVAL) if **name != *CAPABILITY => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_machine_is_dropped() {
        let names: [&[u8]; 7] = [
            b"security.capability",
            b"security.selinux",
            b"trusted.overlay.opaque",
            b"user.mime",
            b"user.overlay.origin",
            b"user.galley.device",
            b"system.posix_acl_access",
        ];
        let all = names.iter().map(|&name| (name.into(), b"x".as_slice().into())).collect();
        let kept: Vec<_> = of_image(all).unwrap().into_iter().map(|(name, _)| name).collect();
        let expected: [&[u8]; 3] = [b"security.capability", b"user.mime", b"system.posix_acl_access"];
        assert_eq!(kept.iter().map(|name| &**name).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn capabilities_become_version_2() {
        let body = [7_u8; 16];
        let version_3 = [&[1, 0, 0, 3], &body[..], &1000_u32.to_le_bytes()].concat();
        let version_2 = [&[1, 0, 0, 2], &body[..]].concat();
        assert_eq!(*capability_v2(version_3.into()), version_2);
        assert_eq!(*capability_v2(version_2.clone().into()), version_2);
    }
}
