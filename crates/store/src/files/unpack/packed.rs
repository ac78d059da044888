//! An archive as one file: contents go into it as they come, and all the rest when the tree is known.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use galley_oci::{
    Blake3, Kind, Meta, Tree,
    erofs::{self, WriteErofsError},
};

use super::{directory::each_chunk, target::Target};
use crate::{StoreError, error::At, files::copier};

pub(super) struct Packed {
    writer: erofs::Writer<File>,
    /// For messages.
    path: PathBuf,
    /// Of every path that was a file once: what is no file in the end is not asked for.
    contents: HashMap<Box<[u8]>, erofs::Content>,
    buffer: Vec<u8>,
}

impl Packed {
    /// Makes the file `path`.
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        let file = fs_err::File::create_new(path).at("create", path)?.into_file();
        let writer = erofs::Writer::new(file).at("write", path)?;
        let buffer = vec![0; copier::BUFFER_BYTES];
        Ok(Self { writer, path: path.to_owned(), contents: HashMap::new(), buffer })
    }
}

impl Target for Packed {
    fn directory(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn file(
        &mut self,
        path: &[u8],
        _: &Meta,
        size: u64,
        input: &mut dyn Read,
    ) -> Result<[u8; 32], StoreError> {
        let (mut hasher, mut file) = (Blake3::new(), self.writer.file());
        each_chunk(input, path, size, &mut self.buffer, |chunk| {
            hasher.update(chunk);
            file.write_all(chunk).at("write", &self.path)
        })?;
        self.contents.insert(path.into(), file.finish());
        Ok(*hasher.finish().bytes())
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError> {
        if let Some(&content) = self.contents.get(target) {
            self.contents.insert(path.into(), content);
        }
        Ok(())
    }

    fn relabel(&mut self, _: &[u8], _: &Meta, _: &Kind) -> Result<(), StoreError> {
        Ok(())
    }

    fn special(&mut self, _: &[u8], _: &Meta, _: &Kind) -> Result<(), StoreError> {
        Ok(())
    }

    fn whiteout(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn finish(self, tree: &Tree) -> Result<(), StoreError> {
        let content = |index: usize| self.contents.get(&tree.entries().get(index)?.path).copied();
        let written = self.writer.finish(tree, content).map(drop);
        written.map_err(|error| match error {
            WriteErofsError::Write(source) => StoreError::Io { doing: "write", path: self.path, source },
            other => StoreError::CannotPack(Box::new(other)),
        })
    }
}
