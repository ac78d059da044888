//! `galley diff`: what a container has changed of its image.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use galley_oci::{Entry, Kind, Stack, Tree, tree};
use galley_store::{ScanOptions, Store};

use super::{
    Container, ContainerConfig, chroot, export::own_of_root, list::unless_gone, no_image, snapshot_of,
    store_failed,
};
use crate::{
    Error,
    images::{self, Size},
};

/// What galley itself mounts in every container; the places where nothing was are made for it.
pub(super) const MOUNTED: [&str; 7] = ["dev", "proc", "sys", FILES[0], FILES[1], FILES[2], FILES[3]];
/// Those of them that are files, written anew at each start. By the last one programs know that they are in a container.
pub(super) const FILES: [&str; 4] = ["etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv"];

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is there, and has another content or other attributes.
    Changed,
    /// It was not there.
    Added,
    /// It is gone.
    Deleted,
}

/// What `container` has changed, by path: absolute, as bytes.
pub fn changes(store: &Store, container: &Container) -> Result<Vec<(Vec<u8>, ChangeKind)>, Error> {
    unless_gone(container, changed(store, container))
}

fn changed(store: &Store, container: &Container) -> Result<Vec<(Vec<u8>, ChangeKind)>, Error> {
    let stack = snapshot_of(store, &container.config)?.stack()?;
    let upper = own(store, container, &stack)?;
    Ok(compare(&stack, upper.entries(), &mounted(&container.config)))
}

/// The bytes of the files that `container` has changed or made, and of all its files, as docker counts them: with those of each
/// layer of its image, as far as that can be told.
pub fn sizes(store: &Store, container: &Container) -> Result<(u64, Size), Error> {
    let own = if container.folder.root().exists() {
        own(store, container, &snapshot_of(store, &container.config)?.stack()?)?.bytes_of_files()
    } else {
        store.settle();
        // A container that runs changes its files meanwhile.
        store.bytes_of_files(&container.folder.upper()).map_err(store_failed)?
    };
    let mut all = match store.image(&container.config.image_id).map_err(store_failed)? {
        Some(image) => images::size(store, &image, &container.config.image),
        None => Size { damage: Some(no_image(&container.config)), ..Size::default() },
    };
    all.bytes += own;
    Ok((own, all))
}

/// What it has changed, as a layer over `stack`.
pub(super) fn own(store: &Store, container: &Container, stack: &Stack) -> Result<Tree, Error> {
    store.settle();
    let root = container.folder.root();
    if root.exists() {
        // What it changed is not apart from its image.
        let own = own_of_root(store, container, &root)?;
        return Ok(differences(stack, own, &chroot::laid(&container.folder)?));
    }
    store.scan(&container.folder.upper(), &ScanOptions::default()).map_err(store_failed)
}

/// What an overlay over `stack` would have that shows all of `own`; nothing of what is hidden by what is `laid`.
fn differences(stack: &Stack, own: Tree, laid: &[PathBuf]) -> Tree {
    let below = stack.merged();
    let is_laid =
        |path: &[u8]| laid.iter().any(|place| Path::new(OsStr::from_bytes(path)).starts_with(place));
    let gone = below.entries().iter().filter(|entry| own.get(&entry.path).is_none() && !is_laid(&entry.path));
    // What is below something that is gone needs no mention.
    let gone = gone.filter(|entry| tree::parent(&entry.path).is_none_or(|above| own.get(above).is_some()));
    let whiteout = |entry: &Entry| Entry { kind: Kind::Whiteout, ..entry.clone() };
    let mut entries: Vec<Entry> = gone.map(whiteout).collect();
    let is_new = |entry: &Entry| below.get(&entry.path).is_none_or(|before| !is_same(before, entry));
    entries.extend(own.into_entries().into_iter().filter(|entry| !is_laid(&entry.path) && is_new(entry)));
    Tree::from_entries(entries)
}

/// Of several names of one file each is a file.
fn is_same(before: &Entry, after: &Entry) -> bool {
    let unlinked = |kind: &Kind| match kind {
        Kind::File { size, digest, .. } => Kind::File { size: *size, digest: *digest, links: None },
        Kind::Directory { .. } => Kind::Directory { opaque: false },
        other => other.clone(),
    };
    before.meta == after.meta && unlinked(&before.kind) == unlinked(&after.kind)
}

/// Where something is mounted, relative to the root.
fn mounted(config: &ContainerConfig) -> Vec<Vec<u8>> {
    let tmpfs = config.service.tmpfs.iter().map(|it| it.target.as_str());
    let targets = config.mounts.iter().map(|it| it.target.as_str()).chain(tmpfs).chain(MOUNTED);
    targets.map(|target| target.trim_matches('/').as_bytes().to_vec()).collect()
}

