//! An archive as a directory of files.

use std::{
    ffi::CString,
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    thread::Scope,
};

use galley_oci::{Blake3, Kind, Meta, Tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::target::Target;
use crate::{
    StoreError,
    error::At,
    files::{
        Dialect,
        attributes::{self, Inherited},
        copier,
        cursor::Cursor,
        materialise::finish_directory,
        remove,
        writers::{Maker, NewFile, SMALL_FILE_BYTES_MAX, Writers},
    },
    origins::path_of,
};

const EXISTING_FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) struct Directory {
    at: Cursor,
    /// For the targets of hard links.
    linked: Cursor,
    writers: Writers,
    dialect: Dialect,
    buffer: Vec<u8>,
}

impl Directory {
    /// Makes the directory `root`, and threads that write to it.
    pub(super) fn new<'scope>(
        root: &Path,
        dialect: Dialect,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Self, StoreError> {
        rustix::fs::mkdir(root, Mode::from_raw_mode(0o777)).at("create", root)?;
        let (at, linked) = (Cursor::open(root)?, Cursor::open(root)?);
        let inherited = Inherited::below(at.root()).at("examine", root)?;
        let writers = Writers::start(scope, Maker { dialect, inherited });
        Ok(Self { at, linked, writers, dialect, buffer: vec![0; copier::BUFFER_BYTES] })
    }
}

impl Target for Directory {
    fn directory(&mut self, path: &[u8]) -> Result<(), StoreError> {
        let host_path = self.at.host_path(path);
        let (parent, name) = self.at.parent(path)?;
        rustix::fs::mkdirat(parent, &*name, Mode::from_raw_mode(0o700)).at("create", host_path)
    }

    fn file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        size: u64,
        input: &mut dyn Read,
    ) -> Result<[u8; 32], StoreError> {
        let host_path = self.at.host_path(path);
        let (directory, name) = self.at.parent_handle(path)?;
        let file = NewFile { name, host_path, meta: meta.clone() };
        let mut hasher = Blake3::new();
        if size <= SMALL_FILE_BYTES_MAX {
            let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
            input.read_exact(&mut content).at("read from the archive", path_of(path))?;
            hasher.update(&content);
            self.writers.add(directory, file, content)?;
        } else {
            let buffer = &mut self.buffer;
            self.writers.maker().make(directory.as_fd(), &file, |out: &mut File| {
                each_chunk(input, path, size, buffer, |chunk| {
                    hasher.update(chunk);
                    out.write_all(chunk).at("write", &file.host_path)
                })
            })?;
        }
        Ok(*hasher.finish().bytes())
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError> {
        self.writers.settle()?;
        let host_path = self.at.host_path(path);
        let (from, first_name) = self.linked.parent(target)?;
        let (to, name) = self.at.parent(path)?;
        rustix::fs::linkat(from, &*first_name, to, &*name, AtFlags::empty())
            .at("create the hard link", host_path)
    }

    fn relabel(&mut self, path: &[u8], meta: &Meta, kind: &Kind) -> Result<(), StoreError> {
        let host_path = self.at.host_path(path);
        let (parent, name) = self.at.parent(path)?;
        let set = match kind {
            Kind::File { .. } => rustix::fs::openat(parent, &*name, EXISTING_FILE, Mode::empty())
                .and_then(|file| attributes::set_open(file.as_fd(), meta)),
            Kind::Symlink { .. } => attributes::set_link(parent, &name, meta),
            _ => attributes::set_special(parent, &name, meta),
        };
        self.dialect.owned(set, &host_path, meta)
    }

    fn special(&mut self, path: &[u8], meta: &Meta, kind: &Kind) -> Result<(), StoreError> {
        let (host_path, dialect) = (self.at.host_path(path), self.dialect);
        let (parent, name) = self.at.parent(path)?;
        make_special(dialect, parent, &name, kind).at("create", &host_path)?;
        let set = match kind {
            Kind::Symlink { .. } => attributes::set_link(parent, &name, meta),
            _ => attributes::set_special(parent, &name, meta),
        };
        dialect.owned(set, &host_path, meta)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), StoreError> {
        let (host_path, dialect) = (self.at.host_path(path), self.dialect);
        let (parent, name) = self.at.parent(path)?;
        dialect.make_whiteout(parent, &name).at("create a whiteout at", host_path)
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), StoreError> {
        self.writers.settle()?;
        self.at.forget();
        self.linked.forget();
        let host_path = self.at.host_path(path);
        let (parent, name) = self.at.parent(path)?;
        remove::remove_at(parent, &name).at("replace", &host_path)
    }

    /// Directories get their attributes last, deepest first.
    fn finish(mut self, tree: &Tree) -> Result<(), StoreError> {
        self.writers.settle()?;
        for entry in tree.entries().iter().rev() {
            if let Kind::Directory { opaque } = entry.kind {
                finish_directory(&mut self.at, entry, opaque, self.dialect)?;
            }
        }
        Ok(())
    }
}

/// Hands on the next `size` bytes of `input`, which is at `path`, piece by piece.
pub(super) fn each_chunk(
    input: &mut dyn Read,
    path: &[u8],
    size: u64,
    buffer: &mut [u8],
    mut each: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..want];
        input.read_exact(buffer).at("read from the archive", path_of(path))?;
        each(buffer)?;
        left -= want as u64;
    }
    Ok(())
}

fn make_special(
    dialect: Dialect,
    parent: BorrowedFd<'_>,
    name: &CString,
    kind: &Kind,
) -> Result<(), rustix::io::Errno> {
    match kind {
        Kind::Symlink { target } => rustix::fs::symlinkat(&**target, parent, &**name),
        Kind::Fifo => rustix::fs::mknodat(parent, &**name, FileType::Fifo, Mode::from_raw_mode(0o600), 0),
        _ => dialect.make_device(parent, name, kind),
    }
}
