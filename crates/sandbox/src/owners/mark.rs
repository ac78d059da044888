//! Who owns a file, written on the file itself.
//!
//! Regular files and directories carry a user attribute. Nothing else can have one; those get the one attribute that root
//! of a user namespace can give them, that of capabilities, which means nothing on what cannot be executed: the ids are
//! in the places of the capability sets. The store reads and writes the same (galley-store's files/owner.rs); neither crate
//! sees the other, and docs/internals/owner-marks.tsv is what both are tested against.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{
    AtFlags, FileType, Stat, XattrFlags, getxattr, lgetxattr, listxattr, llistxattr, removexattr, setxattr,
};
use rustix::io::Errno;

use super::rights::Rights;

/// The attribute of regular files and directories: `USER:GROUP`.
const OWNER: &str = "user.galley.owner";
/// The attribute of everything else.
const CAPABILITY: &str = "security.capability";
/// That an empty file stands in for a device: galley-oci's stand_in.rs.
const DEVICE: &str = "user.galley.device";
/// The second version of the attribute's form, in the file's byte order.
const REVISION: [u8; 4] = [0, 0, 0, 2];
const CAPABILITY_BYTES: usize = 20;

/// Marks that are kept in memory; what comes then stays root's.
const ELSEWHERE_MAX: usize = 1 << 16;

/// A user and a group.
pub(super) type Owner = (u32, u32);

/// The marks of the files that a sandbox sees.
pub(super) struct Marks {
    /// Those of files that have no attributes (terminals, pipes), by device and number. They end with the sandbox.
    elsewhere: RefCell<HashMap<(u64, u64), Owner>>,
    rights: Rights,
}

impl Marks {
    pub(super) fn new(rights: Rights) -> Self {
        Self { elsewhere: RefCell::default(), rights }
    }

    /// The mark of the file at `path`, as it is followed or not; `None` for what is root's, or not there.
    pub(super) fn read(&self, path: &CStr, follow: bool) -> Option<Owner> {
        let elsewhere = self.elsewhere.borrow();
        if !elsewhere.is_empty() {
            let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            let stat = rustix::fs::statat(rustix::fs::CWD, path, flags).ok()?;
            if let Some(owner) = elsewhere.get(&(stat.st_dev, stat.st_ino)) {
                return Some(*owner);
            }
        }
        read(path, follow)
    }

    /// The mark of an open file.
    pub(super) fn read_open(&self, file: impl AsFd) -> Option<Owner> {
        self.read(&name_of(&file), true)
    }

    /// Marks the open file.
    pub(super) fn write(&self, file: impl AsFd, owner: Owner) -> Result<(), Errno> {
        match self.rights.to_mark(|| write(&file, owner)) {
            Err(Errno::NOTSUP) => {
                let stat = rustix::fs::fstat(&file)?;
                let mut elsewhere = self.elsewhere.borrow_mut();
                if elsewhere.len() < ELSEWHERE_MAX {
                    elsewhere.insert((stat.st_dev, stat.st_ino), owner);
                }
                Ok(())
            }
            result => result,
        }
    }

    /// Says of an open empty file that it is a device of root.
    pub(super) fn write_device(&self, file: impl AsFd, text: &str) -> Result<(), Errno> {
        let path = name_of(&file);
        self.rights.to_mark(|| {
            setxattr(&*path, DEVICE, text.as_bytes(), XattrFlags::empty())?;
            setxattr(&*path, OWNER, b"0:0", XattrFlags::empty())
        })
    }
}

/// Names of attributes that are listed at once; a file with more is asked for each.
const NAMES_BYTES: usize = 256;

