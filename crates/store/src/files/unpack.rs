//! An archive becomes the files of a layer, as a directory or packed, and their tree.
//!
//! The tree grows with the files and decides where things go: links that an archive made itself are followed in the
//! tree, below the root, and what reaches the kernel is a path without links. So no archive writes outside.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    num::NonZeroU32,
    path::Path as HostPath,
    thread,
};

use galley_oci::{
    Entry, Kind, Meta, Time, Tree,
    archive::{Item, ItemKind, Reader, Whiteouts},
    erofs::{MAX_NAME_BYTES, MAX_TARGET_BYTES},
    tree::compare_paths,
};

use self::{directory::Directory, packed::Packed, target::Target};
use super::{cursor::split, xattrs};
use crate::{Store, StoreError, TempDir, origins::path_of};

mod directory;
mod packed;
mod target;

/// As the kernel does; more is a loop.
const LINKS_MAX: usize = 40;

/// The longest path in an archive, links followed: no program could name a longer one, and docker refuses it as well.
/// Trees may have longer ones, for steps can make them name by name.
const PATH_BYTES_MAX: usize = 4095;

/// Looking up a path costs one, and one more for as many bytes of it: for its names, and for comparing it with others.
const LOOKUP_BYTES: usize = 8;

/// What an archive may need at most. A few kilobytes of it, compressed, can ask for any amount of each.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    /// Entries, directories that it only implies included.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of all paths, targets of links and extended attributes together: what the description holds in memory.
    pub described: u64,
    /// Look-ups, of directories that entries go to, that they imply, and that links lead to; long paths count as several.
    pub lookups: u64,
    /// Bytes that holes of sparse files may have: an archive says as many as it likes in one header.
    pub holes: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { entries: 4 << 20, bytes: 1 << 40, described: 512 << 20, lookups: 64 << 20, holes: 64 << 30 }
    }
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct UnpackOptions {
    /// [`Whiteouts::Read`] for a layer, [`Whiteouts::Plain`] for any other archive.
    pub whiteouts: Whiteouts,
    /// What it may need.
    pub limits: UnpackLimits,
}

impl UnpackOptions {
    /// For the archive of a layer.
    #[must_use]
    pub fn layer() -> Self {
        Self { whiteouts: Whiteouts::Read, limits: UnpackLimits::default() }
    }

    /// For any other archive: `.wh.` names are names like others.
    #[must_use]
    pub fn plain() -> Self {
        Self { whiteouts: Whiteouts::Plain, limits: UnpackLimits::default() }
    }
}

impl Store {
    /// Unpacks a plain tar archive into `into/diff`, which is made, and gives the tree of it. Directories above entries
    /// that the archive leaves out have mode 0755, owner 0:0 and the time of the entry. Stops after the end of the archive,
    /// so that a reader that hashes must read the rest itself.
    pub fn unpack(
        &self,
        reader: &mut dyn Read,
        into: &TempDir,
        options: &UnpackOptions,
    ) -> Result<Tree, StoreError> {
        thread::scope(|scope| {
            let target = Directory::new(&into.diff(), self.dialect(), scope)?;
            Unpacker::new(target, options.limits).unpack(reader, options)
        })
    }
}

/// Makes of a plain tar archive the new file `into`, which the kernel can mount, and gives the tree of it: the same as
/// [`Store::unpack`] gives.
pub fn pack(reader: &mut dyn Read, into: &HostPath, options: &UnpackOptions) -> Result<Tree, StoreError> {
    Unpacker::new(Packed::new(into)?, options.limits).unpack(reader, options)
}

/// A path of a tree.
type Path = Box<[u8]>;

/// A path in the order of trees.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key(Path);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

struct Unpacker<T> {
    target: T,
    /// What the target has, by real path.
    entries: BTreeMap<Key, (Meta, Kind)>,
    /// Hard-link groups so far.
    groups: u32,
    /// What the last header of a group said, when it was something new.
    relabelled: HashMap<NonZeroU32, Meta>,
    /// The directory asked for last and where it really is.
    parent: Option<(Path, Path)>,
    limits: UnpackLimits,
    /// What is left of the limits.
    left: UnpackLimits,
}

impl<T: Target> Unpacker<T> {
    fn new(target: T, limits: UnpackLimits) -> Self {
        Self {
            target,
            entries: BTreeMap::new(),
            groups: 0,
            relabelled: HashMap::new(),
            parent: None,
            limits,
            left: limits,
        }
    }

    fn unpack(mut self, input: &mut dyn Read, options: &UnpackOptions) -> Result<Tree, StoreError> {
        let mut reader = Reader::new(input, options.whiteouts);
        let mut count = 0;
        loop {
            let failed = |source| StoreError::BadArchive { entries: count, source: Box::new(source) };
            let Some(item) = reader.next_item().map_err(failed)? else { return self.finish() };
            count += 1;
            if count as u64 > self.limits.entries {
                return Err(self.too_many_entries(&item.path));
            }
            self.item(item, &mut reader)?;
        }
    }

