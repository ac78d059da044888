//! Which files a source of COPY means.
//!
//! A path without wildcards means itself, and a symbolic link at its end is followed. A pattern is matched name by name
//! from its first component with a wildcard on; what matches is not searched further. Nothing leads out of the root:
//! `..` stops there, and links are resolved inside.

use std::{collections::HashMap, sync::Arc};

use galley_dockerfile::{Span, glob::Glob};
use galley_oci::{
    Blake3, Digest, Entry, Kind,
    stack::{Found, Last, Stack},
    tree::{file_name, join},
};

use super::{
    copy::join_all,
    filter::{self, Filter, Kept, Meant},
};
use crate::{Error, ErrorKind};

/// One source, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The name as selected, before a link was followed; empty for the root.
    pub name: Vec<u8>,
    /// Where it is, links resolved.
    pub path: Vec<u8>,
    /// What of it is meant; everything without.
    pub filter: Option<Arc<Filter>>,
}

impl Selected {
    /// What is meant in `stack`.
    pub(crate) fn walk<'a>(&self, stack: &'a Stack) -> Vec<Kept<'a>> {
        filter::walk(stack, &self.path, self.filter.as_deref())
    }

    /// Whether all that was walked was looked at.
    pub(crate) fn in_time(&self) -> Result<(), Error> {
        self.filter.as_deref().map_or(Ok(()), Filter::in_time)
    }
}

/// What `source` means in `stack`. A pattern that matches nothing means nothing, a path must exist.
pub(crate) fn select(stack: &Stack, source: &Meant) -> Result<Vec<Selected>, Error> {
    let pattern = clean(&source.path);
    let (fixed, wild) = split(&pattern);
    let start = literal(stack, &fixed)?;
    let mut selected = match wild {
        None => vec![start],
        Some(wild) => matches(stack, &start.path, wild)?,
    };
    for one in &mut selected {
        one.filter.clone_from(&source.filter);
        if let Some(required) = source.required() {
            require(stack, one, &fixed, required)?;
        }
    }
    Ok(selected)
}

/// With `--parents` a path without wildcards must be there and be copied, with no symbolic link on the way to it.
fn require(stack: &Stack, selected: &Selected, start: &[u8], required: &[u8]) -> Result<(), Error> {
    let copied = selected.walk(stack).into_iter().map(|kept| below(kept.found, selected));
    let mut copied = copied.filter(|path| !path.is_empty());
    if selected.path == start && copied.any(|path| path.starts_with(required)) {
        return Ok(());
    }
    let path = join_all(start, required);
    if !selected.filter.as_ref().is_some_and(|filter| filter.excludes(required)) {
        literal(stack, &path)?;
    }
    let message = format!("nothing of /{} would be copied", String::from_utf8_lossy(&path));
    let help = if required.is_empty() {
        "--parents needs what is to be kept: ** is everything"
    } else {
        "--parents leads through no symbolic link, and --exclude leaves out what it matches"
    };
    Err(Error::new(ErrorKind::Input, message).help(help))
}

/// The path of `found` below the selected directory that it was found in.
fn below<'a>(found: Found<'a>, selected: &Selected) -> &'a [u8] {
    let relative = &found.entry.path[selected.path.len()..];
    relative.strip_prefix(b"/").unwrap_or(relative)
}

/// What a path without wildcards means; it must exist.
pub(crate) fn literal(stack: &Stack, path: &[u8]) -> Result<Selected, Error> {
    let path = clean(path);
    let resolved = stack.resolve(&path, Last::Follow).map_err(input)?;
    if stack.get(&resolved).is_none() && !resolved.is_empty() {
        return Err(missing(stack, &path));
    }
    Ok(Selected { name: file_name(&path).to_vec(), path: resolved, filter: None })
}

/// The components of a path without `.` and `..`; the root stops `..`.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join(&b'/')
}

/// The part before the first component with a wildcard, and the rest.
pub(crate) fn split(pattern: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let mut start = 0;
    for name in pattern.split(|&byte| byte == b'/') {
        if filter::has_wildcards(name) {
            let fixed = pattern[..start].strip_suffix(b"/").unwrap_or_default();
            return (fixed.to_vec(), Some(&pattern[start..]));
        }
        start += name.len() + 1;
    }
    (pattern.to_vec(), None)
}

/// What matches `wild` below `start`, in the order of a walk.
fn matches(stack: &Stack, start: &[u8], wild: &[u8]) -> Result<Vec<Selected>, Error> {
    let mut candidates = vec![start.to_vec()];
    // A wildcard never matches a slash, so each component is matched against the names of one directory.
    for part in wild.split(|&byte| byte == b'/') {
        let glob = Glob::new(part, Span::default())
            .map_err(|error| Error::new(ErrorKind::Input, error.to_string()).because(error))?;
        let mut next = Vec::new();
        for dir in &candidates {
            for found in stack.list(dir) {
                if glob.matches(found.entry.name()) {
                    next.push(found.path().to_vec());
                }
            }
        }
        candidates = next;
    }
    candidates.into_iter().map(|path| follow(stack, &path)).collect()
}

fn follow(stack: &Stack, path: &[u8]) -> Result<Selected, Error> {
    let resolved = stack.resolve(path, Last::Follow).map_err(input)?;
    if stack.get(&resolved).is_none() {
        let (link, target) = (String::from_utf8_lossy(path), String::from_utf8_lossy(&resolved));
        let message = format!("{link} is a symbolic link to /{target}, which does not exist there");
        return Err(Error::new(ErrorKind::Input, message));
    }
    Ok(Selected { name: file_name(path).to_vec(), path: resolved, filter: None })
}

