//! Blobs on their way here: verified while they flow, gone on with after a cut.

use std::{
    fmt,
    io::{self, Read},
};

use galley_oci::{Descriptor, Digest, Reference, Sha256};
use ureq::{BodyReader, http::Method};

use crate::{
    Client, Endpoint, RegistryError,
    http::{self, Response},
    manifests::{DIGEST_HEADER, pull_scope},
    retry::Failure,
    session::Ask,
};

/// Skipped at once when a server cannot begin in the middle.
const SKIP_BYTES: usize = 128 << 10;

impl Client {
    /// A reader of a blob. Its last read fails when the bytes are not those of `blob`, and there are never more of them.
    /// The first request is made here; later failures are [`io::Error`]s around a [`RegistryError`].
    pub fn blob(&self, repository: &Reference, blob: &Descriptor) -> Result<BlobReader, RegistryError> {
        let mut endpoints = self.servers_of_blobs(repository, blob.digest)?;
        endpoints.reverse();
        let Some(endpoint) = endpoints.pop() else {
            let reason = "there is no server to ask".to_owned();
            return Err(RegistryError::Setting { what: format!("registry {}", repository.registry), reason });
        };
        let mut reader = BlobReader {
            client: self.clone(),
            endpoint,
            others: endpoints,
            what: format!("{}@{}", repository.name(), blob.digest),
            digest: blob.digest,
            size: blob.size,
            position: 0,
            hasher: Sha256::new(),
            body: None,
            delimited: false,
            failures: 0,
            failed_at: 0,
            ended: false,
        };
        // Whether it is there at all is better known now.
        reader.open()?;
        Ok(reader)
    }

    /// Mirrors first. A blob is asked of those that give manifests by tag and of those that give them by digest: what it is
    /// is known, and it may belong to a manifest that was asked for either way.
    fn servers_of_blobs(
        &self,
        repository: &Reference,
        digest: Digest,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        let mut endpoints = self.session().endpoints(repository)?;
        let other = Reference { digest: repository.digest.xor(Some(digest)), ..repository.clone() };
        let other = self.session().endpoints(&other)?;
        let more: Vec<Endpoint> =
            other.into_iter().filter(|endpoint| endpoint.mirror && !endpoints.contains(endpoint)).collect();
        let last = endpoints.iter().rposition(|endpoint| endpoint.mirror).map_or(0, |last| last + 1);
        endpoints.splice(last..last, more);
        Ok(endpoints)
    }

    /// Whether a repository has a blob.
    pub fn has_blob(&self, repository: &Reference, blob: &Descriptor) -> Result<bool, RegistryError> {
        let endpoint = self.session().home(repository)?;
        self.has_blob_at(&endpoint, blob, &pull_scope(&endpoint.repository))
    }

    pub(crate) fn has_blob_at(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        scope: &str,
    ) -> Result<bool, RegistryError> {
        let path = blob_path(endpoint, blob.digest);
        let what = format!("{}/{}@{}", endpoint.registry, endpoint.repository, blob.digest);
        let ask = self.ask_about(endpoint, scope, Method::HEAD, &path, &what);
        let response = self.session().ask(&ask)?;
        match response.status {
            200 => {
                // Something else under this digest is as good as nothing.
                let same_size = response.content_length().is_none_or(|length| length == blob.size);
                let told = response.header(DIGEST_HEADER).and_then(|told| told.parse::<Digest>().ok());
                Ok(same_size && told.is_none_or(|told| told == blob.digest))
            }
            404 => Ok(false),
            _ => Err(self.session().refuse(&ask, response)),
        }
    }
}

fn blob_path(endpoint: &Endpoint, digest: Digest) -> String {
    format!("{}/blobs/{digest}", endpoint.repository)
}

/// The bytes of a blob, as they arrive.
pub struct BlobReader {
    client: Client,
    endpoint: Endpoint,
    /// The servers to ask after this one; the next is last.
    others: Vec<Endpoint>,
    what: String,
    digest: Digest,
    size: u64,
    position: u64,
    hasher: Sha256,
    body: Option<BodyReader<'static>>,
    /// Whether the answer says where it ends.
    delimited: bool,
    /// In a row, without [`crate::Limits::slow_bytes`] in between.
    failures: u32,
    /// The position at the last of them.
    failed_at: u64,
    ended: bool,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobReader({}, {} of {} bytes)", self.what, self.position, self.size)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        self.read_verified(buffer).inspect_err(|_| self.ended = true).map_err(io::Error::from)
    }
}

impl BlobReader {
    fn read_verified(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        while self.position < self.size {
            let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
            let room = buffer.len().min(left);
            let bytes = self.read_some(&mut buffer[..room])?;
            if bytes > 0 {
                self.hasher.update(&buffer[..bytes]);
                self.position += bytes as u64;
                if self.position == self.size {
                    self.finish()?;
                }
                return Ok(bytes);
            }
        }
        self.finish()?;
        Ok(0)
    }

