//! Where an output goes, and how it appears there: whole or not at all.

use std::{
    fmt,
    io::{self, BufWriter, Write},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use fs_err as fs;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
};

use crate::{Error, ErrorKind};

/// Where an output goes.
pub enum Destination {
    /// A file, which appears when it is whole.
    File(PathBuf),
    /// A folder, made when it is missing.
    Folder(PathBuf),
    /// Standard output, or whatever the caller has open.
    Stream(Mutex<Box<dyn Write + Send>>),
}

impl Destination {
    /// As a person would name it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Folder(path) => path.display().to_string(),
            Self::Stream(_) => "standard output".to_owned(),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// Lets `fill` write one stream to `destination`. `before_visible` is called when every byte is written.
pub(super) fn write_stream(
    destination: &Destination,
    before_visible: impl FnOnce(),
    fill: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    match destination {
        Destination::Stream(stream) => {
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            fill(&mut **stream)?;
            stream.flush().map_err(|source| cannot_write(destination, source))
        }
        Destination::File(path) | Destination::Folder(path) => {
            if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
                write_through(path, fill)
            } else {
                write_and_rename(path, before_visible, fill)
            }
        }
    }
}

/// A pipe or a device is written to as it is: replacing `/dev/null` by a file would be a bad surprise.
fn write_through(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
    let open = fs::OpenOptions::new().write(true).open(path);
    let mut file = BufWriter::new(open.map_err(|source| cannot_create(path, source))?);
    fill(&mut file)?;
    file.flush().map_err(|source| cannot_create(path, source))
}

fn write_and_rename(
    path: &Path,
    before_visible: impl FnOnce(),
    fill: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    let file = Unfinished::new(path).map_err(|source| cannot_create(path, source))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    fill(&mut file)?;
    let file = file.into_inner().map_err(|error| cannot_create(path, error.into_error()))?;
    before_visible();
    file.appear(path).map_err(|source| cannot_create(path, source))
}

/// A file that grows: without a name where the file system can do that, so that a kill leaves nothing of it.
enum Unfinished {
    Unnamed(fs::File),
    Named(tempfile::NamedTempFile),
}

/// What an unfinished file begins with where it has a name.
const PREFIX: &str = ".galley-";

/// The person's umask decides, as for any file they make.
const MODE: u32 = 0o666;

impl Unfinished {
    fn new(path: &Path) -> io::Result<Self> {
        let folder = folder_of(path);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::from_raw_mode(MODE)) {
            Ok(file) if Path::new("/proc/self/fd").exists() => {
                Ok(Self::Unnamed(fs::File::from_parts(file.into(), path)))
            }
            // Not every file system can, and it is /proc that gives a name.
            Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::named(folder),
            Err(error) => Err(error.into()),
        }
    }

    fn named(folder: &Path) -> io::Result<Self> {
        let permissions = std::fs::Permissions::from_mode(MODE);
        tempfile::Builder::new().prefix(PREFIX).permissions(permissions).tempfile_in(folder).map(Self::Named)
    }

    /// Gives it its name, which another file may have.
    fn appear(self, path: &Path) -> io::Result<()> {
        let file = match self {
            Self::Named(file) => return file.persist(path).map(drop).map_err(|error| error.error),
            Self::Unnamed(file) => file,
        };
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = |to: &Path| rustix::fs::linkat(CWD, &own, CWD, to, AtFlags::SYMLINK_FOLLOW);
        match link(path) {
            Err(Errno::EXIST) => {}
            linked => return Ok(linked?),
        }
        // Only a rename replaces.
        let linked =
            tempfile::Builder::new().prefix(PREFIX).make_in(folder_of(path), |beside| Ok(link(beside)?))?;
        linked.into_temp_path().persist(path).map_err(|error| error.error)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unnamed(file) => file.write(bytes),
            Self::Named(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cannot_create(path: &Path, source: io::Error) -> Error {
    let kind = ErrorKind::Usage.unless_disk(&source);
    let folder = path.parent().filter(|folder| source.kind() == io::ErrorKind::NotFound && !folder.exists());
    let error = Error::new(kind, format!("cannot write the output {}", path.display())).because(source);
    match folder.filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => error.help(format!("make the folder {} first", folder.display())),
        None => error,
    }
}

fn cannot_write(destination: &Destination, source: io::Error) -> Error {
    let kind = ErrorKind::Usage.unless_disk(&source);
    Error::new(kind, format!("cannot write to {}", destination.name())).because(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_output_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.tar");
        fs::write(&path, "old").unwrap();
        let destination = Destination::File(path.clone());
        let result = write_stream(
            &destination,
            || (),
            |out| {
                out.write_all(b"new").unwrap();
                Err(Error::new(ErrorKind::Internal, "stop"))
            },
        );
        assert!(result.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_finished_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let path = folder.path().join("out.tar");
        let destination = Destination::File(path.clone());
        // On a file system that has no such files the test shows less.
        let unnamed = matches!(Unfinished::new(&path), Ok(Unfinished::Unnamed(_)));
        for (count, text) in ["first", "second"].into_iter().enumerate() {
            let fill = |out: &mut dyn Write| {
                assert!(names() == count || !unnamed);
                out.write_all(text.as_bytes()).unwrap();
                Ok(())
            };
            write_stream(&destination, || (), fill).unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names()), (text, 1));
        }
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let destination = Destination::File("/dev/null".into());
        write_stream(
            &destination,
            || (),
            |out| {
                out.write_all(b"gone").unwrap();
                Ok(())
            },
        )
        .unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let destination = Destination::File("/nonexistent/out.tar".into());
        let error = write_stream(&destination, || (), |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "cannot write the output /nonexistent/out.tar");
        assert_eq!(error.help, ["make the folder /nonexistent first"]);
    }
}
