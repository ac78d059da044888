//! Reading the settings files of other programs: bounded, and with errors that name the place but never the content.

use std::{
    io::{self, Read},
    path::Path,
};

use fs_err as fs;
use serde_json::{Value, error::Category};

use crate::RegistryError;

/// The longest settings file; real ones have a few kilobytes.
pub(crate) const SETTINGS_BYTES_MAX: u64 = 1 << 20;

/// The bytes of a file; none when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, RegistryError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(SETTINGS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SETTINGS_BYTES_MAX {
        return Err(wrong(path, format!("it has more than {SETTINGS_BYTES_MAX} bytes")));
    }
    Ok(Some(bytes))
}

/// As [`read`], but a file that this user may not read counts as absent: it is another program's.
pub(crate) fn read_if_permitted(path: &Path) -> Result<Option<Vec<u8>>, RegistryError> {
    match read(path) {
        Err(RegistryError::Settings { source }) if source.kind() == io::ErrorKind::PermissionDenied => {
            Ok(None)
        }
        other => other,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A settings file that cannot be read.
pub(crate) fn failed(source: io::Error) -> RegistryError {
    RegistryError::Settings { source }
}

/// A settings file with something wrong in it.
pub(crate) fn wrong(path: &Path, reason: impl Into<String>) -> RegistryError {
    RegistryError::Config { path: path.to_owned(), reason: reason.into() }
}

/// The JSON of a file, or where it stops being JSON. An empty file is an empty object, as for docker.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<Value, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    // The parser's own words could quote what it read.
    serde_json::from_slice(bytes).map_err(|error| {
        let problem = match error.classify() {
            Category::Eof => "the JSON ends too early",
            _ => "it is not valid JSON",
        };
        format!("{problem} at {}:{} (line:column)", error.line(), error.column())
    })
}

/// The line of the first place where `needle` stands, counted from 1.
pub(crate) fn line_of(text: &[u8], needle: &str) -> usize {
    let at = text.windows(needle.len().max(1)).position(|window| window == needle.as_bytes());
    line_at(text, at.unwrap_or(0))
}

/// The line of a byte, counted from 1.
pub(crate) fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}