/// The mark on the file itself. Most files have no attribute at all: that is one question.
fn read(path: &CStr, follow: bool) -> Option<Owner> {
    let mut names = [0; NAMES_BYTES];
    let listed = if follow { listxattr(path, &mut names[..]) } else { llistxattr(path, &mut names[..]) };
    let has = |name: &str| match listed {
        Ok(length) => names[..length].split(|byte| *byte == 0).any(|listed| listed == name.as_bytes()),
        Err(_) => true,
    };
    let get = |name: &str, buffer: &mut [u8]| {
        if follow { getxattr(path, name, &mut *buffer) } else { lgetxattr(path, name, &mut *buffer) }
    };
    let mut buffer = [0; 32];
    if has(OWNER)
        && let Ok(length) = get(OWNER, &mut buffer)
    {
        return owner(&buffer[..length]);
    }
    if !has(CAPABILITY) {
        return None;
    }
    let length = get(CAPABILITY, &mut buffer).ok()?;
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = rustix::fs::statat(rustix::fs::CWD, path, flags).ok()?;
    if has_user_attributes(&stat) { None } else { owner_in_capabilities(&buffer[..length]) }
}

/// The device that an empty file stands in for.
pub(super) fn device(path: &CStr, follow: bool) -> Option<(FileType, u32, u32)> {
    let mut buffer = [0; 32];
    let get = |buffer: &mut [u8]| {
        if follow { getxattr(path, DEVICE, &mut *buffer) } else { lgetxattr(path, DEVICE, &mut *buffer) }
    };
    let length = get(&mut buffer).ok()?;
    let (letter, numbers) = std::str::from_utf8(&buffer[..length]).ok()?.split_once(' ')?;
    let (major, minor) = numbers.split_once(':')?;
    let kind = match letter {
        "c" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        _ => return None,
    };
    Some((kind, major.parse().ok()?, minor.parse().ok()?))
}

fn write(file: impl AsFd, (user, group): Owner) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(file.as_fd())?;
    let path = name_of(&file);
    let result = if has_user_attributes(&stat) {
        if (user, group) == (0, 0) && device(&path, true).is_none() {
            removexattr(&*path, OWNER)
        } else {
            setxattr(&*path, OWNER, text((user, group)).as_bytes(), XattrFlags::empty())
        }
    } else if (user, group) == (0, 0) {
        removexattr(&*path, CAPABILITY)
    } else {
        setxattr(&*path, CAPABILITY, &in_capabilities((user, group)), XattrFlags::empty())
    };
    match result {
        Err(Errno::NODATA) => Ok(()),
        result => result,
    }
}

/// Gives an open file that this process has made to somebody: by its mark, where the kernel knows one user only.
pub(crate) fn give(file: impl AsFd, user: u32, group: u32) -> Result<(), Errno> {
    use rustix::fs::{Gid, Uid, fchown, fsetxattr};
    if !crate::userns::has_one_id() {
        return fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    }
    if (user, group) == (0, 0) {
        return Ok(());
    }
    match fsetxattr(file, OWNER, text((user, group)).as_bytes(), XattrFlags::empty()) {
        // Files in memory before Linux 6.6.
        Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        result => result,
    }
}

/// Its name in the supervisor's working directory, which is its /proc. Leads to the file itself, to links too.
fn name_of(file: &impl AsFd) -> CString {
    CString::new(format!("self/fd/{}", file.as_fd().as_raw_fd())).unwrap_or_default()
}

fn has_user_attributes(stat: &Stat) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    matches!(kind, FileType::RegularFile | FileType::Directory)
}

fn text((user, group): Owner) -> String {
    format!("{user}:{group}")
}

fn owner(text: &[u8]) -> Option<Owner> {
    let (user, group) = std::str::from_utf8(text).ok()?.split_once(':')?;
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

    /// What the store is held to as well.
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
            let Some(pair) = user.parse().ok().zip(group.parse().ok()) else {
                assert_eq!((owner(attribute.as_bytes()), owner_in_capabilities(&capability)), (None, None));
                continue;
            };
            assert_eq!(
                (text(pair), in_capabilities(pair).to_vec()),
                (attribute.to_owned(), capability.clone())
            );
            assert_eq!(owner(attribute.as_bytes()), Some(pair));
            assert_eq!(owner_in_capabilities(&capability), Some(pair));
        }
        assert_eq!(owner(b"\xff:1"), None);
    }
}