fn input(error: galley_oci::stack::ResolveError) -> Error {
    Error::new(ErrorKind::Input, error.to_string()).because(error)
}

/// The label of the error for a path that is not there.
const NOT_FOUND: &str = "not found";

/// Whether `error` says that a path is not there.
pub(crate) fn is_missing(error: &Error) -> bool {
    error.label.as_deref() == Some(NOT_FOUND)
}

/// A path that is not there, with the nearest name that is.
fn missing(stack: &Stack, path: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(path);
    let error = Error::new(ErrorKind::Input, format!("/{shown} was not found")).label(NOT_FOUND);
    match nearest(stack, path) {
        Some(near) => error.help(format!("did you mean {}?", String::from_utf8_lossy(&near))),
        None => error,
    }
}

/// The sibling whose name is most like the missing one's.
fn nearest(stack: &Stack, path: &[u8]) -> Option<Vec<u8>> {
    let names = |dir: &[u8]| {
        let dir = stack.resolve(dir, Last::Follow).ok()?;
        let is_directory = dir.is_empty() || stack.get(&dir).is_some_and(|found| found.entry.is_directory());
        is_directory.then(|| stack.list(&dir).iter().map(|found| found.entry.name().to_vec()).collect())
    };
    nearest_path(path, &names)
}

/// Lists the names in a directory; none when there is no such directory.
pub(crate) type Names<'a> = dyn Fn(&[u8]) -> Option<Vec<Vec<u8>>> + 'a;

/// `path` with its first component that is not there replaced by the name most like it.
pub(crate) fn nearest_path(path: &[u8], names: &Names<'_>) -> Option<Vec<u8>> {
    let mut dir: Vec<u8> = Vec::new();
    for wanted in path.split(|&byte| byte == b'/') {
        let known = names(&dir)?;
        if !known.iter().any(|name| name == wanted) {
            let near = known.iter().map(|name| (distance(wanted, name), name));
            let (distance, name) = near.min()?;
            return (distance <= wanted.len().div_ceil(3)).then(|| join(&dir, name));
        }
        dir = join(&dir, wanted);
    }
    None
}

/// How many bytes must be changed, added or taken away to make `b` of `a`; upper and lower case are alike.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(!byte.eq_ignore_ascii_case(other));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The identity of what a source of a context means for a step: everything that reaches the result, and no time.
///
/// A directory counts with what is below it, for its contents are copied and its own attributes are not.
pub(crate) fn digest(stack: &Stack, selected: &[Selected]) -> Digest {
    let filtered = selected.iter().any(|one| one.filter.is_some());
    let mut hash = Blake3::of(if filtered { "galley.selection.filtered.v1" } else { "galley.selection.v1" });
    hash.number(selected.len() as u64);
    for one in selected {
        let entries = one.walk(stack);
        let directory = entries.first().is_none_or(|kept| kept.found.entry.is_directory());
        hash.number(u64::from(directory)).field(if directory { b"" } else { &one.name });
        hash.number(entries.len() as u64);
        let mut links = Links::default();
        for Kept { found, on_the_way } in entries {
            let relative = &found.path()[one.path.len()..];
            if !(directory && relative.is_empty()) {
                hash_entry(&mut hash, found, relative, &mut links);
                if filtered {
                    hash.number(u64::from(on_the_way));
                }
            }
        }
    }
    hash.finish()
}

/// The identity of what a mount shows: unlike in a copy, the directory itself can be seen too.
pub(crate) fn shown_digest(stack: &Stack, path: &[u8]) -> Digest {
    let selected = Selected { name: Vec::new(), path: path.to_vec(), filter: None };
    let mut hash = Blake3::of("galley.shown.v1");
    hash.digest(&digest(stack, &[selected]));
    if let Some(found) = stack.get(path) {
        hash_entry(&mut hash, found, b"", &mut Links::default());
    }
    hash.finish()
}

/// Hard-link groups numbered by their first appearance, whatever their numbers were.
#[derive(Default)]
struct Links(HashMap<(usize, u32), u64>);

impl Links {
    fn number(&mut self, found: Found<'_>) -> u64 {
        let Kind::File { links: Some(group), .. } = found.entry.kind else { return 0 };
        let next = self.0.len() as u64 + 1;
        *self.0.entry((found.layer, group.get())).or_insert(next)
    }
}

fn hash_entry(hash: &mut Blake3, found: Found<'_>, relative: &[u8], links: &mut Links) {
    let Entry { meta, kind, .. } = found.entry;
    let xattrs = meta.xattrs.as_deref().map(Vec::as_slice).unwrap_or_default();
    let count = xattrs.len() as u64;
    hash.field(relative).numbers([meta.mode.into(), meta.uid.into(), meta.gid.into(), count]);
    for (name, value) in xattrs {
        hash.field(name).field(value);
    }
    match kind {
        Kind::Directory { .. } => hash.number(1),
        Kind::File { size, digest, .. } => {
            hash.numbers([2, *size]).update(digest).number(links.number(found))
        }
        Kind::Symlink { target } => hash.number(3).field(target),
        Kind::CharDevice { major, minor } => hash.number(4).number((*major).into()).number((*minor).into()),
        Kind::BlockDevice { major, minor } => hash.number(5).number((*major).into()).number((*minor).into()),
        Kind::Fifo => hash.number(6),
        Kind::Whiteout => hash.number(7),
    };
}