    fn item<R: Read>(&mut self, item: Item, reader: &mut Reader<R>) -> Result<(), StoreError> {
        let path = self.real(&item)?;
        // An archive has no say in what overlayfs thinks of its directories.
        let xattrs = item.meta.xattrs.and_then(|all| xattrs::of_image(*all));
        let meta = Meta { xattrs, ..item.meta };
        match item.kind {
            ItemKind::Directory => self.directory(path, meta),
            ItemKind::File { size } => {
                let UnpackLimits { bytes, holes, .. } = self.limits;
                take(&mut self.left.bytes, size, bytes, "the sum of its files", &path)?;
                let hole_bytes = reader.hole_bytes();
                take(&mut self.left.holes, hole_bytes, holes, "what holes of its files have", &path)?;
                self.file(path, meta, size, &mut reader.content())
            }
            ItemKind::HardLink { target } => self.hard_link(path, &item.path, &target, meta),
            ItemKind::Symlink { target } => self.symlink(path, meta, target),
            ItemKind::CharDevice { major, minor } => {
                self.special(path, meta, Kind::CharDevice { major, minor })
            }
            ItemKind::BlockDevice { major, minor } => {
                self.special(path, meta, Kind::BlockDevice { major, minor })
            }
            ItemKind::Fifo => self.special(path, meta, Kind::Fifo),
            ItemKind::Whiteout => self.whiteout(path),
            ItemKind::OpaqueMarker => self.opaque(path),
        }
    }

    /// Where an entry goes: its parent with links followed, then its own name. Missing parents are made.
    fn real(&mut self, item: &Item) -> Result<Path, StoreError> {
        if item.path.is_empty() {
            return Ok(item.path.clone());
        }
        let (parent, name) = split(&item.path);
        if self.parent.as_ref().is_none_or(|(asked, _)| **asked != *parent) {
            let found = self.resolve(&item.path, parent, Implied::Allowed)?;
            let found = found.ok_or_else(|| bad(&item.path, "its directory is missing"))?;
            self.look_up(&item.path, &found)?;
            self.make_parents(&found, item.meta.mtime)?;
            self.parent = Some((parent.into(), found));
        }
        let found = self.parent.as_ref().map_or(&b""[..], |(_, found)| found);
        place(&item.path, found, name)
    }

