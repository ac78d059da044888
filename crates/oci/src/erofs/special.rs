//! Files that are more than bytes, as the store's directories have them: a whiteout is the device 0:0, and so a device of
//! that number, or of one that Linux has not, is an empty file that says so.

use super::format::{InodeType, device};
use crate::{Kind, stand_in};

/// The attribute of an empty file that stands in for a device.
pub(super) const STAND_IN: &[u8] = stand_in::ATTRIBUTE.as_bytes();

pub(super) fn inode_type(kind: &Kind) -> InodeType {
    match kind {
        Kind::Directory { .. } => InodeType::Directory,
        Kind::Symlink { .. } => InodeType::Symlink,
        Kind::Fifo => InodeType::Fifo,
        Kind::Whiteout => InodeType::CharDevice,
        Kind::CharDevice { .. } if stand_in(kind).is_none() => InodeType::CharDevice,
        Kind::BlockDevice { .. } if stand_in(kind).is_none() => InodeType::BlockDevice,
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::File { .. } => InodeType::File,
    }
}

/// The number that the inode of a device has.
pub(super) fn device_number(kind: &Kind) -> Option<u32> {
    match *kind {
        Kind::Whiteout => Some(0),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            device(major, minor).filter(|&number| number != 0)
        }
        _ => None,
    }
}

/// What the attribute says, of a device that cannot be one on disk.
pub(super) fn stand_in(kind: &Kind) -> Option<Vec<u8>> {
    let text = stand_in::text(kind).filter(|_| device_number(kind).is_none());
    text.map(String::into_bytes)
}
