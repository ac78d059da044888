//! From the tar of a layer to its diffID and its blob, in one pass.
//!
//! ```text
//! tar ─▶ LayerSink ─┬─▶ thread: SHA-256 ─────────────────────────▶ diffID
//!                   └─▶ gzip threads ─▶ thread: SHA-256, output ─▶ blob
//! ```
//! The channels between are bounded: a slow output slows the writer down instead of filling memory.

use std::{
    io::{self, Write},
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    Descriptor, Digest, Sha256,
    compress::{Compression, Compressor},
};

const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_UNDER_WAY: usize = 4;

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
}

/// Takes the tar of a layer.
#[derive(Debug)]
pub struct LayerSink<W: Write + Send + 'static> {
    /// What was written since the last chunk went off.
    chunk: Vec<u8>,
    /// From the first whole chunk on: to hash less takes less than to start a thread.
    tar: Option<Stage<Sha256>>,
    tar_size: u64,
    blob: Option<(Compressor<Stage<Blob<W>>>, String)>,
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
        Ok(Self { chunk: Vec::new(), tar: None, tar_size: 0, blob: None })
    }
}

impl<W: Write + Send + 'static> LayerSink<W> {
    /// Writes the blob to `out`.
    pub fn new(out: W, options: &BlobOptions<'_>) -> io::Result<Self> {
        let &BlobOptions { compression, level, threads, media_type } = options;
        let hasher = (compression != Compression::None).then(Sha256::new);
        let stage = Stage::spawn("blob", Blob { out, hasher, size: 0 }, |blob: &mut Blob<W>, bytes| {
            blob.size += bytes.len() as u64;
            blob.hasher.iter_mut().for_each(|hasher| hasher.update(bytes));
            blob.out.write_all(bytes)
        })?;
        let compressor = Compressor::new(stage, compression, level, threads)?;
        let blob = Some((compressor, media_type.to_owned()));
        Ok(Self { chunk: Vec::new(), tar: None, tar_size: 0, blob })
    }

    /// Waits for all threads. Returns what the layer has become, and the output when there is one.
    pub fn finish(mut self) -> io::Result<(LayerBlob, Option<W>)> {
        let rest = std::mem::take(&mut self.chunk);
        self.compress(&rest)?;
        let tar = match self.tar.take() {
            Some(mut tar) => tar.send(rest).map(|()| Ok(tar))?,
            None => Err(Digest::sha256(&rest)),
        };
        let written = match self.blob {
            Some((compressor, media_type)) => Some((compressor.finish()?.finish()?, media_type)),
            None => None,
        };
        let diff_id = tar.map_or_else(Ok, |tar| tar.finish().map(Sha256::finish))?;
        let tar_size = self.tar_size;
        let Some((Blob { out, hasher, size }, media_type)) = written else {
            return Ok((LayerBlob { diff_id, tar_size, blob: None }, None));
        };
        let digest = hasher.map_or(diff_id, Sha256::finish);
        let blob = Some(Descriptor::new(&media_type, digest, size));
        Ok((LayerBlob { diff_id, tar_size, blob }, Some(out)))
    }

    /// Sends the chunk to both sides.
    fn pass_on(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        self.compress(&chunk)?;
        let tar = match &mut self.tar {
            Some(tar) => tar,
            None => self.tar.insert(hash_stage()?),
        };
        self.chunk = tar.spare();
        tar.send(chunk)
    }

    fn compress(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.tar_size += chunk.len() as u64;
        match &mut self.blob {
            Some((compressor, _)) => compressor.write_all(chunk),
            None => Ok(()),
        }
    }
}

impl<W: Write + Send + 'static> Write for LayerSink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = &bytes[..bytes.len().min(CHUNK_BYTES - self.chunk.len())];
        self.chunk.extend_from_slice(taken);
        if self.chunk.len() == CHUNK_BYTES {
            self.pass_on()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hash_stage() -> io::Result<Stage<Sha256>> {
    Stage::spawn("diff-id", Sha256::new(), |hasher: &mut Sha256, bytes| {
        hasher.update(bytes);
        Ok(())
    })
}

/// A thread that takes chunks of bytes.
#[derive(Debug)]
struct Stage<T> {
    chunks: Option<Sender<Vec<u8>>>,
    /// Chunks that are done with, to be filled again: new memory costs a page fault for every 4 KiB.
    spent: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<T>>>,
}

impl<T: Send + 'static> Stage<T> {
    fn spawn(
        name: &str,
        mut state: T,
        mut take: impl FnMut(&mut T, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (chunks, queue) = bounded::<Vec<u8>>(CHUNKS_UNDER_WAY);
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

    /// An empty chunk.
    fn spare(&self) -> Vec<u8> {
        let mut chunk = self.spent.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES));
        chunk.clear();
        chunk
    }

    fn send(&mut self, chunk: Vec<u8>) -> io::Result<()> {
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

impl<T: Send + 'static> Write for Stage<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut chunk = self.spare();
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
