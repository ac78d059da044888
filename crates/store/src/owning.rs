//! A layer gets bytes of its own while something else reads them: each source is read once for both.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    os::fd::AsFd,
    path::PathBuf,
};

use galley_oci::{
    FileContents, Kind, Tree,
    erofs::{self, NewFile, WriteErofsError, Writer},
};

use crate::{
    Content, Layer, LayerContents, Origin, Origins, Store, StoreError, TempDir,
    error::At,
    files::{copier, open, read_ahead::ReadAhead, write_behind::WriteBehind, xattrs},
    origins::Resolved,
};

/// Layers that are smaller than both of these become directories: those few files cost less than a mount.
const PACKED_ENTRIES_MIN: usize = 64;
const PACKED_BYTES_MIN: u64 = 8 << 20;

/// A layer whose files are copied into one while they are read.
#[derive(Debug)]
pub struct Owning {
    temp: TempDir,
    path: PathBuf,
    contents: Contents,
    writer: Writer<WriteBehind>,
    /// What was copied, by the index of the entry; ascending.
    copied: Vec<(usize, erofs::Content)>,
    /// It does not go into one file.
    failed: bool,
}

#[derive(Debug)]
enum Contents {
    /// Of a layer of the store.
    Layer(LayerContents),
    /// Of one that is none yet, because nobody has read its files: they are new in a build context.
    Unread { store: Store, origins: Resolved, ahead: ReadAhead },
}

impl Contents {
    fn open(&mut self, index: usize) -> Result<Content, StoreError> {
        let (store, origins, ahead) = match self {
            Self::Layer(contents) => return contents.open(index),
            Self::Unread { store, origins, ahead } => (store, origins, ahead),
        };
        match origins.get(index) {
            Some(Origin::Path(path)) => {
                let file = open::plain(path)?;
                ahead.opened(&file, origins.paths_after(index));
                let attributes = xattrs::read(file.as_fd()).at("read the extended attributes of", path)?;
                // Of a file that has some the tree would say so if anybody had looked.
                if xattrs::of_context(attributes).is_some() {
                    return Err(StoreError::FileChanged { path: path.clone() });
                }
                Ok(file.into())
            }
            Some(Origin::Bytes(bytes)) => open::memory(bytes).map(Content::from),
            Some(Origin::Layer { layer, index }) => store.open_file(layer, *index),
            None => open::empty().map(Content::from),
        }
    }
}

impl Store {
    /// Begins to write the bytes of a layer whose files nobody has read yet; `None` when they had better be a directory.
    /// Files of `tree` that say nothing of extended attributes must have none: to open another one is an error.
    pub fn begin_unread(&self, tree: &Tree, origins: Origins) -> Result<Option<Owning>, StoreError> {
        if !is_worth_it(tree) || !self.mounts_packed() {
            return Ok(None);
        }
        let origins = origins.resolve(self, tree)?;
        self.begin(Contents::Unread { store: self.clone(), origins, ahead: ReadAhead::default() }).map(Some)
    }

    /// Makes what [`begin_unread`](Self::begin_unread) began the layer `tree`, which is the same one with the digests of
    /// what was read; also says whether the store's layer has just these times. A tree that one file cannot hold comes
    /// back.
    pub fn commit_read(&self, tree: Tree, owning: Owning) -> Result<Result<(Layer, bool), Tree>, StoreError> {
        let Owning { temp, path, writer, copied, failed, .. } = owning;
        if failed {
            return Ok(Err(tree));
        }
        match writer.finish(&tree, |index| place_of(&copied, index)) {
            Ok(_) => {}
            Err(WriteErofsError::Write(source)) => {
                return Err(StoreError::Io { doing: "write", path, source });
            }
            Err(_) => return Ok(Err(tree)),
        }
        let integrity = tree.integrity();
        let layer = self.commit_packed(tree, temp)?;
        let same = *layer.integrity() == integrity;
        Ok(Ok((layer, same)))
    }

    /// Begins to give `layer` bytes of its own; `None` when it has them, or when they had better be a directory, which
    /// [`own_bytes`](Self::own_bytes) makes.
    pub fn begin_owning(&self, layer: &Layer) -> Result<Option<Owning>, StoreError> {
        if layer.owns_bytes() || !is_worth_it(&*layer.tree()?) || !self.mounts_packed() {
            return Ok(None);
        }
        self.begin(Contents::Layer(self.contents(layer)?)).map(Some)
    }

