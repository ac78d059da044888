//! Where everything goes, decided before any of it is written: directories name inodes that come later.

use super::{
    directory::{self, Dirent},
    error::WriteErofsError,
    format::{
        BLOCK, INODE_BYTES, InodeType, MAX_NAME_BYTES, MAX_TARGET_BYTES, SLOT_BYTES, Superblock,
        XATTR_HEADER_BYTES,
    },
    special::inode_type,
    writer::{Content, Place},
    xattrs,
};
use crate::{
    Entry, Kind, Tree,
    tree::{is_within, parent},
};

/// The number of the root. Not zero: programs take names whose number is zero for removed ones.
const ROOT: u32 = 2;

/// Where one entry is, and what its inode says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The directory that it is in.
    pub(super) parent: u32,
    /// The entry whose inode it has: itself, or the first name of its file.
    pub(super) owner: u32,
    pub(super) inode: u32,
    pub(super) links: u32,
    /// Where its bytes are: contents that were written before have their blocks already.
    pub(super) place: Place,
    /// The first block of those bytes; zero when no whole block is theirs.
    pub(super) block: u32,
    pub(super) size: u64,
    /// Whether the bytes behind the last whole block are behind the inode.
    pub(super) inline: bool,
}

/// Where the entries of a tree are.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where inode 0 would be.
    pub(super) start: u64,
    /// Where the blocks of directories and other bytes behind the inodes begin.
    pub(super) outside: u64,
    pub(super) nodes: Vec<Node>,
    /// Children of all directories, one directory after the other.
    children: Vec<u32>,
    /// Where those of each entry begin.
    first_child: Vec<u32>,
    end: u64,
}

impl Layout {
    /// Everything but the contents that were written is put behind `start`.
    pub(super) fn new(
        tree: &Tree,
        start: u64,
        content: impl FnMut(usize) -> Option<Content>,
    ) -> Result<Self, WriteErofsError> {
        let mut nodes = parents(tree)?;
        assign_contents(tree, &mut nodes, content)?;
        let (first_child, children) = children(tree, &mut nodes);
        let mut layout = Self { start, outside: start, nodes, children, first_child, end: start };
        layout.place(tree)?;
        Ok(layout)
    }

    pub(super) fn superblock(&self) -> Superblock {
        let owners = self.nodes.iter().zip(0..).filter(|(node, index)| node.owner == *index);
        // `place` has refused what has more.
        let block = |offset: u64| u32::try_from(offset / BLOCK).unwrap_or(u32::MAX);
        Superblock {
            root: ROOT as u16,
            inodes: owners.count() as u64,
            blocks: block(self.end),
            first_inode_block: block(self.start),
        }
    }

    /// What the directory at `index` holds, sorted.
    pub(super) fn names<'a>(&self, tree: &'a Tree, index: usize) -> Vec<Dirent<'a>> {
        let entries = tree.entries();
        let range = self.first_child[index] as usize..self.first_child[index + 1] as usize;
        let mut names: Vec<Dirent<'_>> = self.children[range]
            .iter()
            .map(|&child| child as usize)
            .map(|child| self.dirent(entries[child].name(), child, inode_type(&entries[child].kind)))
            .collect();
        let above = self.nodes[index].parent as usize;
        for (name, target) in [(&b"."[..], index), (b"..", above)] {
            let at = names.partition_point(|other| other.name < name);
            names.insert(at, self.dirent(name, target, InodeType::Directory));
        }
        names
    }

    fn dirent<'a>(&self, name: &'a [u8], index: usize, kind: InodeType) -> Dirent<'a> {
        Dirent { name, inode: u64::from(self.nodes[index].inode), kind }
    }

    /// One inode behind the other; what is behind an inode stays in its block.
    fn place(&mut self, tree: &Tree) -> Result<(), WriteErofsError> {
        let mut at = u64::from(ROOT) * SLOT_BYTES;
        let mut outside_blocks = 0_u64;
        for (index, entry) in tree.entries().iter().enumerate() {
            if self.nodes[index].owner as usize != index {
                continue;
            }
            if entry.is_directory() {
                self.nodes[index].size = directory::length(&self.names(tree, index));
            }
            let node = &mut self.nodes[index];
            let header = (INODE_BYTES + xattrs::encode(entry).len()) as u64;
            let tail = node.tail();
            node.inline = tail > 0 && header + tail <= BLOCK;
            let whole = if node.inline { header + tail } else { INODE_BYTES as u64 };
            if at % BLOCK + whole > BLOCK {
                at = at.next_multiple_of(BLOCK);
            }
            node.inode = u32::try_from(at / SLOT_BYTES).map_err(|_| WriteErofsError::TooLarge)?;
            at = (at + header + if node.inline { tail } else { 0 }).next_multiple_of(SLOT_BYTES);
            outside_blocks += node.outside_blocks();
        }
        // fsck.erofs 1.5 reads a header of attributes behind every inode, whether it has some or not.
        self.outside = self.start + (at + XATTR_HEADER_BYTES as u64).next_multiple_of(BLOCK);
        self.end = self.outside + outside_blocks * BLOCK;
        u32::try_from(self.end / BLOCK).map_err(|_| WriteErofsError::TooLarge)?;
        self.share_inodes();
        self.place_blocks();
        Ok(())
    }

    fn share_inodes(&mut self) {
        for index in 0..self.nodes.len() {
            let owner = self.nodes[index].owner as usize;
            self.nodes[index].inode = self.nodes[owner].inode;
        }
    }

    fn place_blocks(&mut self) {
        let mut next = self.outside / BLOCK;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            match node.place {
                Place::Blocks(block) => node.block = block,
                _ if node.owner as usize != index || node.outside_blocks() == 0 => {}
                _ => {
                    // `place` has seen that the end of all fits.
                    node.block = u32::try_from(next).unwrap_or(u32::MAX);
                    next += node.outside_blocks();
                }
            }
        }
    }
}

