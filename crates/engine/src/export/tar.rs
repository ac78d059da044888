//! The image's files as one tar, and the small tar writer that archives of images share.

use std::io::{self, Read, Write};

use galley_oci::{
    TimePolicy,
    archive::{EntryHeader, EntryKind, WriteArchiveError, Writer},
    layer::{WriteLayerError, write_layer},
};
use galley_store::Store;

use super::{Destination, destination::write_stream, files::Files};
use crate::{Error, ErrorKind};

/// Writes all `files` as a plain tar.
pub(super) fn write(
    store: &Store,
    files: &Files,
    times: TimePolicy,
    destination: &Destination,
) -> Result<(), Error> {
    write_stream(destination, || store.failpoint("export"), |out| write_tree(files, times, out))
}

fn write_tree(files: &Files, times: TimePolicy, out: &mut dyn Write) -> Result<(), Error> {
    let mut content = |index| -> io::Result<Box<dyn Read>> {
        files.open(index).map(|file| Box::new(file) as _).map_err(io::Error::other)
    };
    write_layer(&files.tree, times, &mut content, out).map_err(|error: WriteLayerError| {
        let failed = Error::new(ErrorKind::Store, "cannot write the image's files");
        let other = match &error {
            WriteLayerError::Changed { path } => files.other_content(path.as_bytes()),
            _ => None,
        };
        match other {
            Some(other) => failed.because(other),
            None => failed.because(error),
        }
    })?;
    Ok(())
}

/// A tar of plain files and folders, owned by root, time zero.
pub(super) struct TarFile<'a>(Writer<&'a mut dyn Write>);

impl<'a> TarFile<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self(Writer::new(out))
    }

    pub(super) fn folder(&mut self, name: &str) -> Result<(), Error> {
        self.0.entry(&header(name, 0o755, EntryKind::Directory), None).map_err(archive_failed)
    }

    pub(super) fn file(
        &mut self,
        name: &str,
        mode: u16,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Error> {
        self.0.entry(&header(name, mode, EntryKind::File { size }), Some(content)).map_err(archive_failed)
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        self.0.finish().map(drop).map_err(archive_failed)
    }
}

const fn header<'h>(name: &'h str, mode: u16, kind: EntryKind<'h>) -> EntryHeader<'h> {
    EntryHeader { path: name.as_bytes(), kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: None }
}

fn archive_failed(error: WriteArchiveError) -> Error {
    Error::new(ErrorKind::Store, "cannot write the archive").because(error)
}

pub(super) fn write_failed(what: &str, source: io::Error) -> Error {
    let kind = ErrorKind::Usage.unless_disk(&source);
    Error::new(kind, format!("cannot write {what}")).because(source)
}
