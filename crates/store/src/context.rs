//! Build contexts: a directory of the host becomes a tree, and files that did not change are not read again.

mod index;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    ffi::CStr,
    fmt,
    num::NonZeroU32,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use fs_err as fs;
use galley_oci::{Entry, Kind, Meta, Tree, tree::Xattrs};
use rustix::fs::FileType;

use crate::{
    Store, StoreError,
    error::At,
    files::{
        ahead::Judge,
        cursor::Cursor,
        hash::{Hashed, Hasher, Job, hashing},
        walk::{Found, Visit, Visitor, walk_ahead},
        xattrs,
    },
};
use index::{Index, Moment, Row};

/// What a filter says about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is part of the context.
    Keep,
    /// It is not, and nothing below it is: a directory is not even listed.
    Skip,
    /// It is not, but something below it may be; then it is there for that one's sake.
    SkipButLookInside,
}

/// Whether these bytes are an index that is whole.
pub(crate) fn is_index(bytes: Vec<u8>) -> bool {
    Index::decode(bytes).is_some()
}

/// Says what of a directory is the context: the ignore file, and what the plan needs.
pub trait ContextFilter {
    /// Of `path`, relative to the context. Directories come before what they hold.
    fn decide(&self, path: &[u8], is_directory: bool) -> Decision;

    /// Another one that says the same, for another thread.
    fn twin(&self) -> Box<dyn ContextFilter + Send + '_>;
}

/// Keeps everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAll;

impl ContextFilter for KeepAll {
    fn decide(&self, _path: &[u8], _is_directory: bool) -> Decision {
        Decision::Keep
    }

    fn twin(&self) -> Box<dyn ContextFilter + Send + '_> {
        Box::new(Self)
    }
}

/// A context as it was found.
#[derive(Clone, Debug)]
pub struct ContextTree {
    /// All that the filter kept, owned by 0:0.
    pub tree: Tree,
    /// The directory, links resolved: what `tree`'s paths are relative to.
    pub root: PathBuf,
}

impl ContextTree {
    /// Where the file at `path` of the tree is on this machine.
    #[must_use]
    pub fn host_path(&self, path: &[u8]) -> PathBuf {
        self.root.join(crate::origins::path_of(path))
    }
}

impl Store {
    /// The tree of the build context in `dir`, with the digest of every file that `filter` keeps. A file is read when
    /// its device, inode, size, mtime or ctime is not as it was when it was read last, or is so young that a later
    /// change could look the same. Sockets are left out, and so is the store itself.
    pub fn walk_context(&self, dir: &Path, filter: &dyn ContextFilter) -> Result<ContextTree, StoreError> {
        let looking = Looking::begin(self, dir)?;
        let part = Part { filter: filter.twin(), store: self.path_below(&looking.root) };
        let (survey, hashed) = hashing(|hasher| looking.walk(&part, Some(hasher)))?;
        survey.finish(self, hashed)
    }

    /// The same without reading what would have to be read: whoever has to read it for something else too can tell what was
    /// found.
    pub fn survey_context(&self, dir: &Path, filter: &dyn ContextFilter) -> Result<Survey, StoreError> {
        let looking = Looking::begin(self, dir)?;
        let part = Part { filter: filter.twin(), store: self.path_below(&looking.root) };
        looking.walk(&part, None)
    }

    fn index_path(&self, root: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let name = galley_oci::Digest::blake3(root.as_os_str().as_bytes());
        self.root().join("contexts").join(name.hex())
    }

    /// Where the store is below `root`, if it is.
    fn path_below(&self, root: &Path) -> Option<Box<[u8]>> {
        use std::os::unix::ffi::OsStrExt;
        let store = fs::canonicalize(self.root()).ok()?;
        Some(store.strip_prefix(root).ok()?.as_os_str().as_bytes().into())
    }
}

/// What there is before a walk.
struct Looking {
    root: PathBuf,
    index_path: PathBuf,
    index: Index,
    started: Moment,
}

impl Looking {
    fn begin(store: &Store, dir: &Path) -> Result<Self, StoreError> {
        let root = fs::canonicalize(dir).at("find", dir)?;
        let index_path = store.index_path(&root);
        let index = Index::read(&index_path)?;
        Ok(Self { root, index_path, index, started: Moment::now() })
    }

    fn walk(self, part: &Part<'_>, hasher: Option<&mut Hasher<'_, '_>>) -> Result<Survey, StoreError> {
        let mut context = Context::new(hasher, part, &self.index);
        walk_ahead(&self.root, part, &mut context)?;
        let Context { entries, found, fresh, same, .. } = context;
        Ok(Survey { looking: self, entries, tree: None, found, fresh, same })
    }
}

