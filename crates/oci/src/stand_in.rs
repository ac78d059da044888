//! An empty file that stands in for a device where there can be none, in directories and in packed layers alike.

use crate::Kind;

/// The attribute that says which device it is.
pub const ATTRIBUTE: &str = "user.galley.device";

/// What the attribute says of a device.
#[must_use]
pub fn text(kind: &Kind) -> Option<String> {
    match kind {
        Kind::CharDevice { major, minor } => Some(format!("c {major}:{minor}")),
        Kind::BlockDevice { major, minor } => Some(format!("b {major}:{minor}")),
        _ => None,
    }
}

/// The device that the attribute speaks of.
#[must_use]
pub fn device(text: &[u8]) -> Option<Kind> {
    let (letter, numbers) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    let (major, minor) = numbers.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    match letter {
        "c" => Some(Kind::CharDevice { major, minor }),
        "b" => Some(Kind::BlockDevice { major, minor }),
        _ => None,
    }
}
