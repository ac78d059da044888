//! Opens the directories of a tree one after the other, below a root that nothing leads out of.

use std::{
    ffi::{CString, OsStr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::{StoreError, error::At, origins::path_of};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Below the start, through no link at all.
pub(crate) const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The kernel takes paths up to 4096 bytes; longer ones are opened in pieces.
const PIECE_BYTES_MAX: usize = 4000;

/// The directory opened last stays open: trees are sorted, so the next file is often in it too.
#[derive(Debug)]
pub(crate) struct Cursor {
    root_path: PathBuf,
    root: Arc<OwnedFd>,
    current: Option<(Vec<u8>, Arc<OwnedFd>)>,
}

impl Cursor {
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        let handle = rustix::fs::open(root, DIRECTORY, Mode::empty()).at("open", root)?;
        Ok(Self { root_path: root.to_owned(), root: Arc::new(handle), current: None })
    }

    /// The host's path of `path`, for messages.
    pub(crate) fn host_path(&self, path: &[u8]) -> PathBuf {
        self.root_path.join(path_of(path))
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory `path`, which must be one and not a link.
    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, StoreError> {
        Ok(self.handle(path)?.as_fd())
    }

    fn handle(&mut self, path: &[u8]) -> Result<&Arc<OwnedFd>, StoreError> {
        if path.is_empty() {
            return Ok(&self.root);
        }
        if self.current.as_ref().is_none_or(|(current, _)| current != path) {
            let (from, rest) = self.nearest(path);
            let opened = open_below(from, rest).at("open", self.host_path(path))?;
            self.current = Some((path.to_owned(), Arc::new(opened)));
        }
        Ok(self.current.as_ref().map_or(&self.root, |(_, handle)| handle))
    }

    /// What is open above `path`, and the rest of it: whoever goes down step by step does not begin at the root each time.
    fn nearest<'a>(&self, path: &'a [u8]) -> (BorrowedFd<'_>, &'a [u8]) {
        let below = |current: &[u8]| path.strip_prefix(current)?.strip_prefix(b"/");
        let current = self.current.as_ref().and_then(|(path, handle)| Some((handle, below(path)?)));
        current.map_or((self.root.as_fd(), path), |(handle, rest)| (handle.as_fd(), rest))
    }

    /// Closes the directory opened last: it may be another one soon.
    pub(crate) fn forget(&mut self) {
        self.current = None;
    }

    /// The directory above `path`, and the name of `path` in it.
    pub(crate) fn parent(&mut self, path: &[u8]) -> Result<(BorrowedFd<'_>, CString), StoreError> {
        let (handle, name) = self.parent_handle(path)?;
        Ok((handle.as_fd(), name))
    }

    /// The same, for whoever needs the directory when this has gone on to another one.
    pub(crate) fn parent_handle(&mut self, path: &[u8]) -> Result<(&Arc<OwnedFd>, CString), StoreError> {
        let (parent, name) = split(path);
        let host_path = self.host_path(path);
        let name = CString::new(name).map_err(|_| Errno::INVAL).at("name", host_path)?;
        Ok((self.handle(parent)?, name))
    }
}

/// Opens the directory `path` below `root`.
pub(crate) fn open_below(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let (mut at, mut rest) = (None::<OwnedFd>, path);
    loop {
        let (piece, left) = piece(rest);
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        let opened = rustix::fs::openat2(from, OsStr::from_bytes(piece), DIRECTORY, Mode::empty(), CONFINED)?;
        if left.is_empty() {
            return Ok(opened);
        }
        (at, rest) = (Some(opened), left);
    }
}

/// The beginning of `path` that the kernel takes at once, and the rest.
fn piece(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PIECE_BYTES_MAX {
        return (path, b"");
    }
    match path[..PIECE_BYTES_MAX].iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, b""),
    }
}

/// The directory above, and the last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