/// A context as it was found, before its new files are read.
pub struct Survey {
    looking: Looking,
    /// None once they are in `tree`.
    entries: Vec<Entry>,
    tree: Option<Arc<Tree>>,
    /// Which rows of the index were found as they are.
    found: Vec<bool>,
    /// The rows of the files that have to be read, each with its entry's index.
    fresh: Vec<(usize, Row)>,
    /// Later names of a file, with the index of the first.
    same: Vec<(usize, usize)>,
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Survey({} files to read)", self.fresh.len())
    }
}

impl Survey {
    /// How many bytes have to be read.
    #[must_use]
    pub fn new_bytes(&self) -> u64 {
        self.fresh.iter().map(|(_, row)| row.size).sum()
    }

    /// The directory, links resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.looking.root
    }

    /// What the context looks like, with zeros for the digests of what has to be read, and without the extended attributes
    /// of that.
    pub fn tree(&mut self) -> Arc<Tree> {
        let entries = &mut self.entries;
        let tree = || Arc::new(Tree::from_entries(std::mem::take(entries)));
        Arc::clone(self.tree.get_or_insert_with(tree))
    }

    /// The whole of it: what is not among `read` is read now. Those are digests by the index in [`tree`](Self::tree), of
    /// files that had as many bytes as that says and no extended attributes.
    pub fn read(self, store: &Store, read: &HashMap<usize, [u8; 32]>) -> Result<ContextTree, StoreError> {
        let entries = self.tree.as_ref().map_or(&*self.entries, |tree| tree.entries());
        let left = self.fresh.iter().enumerate().filter(|(_, (index, _))| !read.contains_key(index));
        let left: Vec<_> = left.map(|(number, (index, row))| (number, &entries[*index], row)).collect();
        let mut hashed = if left.is_empty() { Vec::new() } else { hash(&self.looking.root, &left)? };
        for (number, (index, row)) in self.fresh.iter().enumerate() {
            if let Some(&digest) = read.get(index) {
                hashed.push(Hashed { index: number, digest, size: row.size, xattrs: Xattrs::default() });
            }
        }
        self.finish(store, hashed)
    }

    fn finish(self, store: &Store, hashed: Vec<Hashed>) -> Result<ContextTree, StoreError> {
        let Self { looking, entries, tree, found, mut fresh, same } = self;
        let entries = tree.map_or(entries, |tree| Arc::unwrap_or_clone(tree).into_entries());
        let Looking { root, index_path, index, started } = looking;
        let tree = finish(entries, &mut fresh, same, hashed);
        if Index::needs(&fresh, started) {
            store.write_whole(&index_path, &index.updated(&found, fresh, started))?;
        }
        Ok(ContextTree { tree, root })
    }
}

/// Reads the files of a context: each with the number that comes back with its digest.
fn hash(root: &Path, files: &[(usize, &Entry, &Row)]) -> Result<Vec<Hashed>, StoreError> {
    let mut cursor = Cursor::open(root)?;
    let ((), hashed) = hashing(|hasher| {
        files.iter().try_for_each(|&(index, entry, row)| {
            let path = cursor.host_path(&entry.path);
            let (parent, name) = cursor.parent_handle(&entry.path)?;
            let (parent, name) = (Arc::clone(parent), name.into_boxed_c_str());
            hasher.add(Job { index, parent, name, path, size: row.size });
            Ok(())
        })
    })?;
    Ok(hashed)
}

/// What of the directory counts.
struct Part<'a> {
    filter: Box<dyn ContextFilter + Send + 'a>,
    /// The store's own path, when it is below the context.
    store: Option<Box<[u8]>>,
}

impl Judge for Part<'_> {
    fn consider(&self, path: &[u8], is_directory: bool) -> Visit {
        if self.store.as_deref() == Some(path) {
            return Visit::Skip;
        }
        match self.filter.decide(path, is_directory) {
            Decision::Keep => Visit::Report,
            Decision::SkipButLookInside if is_directory => Visit::Pass,
            Decision::Skip | Decision::SkipButLookInside => Visit::Skip,
        }
    }

    fn twin(&self) -> Box<dyn Judge + Send + '_> {
        Box::new(Part { filter: self.filter.twin(), store: self.store.clone() })
    }
}

struct Context<'a, 'scope, 'env> {
    /// Reads at once; none when that is left for later.
    hasher: Option<&'a mut Hasher<'scope, 'env>>,
    part: &'a Part<'a>,
    index: &'a Index,
    entries: Vec<Entry>,
    /// Which rows of the index were found as they are.
    found: Vec<bool>,
    /// The rows of the files that have to be read, each with its entry's index.
    fresh: Vec<(usize, Row)>,
    linked: HashMap<(u64, u64), (NonZeroU32, usize)>,
    /// Later names of a file, with the index of the first.
    same: Vec<(usize, usize)>,
    /// The directories that the walk is in; those that nothing was kept of are not among the entries yet.
    above: Vec<Option<Entry>>,
    /// The last look-up, from which the next usually follows.
    hint: usize,
}

