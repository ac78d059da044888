//! By which of its names a file was written to: afterwards nothing tells, while it happens the kernel does.
//!
//! Over an overlay only that name gets the new content. So directories that have a file of several names are watched
//! while a step runs.

use std::{
    collections::{HashMap, HashSet},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
};

use galley_oci::tree::join;
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

use crate::origins::path_of;

/// Room for some hundred events at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Directories in which it is noted what is written to.
#[derive(Debug)]
pub(super) struct Watch {
    events: OwnedFd,
    directories: HashMap<i32, Box<[u8]>>,
}

impl Watch {
    /// Begins in these directories below `root`; none where there is nothing to watch, or the kernel has no room for it.
    pub(super) fn begin<'a>(root: &Path, directories: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let directories: HashSet<&[u8]> = directories.collect();
        if directories.is_empty() {
            return None;
        }
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        let flags = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
        let watch = |path: &[u8]| {
            let number = inotify::add_watch(&events, root.join(path_of(path)), flags).ok()?;
            Some((number, path.into()))
        };
        let directories = directories.into_iter().map(watch).collect::<Option<_>>()?;
        Some(Self { events, directories })
    }

    /// The paths that were written to, or got other attributes; `None` when some may be missing.
    pub(super) fn written(&self) -> Option<HashSet<Box<[u8]>>> {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        let (mut reader, mut written) = (Reader::new(&self.events, &mut buffer), HashSet::new());
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => return None,
                Ok(event) => {
                    let directory = self.directories.get(&event.wd());
                    let named = directory.zip(event.file_name());
                    written.extend(named.map(|(above, name)| join(above, name.to_bytes()).into()));
                }
                Err(Errno::AGAIN) => return Some(written),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}
