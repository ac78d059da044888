//! Walks a directory tree in the order of trees, by handles, with one `statx` for each file.

use std::{
    ffi::CStr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    thread,
};

use galley_oci::{Meta, Time, tree::MAX_PATH_BYTES};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, StatxTimestamp};

use super::{
    ahead::{Ahead, Directory, Judge, Shared},
    cursor::open_below,
    listing::{self, Listing},
};
use crate::{
    StoreError,
    error::{Absent, At},
    origins::path_of,
};

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Directories that are deeper give their handle back while the walk is below them.
const OPEN_DEPTH_MAX: usize = 64;

/// A walk that has met so many names is worth a second thread …
const AHEAD_NAMES: usize = 2048;
/// … in directories that are no deeper: those that wait to be looked at hold the ones above them open.
const AHEAD_DEPTH_MAX: usize = 16;

/// What is done with a directory entry before it is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Report it; a directory is entered.
    Report,
    /// A directory is entered and reported all the same; the visitor knows that it is there for the sake of others.
    Pass,
    /// As if it were not there.
    Skip,
}

/// Gets what the walk finds. Paths are relative to the root, which is the empty one.
pub(crate) trait Visitor {
    /// What to do with `path`.
    fn consider(&mut self, path: &[u8], is_directory: bool) -> Visit;

    /// A directory, before what it holds.
    fn directory(&mut self, found: &Found<'_>, handle: &OwnedFd, visit: Visit) -> Result<(), StoreError>;

    /// A directory and everything in it is done.
    fn leave(&mut self);

    /// Anything else.
    fn file(&mut self, found: &Found<'_>, parent: &Arc<OwnedFd>, name: &CStr) -> Result<(), StoreError>;
}

/// A file that was found.
pub(crate) struct Found<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) stat: &'a Statx,
    root: &'a Path,
}

impl Found<'_> {
    /// The host's path, for messages.
    pub(crate) fn host_path(&self) -> PathBuf {
        self.root.join(path_of(self.path))
    }

    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.stx_mode.into())
    }

    /// Mode, owner and time as they are.
    pub(crate) fn meta(&self) -> Meta {
        let mtime = time(&self.stat.stx_mtime);
        Meta {
            mode: self.stat.stx_mode & 0o7777,
            uid: self.stat.stx_uid,
            gid: self.stat.stx_gid,
            mtime,
            xattrs: None,
        }
    }

    /// Which file system it is on.
    pub(crate) fn device(&self) -> u64 {
        u64::from(self.stat.stx_dev_major) << 32 | u64::from(self.stat.stx_dev_minor)
    }
}

pub(crate) fn time(stamp: &StatxTimestamp) -> Time {
    Time { seconds: stamp.tv_sec, nanoseconds: stamp.tv_nsec }
}

/// Walks everything below `root`, which is reported first. What vanishes meanwhile is left out.
pub(crate) fn walk(root: &Path, visitor: &mut dyn Visitor) -> Result<(), StoreError> {
    walk_all(root, None, visitor)
}

/// The same, and a second thread may look ahead when there is much. The judge says what the visitor says.
pub(crate) fn walk_ahead(
    root: &Path,
    judge: &dyn Judge,
    visitor: &mut dyn Visitor,
) -> Result<(), StoreError> {
    let shared = Shared::default();
    thread::scope(|scope| walk_all(root, Some(Ahead::new(scope, &shared, judge)), visitor))
}

fn walk_all(root: &Path, ahead: Option<Ahead<'_, '_>>, visitor: &mut dyn Visitor) -> Result<(), StoreError> {
    let handle = rustix::fs::open(root, DIRECTORY, Mode::empty()).at("open", root)?;
    let stat =
        rustix::fs::statx(&handle, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).at("examine", root)?;
    let handle = Arc::new(handle);
    let mut walk =
        Walk { root, path: Vec::new(), frames: Vec::new(), handle: Arc::clone(&handle), names: 0, ahead };
    walk.enter(handle, &stat, None, Visit::Report, visitor)?;
    while let Some(frame) = walk.frames.last_mut() {
        let (names, number) = (Rc::clone(&frame.names), frame.next);
        frame.next += 1;
        match names.get(number) {
            Some((name, kind)) => walk.step(number, name, kind, visitor)?,
            None => {
                walk.frames.pop();
                visitor.leave();
            }
        }
    }
    Ok(())
}

struct Walk<'a, 'scope, 'env> {
    root: &'a Path,
    /// Of what is looked at now; a prefix of it belongs to each frame.
    path: Vec<u8>,
    frames: Vec<Frame>,
    handle: Arc<OwnedFd>,
    /// How many were met.
    names: usize,
    ahead: Option<Ahead<'scope, 'env>>,
}

/// A directory that the walk is in.
struct Frame {
    path_bytes: usize,
    handle: Option<Arc<OwnedFd>>,
    names: Rc<Listing>,
    /// The number of the name that comes next.
    next: usize,
    /// What is known of the files already.
    files: Vec<Option<Statx>>,
    /// Under what its subdirectories are looked at ahead.
    ahead: Option<u64>,
}

