//! From the files of a layer, or from its tar, to its diffID and its blob, in one pass.
//!
//! ```text
//! tar ─▶ LayerSink ─┬─▶ thread: SHA-256, BLAKE3 of small files ──▶ diffID, digests
//!                   ├─▶ thread: BLAKE3 of large files ───────────▶ digests
//!                   └─▶ gzip threads ─▶ thread: SHA-256, output ─▶ blob
//! ```
//! The channels between are bounded: a slow output slows the writer down instead of filling memory. Contents of files are
//! read into the chunks that go off, so that no byte is moved from one buffer to another.

use std::{
    io::{self, Read, Write},
    ops::Range,
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    Blake3, Descriptor, Digest, FileContents, Sha256, TimePolicy,
    archive::{EntryHeader, WriteArchiveError, Writer},
    compress::{Compression, Compressor},
    layer::{self, Bodies, WriteLayerError},
    tree::{Entry, Kind, Tree},
};

const CHUNK_BYTES: usize = 256 << 10;
/// A file of which less than this would fit into a chunk begins in the next one.
const READ_BYTES_MIN: usize = 16 << 10;
const CHUNKS_UNDER_WAY: usize = 4;
/// A file of this length is worth a thread that finds its digest beside the one that hashes the tar.
const LARGE_FILE_BYTES: u64 = 4 << 20;

/// How a layer becomes a blob.
#[derive(Clone, Copy, Debug)]
pub struct BlobOptions<'a> {
    /// How it is compressed.
    pub compression: Compression,
    /// The level, when not the default.
    pub level: Option<i32>,
    /// On how many threads.
    pub threads: usize,
    /// What the descriptor says.
    pub media_type: &'a str,
}

/// What a layer has become.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerBlob {
    /// SHA-256 of the tar.
    pub diff_id: Digest,
    /// Length of the tar.
    pub tar_size: u64,
    /// Names the blob, when one was written.
    pub blob: Option<Descriptor>,
    /// BLAKE3 of what [`LayerSink::write_layer`] read, by the index of the entry; ascending. None of a sink that trusts.
    pub contents: Vec<(usize, [u8; 32])>,
}

impl LayerBlob {
    /// Whether everything that was read is what `tree` says.
    pub fn check(&self, tree: &Tree) -> Result<(), WriteLayerError> {
        let changed = self.contents.iter().find_map(|(index, found)| {
            let entry = tree.entry(*index)?;
            let same = matches!(&entry.kind, Kind::File { digest, .. } if digest == found);
            (!same).then_some(entry)
        });
        changed.map_or(Ok(()), |entry| Err(WriteLayerError::Changed { path: layer::lossy(entry) }))
    }
}

/// Takes the tar of a layer.
#[derive(Debug)]
pub struct LayerSink<W: Write + Send + 'static> {
    /// What was written since the last chunk went off.
    chunk: Chunk,
    /// From the first whole chunk on: to hash less takes less than to start a thread.
    tar: Option<Stage<Arc<Chunk>, Digests>>,
    /// From the first large file on.
    large: Option<Stage<Arc<Chunk>, Files>>,
    tar_size: u64,
    blob: Option<(Compressing<W>, String)>,
    /// Whether contents are hashed one by one.
    checks: bool,
}

/// The way to the blob.
type Compressing<W> = Compressor<Stage<Vec<u8>, Blob<W>>>;

/// A piece of the tar.
#[derive(Debug, Default)]
struct Chunk {
    /// As long as a chunk can be, once there is something in it: to make it longer piece by piece would write zeros.
    bytes: Vec<u8>,
    filled: usize,
    /// Where in it there are contents of files.
    files: Vec<Piece>,
}

impl Chunk {
    /// What is not filled yet.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.resize(CHUNK_BYTES, 0);
        &mut self.bytes[self.filled..]
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Empty again, with its memory.
    fn clear(&mut self) {
        self.filled = 0;
        self.files.clear();
    }
}

