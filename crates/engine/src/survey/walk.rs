//! The directory as the ignore rules see it.

use std::{
    ffi::OsStr,
    io,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_dockerfile::{
    Ignore,
    ignore::{FolderState, Verdict},
};
use galley_oci::tree::{compare_paths, join};

use super::{Item, ItemKind, Survey};
use crate::{Error, ErrorKind};

/// More files than any context has.
const ITEMS_MAX: usize = 4 << 20;

/// A folder that was found and not listed yet.
struct Folder {
    path: Vec<u8>,
    state: FolderState,
    verdict: Verdict,
}

struct Walk<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    store: Option<PathBuf>,
    survey: &'a mut Survey,
}

/// Puts all that is below `root` into `survey`.
pub(super) fn walk(root: &Path, ignore: &Ignore, store: &Path, survey: &mut Survey) -> Result<(), Error> {
    let unreadable = |error: io::Error| {
        Error::new(ErrorKind::Input, format!("cannot read the build context {}", root.display()))
            .because(error)
    };
    let root = fs::canonicalize(root).map_err(unreadable)?;
    fs::read_dir(&root).map_err(unreadable)?;
    let mut walk = Walk { root: &root, ignore, store: fs::canonicalize(store).ok(), survey };
    let mut open = vec![Folder { path: Vec::new(), state: ignore.root(), verdict: Verdict::default() }];
    while let Some(folder) = open.pop() {
        walk.list(&folder, &mut open)?;
    }
    survey.items.sort_by(|a, b| compare_paths(&a.path, &b.path));
    Ok(())
}

impl Walk<'_> {
    fn host_path(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    fn list(&mut self, folder: &Folder, open: &mut Vec<Folder>) -> Result<(), Error> {
        let entries = match fs::read_dir(self.host_path(&folder.path)) {
            Ok(entries) => entries,
            Err(error) => {
                self.note(&folder.path, &error);
                return Ok(());
            }
        };
        let mut empty = true;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.note(&folder.path, &error);
                    break;
                }
            };
            empty = false;
            let path = join(&folder.path, entry.file_name().as_bytes());
            if self.store.as_deref() == Some(&entry.path()) {
                continue;
            }
            let (verdict, state) = self.ignore.decide(&folder.state, &path);
            let metadata = match fs::symlink_metadata(entry.path()) {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.note(&path, &error);
                    continue;
                }
            };
            if !metadata.is_dir() {
                if let Some(item) = item(path, &entry.path(), &metadata, verdict) {
                    self.add(item)?;
                }
            } else if verdict.ignored && !self.ignore.may_readmit_below(&path) {
                let (files, bytes) = measure(&entry.path());
                self.add(Item { files, bytes, ..plain(path, ItemKind::Folder, verdict) })?;
            } else {
                open.push(Folder { path, state, verdict });
            }
        }
        if empty && !folder.path.is_empty() {
            self.add(Item { files: 0, ..plain(folder.path.clone(), ItemKind::Folder, folder.verdict) })?;
        }
        Ok(())
    }

    fn add(&mut self, item: Item) -> Result<(), Error> {
        if self.survey.items.len() >= ITEMS_MAX {
            let message =
                format!("the build context {} has more than {ITEMS_MAX} files", self.root.display());
            return Err(Error::new(ErrorKind::Input, message).help("is this the right directory?"));
        }
        self.survey.items.push(item);
        Ok(())
    }

    fn note(&mut self, path: &[u8], error: &io::Error) {
        let path = String::from_utf8_lossy(path);
        self.survey.notes.push(format!("cannot read {path}, and neither can a build that needs it: {error}"));
    }
}

fn plain(path: Vec<u8>, kind: ItemKind, verdict: Verdict) -> Item {
    Item {
        path,
        kind,
        files: 1,
        bytes: 0,
        kept: !verdict.ignored,
        rule: verdict.rule,
        used: Vec::new(),
        own: false,
        secret: None,
    }
}

/// A file; none for a socket, which is part of no context.
fn item(path: Vec<u8>, host: &Path, metadata: &std::fs::Metadata, verdict: Verdict) -> Option<Item> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Some(Item { bytes: metadata.len(), ..plain(path, ItemKind::File, verdict) });
    }
    if kind.is_symlink() {
        let target = fs::read_link(host).unwrap_or_default().into_os_string();
        return Some(plain(path, ItemKind::Link(target.as_bytes().to_vec()), verdict));
    }
    (!kind.is_socket()).then(|| plain(path, ItemKind::Special, verdict))
}

/// The files below a folder that is dropped whole, and their bytes. What cannot be read does not count: no build reads
/// it either.
fn measure(folder: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0_u64, 0_u64);
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                files += 1;
                bytes = bytes.saturating_add(if metadata.is_file() { metadata.len() } else { 0 });
            }
        }
    }
    (files, bytes)
}

/// Marks the item that `file` is, if it is one.
pub(super) fn mark_own(root: &Path, file: &Path, survey: &mut Survey) {
    // Of the file only the folder is followed: what is read may be a link.
    let (Some(folder), Some(name), Ok(root)) = (file.parent(), file.file_name(), fs::canonicalize(root))
    else {
        return;
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(folder) = fs::canonicalize(folder) else { return };
    let Ok(path) = folder.join(name).strip_prefix(root).map(Path::to_path_buf) else { return };
    let path = path.as_os_str().as_bytes();
    if let Ok(place) = survey.items.binary_search_by(|item| compare_paths(&item.path, path)) {
        survey.items[place].own = true;
    }
}
