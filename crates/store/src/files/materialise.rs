//! A tree becomes a directory.

use std::{collections::HashMap, fs::File, num::NonZeroU32, os::fd::AsFd, path::Path};

use galley_oci::{Entry, Kind, Tree};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    Dialect, attributes,
    copier::{Copier, Source},
    cursor::Cursor,
};
use crate::{StoreError, error::At};

const NEW_FILE: OFlags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);

/// Opens the content of the file with this index.
pub(crate) type Open<'a> = &'a dyn Fn(usize) -> Result<Source, StoreError>;

/// Makes the new directory `into` hold what `tree` says.
pub(crate) fn materialise(
    tree: &Tree,
    into: &Path,
    dialect: Dialect,
    open: Open<'_>,
) -> Result<(), StoreError> {
    rustix::fs::mkdir(into, Mode::from_raw_mode(0o700)).at("create", into)?;
    write_all(tree, into, Manner::Layer, dialect, open)
}

/// Adds to the directory `into` what `tree` says. Directories may be there already; of whiteouts nothing is made.
pub(crate) fn add(tree: &Tree, into: &Path, dialect: Dialect, open: Open<'_>) -> Result<(), StoreError> {
    write_all(tree, into, Manner::Shown, dialect, open)
}

/// What becomes of entries that stand for something below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As overlayfs has them.
    Layer,
    /// What is shown when they were laid over what is there.
    Shown,
}

fn write_all(
    tree: &Tree,
    into: &Path,
    manner: Manner,
    dialect: Dialect,
    open: Open<'_>,
) -> Result<(), StoreError> {
    let mut writer = Writer {
        at: Cursor::open(into)?,
        linked: Cursor::open(into)?,
        manner,
        dialect,
        first_names: HashMap::new(),
        copier: Copier::new(),
    };
    for (index, entry) in tree.entries().iter().enumerate() {
        writer.write(index, entry, open)?;
    }
    // Directories last and deepest first: until then they must be writable, and their times would change.
    for entry in tree.entries().iter().rev() {
        if let Kind::Directory { opaque } = entry.kind {
            finish_directory(&mut writer.at, entry, opaque && manner == Manner::Layer, dialect)?;
        }
    }
    Ok(())
}

/// Gives a directory its attributes.
pub(crate) fn finish_directory(
    at: &mut Cursor,
    entry: &Entry,
    opaque: bool,
    dialect: Dialect,
) -> Result<(), StoreError> {
    let host_path = at.host_path(&entry.path);
    let directory = at.directory(&entry.path)?;
    if opaque {
        dialect.make_opaque(directory).at("make opaque", &host_path)?;
    }
    dialect.owned(attributes::set_open(directory, &entry.meta), &host_path, &entry.meta)
}

/// Sets the times of the files below `root`, which are those of `have`, to those of `want`.
pub(crate) fn restamp(root: &Path, have: &Tree, want: &Tree) -> Result<(), StoreError> {
    let mut at = Cursor::open(root)?;
    for (have, want) in have.entries().iter().zip(want.entries()) {
        if have.meta.mtime == want.meta.mtime || want.kind == Kind::Whiteout {
            continue;
        }
        let host_path = at.host_path(&want.path);
        if want.path.is_empty() {
            rustix::fs::futimens(at.root(), &attributes::timestamps(want.meta.mtime))
                .at("set the time of", &host_path)?;
            continue;
        }
        let (parent, name) = at.parent(&want.path)?;
        attributes::set_time(parent, &name, want.meta.mtime).at("set the time of", &host_path)?;
    }
    Ok(())
}

struct Writer {
    at: Cursor,
    /// For the first names of hard links, which may be anywhere.
    linked: Cursor,
    manner: Manner,
    dialect: Dialect,
    first_names: HashMap<NonZeroU32, Box<[u8]>>,
    copier: Copier,
}

impl Writer {
    fn write(&mut self, index: usize, entry: &Entry, open: Open<'_>) -> Result<(), StoreError> {
        let host_path = self.at.host_path(&entry.path);
        match &entry.kind {
            Kind::Directory { .. } if entry.path.is_empty() => Ok(()),
            Kind::Directory { .. } => {
                let (parent, name) = self.at.parent(&entry.path)?;
                let made = rustix::fs::mkdirat(parent, &*name, Mode::from_raw_mode(0o700));
                let there = self.manner == Manner::Shown && made == Err(Errno::EXIST);
                if there { Ok(()) } else { made.at("create", &host_path) }
            }
            Kind::Whiteout if self.manner == Manner::Shown => Ok(()),
            Kind::File { size, digest, links } => {
                self.write_file(index, entry, (*size, digest), *links, open)
            }
            Kind::Symlink { target } => {
                let (parent, name) = self.at.parent(&entry.path)?;
                rustix::fs::symlinkat(&**target, parent, &*name)
                    .and_then(|()| attributes::set_link(parent, &name, &entry.meta))
                    .at("create the link", &host_path)
            }
            Kind::Whiteout => {
                let (parent, name) = self.at.parent(&entry.path)?;
                self.dialect.make_whiteout(parent, &name).at("create a whiteout at", &host_path)
            }
            Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => self.write_special(entry),
        }
    }

    fn write_special(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let host_path = self.at.host_path(&entry.path);
        let (parent, name) = self.at.parent(&entry.path)?;
        let made = if entry.kind == Kind::Fifo {
            rustix::fs::mknodat(parent, &*name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        } else {
            self.dialect.make_device(parent, &name, &entry.kind)
        };
        made.and_then(|()| attributes::set_special(parent, &name, &entry.meta)).at("create", &host_path)
    }

    fn write_file(
        &mut self,
        index: usize,
        entry: &Entry,
        (size, digest): (u64, &[u8; 32]),
        links: Option<NonZeroU32>,
        open: Open<'_>,
    ) -> Result<(), StoreError> {
        let host_path = self.at.host_path(&entry.path);
        if let Some(first) = links.and_then(|group| self.first_names.get(&group)) {
            let (from, first_name) = self.linked.parent(first)?;
            let (to, name) = self.at.parent(&entry.path)?;
            return rustix::fs::linkat(from, &*first_name, to, &*name, AtFlags::empty())
                .at("create the hard link", &host_path);
        }
        let (parent, name) = self.at.parent(&entry.path)?;
        let created = rustix::fs::openat(parent, &*name, NEW_FILE, Mode::from_raw_mode(0o600));
        let mut file = File::from(created.at("create", &host_path)?);
        if size > 0 {
            self.copier.copy(open(index)?, &mut file, size, digest)?;
        }
        self.dialect.owned(attributes::set_open(file.as_fd(), &entry.meta), &host_path, &entry.meta)?;
        if let Some(group) = links {
            self.first_names.insert(group, entry.path.clone());
        }
        Ok(())
    }
}