/// A piece of a file.
#[derive(Debug)]
struct Piece {
    range: Range<usize>,
    /// Whether the file is a large one.
    large: bool,
    /// The index of the entry that ends here.
    ends: Option<usize>,
}

/// What is found out of the tar.
#[derive(Debug)]
struct Digests {
    tar: Sha256,
    files: Files,
}

impl Digests {
    fn new() -> Self {
        Self { tar: Sha256::new(), files: Files::new(false) }
    }

    fn take(&mut self, chunk: &Chunk) {
        self.tar.update(chunk.bytes());
        self.files.take(chunk);
    }
}

/// The digests of the files in it: of the large ones, or of all others.
#[derive(Debug)]
struct Files {
    large: bool,
    file: Blake3,
    contents: Vec<(usize, [u8; 32])>,
}

impl Files {
    fn new(large: bool) -> Self {
        Self { large, file: Blake3::new(), contents: Vec::new() }
    }

    fn take(&mut self, chunk: &Chunk) {
        for Piece { range, ends, .. } in chunk.files.iter().filter(|piece| piece.large == self.large) {
            self.file.update(&chunk.bytes[range.clone()]);
            if let Some(index) = *ends {
                let whole = std::mem::replace(&mut self.file, Blake3::new());
                self.contents.push((index, *whole.finish().bytes()));
            }
        }
    }
}

/// The end of the line: what arrives is counted, hashed and written.
#[derive(Debug)]
struct Blob<W> {
    out: W,
    /// Not when the blob is the tar itself, whose digest is known.
    hasher: Option<Sha256>,
    size: u64,
}

impl LayerSink<io::Sink> {
    /// Just the diffID.
    pub fn diff_id() -> io::Result<Self> {
        Ok(Self { chunk: Chunk::default(), tar: None, large: None, tar_size: 0, blob: None, checks: true })
    }
}

