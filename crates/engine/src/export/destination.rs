//! Where an output goes, and how it appears there: whole or not at all.

use std::{
    fmt,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use fs_err as fs;

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
    use std::os::unix::fs::PermissionsExt;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".galley-")
        // The person's umask decides, as for any file they make.
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(parent)
        .map_err(|source| cannot_create(path, source))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    fill(&mut file)?;
    let file = file.into_inner().map_err(|error| cannot_create(path, error.into_error()))?;
    before_visible();
    file.persist(path).map_err(|error| cannot_create(path, error.error))?;
    Ok(())
}

fn cannot_create(path: &Path, source: io::Error) -> Error {
    let kind = if source.kind() == io::ErrorKind::StorageFull { ErrorKind::Store } else { ErrorKind::Usage };
    let folder = path.parent().filter(|folder| source.kind() == io::ErrorKind::NotFound && !folder.exists());
    let error = Error::new(kind, format!("cannot write the output {}", path.display())).because(source);
    match folder.filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => error.help(format!("make the folder {} first", folder.display())),
        None => error,
    }
}

fn cannot_write(destination: &Destination, source: io::Error) -> Error {
    Error::new(ErrorKind::Usage, format!("cannot write to {}", destination.name())).because(source)
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
