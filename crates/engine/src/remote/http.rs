//! Files over HTTP: asked for with what is remembered of them, written to the disk while their digest is made.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use fs_err as fs;
use galley_oci::{Blake3, Digest, Sha256, Time, compress};
use galley_store::Seen;

use super::{HttpAddress, Remote, address::redacted, unseen};
use crate::{
    Error, ErrorKind,
    ports::{Secret, WebAnswer, WebRequest, WebSink},
};

/// The largest file that is fetched.
const DOWNLOAD_BYTES_MAX: u64 = 64 << 30;
/// A `Last-Modified` younger than this when it was told says little: the file may change again within that second.
const SETTLED_SECONDS: i64 = 60;

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// What its bytes are.
    pub sha256: Digest,
    /// The same as trees have it.
    pub(super) blake3: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was changed, by the server's words.
    pub modified: Option<Time>,
}

impl Remote<'_> {
    /// Writes the file at `address` to the new file `into`, whatever is remembered of it. The bytes are those of the
    /// checksum when the address has one.
    pub fn download(&self, address: &HttpAddress, into: &Path) -> Result<Download, Error> {
        if self.remotes.offline {
            return Err(self.forbidden(&redacted(&address.url)));
        }
        let mut sink = FileSink::new(into, Some(self.began));
        let answer = self.get(address, None, &mut sink)?;
        self.downloaded(address, &answer, sink)
    }

    /// Asks for the file. `known` is what it was, when its bytes are at hand still.
    pub(super) fn get(
        &self,
        address: &HttpAddress,
        known: Option<&Seen>,
        sink: &mut FileSink<'_>,
    ) -> Result<WebAnswer, Error> {
        let authorization = self.authorization(&address.host())?;
        let request = WebRequest {
            url: &address.url,
            authorization: authorization.as_ref(),
            etag: known.and_then(|known| known.etag.as_deref()),
            modified: known.and_then(settled),
            limit: DOWNLOAD_BYTES_MAX,
        };
        let answer = self.remotes.web.get(&request, sink);
        answer.map_err(|error| advise(error, address, authorization.is_some()))
    }

    /// What came, once all of it is there.
    pub(super) fn downloaded(
        &self,
        address: &HttpAddress,
        answer: &WebAnswer,
        sink: FileSink<'_>,
    ) -> Result<Download, Error> {
        let failed = |error: io::Error| failed(address, error);
        let mut written = sink.written;
        if answer.encoding.as_deref() == Some("gzip") {
            // As browsers do: what is meant is what was packed.
            written = unpack(sink.path).map_err(failed)?;
        }
        let modified = answer.modified.as_deref().and_then(Time::parse_http);
        let Written { sha256, blake3, size } = written;
        let download = Download { sha256: sha256.finish(), blake3: blake3.finish(), size, modified };
        match address.checksum {
            Some(wanted) if wanted != download.sha256 => {
                let url = redacted(&address.url);
                Err(Error::new(ErrorKind::Input, format!("{url} has another checksum than it must have"))
                    .help(format!("it must be {wanted}, and it is {}", download.sha256))
                    .help("if the change is known and wanted, write the new checksum"))
            }
            _ => {
                self.remember(&address.url, seen(&download, answer))?;
                Ok(download)
            }
        }
    }

    /// `HTTP_AUTH_TOKEN_<host>` or `HTTP_AUTH_HEADER_<host>`; of both the token counts, as in BuildKit.
    fn authorization(&self, host: &str) -> Result<Option<Secret>, Error> {
        let (token, header) = (format!("HTTP_AUTH_TOKEN_{host}"), format!("HTTP_AUTH_HEADER_{host}"));
        let (id, mut value) = match (self.secret(&token), self.secret(&header)) {
            (Some(value), _) => (token, [b"Bearer ", &*value].concat()),
            (None, Some(value)) => (header, value),
            (None, None) => return Ok(None),
        };
        while value.last().is_some_and(u8::is_ascii_whitespace) {
            value.pop();
        }
        if value.iter().any(|byte| !(b' '..=b'~').contains(byte)) {
            let message = format!("the secret {id} has characters that no HTTP header may have");
            return Err(Error::new(ErrorKind::Usage, message).help("it must be one line of plain text"));
        }
        Ok(Some(Secret::new(value)))
    }
}

fn seen(download: &Download, answer: &WebAnswer) -> Seen {
    let (etag, modified) = (answer.etag.clone(), answer.modified.clone());
    Seen { etag, modified, ..unseen(download.sha256.to_string()) }
}

/// The `Last-Modified` to ask with, when there is nothing better and it was old enough.
fn settled(known: &Seen) -> Option<&str> {
    let text = known.modified.as_deref().filter(|_| known.etag.is_none())?;
    let modified = Time::parse_http(text)?;
    (modified.seconds.saturating_add(SETTLED_SECONDS) < known.asked.seconds).then_some(text)
}

fn advise(error: Error, address: &HttpAddress, authorized: bool) -> Error {
    if error.kind != ErrorKind::Registry || authorized {
        return error;
    }
    let host = address.host();
    match error.label.as_deref() {
        Some("denied") => error.help(format!(
            "if it needs a token, give one with --secret id=HTTP_AUTH_TOKEN_{host},env=NAME (or HTTP_AUTH_HEADER_{host} \
             for a whole header)"
        )),
        _ => error,
    }
}

fn failed(address: &HttpAddress, error: io::Error) -> Error {
    let message = format!("cannot keep {}: {error}", redacted(&address.url));
    Error::new(ErrorKind::Store, message).because(error)
}

/// Undoes `Content-Encoding: gzip` of the file at `path`.
fn unpack(path: &Path) -> io::Result<Written> {
    let beside = path.with_extension("plain");
    let mut plain = fs::File::create(&beside)?;
    let mut written = Written::default();
    let mut reader = compress::decoder(Box::new(fs::File::open(path)?)).map_err(io::Error::other)?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let bytes = reader.read(&mut buffer)?;
        if bytes == 0 {
            break;
        }
        written.add(&buffer[..bytes]);
        if written.size > DOWNLOAD_BYTES_MAX {
            let message = format!("unpacked it has more than {DOWNLOAD_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        plain.write_all(&buffer[..bytes])?;
    }
    fs::rename(beside, path)?;
    Ok(written)
}

#[derive(Debug, Default)]
struct Written {
    sha256: Sha256,
    blake3: Blake3,
    size: u64,
}

impl Written {
    fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.blake3.update(bytes);
        self.size += bytes.len() as u64;
    }
}

/// Writes what comes to a file.
pub(super) struct FileSink<'a> {
    path: &'a Path,
    /// Told when it begins; without it nothing may be written now.
    began: Option<&'a (dyn Fn() + Sync)>,
    file: Option<fs::File>,
    written: Written,
}

impl<'a> FileSink<'a> {
    pub(super) fn new(path: &'a Path, began: Option<&'a (dyn Fn() + Sync)>) -> Self {
        Self { path, began, file: None, written: Written::default() }
    }
}

impl WebSink for FileSink<'_> {
    fn begin(&mut self, _: Option<u64>) -> io::Result<()> {
        let Some(began) = self.began else {
            return Err(io::Error::other(Error::new(ErrorKind::NeedsExecution, "a file has to be fetched")));
        };
        if self.file.is_none() {
            began();
        }
        self.file = Some(fs::File::create(self.path)?);
        self.written = Written::default();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written.add(bytes);
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }
}