impl<W: Write + Send + 'static> LayerSink<W> {
    /// Writes the blob to `out`.
    pub fn new(out: W, options: &BlobOptions<'_>) -> io::Result<Self> {
        let &BlobOptions { compression, level, threads, media_type } = options;
        let hasher = (compression != Compression::None).then(Sha256::new);
        let stage =
            Stage::spawn("blob", Blob { out, hasher, size: 0 }, |blob: &mut Blob<W>, bytes: &Vec<u8>| {
                blob.size += bytes.len() as u64;
                blob.hasher.iter_mut().for_each(|hasher| hasher.update(bytes));
                blob.out.write_all(bytes)
            })?;
        let compressor = Compressor::new(stage, compression, level, threads)?;
        let blob = Some((compressor, media_type.to_owned()));
        Ok(Self { chunk: Chunk::default(), tar: None, large: None, tar_size: 0, blob, checks: true })
    }

    /// Hashes no contents, for who knows that they are what the tree says: [`LayerBlob::contents`] will be empty.
    #[must_use]
    pub const fn trusting(mut self) -> Self {
        self.checks = false;
        self
    }

    /// Waits for all threads. Returns what the layer has become, and the output when there is one.
    pub fn finish(mut self) -> io::Result<(LayerBlob, Option<W>)> {
        let rest = Arc::new(std::mem::take(&mut self.chunk));
        self.compress(&rest)?;
        self.find_large(&rest)?;
        let large = self.large.take();
        let digests = match self.tar.take() {
            Some(mut tar) => tar.send(rest).map(|()| Err(tar))?,
            None => {
                let mut digests = Digests::new();
                digests.take(&rest);
                Ok(digests)
            }
        };
        let written = match self.blob {
            Some((compressor, media_type)) => Some((compressor.finish()?.finish()?, media_type)),
            None => None,
        };
        let Digests { tar, files: Files { mut contents, .. } } = digests.or_else(Stage::finish)?;
        if let Some(large) = large {
            contents.append(&mut large.finish()?.contents);
            contents.sort_unstable_by_key(|(index, _)| *index);
        }
        let (diff_id, tar_size) = (tar.finish(), self.tar_size);
        let Some((Blob { out, hasher, size }, media_type)) = written else {
            return Ok((LayerBlob { diff_id, tar_size, blob: None, contents }, None));
        };
        let digest = hasher.map_or(diff_id, Sha256::finish);
        let blob = Some(Descriptor::new(&media_type, digest, size));
        Ok((LayerBlob { diff_id, tar_size, blob, contents }, Some(out)))
    }

    /// Writes `tree` as [`write_layer`](crate::write_layer) does, and checks no digest: they are told at the end.
    pub fn write_layer(
        &mut self,
        tree: &Tree,
        times: TimePolicy,
        contents: &mut dyn FileContents,
    ) -> Result<(), WriteLayerError> {
        layer::write_with(tree, times, &mut Straight { contents }, self)
    }

    /// Sends the chunk to all sides.
    fn pass_on(&mut self) -> io::Result<()> {
        let chunk = Arc::new(std::mem::take(&mut self.chunk));
        self.compress(&chunk)?;
        self.find_large(&chunk)?;
        self.chunk = self.spare().unwrap_or_default();
        self.chunk.clear();
        let tar = match &mut self.tar {
            Some(tar) => tar,
            None => self.tar.insert(hash_stage()?),
        };
        tar.send(chunk)
    }

    /// Has the digests of the large files in it found.
    fn find_large(&mut self, chunk: &Arc<Chunk>) -> io::Result<()> {
        if !chunk.files.iter().any(|piece| piece.large) {
            return Ok(());
        }
        let large = match &mut self.large {
            Some(large) => large,
            None => self.large.insert(large_stage()?),
        };
        large.send(Arc::clone(chunk))
    }

    /// A chunk with which all are done.
    fn spare(&self) -> Option<Chunk> {
        let stages =
            [self.tar.as_ref().map(|stage| &stage.spent), self.large.as_ref().map(|stage| &stage.spent)];
        stages.into_iter().flatten().find_map(|spent| spent.try_iter().find_map(Arc::into_inner))
    }

    fn compress(&mut self, chunk: &Chunk) -> io::Result<()> {
        self.tar_size += chunk.filled as u64;
        match &mut self.blob {
            Some((compressor, _)) => compressor.write_all(chunk.bytes()),
            None => Ok(()),
        }
    }

    /// Reads the file that is entry `index` and has `size` bytes.
    fn fill(
        &mut self,
        (index, path): (usize, &str),
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), WriteArchiveError> {
        let mut found = 0;
        loop {
            // One byte more than is left, to see whether there is more than announced.
            let left = usize::try_from((size - found).saturating_add(1)).unwrap_or(usize::MAX);
            if CHUNK_BYTES - self.chunk.filled < left.min(READ_BYTES_MIN) {
                self.pass_on().map_err(WriteArchiveError::Write)?;
            }
            let room = self.chunk.room();
            let wanted = left.min(room.len());
            let read = match content.read(&mut room[..wanted]) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(WriteArchiveError::Read { path: path.to_owned(), source }),
            };
            found += read as u64;
            if (read == 0 && found < size) || found > size {
                return Err(WriteArchiveError::Size { path: path.to_owned(), expected: size, found });
            }
            // A file that gave less than it was asked for has no more: asking again would cost small files a third.
            let is_end = found == size && read < wanted;
            let from = self.chunk.filled;
            self.chunk.filled += read;
            if self.checks {
                let (range, ends) = (from..from + read, is_end.then_some(index));
                self.chunk.files.push(Piece { range, large: size >= LARGE_FILE_BYTES, ends });
            }
            if is_end {
                return Ok(());
            }
        }
    }
}

/// Contents are read into the chunks.
struct Straight<'c> {
    contents: &'c mut dyn FileContents,
}

impl<W: Write + Send + 'static> Bodies<&mut LayerSink<W>> for Straight<'_> {
    fn file(
        &mut self,
        archive: &mut Writer<&mut LayerSink<W>>,
        header: &EntryHeader<'_>,
        (index, entry): (usize, &Entry),
        size: u64,
    ) -> Result<(), WriteLayerError> {
        if size == 0 {
            return Ok(archive.entry(header, None)?);
        }
        let mut content = layer::open(&mut *self.contents, index, entry)?;
        let file = (index, &*layer::lossy(entry));
        Ok(archive.filled(header, size, |sink| sink.fill(file, size, &mut content))?)
    }
}