    fn begin(&self, contents: Contents) -> Result<Owning, StoreError> {
        let temp = self.temp_dir("own")?;
        let path = temp.packed();
        let file = fs_err::File::create_new(&path).at("create", &path)?.into_file();
        let writer = Writer::new(WriteBehind::new(file, self.failure())).at("write", &path)?;
        Ok(Owning { temp, path, contents, writer, copied: Vec::new(), failed: false })
    }

    /// Makes what was copied the layer's own. Everything must have been read, and found to be what the tree says. When it
    /// does not go into one file, the layer stays as it was.
    pub fn finish_owning(&self, layer: &Layer, owning: Owning) -> Result<(), StoreError> {
        let Owning { temp, path, writer, copied, failed, .. } = owning;
        if failed {
            return Ok(());
        }
        match writer.finish(&*layer.tree()?, |index| place_of(&copied, index)) {
            Ok(_) => self.attach_packed(layer, &temp),
            Err(WriteErofsError::Write(source)) => Err(StoreError::Io { doing: "write", path, source }),
            // Something in it that the format does not hold.
            Err(_) => Ok(()),
        }
    }

    /// The same at once.
    pub(crate) fn pack_own(&self, layer: &Layer) -> Result<(), StoreError> {
        let Some(mut owning) = self.begin_owning(layer)? else { return Ok(()) };
        let mut buffer = vec![0; copier::BUFFER_BYTES];
        let mut linked = HashSet::new();
        for (index, entry) in layer.tree()?.entries().iter().enumerate() {
            let Kind::File { size: size @ 1.., digest, links } = &entry.kind else { continue };
            if links.is_none_or(|group| linked.insert(group)) {
                let path = owning.path_of(index);
                let mut content = owning.open(index)?;
                let found = copier::hash(&mut content, &path, *size, &mut buffer)?;
                if found != (*digest, *size) {
                    return Err(layer.other_content(path));
                }
            }
        }
        self.finish_owning(layer, owning)
    }
}

/// Where the content of the entry `index` was written.
fn place_of(copied: &[(usize, erofs::Content)], index: usize) -> Option<erofs::Content> {
    let found = copied.binary_search_by_key(&index, |(index, _)| *index).ok()?;
    Some(copied[found].1)
}

fn is_worth_it(tree: &Tree) -> bool {
    let sizes = tree.entries().iter().map(|entry| match entry.kind {
        Kind::File { size, .. } => size,
        _ => 0,
    });
    tree.entries().len() >= PACKED_ENTRIES_MIN || sizes.sum::<u64>() >= PACKED_BYTES_MIN
}

impl Owning {
    /// For messages.
    fn path_of(&self, index: usize) -> PathBuf {
        match &self.contents {
            Contents::Layer(contents) => contents.path(index),
            Contents::Unread { .. } => self.path.clone(),
        }
    }

    /// The content of the file that is entry `index` of the layer's tree, which is copied while it is read. Files must be
    /// read in the order of the tree, each once and to its end; of one with several names the first.
    pub fn open(&mut self, index: usize) -> Result<Copied<'_>, StoreError> {
        let content = self.contents.open(index)?;
        let file = if self.failed { None } else { Some(self.writer.file()) };
        Ok(Copied { content, index, file, copied: &mut self.copied, failed: &mut self.failed })
    }
}

/// A content that is copied while it is read.
#[derive(Debug)]
pub struct Copied<'a> {
    content: Content,
    index: usize,
    file: Option<NewFile<'a, WriteBehind>>,
    copied: &'a mut Vec<(usize, erofs::Content)>,
    failed: &'a mut bool,
}

impl Read for Copied<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        let Some(file) = &mut self.file else { return Ok(count) };
        match file.write_all(&buffer[..count]) {
            Ok(()) => {}
            // More than the format holds.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                (self.file, *self.failed) = (None, true);
            }
            Err(error) => return Err(error),
        }
        Ok(count)
    }
}

impl Drop for Copied<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.copied.push((self.index, file.finish()));
        }
    }
}

impl FileContents for Owning {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Read + '_>> {
        match Self::open(self, index) {
            Ok(copied) => Ok(Box::new(copied)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
