//! Owners of files where the kernel knows one user only: written on the files themselves.
//!
//! In a user namespace in which one id is mapped, every file on disk is the user's. Who it belongs to in the image stands
//! in an attribute of it, which overlayfs shows and copies up. Regular files and directories have a user attribute;
//! nothing else can have one, so the rest gets that of capabilities, with the ids in the places of the sets.
//! What runs in a sandbox sees and changes owners by the same marks (galley-sandbox's owners/mark.rs); neither crate sees the
//! other, and docs/internals/owner-marks.tsv is what both are tested against.

use std::{
    ffi::{CStr, OsStr},
    os::fd::BorrowedFd,
    path::Path,
    sync::OnceLock,
};

use galley_oci::tree::Xattrs;
use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Uid, XattrFlags},
    io::Errno,
};

/// The attribute of regular files and directories: `USER:GROUP`.
pub(crate) const ATTRIBUTE: &str = "user.galley.owner";
/// The attribute of everything else.
const CAPABILITY: &str = "security.capability";
/// The second version of its form.
const REVISION: [u8; 4] = [0, 0, 0, 2];
const CAPABILITY_BYTES: usize = 20;

/// A user and a group.
type Owner = (u32, u32);

/// Whether owners are written on the files.
pub(crate) fn is_marked() -> bool {
    static MARKED: OnceLock<bool> = OnceLock::new();
    *MARKED.get_or_init(|| {
        let map = fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let numbers: Vec<&str> = map.split_whitespace().collect();
        matches!(numbers.as_slice(), [_, _, "1"])
    })
}

/// Gives the file at `path`, a link itself, to a user and a group of an image, in the way that this store has.
pub fn give(path: &Path, user: u32, group: u32) -> std::io::Result<()> {
    give_at(CWD, path.as_os_str(), user, group)
}

/// The same with what has this name in an open directory.
pub fn give_at(directory: BorrowedFd<'_>, name: &OsStr, user: u32, group: u32) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(name.as_bytes())?;
    if !is_marked() {
        let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        return Ok(rustix::fs::chownat(directory, &*name, user, group, AtFlags::SYMLINK_NOFOLLOW)?);
    }
    Ok(mark_at(directory, &name, (user, group))?)
}

/// The same with an open file, whatever has its name by now.
pub fn give_open(file: BorrowedFd<'_>, user: u32, group: u32) -> std::io::Result<()> {
    if is_marked() {
        return Ok(mark(file, (user, group))?);
    }
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?)
}

/// Marks an open regular file or directory. A new one of root's needs no mark.
pub(crate) fn mark(file: BorrowedFd<'_>, owner: Owner) -> Result<(), Errno> {
    if owner == (0, 0) && rustix::fs::fgetxattr(file, ATTRIBUTE, &mut [0_u8; 32][..]) == Err(Errno::NODATA) {
        return Ok(());
    }
    rustix::fs::fsetxattr(file, ATTRIBUTE, text(owner).as_bytes(), XattrFlags::empty())
}

/// Marks what is at `name` of a directory, a link itself.
pub(crate) fn mark_at(directory: BorrowedFd<'_>, name: &CStr, owner: Owner) -> Result<(), Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let path = below(directory, name);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => {
            let known = rustix::fs::lgetxattr(&*path, ATTRIBUTE, &mut [0_u8; 32][..]);
            if owner == (0, 0) && known == Err(Errno::NODATA) {
                return Ok(());
            }
            rustix::fs::lsetxattr(&*path, ATTRIBUTE, text(owner).as_bytes(), XattrFlags::empty())
        }
        _ if owner == (0, 0) => match rustix::fs::lremovexattr(&*path, CAPABILITY) {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            result => result,
        },
        _ => rustix::fs::lsetxattr(&*path, CAPABILITY, &in_capabilities(owner), XattrFlags::empty()),
    }
}

/// The owner that attributes of a regular file or directory speak of.
pub(crate) fn of(attributes: &Xattrs) -> Option<Owner> {
    let (_, value) = attributes.iter().find(|(name, _)| **name == *ATTRIBUTE.as_bytes())?;
    owner_in_text(value).filter(|_| is_marked())
}

/// The owner of what is at `name` of a directory and is neither a regular file nor a directory.
pub(crate) fn at(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<Owner>, Errno> {
    if !is_marked() {
        return Ok(None);
    }
    let mut value = [0; 32];
    match rustix::fs::lgetxattr(&*below(directory, name), CAPABILITY, &mut value[..]) {
        Ok(length) => Ok(owner_in_capabilities(&value[..length])),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The calls about attributes take no directory.
fn below(directory: BorrowedFd<'_>, name: &CStr) -> std::ffi::CString {
    use std::os::fd::AsRawFd;
    let directory = match directory.as_raw_fd() {
        number if number == CWD.as_raw_fd() => return name.to_owned(),
        number => format!("/proc/self/fd/{number}/"),
    };
    std::ffi::CString::new([directory.as_bytes(), name.to_bytes()].concat()).unwrap_or_default()
}

fn text((user, group): Owner) -> String {
    format!("{user}:{group}")
}

fn owner_in_text(value: &[u8]) -> Option<Owner> {
    let (user, group) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

fn in_capabilities((user, group): Owner) -> [u8; CAPABILITY_BYTES] {
    let mut value = [0; CAPABILITY_BYTES];
    value[..4].copy_from_slice(&REVISION);
    value[4..8].copy_from_slice(&user.to_le_bytes());
    value[8..12].copy_from_slice(&group.to_le_bytes());
    value
}

fn owner_in_capabilities(value: &[u8]) -> Option<Owner> {
    let word = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
    (value.len() == CAPABILITY_BYTES && value[..4] == REVISION).then_some((word(4)?, word(8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the sandbox crate is held to as well.
    const MARKS: &str = include_str!("../../../../docs/internals/owner-marks.tsv");

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let pairs = hexadecimal.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn owners_are_written_as_the_table_says() {
        let rows = MARKS.lines().filter(|line| !line.starts_with('#'));
        for row in rows.map(|line| line.split('\t').collect::<Vec<_>>()) {
            let &[user, group, attribute, capability] = row.as_slice() else { panic!("{row:?}") };
            let capability = bytes(capability);
            let Some(owner) = user.parse().ok().zip(group.parse().ok()) else {
                assert_eq!(
                    (owner_in_text(attribute.as_bytes()), owner_in_capabilities(&capability)),
                    (None, None)
                );
                continue;
            };
            assert_eq!(
                (text(owner), in_capabilities(owner).to_vec()),
                (attribute.to_owned(), capability.clone())
            );
            assert_eq!(owner_in_text(attribute.as_bytes()), Some(owner));
            assert_eq!(owner_in_capabilities(&capability), Some(owner));
        }
    }
}