    /// Follows all links in `path`, `..` not leading above the root. `None` when the end is missing and must not be.
    fn resolve(&mut self, named: &[u8], path: &[u8], implied: Implied) -> Result<Option<Path>, StoreError> {
        let (above, rest) = path.split_at(self.known(path));
        let mut done: Path = above.into();
        let mut todo: Vec<Path> = components(rest);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if *name == *b".." {
                done = split(&done).0.into();
                self.look_up(named, &done)?;
                continue;
            }
            let next = place(named, &done, &name)?;
            self.look_up(named, &next)?;
            match self.kind(&next) {
                Some(Kind::Directory { .. }) => done = next,
                // A whiteout gives way to a directory that hides what the whiteout hid.
                None | Some(Kind::Whiteout) if implied == Implied::Allowed => done = next,
                None => return Ok(None),
                Some(Kind::Symlink { target }) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(bad(named, "its path leads through a loop of links"));
                    }
                    if target.first() == Some(&b'/') {
                        done = Box::default();
                    }
                    todo.extend(components(target));
                }
                Some(_) => return Err(bad(named, "a file that is no directory is above it")),
            }
        }
        Ok(Some(done))
    }

    /// Makes the directories of `path` that are missing, from the top; a path may be thousands of them deep.
    fn make_parents(&mut self, path: &[u8], mtime: Time) -> Result<(), StoreError> {
        let known = self.known(path);
        for end in ends(path).filter(|&end| end > known) {
            self.look_up(path, &path[..end])?;
            self.directory(path[..end].into(), Meta { mtime, ..Meta::new(0o755) })?;
        }
        Ok(())
    }

    /// How much of `path` is a directory already. Such a one stands at its real path, nothing above it is a link, and all
    /// that is above it is one too: so every look halves what is left.
    fn known(&self, path: &[u8]) -> usize {
        let is_directory = |end: usize| matches!(self.kind(&path[..end]), Some(Kind::Directory { .. }));
        if path.is_empty() || is_directory(path.len()) {
            return path.len();
        }
        let ends: Vec<usize> = ends(path).collect();
        let known = ends.partition_point(|&end| is_directory(end));
        known.checked_sub(1).map_or(0, |last| ends[last])
    }

    /// Counts a look-up of `path`, for the entry `named`.
    fn look_up(&mut self, named: &[u8], path: &[u8]) -> Result<(), StoreError> {
        let cost = 1 + (path.len() / LOOKUP_BYTES) as u64;
        take(&mut self.left.lookups, cost, self.limits.lookups, "what finding its directories takes", named)
    }

    fn kind(&self, path: &[u8]) -> Option<&Kind> {
        self.entries.get(&Key(path.into())).map(|(_, kind)| kind)
    }

    /// Describes what is at `path`. Nothing is given back for what comes in the place of something else: whoever replaces
    /// a thing again and again has the same limits.
    fn put(&mut self, path: Path, meta: Meta, kind: Kind) -> Result<(), StoreError> {
        let target = if let Kind::Symlink { target } = &kind { target.len() } else { 0 };
        let xattrs = meta.xattrs.iter().flat_map(|all| all.iter());
        let xattrs: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        let bytes = (path.len() + target + xattrs) as u64;
        let what = "what its paths, links and extended attributes have";
        take(&mut self.left.described, bytes, self.limits.described, what, &path)?;
        if self.entries.len() as u64 >= self.limits.entries {
            return Err(self.too_many_entries(&path));
        }
        self.entries.insert(Key(path), (meta, kind));
        Ok(())
    }

    fn too_many_entries(&self, path: &[u8]) -> StoreError {
        let limit = self.limits.entries;
        StoreError::Limit { what: "the number of entries", limit, path: path_of(path) }
    }

    fn directory(&mut self, path: Path, meta: Meta) -> Result<(), StoreError> {
        let opaque = match self.kind(&path) {
            Some(&Kind::Directory { opaque }) => {
                self.entries.remove(&Key(path.clone()));
                return self.put(path, meta, Kind::Directory { opaque });
            }
            Some(Kind::Whiteout) => true,
            _ => false,
        };
        if !path.is_empty() {
            self.make_room(&path)?;
            self.target.directory(&path)?;
        }
        self.put(path, meta, Kind::Directory { opaque })
    }

    fn file(&mut self, path: Path, meta: Meta, size: u64, input: &mut dyn Read) -> Result<(), StoreError> {
        self.make_room(&path)?;
        let digest = self.target.file(&path, &meta, size, input)?;
        self.put(path, meta, Kind::File { size, digest, links: None })
    }

    /// A further name. What its header says holds for the file, and so for all names of it.
    fn hard_link(&mut self, path: Path, named: &[u8], target: &[u8], header: Meta) -> Result<(), StoreError> {
        let missing = || bad(named, format!("it is a hard link to {}, which is not in it", show(target)));
        let (parent, name) = split(target);
        let parent = self.resolve(named, parent, Implied::Refused)?.ok_or_else(missing)?;
        let target = join(&parent, name);
        if target == path {
            return Err(bad(named, "it is a hard link to itself"));
        }
        let (mut old, mut kind) = self.entries.get(&Key(target.clone())).cloned().ok_or_else(missing)?;
        match &mut kind {
            Kind::Directory { .. } | Kind::Whiteout => return Err(missing()),
            Kind::File { links, .. } => {
                if links.is_none() {
                    self.groups += 1;
                    *links = NonZeroU32::new(self.groups);
                }
                if let Some(meta) = links.and_then(|group| self.relabelled.get(&group)) {
                    old.clone_from(meta);
                }
                self.entries.insert(Key(target.clone()), (old.clone(), kind.clone()));
            }
            // Two names of a link or device are two of them: nobody can tell.
            _ => {}
        }
        self.make_room(&path)?;
        // Making room may have removed the target, when it was below.
        if !self.entries.contains_key(&Key(target.clone())) {
            return Err(missing());
        }
        self.target.hard_link(&path, &target)?;
        let meta = relabelled(&old, header, &kind);
        if meta != old {
            self.relabel(&path, &meta, &kind)?;
            if !matches!(kind, Kind::File { .. }) {
                self.entries.insert(Key(target), (meta.clone(), kind.clone()));
            }
        }
        self.put(path, meta, kind)
    }

    /// Gives the file at `path` new attributes; the other names of it get theirs at the end.
    fn relabel(&mut self, path: &[u8], meta: &Meta, kind: &Kind) -> Result<(), StoreError> {
        self.target.relabel(path, meta, kind)?;
        if let Kind::File { links: Some(group), .. } = kind {
            self.relabelled.insert(*group, meta.clone());
        }
        Ok(())
    }

    fn symlink(&mut self, path: Path, meta: Meta, target: Path) -> Result<(), StoreError> {
        if !(1..=MAX_TARGET_BYTES).contains(&target.len()) {
            return Err(bad(&path, format!("a link has a target of 1 to {MAX_TARGET_BYTES} bytes")));
        }
        self.special(path, meta, Kind::Symlink { target })
    }

    fn special(&mut self, path: Path, meta: Meta, kind: Kind) -> Result<(), StoreError> {
        self.make_room(&path)?;
        self.target.special(&path, &meta, &kind)?;
        self.put(path, meta, kind)
    }

    /// Applies to lower layers only: what this layer has at the path stays, a directory hides all that is below it.
    fn whiteout(&mut self, path: Path) -> Result<(), StoreError> {
        match self.entries.get_mut(&Key(path.clone())) {
            Some((_, Kind::Directory { opaque })) => *opaque = true,
            Some(_) => {}
            None => {
                self.target.whiteout(&path)?;
                self.put(path, Meta::new(0), Kind::Whiteout)?;
            }
        }
        Ok(())
    }

    fn opaque(&mut self, path: Path) -> Result<(), StoreError> {
        if !matches!(self.kind(&path), Some(Kind::Directory { .. })) {
            self.directory(path.clone(), Meta::new(0o755))?;
        }
        if let Some((_, Kind::Directory { opaque })) = self.entries.get_mut(&Key(path)) {
            *opaque = true;
        }
        Ok(())
    }

    /// A later entry replaces an earlier one, with everything below it.
    fn make_room(&mut self, path: &[u8]) -> Result<(), StoreError> {
        let key = Key(path.into());
        let Some((_, kind)) = self.entries.remove(&key) else { return Ok(()) };
        if let Kind::Directory { .. } = kind {
            let below = |other: &Key| {
                other.0.len() > path.len() && other.0.starts_with(path) && other.0[path.len()] == b'/'
            };
            let gone: Vec<_> =
                self.entries.range(key..).map(|(key, _)| key.clone()).take_while(below).collect();
            gone.iter().for_each(|key| drop(self.entries.remove(key)));
        }
        self.parent = None;
        self.target.remove(path)
    }

    fn finish(mut self) -> Result<Tree, StoreError> {
        let first = self.entries.values().next().map_or(Time::default(), |(meta, _)| meta.mtime);
        let root = || (Meta { mtime: first, ..Meta::new(0o755) }, Kind::Directory { opaque: false });
        self.entries.entry(Key(Box::default())).or_insert_with(root);
        for (meta, kind) in self.entries.values_mut() {
            if let Kind::File { links: Some(group), .. } = kind
                && let Some(last) = self.relabelled.get(group)
            {
                meta.clone_from(last);
            }
        }
        let entries = self.entries.into_iter().map(|(path, (meta, kind))| Entry { path: path.0, meta, kind });
        let tree = Tree::from_entries(entries.collect());
        self.target.finish(&tree)?;
        Ok(tree)
    }
}

