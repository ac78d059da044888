//! Getting at an archive as a plain file: compressed ones and streams are written to the store's temporary files.

use std::{
    fs::File,
    io::{self, Cursor, Read, Write},
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fs_err as fs;
use galley_oci::compress::{self, Counted, Format, PREFIX_BYTES};
use galley_store::Store;

use super::super::{broken, patient::Patient};
use crate::{Cancel, Error, ErrorKind, steps::files::store_error};

/// What a compressed archive may unpack to, whatever its length.
const EXPANSION_FREE: u64 = 8 << 30;
/// How much larger than itself it may be beyond that. Images shrink to a half or a third.
const EXPANSION_MAX: u64 = 200;

/// The plain archive in the regular file `file`: the file itself, when it is one.
pub(super) fn plain(store: &Store, name: &str, file: File, stop: &Cancel) -> Result<File, Error> {
    let mut prefix = vec![0; PREFIX_BYTES];
    let mut length = 0;
    while length < prefix.len() {
        match file.read_at(&mut prefix[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) => return Err(unreadable(name, error)),
        }
    }
    match format(name, &prefix[..length])? {
        Format::Tar => Ok(file),
        _ => spool(store, name, file, stop),
    }
}

/// Writes the plain archive that `input` gives, compressed or not, to a file without a name.
pub(super) fn spool(store: &Store, name: &str, input: File, stop: &Cancel) -> Result<File, Error> {
    let mut input = Patient::new(input, stop);
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    let read = (&mut input).take(PREFIX_BYTES as u64).read_to_end(&mut prefix);
    read.map_err(|error| match stop.is_cancelled() {
        true => Error::new(ErrorKind::Cancelled, "cancelled"),
        false => unreadable(name, error),
    })?;
    format(name, &prefix)?;
    let consumed = Arc::new(AtomicU64::new(0));
    let input = Cursor::new(prefix).chain(input);
    let input = Counted { inner: input, count: Arc::clone(&consumed) };
    let mut plain = compress::decoder(Box::new(input)).map_err(|error| unreadable(name, error))?;
    let mut file = nameless(store)?;
    let (mut buffer, mut written) = (vec![0; 1 << 20], 0_u64);
    loop {
        let count = match plain.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) if stop.is_cancelled() => return Err(Error::new(ErrorKind::Cancelled, "cancelled")),
            Err(error) => return Err(unreadable(name, error)),
        };
        if written == 0 && count >= PREFIX_BYTES && compress::detect(&buffer[..count]) != Some(Format::Tar) {
            return Err(broken(name, "it is compressed, but what is inside is no tar archive"));
        }
        written += count as u64;
        check_expansion(name, written, consumed.load(Ordering::Relaxed))?;
        file.write_all(&buffer[..count]).map_err(|error| {
            Error::new(ErrorKind::Store, format!("cannot keep {name} while it is read")).because(error)
        })?;
    }
}

fn format(name: &str, prefix: &[u8]) -> Result<Format, Error> {
    let what =
        || if prefix.is_empty() { "it is empty" } else { "it is no tar archive, nor a compressed one" };
    compress::detect(prefix).ok_or_else(|| {
        Error::new(ErrorKind::Input, format!("{name} is no archive of images")).because(what())
    })
}

fn check_expansion(name: &str, written: u64, consumed: u64) -> Result<(), Error> {
    if written.saturating_sub(EXPANSION_FREE) <= consumed.saturating_mul(EXPANSION_MAX) {
        return Ok(());
    }
    let why =
        format!("{consumed} bytes of it unpack to more than {written}: no image is compressed like that");
    Err(broken(name, why))
}

/// A file of the store's temporary folder that vanishes when it is closed.
fn nameless(store: &Store) -> Result<File, Error> {
    let folder = store.temp_dir("load").map_err(store_error)?;
    let path = folder.path().join("archive");
    let made = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let (file, _) = made
        .map_err(|error| Error::new(ErrorKind::Store, "cannot make a temporary file").because(error))?
        .into_parts();
    Ok(file)
}

fn unreadable(name: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => broken(name, "it is cut off"),
        _ => broken(name, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_are_told_from_images() {
        let gib = 1 << 30;
        assert!(check_expansion("x", 8 * gib, 1).is_ok());
        assert!(check_expansion("x", 60 * gib, 20 * gib).is_ok());
        assert!(check_expansion("x", 9 * gib, 1 << 20).is_err());
    }
}
