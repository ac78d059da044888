//! The files of an archive, found by name: in a tar, whose links are followed in its own names, or in a folder.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::PathBuf,
    sync::Arc,
};

use galley_oci::archive::{ItemKind, Reader, Whiteouts};
use rustix::fs::{OFlags, ResolveFlags};

use super::super::broken;
use crate::{Cancel, Error, ErrorKind, confined};

/// The most files that an archive of images may have: three for each layer of thousands of images.
pub const MAX_ARCHIVE_FILES: usize = 1 << 17;
/// The longest chain of links.
const MAX_LINKS: usize = 8;

/// The files of an archive or a folder.
#[derive(Debug)]
pub(super) struct Files {
    place: Place,
    stop: Cancel,
}

#[derive(Debug)]
enum Place {
    Tar { file: Arc<File>, entries: HashMap<Box<[u8]>, Entry> },
    Folder { path: PathBuf, folder: OwnedFd },
}

/// What a name in a tar is.
#[derive(Debug)]
enum Entry {
    File(Range<u64>),
    /// A name relative to the top, not resolved.
    Link(Box<[u8]>),
    Other,
}

impl Files {
    /// Finds out where the files of the plain tar `file` are.
    pub(super) fn index(name: &str, file: File, stop: &Cancel) -> Result<Self, Error> {
        let length = file.metadata().map_err(|error| broken(name, error))?.len();
        let file = Arc::new(file);
        let mut reader = Reader::new(Cursor { file: Arc::clone(&file), at: 0 }, Whiteouts::Plain);
        let mut entries = HashMap::new();
        while let Some(item) = reader.next_item().map_err(|error| broken(name, error))? {
            if stop.is_cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
            }
            let place = reader.step_over().map_err(|error| broken(name, error))?;
            if place.as_ref().is_some_and(|place| place.end > length) {
                return Err(broken(name, format!("it is cut off in {}", shown(&item.path))));
            }
            let entry = match (item.kind, place) {
                (ItemKind::File { .. }, Some(place)) => Entry::File(place),
                (ItemKind::HardLink { target }, _) => Entry::Link(target),
                (ItemKind::Symlink { target }, _) => {
                    join(&item.path, &target).map_or(Entry::Other, Entry::Link)
                }
                _ => Entry::Other,
            };
            // Of several entries with one name the last one counts, as for whoever unpacks them.
            entries.insert(item.path, entry);
            if entries.len() > MAX_ARCHIVE_FILES {
                return Err(broken(name, format!("it has more than {MAX_ARCHIVE_FILES} files")));
            }
        }
        Ok(Self { place: Place::Tar { file, entries }, stop: stop.clone() })
    }

    /// The files of `folder`, which is open.
    pub(super) fn folder(path: PathBuf, folder: OwnedFd, stop: &Cancel) -> Self {
        Self { place: Place::Folder { path, folder }, stop: stop.clone() }
    }

    /// Whether there is a file of this name.
    pub(super) fn has(&self, path: &str) -> bool {
        match &self.place {
            Place::Tar { entries, .. } => follow(entries, path).is_ok_and(|found| found.is_some()),
            Place::Folder { folder, .. } => open_below(folder, path).is_ok(),
        }
    }

    /// The file `path` of the archive called `name`.
    pub(super) fn open(&self, name: &str, path: &str) -> Result<Piece, Error> {
        let (file, place) = match &self.place {
            Place::Tar { file, entries } => match follow(entries, path).map_err(|why| broken(name, why))? {
                Some(place) => (Arc::clone(file), place),
                None => return Err(broken(name, format!("{} is missing", shown(path.as_bytes())))),
            },
            Place::Folder { path: root, folder } => {
                let path_here = root.join(path);
                let cannot =
                    |error: io::Error| broken(name, format!("cannot open {}: {error}", path_here.display()));
                let file = File::from(open_below(folder, path).map_err(|errno| cannot(errno.into()))?);
                let metadata = file.metadata().map_err(cannot)?;
                if !metadata.is_file() {
                    return Err(broken(name, format!("{} is no file", path_here.display())));
                }
                (Arc::new(file), 0..metadata.len())
            }
        };
        Ok(Piece { file, place, stop: self.stop.clone() })
    }
}

/// The place of the file that `path` leads to.
fn follow(entries: &HashMap<Box<[u8]>, Entry>, path: &str) -> Result<Option<Range<u64>>, String> {
    let Some(mut path) = join(b"", path.as_bytes()) else {
        return Err(format!("the name {path:?} leads out of it"));
    };
    for _ in 0..=MAX_LINKS {
        path = match entries.get(&path) {
            Some(Entry::File(place)) => return Ok(Some(place.clone())),
            Some(Entry::Link(target)) => target.clone(),
            Some(Entry::Other) => return Err(format!("{} is no file", shown(&path))),
            None => return Ok(None),
        };
    }
    Err(format!("{} is a link to a link without end", shown(&path)))
}

/// Where a link at `path` to `target` leads, by the names alone; `None` when that is outside.
fn join(path: &[u8], target: &[u8]) -> Option<Box<[u8]>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    parts.pop();
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/').into())
}

/// Opens a file below `folder`; links may lead about in it and not out of it.
fn open_below(folder: &OwnedFd, path: &str) -> rustix::io::Result<OwnedFd> {
    // Without O_NONBLOCK a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    confined::open(folder, path, flags, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
}

pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// One file of an archive, wherever its bytes are.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    file: Arc<File>,
    place: Range<u64>,
    stop: Cancel,
}

impl Piece {
    /// Its length.
    pub(super) const fn size(&self) -> u64 {
        self.place.end.saturating_sub(self.place.start)
    }

    /// Its bytes.
    pub(super) fn reader(&self) -> impl Read + Send + use<> {
        let cursor = Cursor { file: Arc::clone(&self.file), at: self.place.start };
        PieceReader { cursor, left: self.size(), stop: self.stop.clone() }
    }
}

struct PieceReader {
    cursor: Cursor,
    left: u64,
    stop: Cancel,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.cursor.read(&mut buffer[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive has become shorter"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// A place in a file that others read too.
struct Cursor {
    file: Arc<File>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let at = match position {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let joined = |path: &str, target: &str| join(path.as_bytes(), target.as_bytes()).map(|it| shown(&it));
        assert_eq!(joined("a/layer.tar", "../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(joined("a", "./b//c").as_deref(), Some("b/c"));
        for outside in ["../../b", "/b", "../b/../../c"] {
            assert_eq!(joined("a/layer.tar", outside), None, "{outside}");
        }
    }

    #[test]
    fn links_end() {
        let link = |to: &str| Entry::Link(to.as_bytes().into());
        let name = |name: &str| -> Box<[u8]> { name.as_bytes().into() };
        let entries = HashMap::from([
            (name("a"), link("b")),
            (name("b"), Entry::File(1..2)),
            (name("x"), link("y")),
            (name("y"), link("x")),
            (name("gone"), link("nowhere")),
            (name("dir"), Entry::Other),
        ]);
        assert_eq!(follow(&entries, "./a"), Ok(Some(1..2)));
        assert_eq!(follow(&entries, "gone"), Ok(None));
        assert!(follow(&entries, "x").is_err());
        assert!(follow(&entries, "dir").is_err());
        assert!(follow(&entries, "../a").is_err());
    }
}