impl<W: Write + Send + 'static> Write for LayerSink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.chunk.room();
        let taken = bytes.len().min(room.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        self.chunk.filled += taken;
        if self.chunk.filled == CHUNK_BYTES {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hash_stage() -> io::Result<Stage<Arc<Chunk>, Digests>> {
    Stage::spawn("diff-id", Digests::new(), |digests: &mut Digests, chunk: &Arc<Chunk>| {
        digests.take(chunk);
        Ok(())
    })
}

fn large_stage() -> io::Result<Stage<Arc<Chunk>, Files>> {
    Stage::spawn("large-files", Files::new(true), |files: &mut Files, chunk: &Arc<Chunk>| {
        files.take(chunk);
        Ok(())
    })
}

/// A thread that takes chunks.
#[derive(Debug)]
struct Stage<C, T> {
    chunks: Option<Sender<C>>,
    /// Chunks that are done with, to be filled again: new memory costs a page fault for every 4 KiB.
    spent: Receiver<C>,
    thread: Option<JoinHandle<io::Result<T>>>,
}

impl<C: Send + 'static, T: Send + 'static> Stage<C, T> {
    fn spawn(
        name: &str,
        mut state: T,
        mut take: impl FnMut(&mut T, &C) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (chunks, queue) = bounded::<C>(CHUNKS_UNDER_WAY);
        let (give_back, spent) = bounded(CHUNKS_UNDER_WAY);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            for chunk in queue {
                take(&mut state, &chunk)?;
                // There are never many; one too many goes.
                let _ = give_back.try_send(chunk);
            }
            Ok(state)
        })?;
        Ok(Self { chunks: Some(chunks), spent, thread: Some(thread) })
    }

    /// A chunk that was used.
    fn spare(&self) -> Option<C> {
        self.spent.try_recv().ok()
    }

    fn send(&mut self, chunk: C) -> io::Result<()> {
        match &self.chunks {
            Some(chunks) if chunks.send(chunk).is_ok() => Ok(()),
            // The thread has ended before the end: it says why.
            _ => Err(self.join().err().unwrap_or_else(ended_early)),
        }
    }

    fn finish(mut self) -> io::Result<T> {
        self.join()
    }

    fn join(&mut self) -> io::Result<T> {
        self.chunks = None;
        let result = self.thread.take().map(JoinHandle::join);
        result.and_then(Result::ok).unwrap_or_else(|| Err(ended_early()))
    }
}

fn ended_early() -> io::Error {
    io::Error::other("a thread of the layer writer ended early")
}