/// Whether the end of a path may be missing, because directories are made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Implied {
    Allowed,
    Refused,
}

/// Takes `wanted` from what is `left` of a limit.
fn take(left: &mut u64, wanted: u64, limit: u64, what: &'static str, path: &[u8]) -> Result<(), StoreError> {
    let rest = left.checked_sub(wanted);
    *left = rest.ok_or_else(|| StoreError::Limit { what, limit, path: path_of(path) })?;
    Ok(())
}

/// The attributes of a file after a further name came with a `header`, which may leave extended ones out.
fn relabelled(old: &Meta, header: Meta, kind: &Kind) -> Meta {
    let mode = if matches!(kind, Kind::Symlink { .. }) { old.mode } else { header.mode };
    Meta { mode, xattrs: header.xattrs.or_else(|| old.xattrs.clone()), ..header }
}

/// Where the names of a path end.
fn ends(path: &[u8]) -> impl Iterator<Item = usize> {
    let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
    slashes.chain([path.len()])
}

/// The components of a path, last first, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Path> {
    let parts = path.rsplit(|&byte| byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".").map(Path::from).collect()
}

fn join(directory: &[u8], name: &[u8]) -> Path {
    if directory.is_empty() { name.into() } else { [directory, b"/", name].concat().into() }
}

/// The path of `name` in `directory`: links can make it longer than any that an archive may write.
fn place(named: &[u8], directory: &[u8], name: &[u8]) -> Result<Path, StoreError> {
    if name.len() > MAX_NAME_BYTES {
        return Err(bad(named, format!("a name has {MAX_NAME_BYTES} bytes at most")));
    }
    let path = join(directory, name);
    if path.len() > PATH_BYTES_MAX {
        return Err(bad(named, format!("its path has more than {PATH_BYTES_MAX} bytes, links followed")));
    }
    Ok(path)
}

fn bad(path: &[u8], reason: impl Into<String>) -> StoreError {
    StoreError::BadEntry { path: path_of(path), reason: reason.into() }
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