impl Node {
    /// The bytes that may go behind the inode.
    fn tail(&self) -> u64 {
        if matches!(self.place, Place::Blocks(_)) { 0 } else { self.size % BLOCK }
    }

    /// How many blocks behind the inodes it has.
    pub(super) fn outside_blocks(&self) -> u64 {
        match self.place {
            Place::Blocks(_) => 0,
            _ if self.inline => self.size / BLOCK,
            _ => self.size.div_ceil(BLOCK),
        }
    }
}

/// A node for each entry with the directory that it is in: entries come right behind the directories above them.
fn parents(tree: &Tree) -> Result<Vec<Node>, WriteErofsError> {
    let entries = tree.entries();
    let mut nodes = Vec::with_capacity(entries.len());
    let mut above: Vec<usize> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        while above.last().is_some_and(|&directory| !is_within(&entry.path, &entries[directory].path)) {
            above.pop();
        }
        let directory = match (parent(&entry.path), above.last()) {
            (None, None) if entry.is_directory() => index,
            (Some(path), Some(&directory)) if *path == *entries[directory].path => directory,
            _ => return Err(WriteErofsError::NoDirectory { path: show(entry) }),
        };
        if entry.is_directory() {
            above.push(index);
        }
        check(entry)?;
        nodes.push(Node::new(index as u32, directory as u32));
    }
    if nodes.is_empty() {
        return Err(WriteErofsError::NoDirectory { path: "/".to_owned() });
    }
    Ok(nodes)
}

impl Node {
    const fn new(index: u32, parent: u32) -> Self {
        Self {
            parent,
            owner: index,
            inode: 0,
            links: 1,
            place: Place::Built,
            block: 0,
            size: 0,
            inline: false,
        }
    }
}

fn check(entry: &Entry) -> Result<(), WriteErofsError> {
    if entry.name().len() > MAX_NAME_BYTES {
        return Err(WriteErofsError::NameTooLong { path: show(entry) });
    }
    match &entry.kind {
        Kind::Symlink { target } if !(1..=MAX_TARGET_BYTES).contains(&target.len()) => {
            Err(WriteErofsError::BadTarget { path: show(entry) })
        }
        Kind::File { .. } | Kind::Directory { .. } if !xattrs::may_have_capability(entry) => {
            Err(WriteErofsError::BadCapability { path: show(entry) })
        }
        _ => Ok(()),
    }
}

/// Lengths of files and links, places of contents, and which names are one file.
fn assign_contents(
    tree: &Tree,
    nodes: &mut [Node],
    mut content: impl FnMut(usize) -> Option<Content>,
) -> Result<(), WriteErofsError> {
    // Groups count from one in the order of their first names.
    let mut owners: Vec<u32> = Vec::new();
    for (index, entry) in tree.entries().iter().enumerate() {
        match &entry.kind {
            Kind::Symlink { target } => nodes[index].size = target.len() as u64,
            Kind::File { links: Some(group), .. } if group.get() as usize <= owners.len() => {
                let owner = owners[group.get() as usize - 1];
                nodes[index].owner = owner;
                nodes[owner as usize].links += 1;
            }
            Kind::File { size, links, .. } => {
                owners.extend(links.map(|_| index as u32));
                let given = if *size > 0 { content(index).unwrap_or_default() } else { Content::default() };
                if given.length != *size {
                    let path = show(entry);
                    return Err(WriteErofsError::WrongContent { path, size: *size, given: given.length });
                }
                (nodes[index].place, nodes[index].size) = (given.place, *size);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The children of all directories, and where those of each entry begin. Directories get their links.
fn children(tree: &Tree, nodes: &mut [Node]) -> (Vec<u32>, Vec<u32>) {
    let mut first_child = vec![0; nodes.len() + 1];
    for index in 1..nodes.len() {
        let parent = nodes[index].parent as usize;
        first_child[parent + 1] += 1;
        if tree.entries()[index].is_directory() {
            nodes[parent].links += 1;
        }
    }
    for index in 0..nodes.len() {
        first_child[index + 1] += first_child[index];
        // Its name in its directory, and its own dot.
        nodes[index].links += u32::from(tree.entries()[index].is_directory());
    }
    let mut next = first_child.clone();
    let mut children = vec![0; nodes.len() - 1];
    for (index, node) in nodes.iter().enumerate().skip(1) {
        let slot = &mut next[node.parent as usize];
        children[*slot as usize] = index as u32;
        *slot += 1;
    }
    (first_child, children)
}

fn show(entry: &Entry) -> String {
    format!("/{}", String::from_utf8_lossy(&entry.path))
}
