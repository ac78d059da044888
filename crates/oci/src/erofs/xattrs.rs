//! Extended attributes, behind the inode: a header, then each with a number for how its name begins.

use super::{format::XATTR_HEADER_BYTES, special};
use crate::{Entry, Kind};

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
/// those of links and devices, names that the kernel knows nothing of and overlayfs' own; and what is longer than 65,535
/// bytes, or 256 KiB together.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes = vec![0; XATTR_HEADER_BYTES];
    if let Kind::File { .. } | Kind::Directory { .. } = entry.kind {
        let given = entry.meta.xattrs.iter().flat_map(|xattrs| xattrs.iter());
        given.filter(|(name, _)| !is_own(name)).for_each(|(name, value)| put(&mut bytes, name, value));
    }
    if let Kind::Directory { opaque: true } = entry.kind {
        put(&mut bytes, OPAQUE.0, OPAQUE.1);
    }
    if let Some(value) = special::stand_in(&entry.kind) {
        put(&mut bytes, special::STAND_IN, &value);
    }
    if bytes.len() == XATTR_HEADER_BYTES { Vec::new() } else { bytes }
}

/// What says something about this layer is none of the image's.
fn is_own(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") || name == special::STAND_IN
}

/// Appends one attribute, unless it cannot be there.
fn put(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let Some((name, prefix)) = split(name) else { return };
    let padded = (4 + name.len() + value.len()).next_multiple_of(4);
    let end = bytes.len() + padded;
    let (Ok(name_length), Ok(value_length)) = (u8::try_from(name.len()), u16::try_from(value.len())) else {
        return;
    };
    if end - XATTR_HEADER_BYTES > MAX_ENTRY_BYTES {
        return;
    }
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
