//! Gzip on many threads: one member, cut into blocks of fixed size, each compressed on its own with the 32 KiB before it
//! as dictionary, as pigz does it. The bytes depend on the input and the level alone.
//!
//! ```text
//! write ─▶ block ─▶ ┌ worker ┐ ─▶ in the order of the blocks ─▶ out
//!          block ─▶ └ worker ┘
//! ```
//! Each worker has at most [`BLOCKS_PER_THREAD`] blocks before or behind it, which bounds the memory.

use std::{
    collections::VecDeque,
    io::{self, Write},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use flate2::{Compress, FlushCompress, Status};

/// How much input is compressed at once.
pub const BLOCK_BYTES: usize = 512 << 10;

/// What gzip and Go take when nothing is said.
pub const DEFAULT_GZIP_LEVEL: u32 = 6;

const DICTIONARY_BYTES: usize = 32 << 10;
const BLOCKS_PER_THREAD: usize = 2;
const MAX_LEVEL: u32 = 9;

/// Unknown operating system, as Go writes it.
const OS_UNKNOWN: u8 = 255;

/// Compresses into `W`.
#[derive(Debug)]
pub struct GzipWriter<W: Write> {
    out: W,
    /// A dictionary and what was written of the current block.
    block: Vec<u8>,
    dictionary: usize,
    jobs: Sender<Job>,
    /// Where the results of the blocks under way will come, in order.
    under_way: VecDeque<Receiver<io::Result<Done>>>,
    max_under_way: usize,
    spare: Vec<Vec<u8>>,
    checksum: crc32fast::Hasher,
    size: u64,
}

#[derive(Debug)]
struct Job {
    block: Vec<u8>,
    dictionary: usize,
    last: bool,
    reply: Sender<io::Result<Done>>,
}

#[derive(Debug)]
struct Done {
    compressed: Vec<u8>,
    checksum: crc32fast::Hasher,
    /// The block, to be used again.
    block: Vec<u8>,
}

impl<W: Write> GzipWriter<W> {
    /// Compresses on `threads` threads, at least one. Levels above 9 are 9.
    pub fn new(mut out: W, level: u32, threads: usize) -> io::Result<Self> {
        let (level, threads) = (level.min(MAX_LEVEL), threads.max(1));
        out.write_all(&header(level))?;
        let max_under_way = threads * BLOCKS_PER_THREAD;
        let (jobs, queue) = bounded(max_under_way);
        for _ in 0..threads {
            let queue = queue.clone();
            thread::Builder::new().name("gzip".to_owned()).spawn(move || work(&queue, level))?;
        }
        Ok(Self {
            out,
            block: Vec::new(),
            dictionary: 0,
            jobs,
            under_way: VecDeque::new(),
            max_under_way,
            spare: Vec::new(),
            checksum: crc32fast::Hasher::new(),
            size: 0,
        })
    }

    /// Writes the end and returns the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.hand_over(true)?;
        while !self.under_way.is_empty() {
            self.collect()?;
        }
        self.out.write_all(&self.checksum.finalize().to_le_bytes())?;
        // The length modulo 2^32, as the format has it.
        self.out.write_all(&self.size.to_le_bytes()[..4])?;
        Ok(self.out)
    }

    /// Gives the current block to the workers and begins the next one.
    fn hand_over(&mut self, last: bool) -> io::Result<()> {
        if self.under_way.len() == self.max_under_way {
            self.collect()?;
        }
        let mut next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(DICTIONARY_BYTES + BLOCK_BYTES));
        next.clear();
        next.extend_from_slice(&self.block[self.block.len().saturating_sub(DICTIONARY_BYTES)..]);
        let dictionary = std::mem::replace(&mut self.dictionary, next.len());
        let block = std::mem::replace(&mut self.block, next);
        let (reply, result) = bounded(1);
        self.under_way.push_back(result);
        self.jobs.send(Job { block, dictionary, last, reply }).map_err(|_| gone())
    }

    /// Writes the oldest block under way.
    fn collect(&mut self) -> io::Result<()> {
        let Some(result) = self.under_way.pop_front() else { return Ok(()) };
        let Done { compressed, checksum, block } = result.recv().map_err(|_| gone())??;
        self.checksum.combine(&checksum);
        self.spare.push(block);
        self.out.write_all(&compressed)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = |writer: &Self| BLOCK_BYTES - (writer.block.len() - writer.dictionary);
        // Only when more comes is it known that a full block is not the last.
        if room(self) == 0 && !bytes.is_empty() {
            self.hand_over(false)?;
        }
        let taken = &bytes[..bytes.len().min(room(self))];
        self.block.extend_from_slice(taken);
        self.size += taken.len() as u64;
        Ok(taken.len())
    }

    /// Does not end a block: the bytes would depend on it.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a compression thread ended early")
}

fn header(level: u32) -> [u8; 10] {
    let hint = match level {
        1 => 4,
        MAX_LEVEL => 2,
        _ => 0,
    };
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, hint, OS_UNKNOWN]
}

/// A worker: compresses blocks until there are no more.
fn work(queue: &Receiver<Job>, level: u32) {
    let mut encoder = Compress::new(flate2::Compression::new(level), false);
    for Job { block, dictionary, last, reply } in queue {
        let result = compress(&mut encoder, &block, dictionary, last);
        // When nobody waits for the result any more, nobody misses it.
        let _ = reply.send(result.map(|(compressed, checksum)| Done { compressed, checksum, block }));
    }
}

fn compress(
    encoder: &mut Compress,
    block: &[u8],
    dictionary: usize,
    last: bool,
) -> io::Result<(Vec<u8>, crc32fast::Hasher)> {
    let (dictionary, input) = block.split_at(dictionary);
    encoder.reset();
    if !dictionary.is_empty() {
        encoder.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    // A sync flush ends on a byte, so that blocks can be joined.
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut out = Vec::with_capacity(input.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(encoder.total_in()).map_err(io::Error::other)?;
        let status = encoder.compress_vec(&input[taken..], &mut out, flush).map_err(io::Error::other)?;
        // With room left in the output there is nothing left inside.
        if status == Status::StreamEnd || (!last && out.len() < out.capacity()) {
            break;
        }
        out.reserve(input.len() / 4 + 1024);
    }
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(input);
    Ok((out, checksum))
}
