//! Extended attributes, behind the inode: a header, then each with a number for how its name begins.

use super::{
    format::{XATTR_HEADER_BYTES, field},
    special,
};
use crate::{Entry, Kind, tree::Xattrs};

/// What makes a directory opaque, where the kernel mounts it.
pub(super) const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

/// Beginnings of names and their numbers. The kernel has no others, on no file system.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// The most words that an inode can count.
const MAX_ENTRY_BYTES: usize = (u16::MAX as usize - 1) * 4;

/// The attributes of `entry` on disk, empty when it has none. Left out is what a directory of files would not have either:
/// those of links and devices, names that the kernel knows nothing of, broken lists and overlayfs' own; and what is longer than 65,535
/// bytes, or 256 KiB together.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Kind::File { .. } | Kind::Directory { .. } = entry.kind {
        let given = entry.meta.xattrs.iter().flat_map(|xattrs| xattrs.iter());
        given
            .filter(|(name, value)| !is_own(name) && may_have(entry, name, value))
            .for_each(|(name, value)| put(&mut bytes, name, value));
    }
    if let Kind::Directory { opaque: true } = entry.kind {
        put(&mut bytes, OPAQUE.0, OPAQUE.1);
    }
    if let Some(value) = special::stand_in(&entry.kind) {
        put(&mut bytes, special::STAND_IN, &value);
    }
    bytes
}

/// An access control list that is none would make the kernel refuse every access; only directories have one for new files.
fn may_have(entry: &Entry, name: &[u8], value: &[u8]) -> bool {
    const VERSION: [u8; 4] = 2_u32.to_le_bytes();
    const ENTRY_BYTES: usize = 8;
    let entries = || value.strip_prefix(&VERSION).is_some_and(|entries| entries.len() % ENTRY_BYTES == 0);
    match name {
        b"system.posix_acl_access" => entries(),
        b"system.posix_acl_default" => entries() && entry.is_directory(),
        _ => true,
    }
}

/// Capabilities are never left out, so the kernel must be able to read them.
pub(super) fn may_have_capability(entry: &Entry) -> bool {
    let mut xattrs = entry.meta.xattrs.iter().flat_map(|xattrs| xattrs.iter());
    xattrs.all(|(name, value)| {
        // The version is the last byte of the first number.
        **name != *b"security.capability"
            || matches!((value.len(), value.get(3)), (20, Some(2)) | (24, Some(3)))
    })
}

/// What says something about this layer is none of the image's.
fn is_own(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") || name == special::STAND_IN
}

/// Appends one attribute, unless it cannot be there.
fn put(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let Some((name, prefix)) = split(name) else { return };
    let header = if bytes.is_empty() { XATTR_HEADER_BYTES } else { 0 };
    let end = bytes.len() + header + (4 + name.len() + value.len()).next_multiple_of(4);
    let (Ok(name_length), Ok(value_length)) = (u8::try_from(name.len()), u16::try_from(value.len())) else {
        return;
    };
    if end - XATTR_HEADER_BYTES > MAX_ENTRY_BYTES {
        return;
    }
    bytes.resize(bytes.len() + header, 0);
    bytes.extend([name_length, prefix]);
    bytes.extend(value_length.to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(value);
    bytes.resize(end, 0);
}

fn split(name: &[u8]) -> Option<(&[u8], u8)> {
    PREFIXES.iter().find_map(|&(prefix, number)| {
        let suffix = name.strip_prefix(prefix)?;
        let whole = !prefix.ends_with(b".");
        (suffix.is_empty() == whole).then_some((suffix, number))
    })
}

/// What [`encode`] wrote, or what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Xattrs, &'static str> {
    let Some((header, mut rest)) = bytes.split_at_checked(XATTR_HEADER_BYTES) else {
        return Ok(Xattrs::new());
    };
    if header.iter().any(|&byte| byte != 0) {
        return Err("its attributes have an unknown header");
    }
    let mut xattrs = Xattrs::new();
    while !rest.is_empty() {
        let (name_length, value_length) =
            (usize::from(rest[0]), usize::from(u16::from_le_bytes(field(rest, 2))));
        let prefix = PREFIXES.iter().find(|(_, number)| rest.get(1) == Some(number));
        let (prefix, _) = prefix.ok_or("an attribute has an unknown prefix")?;
        let length = 4 + name_length + value_length;
        let (entry, later) =
            rest.split_at_checked(length.next_multiple_of(4)).ok_or("an attribute is cut off")?;
        let (name, value) = entry[4..length].split_at(name_length);
        xattrs.push(([prefix, name].concat().into(), value.into()));
        rest = later;
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}
