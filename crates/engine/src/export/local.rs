//! The image's files as a folder of this machine.
//!
//! Files belong to whoever builds, as buildx does it; modes, times, links and user attributes are kept. What is in the
//! folder already stays, unless the image has something of the same name.

use std::{
    collections::HashMap,
    fs::Permissions,
    io,
    num::NonZeroU32,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::Path,
};

use fs_err as fs;
use galley_oci::{Entry, Kind, Time, TimePolicy};
use galley_store::{Content, StoreError};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use super::files::Files;
use crate::{Error, ErrorKind, steps::files::store_error};

/// Writes all `files` below `folder`.
pub(super) fn write(files: &Files, times: TimePolicy, folder: &Path) -> Result<(), Error> {
    let failed = |path: &[u8], source: io::Error| {
        let kind = ErrorKind::Usage.unless_disk(&source);
        let path = folder.join(std::ffi::OsStr::from_bytes(path));
        match StoreError::io("write", &path, source) {
            StoreError::Io { source, .. } => {
                Error::new(kind, format!("cannot write the output {}", path.display())).because(source)
            }
            too_deep => store_error(too_deep),
        }
    };
    fs::create_dir_all(folder).map_err(|source| failed(b"", source))?;
    let root = open_folder(folder).map_err(|source| failed(b"", source))?;
    let mut writer = Writer { root, times, linked: HashMap::new() };
    for (index, entry) in files.tree.entries().iter().enumerate().skip(1) {
        let content = matches!(entry.kind, Kind::File { .. }).then(|| files.open(index)).transpose()?;
        writer.make(entry, content).map_err(|source| failed(&entry.path, source))?;
    }
    // Times of directories last: making what is in them changed them.
    for entry in files.tree.entries().iter().skip(1).rev() {
        if matches!(entry.kind, Kind::Directory { .. }) {
            writer.finish_directory(entry).map_err(|source| failed(&entry.path, source))?;
        }
    }
    Ok(())
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

struct Writer {
    root: OwnedFd,
    times: TimePolicy,
    /// The first path of each hard-link group.
    linked: HashMap<NonZeroU32, Box<[u8]>>,
}

impl Writer {
    fn make(&mut self, entry: &Entry, content: Option<Content>) -> io::Result<()> {
        let (parent, name) = self.parent(&entry.path)?;
        self.make_room(&parent, name, matches!(entry.kind, Kind::Directory { .. }))?;
        let mode = Mode::from_raw_mode(u32::from(entry.meta.mode));
        match &entry.kind {
            Kind::Directory { .. } => match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
            Kind::File { links, .. } => {
                if let Some(first) = links.and_then(|group| self.linked.get(&group)) {
                    let (from, from_name) = self.parent(first)?;
                    return Ok(rustix::fs::linkat(&from, from_name, &parent, name, AtFlags::empty())?);
                }
                self.write_file(&parent, name, entry, content)?;
                if let Some(group) = *links {
                    self.linked.insert(group, entry.path.clone());
                }
                return Ok(());
            }
            Kind::Symlink { target } => rustix::fs::symlinkat(&**target, &parent, name)?,
            Kind::Fifo => rustix::fs::mknodat(&parent, name, rustix::fs::FileType::Fifo, mode, 0)?,
            // A device in a folder of files is of no use, and only root could make it.
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Whiteout => return Ok(()),
        }
        Ok(rustix::fs::utimensat(&parent, name, &self.timestamps(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn write_file(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        content: Option<Content>,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file =
            std::fs::File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        if let Some(content) = content {
            content.copy_to(&mut file)?;
        }
        file.set_permissions(Permissions::from_mode(u32::from(entry.meta.mode)))?;
        Ok(rustix::fs::futimens(&file, &self.timestamps(entry))?)
    }

    fn finish_directory(&self, entry: &Entry) -> io::Result<()> {
        let (parent, name) = self.parent(&entry.path)?;
        rustix::fs::chmodat(
            &parent,
            name,
            Mode::from_raw_mode(u32::from(entry.meta.mode)),
            AtFlags::empty(),
        )?;
        Ok(rustix::fs::utimensat(&parent, name, &self.timestamps(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes what stands in the way: anything but a directory where a directory goes.
    fn make_room(&self, parent: &OwnedFd, name: &[u8], directory: bool) -> io::Result<()> {
        let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        match (rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir(), directory) {
            (true, true) => Ok(()),
            (true, false) => Err(io::Error::other("a folder of this name is there already")),
            (false, _) => Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?),
        }
    }

    /// The opened directory above `path` and the last name. No symlink is followed, whatever the folder holds.
    fn parent<'p>(&self, path: &'p [u8]) -> io::Result<(OwnedFd, &'p [u8])> {
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b"."[..], path),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok((rustix::fs::openat2(&self.root, parent, flags, Mode::empty(), resolve)?, name))
    }

    fn timestamps(&self, entry: &Entry) -> Timestamps {
        let Time { seconds, nanoseconds } = self.times.apply(entry.meta.mtime);
        let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
        Timestamps { last_access: time, last_modification: time }
    }
}
