//! `--exclude` and `--parents` of COPY: what of a source is meant.
//!
//! Both are patterns as in `.dockerignore`, on paths below the source; the source itself is always meant. A directory that
//! is not meant is *on the way* when something below it is: it is made where there is none, and one that is there
//! already only takes its permission bits.

use std::{collections::HashMap, sync::Arc};

use galley_dockerfile::{Ignore, ignore::FolderState};
use galley_oci::{
    stack::{Found, Stack},
    tree::parent,
};
use galley_store::Decision;

use crate::{Error, ErrorKind, plan::CopyOp};

/// What sets off, with `--parents`, the pattern of what is kept from where that pattern begins.
const PIVOT: &[u8] = b"/./";

/// A source of COPY as the walk of files needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    /// The path pattern of what is copied from.
    pub path: Vec<u8>,
    /// With `--parents`: the pattern of what is kept below it.
    pub kept: Option<Vec<u8>>,
    /// What below it; everything without.
    pub filter: Option<Arc<Filter>>,
}

/// What is meant below a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// With `--parents`: what it matches, and nothing else.
    only: Option<Ignore>,
    excluded: Ignore,
}

/// Something that is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<'a> {
    pub found: Found<'a>,
    /// A directory that is there for what is below it.
    pub on_the_way: bool,
}

/// The sources of `operation`, in the order written.
pub(crate) fn sources(operation: &CopyOp) -> Result<Vec<Meant>, Error> {
    operation.sources.iter().map(|source| Meant::new(source, &operation.excludes)).collect()
}

/// What `--exclude` leaves of a source that is no pattern.
pub(crate) fn without(excludes: &[Vec<u8>]) -> Result<Option<Arc<Filter>>, Error> {
    Ok(Meant::new(b"", excludes)?.filter)
}

/// With `--parents` a source has two parts: where the kept part of a path starts, and the pattern of what is kept.
fn parts(source: &[u8]) -> (&[u8], Option<&[u8]>) {
    let pivot = source.windows(PIVOT.len()).position(|window| window == PIVOT);
    pivot.map_or((source, None), |at| (&source[..at], Some(&source[at + PIVOT.len()..])))
}

/// The names that everything begins with that `pattern` matches.
pub(crate) fn fixed(pattern: &[u8]) -> &[u8] {
    if pattern.starts_with(b"!") || pattern.trim_ascii() != pattern {
        return b"";
    }
    match pattern.iter().position(|byte| b"*?[\\".contains(byte)) {
        Some(special) => parent(&pattern[..special]).unwrap_or_default(),
        None => pattern,
    }
}

/// Reads patterns of `--exclude` or `--parents`.
fn rules<'a>(patterns: impl IntoIterator<Item = &'a [u8]>) -> Result<Ignore, Error> {
    Ignore::from_patterns(patterns)
        .map_err(|error| Error::new(ErrorKind::Input, error.to_string()).because(error))
}

impl Meant {
    fn new(source: &[u8], excludes: &[Vec<u8>]) -> Result<Self, Error> {
        let (path, kept) = parts(source);
        let only = kept.map(|kept| rules([kept])).transpose()?;
        let excluded = rules(excludes.iter().map(Vec::as_slice))?;
        let filter = (only.is_some() || !excludes.is_empty()).then(|| Arc::new(Filter { only, excluded }));
        Ok(Self { path: path.to_vec(), kept: kept.map(<[u8]>::to_vec), filter })
    }

    /// What must be there below it.
    pub(crate) fn required(&self) -> Option<&[u8]> {
        self.kept.as_deref().filter(|kept| !has_wildcards(&self.path) && !has_wildcards(kept))
    }
}

/// Whether it is a pattern, which may match nothing; a backslash alone makes none.
pub(crate) fn has_wildcards(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    false
}

/// What is meant of the file or directory at `path`, a directory before what is below it.
pub(crate) fn walk<'a>(stack: &'a Stack, path: &[u8], filter: Option<&Filter>) -> Vec<Kept<'a>> {
    let all = stack.walk(path);
    match filter {
        Some(filter) => filter.keep(all, path.len()),
        None => all.into_iter().map(|found| Kept { found, on_the_way: false }).collect(),
    }
}

/// A directory while its entries are looked at: its place in the walk, and what the patterns know of it.
struct Folder {
    place: usize,
    only: FolderState,
    excluded: FolderState,
}

impl Filter {
    /// Whether `--exclude` leaves out `path`, which is below the source.
    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        self.excluded.matches(path)
    }

    /// Whether what it answered is true.
    pub(crate) fn in_time(&self) -> Result<(), Error> {
        self.excluded
            .in_time()
            .map_err(|error| Error::new(ErrorKind::Input, format!("--exclude: {error}")).because(error))
    }

    /// Whether the file or directory at `path`, which is below the source, has to be read.
    pub(crate) fn decide(&self, path: &[u8], is_directory: bool) -> Decision {
        let excluded = self.excludes(path);
        let included = path.is_empty() || self.only.as_ref().is_none_or(|only| only.matches(path));
        match (included && !excluded, is_directory) {
            (true, _) => Decision::Keep,
            (false, true) if !excluded || self.excluded.may_readmit_below(path) => {
                Decision::SkipButLookInside
            }
            (false, _) => Decision::Skip,
        }
    }

    /// `start` is the length of the source's own path.
    fn keep<'a>(&self, all: Vec<Found<'a>>, start: usize) -> Vec<Kept<'a>> {
        let mut ways: Vec<Option<bool>> = vec![None; all.len()];
        let mut folders: HashMap<&[u8], Folder> = HashMap::new();
        for (place, found) in all.iter().enumerate() {
            let relative = &found.path()[start..];
            let relative = relative.strip_prefix(b"/").unwrap_or(relative);
            if relative.is_empty() {
                ways[place] = Some(false);
                continue;
            }
            let above = parent(relative).unwrap_or_default();
            let (meant, folder) = self.check(folders.get(above), relative, place);
            if meant {
                ways[place] = Some(false);
                mark_way(&mut ways, &folders, above);
            }
            if found.entry.is_directory() {
                folders.insert(relative, folder);
            }
        }
        let kept = all.iter().zip(ways);
        kept.filter_map(|(found, way)| Some(Kept { found: *found, on_the_way: way? })).collect()
    }

    fn check(&self, above: Option<&Folder>, path: &[u8], place: usize) -> (bool, Folder) {
        let check = |rules: &Ignore, state: Option<&FolderState>| match state {
            Some(state) => rules.check(state, path),
            None => rules.check(&rules.root(), path),
        };
        let (excluded, excluded_state) = check(&self.excluded, above.map(|folder| &folder.excluded));
        let (included, only) = match &self.only {
            Some(only) => check(only, above.map(|folder| &folder.only)),
            None => (true, FolderState::default()),
        };
        (included && !excluded, Folder { place, only, excluded: excluded_state })
    }
}

/// The directories above something that is meant.
fn mark_way(ways: &mut [Option<bool>], folders: &HashMap<&[u8], Folder>, mut path: &[u8]) {
    while let Some(folder) = folders.get(path) {
        if ways[folder.place].is_some() {
            return;
        }
        ways[folder.place] = Some(true);
        path = parent(path).unwrap_or_default();
    }
}
