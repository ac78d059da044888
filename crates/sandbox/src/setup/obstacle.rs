//! What a file that the kernel does not execute is, and what it asks for: its first bytes tell.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::exec::exists;
use crate::error::Obstacle;

/// What the kernel looks at of a script: the line that begins with `#!` has to end here.
const HEAD_MAX: usize = 256;
/// The longest path the kernel takes.
const PATH_MAX: usize = 4096;
/// Program headers that are looked through; real programs have about ten.
const HEADERS_MAX: u64 = 128;
/// As deep as the kernel follows scripts whose interpreters are scripts.
const CHAIN_MAX: usize = 5;
/// The type of the program header that holds the loader's path.
const PT_INTERP: u64 = 3;

/// Why `path` was refused with `errno`, as far as can be seen from here.
pub(super) fn find(path: &CStr, errno: i32) -> Option<Obstacle> {
    match errno {
        libc::EACCES => of_mode(&rustix::fs::stat(path).ok()?),
        libc::ENOENT => missing(path),
        libc::ENOEXEC => Some(match machine(&Bytes::open(path)?) {
            Some(machine) => Obstacle::Machine(machine),
            None => Obstacle::NoProgram,
        }),
        _ => None,
    }
}

fn of_mode(stat: &Stat) -> Option<Obstacle> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Some(Obstacle::Directory),
        _ if stat.st_mode & 0o111 == 0 => Some(Obstacle::Mode),
        // Something above it, or a mount without exec: the file does not tell.
        _ => None,
    }
}

/// The first file that is not there, from the program to its interpreter to the interpreter's loader.
fn missing(path: &CStr) -> Option<Obstacle> {
    let mut path = path.to_owned();
    for _ in 0..CHAIN_MAX {
        let needs = Needs::of(&Bytes::open(&path)?)?;
        let next = CString::new(needs.path().as_bytes()).ok()?;
        if !exists(&next) {
            return Some(needs.missing_for(OsString::from_vec(path.into_bytes())));
        }
        path = next;
    }
    None
}

/// What a file needs to be executed.
#[derive(Debug, PartialEq, Eq)]
enum Needs {
    Interpreter(OsString),
    Loader(OsString),
}

impl Needs {
    fn of(file: &Bytes) -> Option<Self> {
        if let Some(interpreter) = interpreter(&file.at(0, HEAD_MAX)) {
            return Some(Self::Interpreter(interpreter));
        }
        loader(file).map(Self::Loader)
    }

    fn path(&self) -> &OsStr {
        match self {
            Self::Interpreter(path) | Self::Loader(path) => path,
        }
    }

    fn missing_for(self, of: OsString) -> Obstacle {
        match self {
            Self::Interpreter(interpreter) => Obstacle::Interpreter { interpreter, of },
            Self::Loader(loader) => Obstacle::Loader { loader, of },
        }
    }
}

/// What follows `#!`, up to a blank or the end of the line.
fn interpreter(head: &[u8]) -> Option<OsString> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let path = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).find(|word| !word.is_empty())?;
    Some(OsString::from_vec(path.to_vec()))
}

/// The machine that an ELF file is for.
fn machine(file: &Bytes) -> Option<u16> {
    u16::try_from(Elf::open(file)?.number(18, 2)?).ok()
}

/// The dynamic loader that an ELF file names.
fn loader(file: &Bytes) -> Option<OsString> {
    let elf = Elf::open(file)?;
    // Where the fields are in files of 64 and of 32 bits.
    let (table, table_size, entry, count) = if elf.wide { (32, 8, 54, 56) } else { (28, 4, 42, 44) };
    let (offset, size, width) = if elf.wide { (8, 32, 8) } else { (4, 16, 4) };
    let (table, entry) = (elf.number(table, table_size)?, elf.number(entry, 2)?);
    let header = (0..elf.number(count, 2)?.min(HEADERS_MAX))
        .filter_map(|index| table.checked_add(index * entry))
        .find(|&header| elf.number(header, 4) == Some(PT_INTERP))?;
    let start = elf.number(header.checked_add(offset)?, width)?;
    let length = elf.number(header.checked_add(size)?, width)?;
    let path = file.at(start, usize::try_from(length).ok()?.min(PATH_MAX));
    let path = path.split(|&byte| byte == 0).next().filter(|path| !path.is_empty())?;
    Some(OsString::from_vec(path.to_vec()))
}

