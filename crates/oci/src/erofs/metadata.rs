//! Everything but the contents: inodes one behind the other, then blocks of what does not fit behind them.

use std::{
    io::{self, Seek, Write},
    ops::Range,
};

use super::{
    directory::{self, Dirent},
    format::{BLOCK, BLOCK_BYTES, DataLayout, Inode, SLOT_BYTES},
    layout::{Layout, Node},
    sink::BlockSink,
    special::{device_number, inode_type},
    writer::Place,
    xattrs,
};
use crate::{Kind, Tree};

/// Writes what `layout` has placed behind where `sink` stands. `held` are the contents that were held back.
pub(super) fn write<W: Write + Seek>(
    sink: &mut BlockSink<W>,
    tree: &Tree,
    layout: &Layout,
    held: &[u8],
) -> io::Result<()> {
    let mut writer = MetadataWriter { sink, tree, layout, held, block: Vec::with_capacity(BLOCK_BYTES) };
    let is_owner = |index: &usize| layout.nodes[*index].owner as usize == *index;
    (0..layout.nodes.len()).filter(is_owner).try_for_each(|index| writer.inode(index))?;
    writer.sink.pad_to(layout.outside)?;
    (0..layout.nodes.len()).filter(is_owner).try_for_each(|index| writer.blocks(index))
}

struct MetadataWriter<'a, W> {
    sink: &'a mut BlockSink<W>,
    tree: &'a Tree,
    layout: &'a Layout,
    held: &'a [u8],
    /// Room for one block of a directory.
    block: Vec<u8>,
}

/// Bytes that were in no block yet.
enum Built<'a> {
    Bytes(&'a [u8]),
    Names(Vec<Dirent<'a>>),
}

impl<'a, W: Write + Seek> MetadataWriter<'a, W> {
    fn inode(&mut self, index: usize) -> io::Result<()> {
        let (entry, node) = (&self.tree.entries()[index], &self.layout.nodes[index]);
        let xattrs = xattrs::encode(entry);
        let inode = Inode {
            layout: if node.inline { DataLayout::Inline } else { DataLayout::Plain },
            xattr_bytes: xattrs.len(),
            kind: inode_type(&entry.kind),
            mode: entry.meta.mode,
            size: node.size,
            place: device_number(&entry.kind).unwrap_or(node.block),
            number: node.inode,
            uid: entry.meta.uid,
            gid: entry.meta.gid,
            mtime: entry.meta.mtime,
            links: node.links,
        };
        self.sink.pad_to(self.layout.start + u64::from(node.inode) * SLOT_BYTES)?;
        self.sink.write(&inode.encode())?;
        self.sink.write(&xattrs)?;
        if node.inline {
            let built = self.built(index, node);
            let tail = (node.size / BLOCK) as usize;
            self.write_blocks(&built, tail..tail + 1)?;
        }
        Ok(())
    }

    fn blocks(&mut self, index: usize) -> io::Result<()> {
        let node = &self.layout.nodes[index];
        let count = node.outside_blocks() as usize;
        if count == 0 {
            return Ok(());
        }
        let built = self.built(index, node);
        self.write_blocks(&built, 0..count)?;
        self.sink.align()
    }

    fn built(&self, index: usize, node: &Node) -> Built<'a> {
        match (&self.tree.entries()[index].kind, node.place) {
            (Kind::Directory { .. }, _) => Built::Names(self.layout.names(self.tree, index)),
            (Kind::Symlink { target }, _) => Built::Bytes(target),
            (_, Place::Held(start)) => Built::Bytes(&self.held[start as usize..][..node.size as usize]),
            _ => Built::Bytes(&[]),
        }
    }

    /// Writes these blocks, the last one as long as it is.
    fn write_blocks(&mut self, built: &Built<'_>, numbers: Range<usize>) -> io::Result<()> {
        match built {
            Built::Bytes(bytes) => {
                let end = bytes.len().min(numbers.end * BLOCK_BYTES);
                self.sink.write(&bytes[numbers.start * BLOCK_BYTES..end])
            }
            Built::Names(names) => {
                let blocks = directory::blocks(names).enumerate().skip(numbers.start);
                blocks.take(numbers.len()).try_for_each(|(number, names)| {
                    directory::encode(names, &mut self.block);
                    // All but the last one of a directory are filled up with zeros.
                    if number > numbers.start {
                        self.sink.align()?;
                    }
                    self.sink.write(&self.block)
                })
            }
        }
    }
}
