//! Names in archives: made clean, and read for what they mean in layers.

use crate::tree::{MAX_PATH_BYTES, file_name, join, parent};

/// A file of this name hides the rest of the name in lower layers.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// A file of this name hides all that lower layers have in its directory.
pub const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
/// Other names with this prefix were AUFS's own business.
const META_PREFIX: &[u8] = b".wh..wh.";

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It has a component `..`.
    #[error("it leads out of its directory with \"..\"")]
    Parent,
    /// It has a NUL byte.
    #[error("it contains a NUL byte")]
    Nul,
    /// It is above [`MAX_PATH_BYTES`].
    #[error("it has more than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// A whiteout of nothing.
    #[error("it is a whiteout without a name")]
    Whiteout,
}

/// What a name means in a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Just itself.
    Plain,
    /// Hides this path.
    Whiteout(Vec<u8>),
    /// Hides what is in this directory.
    Opaque(Vec<u8>),
    /// Nothing.
    Ignored,
}

/// `./a//b/` becomes `a/b`, `/a` becomes `a`.
pub(super) fn clean(name: &[u8]) -> Result<Vec<u8>, BadName> {
    if name.contains(&0) {
        return Err(BadName::Nul);
    }
    if name.len() > MAX_PATH_BYTES {
        return Err(BadName::TooLong);
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(BadName::Parent),
            component => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    Ok(path)
}

/// What the clean `path` means in a layer.
pub(super) fn meaning(path: &[u8]) -> Result<Meaning, BadName> {
    let (dir, name) = (parent(path).unwrap_or_default(), file_name(path));
    if name == OPAQUE_MARKER {
        return Ok(Meaning::Opaque(dir.to_vec()));
    }
    if path.starts_with(META_PREFIX) || name.starts_with(META_PREFIX) {
        return Ok(Meaning::Ignored);
    }
    match name.strip_prefix(WHITEOUT_PREFIX) {
        None => Ok(Meaning::Plain),
        Some(b"" | b"." | b"..") => Err(BadName::Whiteout),
        Some(hidden) => Ok(Meaning::Whiteout(join(dir, hidden))),
    }
}

/// The name that hides `path`.
pub(super) fn whiteout(path: &[u8]) -> Vec<u8> {
    join(parent(path).unwrap_or_default(), &[WHITEOUT_PREFIX, file_name(path)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn clean_names() {
        for (name, wanted) in
            [("./a//b/", "a/b"), ("/a", "a"), ("./", ""), ("", ""), ("a/./b", "a/b"), ("..a", "..a")]
        {
            assert_eq!(clean(name.as_bytes()).as_deref(), Ok(wanted.as_bytes()), "{name}");
        }
        assert_eq!(clean(b"a/../b"), Err(BadName::Parent));
        assert_eq!(clean(b"/.."), Err(BadName::Parent));
        assert_eq!(clean(b"a\0b"), Err(BadName::Nul));
        assert_eq!(clean(&[b'a'; MAX_PATH_BYTES + 1]), Err(BadName::TooLong));
    }

    #[test]
    fn meanings() {
        assert_eq!(meaning(b"a/.wh.b"), Ok(Meaning::Whiteout(b"a/b".to_vec())));
        assert_eq!(meaning(b".wh.b"), Ok(Meaning::Whiteout(b"b".to_vec())));
        assert_eq!(meaning(b"a/.wh..wh..opq"), Ok(Meaning::Opaque(b"a".to_vec())));
        assert_eq!(meaning(b".wh..wh.plnk/1.2"), Ok(Meaning::Ignored));
        assert_eq!(meaning(b"a/.wh..wh.aufs"), Ok(Meaning::Ignored));
        assert_eq!(meaning(b"a/.wh"), Ok(Meaning::Plain));
        for bad in [&b".wh."[..], b"a/.wh..", b"a/.wh..."] {
            assert_eq!(meaning(bad), Err(BadName::Whiteout));
        }
    }

    proptest! {
        #[test]
        fn clean_names_are_paths_of_a_tree(name in "[a./\\PC]{0,20}") {
            if let Ok(path) = clean(name.as_bytes()) {
                let proper = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
                prop_assert!(path.is_empty() || path.split(|&byte| byte == b'/').all(proper));
                prop_assert_eq!(clean(&path), Ok(path.clone()));
                let _ = meaning(&path);
            }
        }
    }
}