/// A file of the format of programs.
struct Elf<'a> {
    file: &'a Bytes,
    wide: bool,
    big_endian: bool,
}

impl<'a> Elf<'a> {
    fn open(file: &'a Bytes) -> Option<Self> {
        let ident = file.at(0, 6);
        let [wide, order] = ident.strip_prefix(b"\x7fELF")? else { return None };
        Some(Self { file, wide: *wide == 2, big_endian: *order == 2 })
    }

    /// The number of `width` bytes, at most eight, at `offset`.
    fn number(&self, offset: u64, width: usize) -> Option<u64> {
        let mut bytes = self.file.at(offset, width);
        if bytes.len() != width {
            return None;
        }
        if !self.big_endian {
            bytes.reverse();
        }
        Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

/// A file to look into, or its contents.
enum Bytes {
    File(std::os::fd::OwnedFd),
    #[cfg(test)]
    Memory(Vec<u8>),
}

impl Bytes {
    /// Opens a regular file; whatever else has the name could block or act when read.
    fn open(path: &CStr) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        FileType::from_raw_mode(stat.st_mode).is_file().then_some(Self::File(file))
    }

    /// `length` bytes from `offset` on, fewer at the end of the file.
    fn at(&self, offset: u64, length: usize) -> Vec<u8> {
        match self {
            Self::File(file) => {
                let mut bytes = vec![0; length];
                let read = rustix::io::pread(file, &mut bytes, offset).unwrap_or(0);
                bytes.truncate(read);
                bytes
            }
            #[cfg(test)]
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                bytes[start..start.saturating_add(length).min(bytes.len())].to_vec()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The smallest program of 64 bits that names a loader.
    fn program(loader: &[u8]) -> Vec<u8> {
        let mut elf = vec![0; 120];
        elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        elf[18] = 183;
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 3;
        elf[72] = 120;
        elf[96] = u8::try_from(loader.len()).unwrap();
        elf.extend_from_slice(loader);
        elf
    }

    #[test]
    fn a_program_names_its_loader_and_machine() {
        let file = Bytes::Memory(program(b"/lib/ld-musl-aarch64.so.1\0"));
        assert_eq!(Needs::of(&file), Some(Needs::Loader("/lib/ld-musl-aarch64.so.1".into())));
        assert_eq!(machine(&file), Some(183));
    }

    #[test]
    fn a_static_program_needs_nothing() {
        let mut file = program(b"/lib/ld\0");
        file[64] = 1;
        assert_eq!(Needs::of(&Bytes::Memory(file)), None);
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let needs = |text: &[u8]| Needs::of(&Bytes::Memory(text.to_vec()));
        let script = |path: &str| Some(Needs::Interpreter(path.into()));
        assert_eq!(needs(b"#!/bin/sh\necho"), script("/bin/sh"));
        assert_eq!(needs(b"#! \t/usr/bin/env python3\n"), script("/usr/bin/env"));
        assert_eq!(needs(b"#!/bin/sh\r\necho"), script("/bin/sh\r"));
        assert_eq!(needs(b"#!/bin/sh"), script("/bin/sh"));
        for text in ["", "#", "#!", "#!  \n", "echo hi\n"] {
            assert_eq!(needs(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(tail in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..130) {
            let mut file = program(b"/lib/ld\0");
            file.truncate(cut);
            file.extend(&tail);
            let file = Bytes::Memory(file);
            drop((Needs::of(&file), machine(&file)));
            let file = Bytes::Memory([b"\x7fELF", &tail[..]].concat());
            drop((Needs::of(&file), machine(&file)));
        }
    }
}