impl<'a, 'scope, 'env> Context<'a, 'scope, 'env> {
    fn new(hasher: Option<&'a mut Hasher<'scope, 'env>>, part: &'a Part<'a>, index: &'a Index) -> Self {
        Self {
            hasher,
            part,
            index,
            entries: Vec::new(),
            found: index.marks(),
            fresh: Vec::new(),
            linked: HashMap::new(),
            same: Vec::new(),
            above: Vec::new(),
            hint: 0,
        }
    }

    /// Adds an entry behind the directories above it.
    fn push(&mut self, found: &Found<'_>, meta: Meta, kind: Kind) {
        self.entries.extend(self.above.iter_mut().filter_map(Option::take));
        self.entries.push(Entry { path: found.path.into(), meta, kind });
    }

    fn regular(&mut self, found: &Found<'_>, parent: &Arc<OwnedFd>, name: &CStr) {
        let stat = found.stat;
        let mut links = None;
        // The parents go first, so that the index is this entry's.
        self.entries.extend(self.above.iter_mut().filter_map(Option::take));
        let index = self.entries.len();
        let inode = (found.device(), stat.stx_ino);
        let mut first = index;
        if stat.stx_nlink > 1 {
            let next =
                u32::try_from(self.linked.len()).ok().and_then(|count| NonZeroU32::MIN.checked_add(count));
            let number;
            (number, first) = *self.linked.entry(inode).or_insert((next.unwrap_or(NonZeroU32::MAX), index));
            links = Some(number);
        }
        let row = Row::new(inode, stat);
        let known = self.index.find(&row, &mut self.hint);
        let digest = known.map(|(_, digest)| digest).unwrap_or_default();
        self.push(found, of_root(found.meta()), Kind::File { size: stat.stx_size, digest, links });
        if first != index {
            self.same.push((index, first));
            return;
        }
        if let Some(mark) = known.and_then(|(at, _)| self.found.get_mut(at)) {
            *mark = true;
            return;
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.add(Job {
                index: self.fresh.len(),
                parent: Arc::clone(parent),
                name: name.into(),
                path: found.host_path(),
                size: stat.stx_size,
            });
        }
        self.fresh.push((index, row));
    }
}

impl Visitor for Context<'_, '_, '_> {
    fn consider(&mut self, path: &[u8], is_directory: bool) -> Visit {
        self.part.consider(path, is_directory)
    }

    fn directory(&mut self, found: &Found<'_>, handle: &OwnedFd, visit: Visit) -> Result<(), StoreError> {
        let attributes =
            xattrs::read(handle.as_fd()).at("read the extended attributes of", found.host_path())?;
        let meta = Meta { xattrs: xattrs::of_context(attributes), ..of_root(found.meta()) };
        let kind = Kind::Directory { opaque: false };
        if visit == Visit::Pass {
            self.above.push(Some(Entry { path: found.path.into(), meta, kind }));
        } else {
            self.push(found, meta, kind);
            self.above.push(None);
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.above.pop();
    }

    fn file(&mut self, found: &Found<'_>, parent: &Arc<OwnedFd>, name: &CStr) -> Result<(), StoreError> {
        let (major, minor) = (found.stat.stx_rdev_major, found.stat.stx_rdev_minor);
        let kind = match found.file_type() {
            FileType::RegularFile => {
                self.regular(found, parent, name);
                return Ok(());
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())
                    .at("read the link", found.host_path())?;
                Kind::Symlink { target: target.to_bytes().into() }
            }
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(()),
        };
        self.push(found, of_root(found.meta()), kind);
        Ok(())
    }
}

/// A context's files belong to nobody in particular, so to root, as BuildKit has it.
fn of_root(meta: Meta) -> Meta {
    Meta { uid: 0, gid: 0, ..meta }
}

/// Brings what was read into entries and their rows. Rows of files with attributes go: they do not tell those.
fn finish(
    mut entries: Vec<Entry>,
    fresh: &mut [(usize, Row)],
    same: Vec<(usize, usize)>,
    hashed: Vec<Hashed>,
) -> Tree {
    for hashed in hashed {
        let (index, row) = &mut fresh[hashed.index];
        let entry = &mut entries[*index];
        // A file that grew between the look and the reading is as long as what was read; its row must not be kept.
        let changed = hashed.size != row.size;
        row.digest = hashed.digest;
        entry.meta.xattrs = xattrs::of_context(hashed.xattrs);
        row.keep = !changed && entry.meta.xattrs.is_none();
        if let Kind::File { size, digest, .. } = &mut entry.kind {
            (*size, *digest) = (hashed.size, hashed.digest);
        }
    }
    for (index, first) in same {
        let (kind, attributes): (Kind, Option<Box<Xattrs>>) =
            (entries[first].kind.clone(), entries[first].meta.xattrs.clone());
        entries[index].kind = kind;
        entries[index].meta.xattrs = attributes;
    }
    Tree::from_entries(entries)
}
