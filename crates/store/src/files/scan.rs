//! A directory becomes a tree: what a step left in the upper directory of its overlay, or any directory.

use std::{
    collections::HashMap,
    ffi::CStr,
    num::NonZeroU32,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use galley_oci::{Entry, Kind, Meta, Tree, tree::Xattrs};
use rustix::fs::FileType;

use super::{
    dialect::{overlay_attribute, stands_in_for},
    hash::{Hashed, Hasher, Job, hashing},
    owner,
    walk::{Found, Visit, Visitor, walk},
    xattrs,
};
use crate::{Store, StoreError, error::At};

/// How a directory is scanned.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// Paths, relative to the directory, that are left out with everything below them: mount points of the sandbox.
    pub leave_out: Vec<Box<[u8]>>,
}

impl Store {
    /// The tree of the directory `dir`. Overlayfs' whiteouts and opaque directories become those of the tree; its other
    /// attributes are dropped, as are sockets. Owners are the image's: inside a user namespace those seen there.
    pub fn scan(&self, dir: &Path, options: &ScanOptions) -> Result<Tree, StoreError> {
        scanned(dir, &options.leave_out, |scan| walk(dir, scan))
    }
}

/// The tree of what `visit` shows to a scan of `dir`.
pub(crate) fn scanned(
    dir: &Path,
    leave_out: &[Box<[u8]>],
    visit: impl FnOnce(&mut Scan<'_, '_, '_>) -> Result<(), StoreError>,
) -> Result<Tree, StoreError> {
    let ((mut entries, same), hashed) = hashing(|hasher| {
        let (linked, same) = (HashMap::new(), Vec::new());
        let mut scan = Scan { hasher, leave_out, entries: Vec::new(), linked, same };
        visit(&mut scan)?;
        Ok((scan.entries, scan.same))
    })?;
    for hashed in hashed {
        finish_file(&mut entries[hashed.index], hashed, dir)?;
    }
    for (index, first) in same {
        let first = &entries[first];
        let (kind, meta) = (first.kind.clone(), first.meta.clone());
        entries[index].kind = kind;
        entries[index].meta = meta;
    }
    Ok(Tree::from_entries(entries))
}

pub(crate) struct Scan<'a, 'scope, 'env> {
    hasher: &'a mut Hasher<'scope, 'env>,
    leave_out: &'a [Box<[u8]>],
    pub(crate) entries: Vec<Entry>,
    /// The number and the first entry of each inode with several names.
    linked: HashMap<(u64, u64), (NonZeroU32, usize)>,
    /// Later names, with the index of the first.
    same: Vec<(usize, usize)>,
}

impl Visitor for Scan<'_, '_, '_> {
    fn consider(&mut self, path: &[u8], _is_directory: bool) -> Visit {
        let left_out = self.leave_out.iter().any(|left_out| **left_out == *path);
        if left_out { Visit::Skip } else { Visit::Report }
    }

    fn directory(&mut self, found: &Found<'_>, handle: &OwnedFd, _visit: Visit) -> Result<(), StoreError> {
        let attributes =
            xattrs::read(handle.as_fd()).at("read the extended attributes of", found.host_path())?;
        let opaque = overlay_value(&attributes, b"opaque") == Some(b"y");
        if overlay_value(&attributes, b"redirect").is_some() {
            let reason =
                "overlayfs renamed it by reference: the overlay must be mounted with redirect_dir=off";
            return Err(StoreError::Unsupported { path: found.host_path(), reason });
        }
        let mut meta = found.meta();
        set_owner(&mut meta, owner::of(&attributes));
        meta.xattrs = xattrs::of_image(attributes);
        self.push(found, meta, Kind::Directory { opaque });
        Ok(())
    }

    fn leave(&mut self) {}

    fn file(&mut self, found: &Found<'_>, parent: &Arc<OwnedFd>, name: &CStr) -> Result<(), StoreError> {
        let (major, minor) = (found.stat.stx_rdev_major, found.stat.stx_rdev_minor);
        let kind = match found.file_type() {
            FileType::RegularFile => {
                self.regular(found, parent, name, found.stat.stx_nlink > 1);
                return Ok(());
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())
                    .at("read the link", found.host_path())?;
                Kind::Symlink { target: target.to_bytes().into() }
            }
            FileType::CharacterDevice if (major, minor) == (0, 0) => Kind::Whiteout,
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            // A socket means nothing without its process.
            _ => return Ok(()),
        };
        let mut meta = found.meta();
        if kind != Kind::Whiteout {
            let marked = owner::at(parent.as_fd(), name).at("read the owner of", found.host_path())?;
            set_owner(&mut meta, marked);
        }
        self.push(found, meta, kind);
        Ok(())
    }
}