    /// Some bytes; none when the server had to be asked again.
    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        let Some(body) = &mut self.body else {
            self.open()?;
            return Ok(0);
        };
        let error = match body.read(buffer) {
            Ok(bytes) if bytes > 0 => return Ok(bytes),
            Ok(_) if self.delimited => self.wrong_length(self.position.to_string()),
            // Nobody said where the answer ends, so it may have been cut.
            Ok(_) => http::broken(&self.endpoint.registry, io::ErrorKind::UnexpectedEof.into()),
            Err(error) => http::broken(&self.endpoint.registry, error),
        };
        self.body = None;
        self.recover(error.into())?;
        Ok(0)
    }

    fn wrong_length(&self, found: String) -> RegistryError {
        let (place, what) = (self.endpoint.registry.clone(), self.what.clone());
        RegistryError::WrongLength { place, what, wanted: self.size, found }
    }

    /// Checks that nothing follows, and the digest.
    fn finish(&mut self) -> Result<(), RegistryError> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let found = std::mem::take(&mut self.hasher).finish();
        if found != self.digest {
            let place = self.endpoint.registry.clone();
            return Err(RegistryError::WrongDigest { place, what: self.digest, found });
        }
        // Reading to the end frees the connection.
        let more = self.body.take().map(|mut body| body.read(&mut [0]));
        match more {
            Some(Ok(1..)) => Err(self.wrong_length(format!("more than {}", self.size))),
            _ => Ok(()),
        }
    }

    /// Asks for what is missing.
    fn open(&mut self) -> Result<(), RegistryError> {
        while self.body.is_none() {
            match self.open_once() {
                Ok(body) => self.body = Some(body),
                Err(failure) => self.recover(failure)?,
            }
        }
        Ok(())
    }

    fn open_once(&mut self) -> Result<BodyReader<'static>, Failure> {
        let mut response = self.request(self.position)?;
        if response.status == 416 && self.position > 0 {
            response = self.request(0)?;
        }
        self.accept(response)
    }

    fn request(&self, position: u64) -> Result<Response, Failure> {
        let (client, endpoint) = (&self.client, &self.endpoint);
        let (path, scope) = (blob_path(endpoint, self.digest), pull_scope(&endpoint.repository));
        let mut headers = vec![("accept-encoding", "identity".to_owned())];
        if position > 0 {
            headers.push(("range", format!("bytes={position}-")));
        }
        let ask = client.ask_about(endpoint, &scope, Method::GET, &path, &self.what);
        let ask = Ask { headers: &headers, ..ask };
        let response = client.session().ask_once(&ask)?;
        match response.status {
            200 | 206 | 416 => Ok(response),
            _ => Err(client.session().refuse(&ask, response).into()),
        }
    }

    /// The body from the position on, if it can be had.
    fn accept(&mut self, response: Response) -> Result<BodyReader<'static>, Failure> {
        let begins = match response.status {
            206 => http::range_start(&response)
                .ok_or_else(|| response.nonsense("its Content-Range makes no sense"))?,
            200 => 0,
            status => {
                return Err(response.nonsense(format!("a blob has no status {status}")).into());
            }
        };
        let Some(skip) = self.position.checked_sub(begins) else {
            return Err(response.nonsense("it begins after what was asked for").into());
        };
        let wanted = self.size - begins;
        if let Some(length) = response.content_length().filter(|length| *length != wanted) {
            return Err(self.wrong_length(length.saturating_add(begins).to_string()).into());
        }
        self.delimited =
            response.content_length().is_some() || response.header("transfer-encoding").is_some();
        let place = response.place();
        let mut body = response.into_body();
        self.skip(&mut body, skip).map_err(|error| http::broken(&place, error))?;
        Ok(body)
    }

    /// Reads over what is here already, where a server begins at the beginning.
    fn skip(&self, body: &mut BodyReader<'static>, bytes: u64) -> io::Result<()> {
        let mut scratch = vec![0; SKIP_BYTES.min(usize::try_from(bytes).unwrap_or(SKIP_BYTES))];
        let mut left = bytes;
        while left > 0 {
            let room = scratch.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match body.read(&mut scratch[..room])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => left -= read as u64,
            }
        }
        Ok(())
    }

    /// Waits for the next attempt, or turns to the next server.
    fn recover(&mut self, failure: Failure) -> Result<(), RegistryError> {
        let session = self.client.session();
        // A few bytes before each failure are no progress: at that rate it would never end.
        if self.position - self.failed_at >= self.client.limits().slow_bytes {
            self.failures = 0;
        }
        self.failed_at = self.position;
        let mut retry = session.retry_after(&self.endpoint, self.failures);
        let waited = retry.wait(failure);
        self.failures = retry.failures();
        match waited {
            Ok(()) => Ok(()),
            Err(RegistryError::Stopped) => Err(RegistryError::Stopped),
            Err(error) => {
                session.note_failure(&self.endpoint, &error);
                let Some(next) = self.others.pop() else { return Err(error) };
                self.endpoint = next;
                self.failures = 0;
                Ok(())
            }
        }
    }
}