/// The names of a directory, and what is known of its files.
type Listed = (Listing, Vec<Option<Statx>>);

impl Walk<'_, '_, '_> {
    fn step(
        &mut self,
        number: usize,
        name: &CStr,
        kind: FileType,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StoreError> {
        let parent = self.parent()?;
        self.descend(name)?;
        let mut stat = self.frames.last_mut().and_then(|frame| frame.files.get_mut(number)?.take());
        if kind == FileType::Unknown {
            stat = self.stat(&parent, name)?;
        }
        let kind = stat.as_ref().map_or(kind, |stat| FileType::from_raw_mode(stat.stx_mode.into()));
        let visit = visitor.consider(&self.path, kind == FileType::Directory);
        if visit == Visit::Skip {
            return Ok(());
        }
        if kind == FileType::Directory
            && let Some(Directory { stat, handle, names, files }) = self.looked_at(number)
        {
            return self.enter(Arc::new(handle), &stat, Some((names, files)), visit, visitor);
        }
        if stat.is_none() {
            stat = self.stat(&parent, name)?;
        }
        let Some(stat) = stat else { return Ok(()) };
        if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory {
            let opened = rustix::fs::openat(&*parent, name, DIRECTORY, Mode::empty());
            let Some(handle) = opened.absent().at("open", self.host_path())? else { return Ok(()) };
            return self.enter(Arc::new(handle), &stat, None, visit, visitor);
        }
        visitor.file(&Found { path: &self.path, stat: &stat, root: self.root }, &parent, name)
    }

    /// Adds `name` to the path.
    fn descend(&mut self, name: &CStr) -> Result<(), StoreError> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
        if self.path.len() > MAX_PATH_BYTES {
            let limit = MAX_PATH_BYTES as u64;
            return Err(StoreError::Limit { what: "the length of a path", limit, path: self.host_path() });
        }
        Ok(())
    }

    /// What was found out ahead about the directory with this number in the innermost one.
    fn looked_at(&self, number: usize) -> Option<Directory> {
        let first = self.frames.last()?.ahead?;
        self.ahead.as_ref()?.take(first + number as u64)
    }

    /// The handle of the innermost directory, whose path `self.path` is afterwards.
    fn parent(&mut self) -> Result<Arc<OwnedFd>, StoreError> {
        let root = Arc::clone(&self.handle);
        let Some(frame) = self.frames.last_mut() else { return Ok(root) };
        self.path.truncate(frame.path_bytes);
        if let Some(handle) = &frame.handle {
            return Ok(Arc::clone(handle));
        }
        let handle = open_below(root.as_fd(), &self.path).at("open", self.root.join(path_of(&self.path)))?;
        let handle = Arc::new(handle);
        frame.handle = Some(Arc::clone(&handle));
        Ok(handle)
    }

    fn enter(
        &mut self,
        handle: Arc<OwnedFd>,
        stat: &Statx,
        listed: Option<Listed>,
        visit: Visit,
        visitor: &mut dyn Visitor,
    ) -> Result<(), StoreError> {
        visitor.directory(&Found { path: &self.path, stat, root: self.root }, &handle, visit)?;
        let (names, files) = match listed {
            Some(listed) => listed,
            None => {
                let names = listing::sorted(handle.as_fd());
                (names.or_else(|error| Err(error).at("list", self.host_path()))?, Vec::new())
            }
        };
        if self.frames.len() >= OPEN_DEPTH_MAX
            && let Some(frame) = self.frames.last_mut()
        {
            frame.handle = None;
        }
        self.names += names.len();
        let (path_bytes, names) = (self.path.len(), Rc::new(names));
        self.frames.push(Frame { path_bytes, handle: Some(handle), names, next: 0, files, ahead: None });
        self.look_ahead();
        Ok(())
    }

    /// Has the directories looked at that come next, when there are enough of them; of the outer ones the last.
    fn look_ahead(&mut self) {
        let Some(ahead) = self.ahead.as_mut().filter(|_| self.names >= AHEAD_NAMES) else { return };
        for frame in self.frames.iter_mut().take(AHEAD_DEPTH_MAX).filter(|frame| frame.ahead.is_none()) {
            if let Some(handle) = &frame.handle {
                let path = &self.path[..frame.path_bytes];
                frame.ahead = Some(ahead.look_at(handle, path, &frame.names, frame.next));
            }
        }
    }

    fn stat(&self, parent: &OwnedFd, name: &CStr) -> Result<Option<Statx>, StoreError> {
        match examine(parent, name) {
            Ok(stat) => Ok(Some(stat)),
            // The path is only made for the message: this is done for each file.
            Err(error) => Err(error).absent().at("examine", self.host_path()),
        }
    }

    fn host_path(&self) -> PathBuf {
        self.root.join(path_of(&self.path))
    }
}

/// Looks at what has this name, not at what a link leads to.
pub(super) fn examine(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(parent, name, flags, StatxFlags::BASIC_STATS)
}
