//! `--cgroup-parent PATH`: below which cgroup RUN steps get theirs.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use galley_engine::runner::CgroupParent;

/// What was typed; an empty one, from a script's empty variable, is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupParentArg(pub(crate) Option<CgroupParent>);

/// Understands a path below the root of the hierarchies.
pub(crate) fn parse(path: OsString) -> Result<CgroupParentArg, String> {
    if path.is_empty() {
        return Ok(CgroupParentArg(None));
    }
    if let Some(slice) = slice(&path) {
        return Err(format!(
            "this is a unit's name, which systemd would have to be asked about: write the slice as a path, {}",
            path_of_slice(slice)
        ));
    }
    if Path::new(&path).components().any(|part| part.as_os_str() == "..") {
        return Err("there may be no .. in it: write the path below /sys/fs/cgroup".to_owned());
    }
    CgroupParent::new(Path::new(&path))
        .map(|parent| CgroupParentArg(Some(parent)))
        .map_err(|error| error.to_string())
}

/// The slice of `x.slice`, `x.slice:` and `x.slice:prefix:name`. With a slash it is a path that ends like one.
fn slice(path: &OsStr) -> Option<&str> {
    let text = path.to_str().filter(|text| !text.contains('/'))?;
    text.split(':').next()?.strip_suffix(".slice")
}

/// `a-b.slice` is in `a.slice`; `-.slice` is the root.
fn path_of_slice(slice: &str) -> String {
    let ends = slice.match_indices('-').map(|(at, _)| at).filter(|&at| at > 0).chain([slice.len()]);
    match slice {
        "-" | "" => "/".to_owned(),
        _ => ends.map(|end| format!("/{}.slice", &slice[..end])).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str) -> String {
        parse(path.into()).unwrap_err()
    }

    #[test]
    fn paths_with_and_without_a_slash() {
        let parsed = |path: &str| parse(path.into()).unwrap();
        assert_eq!(parsed("/a/b"), parsed("a/b"));
        assert_eq!(parsed(""), CgroupParentArg(None));
        assert!(parsed("/user.slice").0.is_some());
        assert!(parsed("a/b.slice").0.is_some());
    }

    #[test]
    fn units_are_refused_with_their_path() {
        assert!(said("x.slice").ends_with("as a path, /x.slice"), "{}", said("x.slice"));
        assert!(
            said("a-b-c.slice:").ends_with(", /a.slice/a-b.slice/a-b-c.slice"),
            "{}",
            said("a-b-c.slice:")
        );
        assert!(said("-.slice").ends_with(", /"), "{}", said("-.slice"));
        assert!(said("/a/../b").contains("no .."), "{}", said("/a/../b"));
    }
}