fn compare(stack: &Stack, upper: &[Entry], mounted: &[Vec<u8>]) -> Vec<(Vec<u8>, ChangeKind)> {
    // Docker names every directory in which something has changed.
    let mut found: BTreeSet<(Vec<u8>, ChangeKind)> = BTreeSet::new();
    let mut touched = BTreeSet::new();
    for entry in upper.iter().filter(|entry| !entry.path.is_empty()) {
        let before = stack.get(&entry.path);
        let kind = match (&entry.kind, before) {
            (Kind::Whiteout, Some(_)) => ChangeKind::Deleted,
            (Kind::Whiteout, None) => continue,
            (_, None) if is_mount_point(entry, mounted) => continue,
            (_, None) => ChangeKind::Added,
            (Kind::Directory { opaque }, Some(before)) if before.entry.is_directory() => {
                if *opaque {
                    let gone = stack.list(&entry.path).into_iter().map(|below| below.path().to_vec());
                    let gone = gone.filter(|path| upper.iter().all(|there| *there.path != **path));
                    gone.for_each(|path| touch(&mut found, &mut touched, path, ChangeKind::Deleted));
                }
                if before.entry.meta == entry.meta {
                    continue;
                }
                ChangeKind::Changed
            }
            (_, Some(_)) => ChangeKind::Changed,
        };
        touch(&mut found, &mut touched, entry.path.to_vec(), kind);
    }
    let named: BTreeSet<Vec<u8>> = found.iter().map(|(path, _)| path.clone()).collect();
    found.extend(touched.difference(&named).map(|path| (path.clone(), ChangeKind::Changed)));
    found.into_iter().map(|(path, kind)| ([b"/", &path[..]].concat(), kind)).collect()
}

fn touch(
    found: &mut BTreeSet<(Vec<u8>, ChangeKind)>,
    touched: &mut BTreeSet<Vec<u8>>,
    path: Vec<u8>,
    kind: ChangeKind,
) {
    let above = std::iter::successors(tree::parent(&path), |dir| tree::parent(dir));
    touched.extend(above.filter(|dir| !dir.is_empty()).map(<[u8]>::to_vec));
    found.insert((path, kind));
}

/// Made for a mount, or on the way there: an empty file or a directory.
pub(super) fn is_mount_point(entry: &Entry, mounted: &[Vec<u8>]) -> bool {
    let empty = match entry.kind {
        Kind::Directory { .. } => true,
        Kind::File { size, .. } => size == 0,
        _ => false,
    };
    empty && mounted.iter().any(|target| tree::is_within(target, &entry.path))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use galley_oci::{Meta, Tree};

    use super::*;

    const DIRECTORY: Kind = Kind::Directory { opaque: false };

    fn entry(path: &str, mode: u16, kind: Kind) -> Entry {
        Entry { path: path.as_bytes().into(), meta: Meta::new(mode), kind }
    }

    fn file(size: u64) -> Kind {
        Kind::File { size, digest: [0; 32], links: None }
    }

    #[test]
    fn what_docker_would_say() {
        let mut stack = Stack::default();
        let below = [
            entry("", 0o755, DIRECTORY),
            entry("bin", 0o755, DIRECTORY),
            entry("bin/a", 0o755, file(3)),
            entry("bin/b", 0o755, file(3)),
            entry("etc", 0o755, DIRECTORY),
            entry("old", 0o755, DIRECTORY),
            entry("old/x", 0o644, file(1)),
        ];
        stack.push(Arc::new(Tree::from_entries(below.to_vec())));
        let upper = Tree::from_entries(vec![
            entry("", 0o755, DIRECTORY),
            entry("bin", 0o755, DIRECTORY),
            entry("bin/a", 0o755, file(4)),
            entry("bin/b", 0o000, Kind::Whiteout),
            entry("bin/c", 0o755, file(0)),
            entry("etc", 0o755, DIRECTORY),
            entry("etc/hosts", 0o644, file(0)),
            entry("old", 0o755, Kind::Directory { opaque: true }),
            entry("proc", 0o755, DIRECTORY),
        ]);
        let found = compare(&stack, upper.entries(), &mounted_by_all());
        let shown: Vec<String> =
            found.iter().map(|(path, kind)| format!("{kind:?} {}", String::from_utf8_lossy(path))).collect();
        assert_eq!(
            shown,
            [
                "Changed /bin",
                "Changed /bin/a",
                "Deleted /bin/b",
                "Added /bin/c",
                "Changed /old",
                "Deleted /old/x"
            ]
        );
    }

    #[test]
    fn a_whole_root_is_compared_with_its_image() {
        let linked = Kind::File { size: 3, digest: [0; 32], links: std::num::NonZeroU32::new(7) };
        let below = [
            entry("", 0o755, DIRECTORY),
            entry("a", 0o755, linked),
            entry("b", 0o755, file(3)),
            entry("etc", 0o755, DIRECTORY),
            entry("etc/hosts", 0o644, file(1)),
            entry("gone", 0o755, DIRECTORY),
            entry("gone/x", 0o644, file(1)),
            entry("proc", 0o755, DIRECTORY),
        ];
        let mut stack = Stack::default();
        stack.push(Arc::new(Tree::from_entries(below.to_vec())));
        let own = Tree::from_entries(vec![
            entry("", 0o755, DIRECTORY),
            entry("a", 0o755, file(3)),
            entry("b", 0o700, file(3)),
            entry("etc", 0o755, DIRECTORY),
            entry("new", 0o644, file(1)),
            entry("proc", 0o555, DIRECTORY),
        ]);
        let upper = differences(&stack, own, &["etc/hosts", "proc"].map(PathBuf::from));
        let found = compare(&stack, upper.entries(), &mounted_by_all());
        let shown: Vec<_> =
            found.iter().map(|(path, kind)| (*kind, String::from_utf8_lossy(path).into_owned())).collect();
        let of = |kind, path: &str| (kind, path.to_owned());
        let (changed, added, deleted) = (ChangeKind::Changed, ChangeKind::Added, ChangeKind::Deleted);
        assert_eq!(shown, [of(changed, "/b"), of(deleted, "/gone"), of(added, "/new")]);
    }

    fn mounted_by_all() -> Vec<Vec<u8>> {
        MOUNTED.map(|target| target.as_bytes().to_vec()).to_vec()
    }
}