impl<T: Send + 'static> Write for Stage<Vec<u8>, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut chunk = self.spare().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES));
        chunk.clear();
        chunk.extend_from_slice(bytes);
        self.send(chunk)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type;

    fn options(compression: Compression) -> BlobOptions<'static> {
        BlobOptions { compression, level: None, threads: 2, media_type: media_type::oci_layer(compression) }
    }

    fn tar() -> Vec<u8> {
        (0..3 * CHUNK_BYTES + 7).map(|at| (at / 7 % 251) as u8).collect()
    }

    #[test]
    fn digests_and_sizes_are_those_of_the_bytes() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut sink = LayerSink::new(Vec::new(), &options(compression)).unwrap();
            sink.write_all(&tar()).unwrap();
            let (layer, out) = sink.finish().unwrap();
            let out = out.unwrap();
            assert_eq!(layer.diff_id, Digest::sha256(&tar()));
            assert_eq!(layer.tar_size, tar().len() as u64);
            assert_eq!(layer.blob, Some(Descriptor::of(media_type::oci_layer(compression), &out)));
        }
    }

    #[test]
    fn a_diff_id_needs_no_blob() {
        let mut sink = LayerSink::diff_id().unwrap();
        sink.write_all(&tar()).unwrap();
        let (layer, out) = sink.finish().unwrap();
        assert_eq!((layer.diff_id, layer.blob, out.is_none()), (Digest::sha256(&tar()), None, true));
    }

    const LARGE: usize = LARGE_FILE_BYTES as usize + CHUNK_BYTES - 512;

    /// Files whose ends fall on, before and behind the ends of chunks; one is large, one has two names.
    fn files() -> (Tree, Vec<Vec<u8>>) {
        let sizes = [0, 1, 511, 512, CHUNK_BYTES - 1536, CHUNK_BYTES, LARGE, 3 * CHUNK_BYTES + 5, 700];
        let meta = crate::Meta::new(0o644);
        let (mut entries, mut contents) = (Vec::new(), Vec::new());
        for (number, size) in sizes.into_iter().enumerate() {
            let content: Vec<u8> = (0..size).map(|at| (at / 3 * (number + 1) % 251) as u8).collect();
            let digest = *Digest::blake3(&content).bytes();
            let links = (number == 8).then_some(std::num::NonZeroU32::MIN);
            let kind = Kind::File { size: size as u64, digest, links };
            entries.push(Entry { path: format!("f{number}").into_bytes().into(), meta: meta.clone(), kind });
            contents.push(content);
        }
        let second = Entry { path: b"f9".as_slice().into(), ..entries[8].clone() };
        entries.push(second);
        (Tree::from_entries(entries), contents)
    }

    fn opener(contents: &[Vec<u8>]) -> impl FnMut(usize) -> io::Result<Box<dyn Read>> {
        let contents = contents.to_vec();
        move |index| Ok(Box::new(io::Cursor::new(contents[index].clone())))
    }

    #[test]
    fn files_are_read_into_the_same_archive_and_hashed_beside() {
        let (tree, contents) = files();
        let mut tar = Vec::new();
        crate::write_layer(&tree, TimePolicy::Keep, &mut opener(&contents), &mut tar).unwrap();
        let mut sink = LayerSink::new(Vec::new(), &options(Compression::None)).unwrap();
        sink.write_layer(&tree, TimePolicy::Keep, &mut opener(&contents)).unwrap();
        let (made, out) = sink.finish().unwrap();
        assert!(out.unwrap() == tar);
        assert_eq!((made.diff_id, made.tar_size), (Digest::sha256(&tar), tar.len() as u64));
        let expected: Vec<_> =
            (1..9).map(|index| (index, *Digest::blake3(&contents[index]).bytes())).collect();
        assert_eq!(made.contents, expected);
        made.check(&tree).unwrap();
    }

    #[test]
    fn a_file_that_changed_is_noticed() {
        let (tree, mut contents) = files();
        contents[7][CHUNK_BYTES] ^= 1;
        let mut sink = LayerSink::diff_id().unwrap();
        sink.write_layer(&tree, TimePolicy::Keep, &mut opener(&contents)).unwrap();
        let error = sink.finish().unwrap().0.check(&tree).unwrap_err();
        assert!(error.to_string().contains("\"f7\" changed"), "{error}");
        for (index, shorter) in [(7, true), (7, false), (5, true), (5, false)] {
            let (tree, mut contents) = files();
            let size = contents[index].len();
            contents[index].resize(if shorter { size - 1 } else { size + 1 }, 0);
            let mut sink = LayerSink::diff_id().unwrap();
            let error = sink.write_layer(&tree, TimePolicy::Keep, &mut opener(&contents)).unwrap_err();
            assert!(error.to_string().contains("changed while"), "{error}");
        }
    }

    /// Fails like a disk without room.
    #[derive(Debug)]
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_error_of_the_output_comes_back() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut sink = LayerSink::new(Full, &options(compression)).unwrap();
            let written = (0..100).try_for_each(|_| sink.write_all(&tar()));
            let error = written.and_then(|()| sink.finish().map(drop)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{compression:?}");
        }
    }
}