fn set_owner(meta: &mut Meta, marked: Option<(u32, u32)>) {
    if let Some((uid, gid)) = marked {
        (meta.uid, meta.gid) = (uid, gid);
    }
}

impl Scan<'_, '_, '_> {
    fn push(&mut self, found: &Found<'_>, meta: Meta, kind: Kind) {
        self.entries.push(Entry { path: found.path.into(), meta, kind });
    }

    /// A file as if it had no other name.
    pub(crate) fn alone(
        &mut self,
        found: &Found<'_>,
        parent: &Arc<OwnedFd>,
        name: &CStr,
    ) -> Result<(), StoreError> {
        if found.file_type() != FileType::RegularFile {
            return self.file(found, parent, name);
        }
        self.regular(found, parent, name, false);
        Ok(())
    }

    fn regular(&mut self, found: &Found<'_>, parent: &Arc<OwnedFd>, name: &CStr, has_links: bool) {
        let index = self.entries.len();
        let mut links = None;
        if has_links {
            let next =
                u32::try_from(self.linked.len()).ok().and_then(|count| NonZeroU32::MIN.checked_add(count));
            let number = next.unwrap_or(NonZeroU32::MAX);
            let inode = (found.device(), found.stat.stx_ino);
            let (number, first) = *self.linked.entry(inode).or_insert((number, index));
            links = Some(number);
            if first != index {
                self.same.push((index, first));
            }
        }
        let size = found.stat.stx_size;
        self.push(found, found.meta(), Kind::File { size, digest: [0; 32], links });
        if self.same.last().is_none_or(|&(last, _)| last != index) {
            let path = found.host_path();
            self.hasher.add(Job { index, parent: Arc::clone(parent), name: name.into(), path, size });
        }
    }
}

fn finish_file(entry: &mut Entry, hashed: Hashed, dir: &Path) -> Result<(), StoreError> {
    let Kind::File { size, digest, .. } = &mut entry.kind else { return Ok(()) };
    if overlay_value(&hashed.xattrs, b"metacopy").is_some() {
        let reason = "overlayfs copied only its attributes: the overlay must be mounted with metacopy=off";
        return Err(StoreError::Unsupported { path: dir.join(crate::origins::path_of(&entry.path)), reason });
    }
    if hashed.size == 0 && overlay_value(&hashed.xattrs, b"whiteout").is_some() {
        entry.kind = Kind::Whiteout;
        return Ok(());
    }
    // With bytes in it, it is the file that a step made of it.
    match stands_in_for(&hashed.xattrs).filter(|_| hashed.size == 0) {
        Some(device) => entry.kind = device,
        None => (*size, *digest) = (hashed.size, hashed.digest),
    }
    set_owner(&mut entry.meta, owner::of(&hashed.xattrs));
    entry.meta.xattrs = xattrs::of_image(hashed.xattrs);
    Ok(())
}

fn overlay_value<'a>(attributes: &'a Xattrs, wanted: &[u8]) -> Option<&'a [u8]> {
    let found = attributes.iter().find(|(name, _)| overlay_attribute(name) == Some(wanted));
    found.map(|(_, value)| &**value)
}
