//! Blobs on their way there: not at all, by mount, whole, or in pieces; gone on with after a cut.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read},
};

use galley_oci::{Descriptor, Digest, Reference};
use ureq::http::{Method, Uri};

use crate::{
    Client, Endpoint, Kind, RegistryError, Uploaded, answer,
    http::Response,
    manifests::{DIGEST_HEADER, push_scope},
    retry::Failure,
    session::{Ask, Content, Target},
    url,
};

/// The fewest bytes that a registry wants in each piece but the last.
const CHUNK_MIN_HEADER: &str = "oci-chunk-min-length";
/// Registries that refuse pieces of this size refuse everything.
const PIECE_BYTES_MIN: u64 = 64 << 10;
/// How often an upload that the registry has lost begins again.
const RESTARTS_MAX: u32 = 3;
/// Skipped at once when only the rest of a blob is to be sent.
const SKIP_BYTES: u64 = 128 << 10;

/// Gives the bytes of a blob from the beginning, as often as it takes.
type Open<'a> = &'a (dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync);

impl Client {
    /// Sees to it that a repository has a blob. Nothing is sent when it is there, or when the registry takes it from one of
    /// `mount_from`, repositories of the same registry. `content` may be asked for the bytes several times. `progress`
    /// is told how many of the blob's bytes are sent; after a cut that may be fewer than before.
    pub fn upload(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        content: Open<'_>,
        mount_from: &[Reference],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Uploaded, RegistryError> {
        let endpoint = self.session().home(repository)?;
        let scope = push_scope(&endpoint.repository);
        if self.has_blob_at(&endpoint, blob, &scope)? {
            return Ok(Uploaded::Present);
        }
        let what = format!("{}@{}", repository.name(), blob.digest);
        let source = RefCell::new(Source { reader: None, position: 0, failed: None });
        let upload = Upload {
            client: self,
            endpoint: &endpoint,
            scope,
            blob,
            content,
            progress,
            what,
            source,
            piece_min: Cell::new(0),
        };
        let mut location = None;
        for from in mount_from.iter().filter(|from| from.registry == repository.registry) {
            match upload.mount(from)? {
                Mount::Done => {
                    location.iter().for_each(|begun| upload.cancel(begun));
                    return Ok(Uploaded::Mounted(from.clone()));
                }
                Mount::Begun(begun) => {
                    if let Some(earlier) = location.replace(begun) {
                        upload.cancel(&earlier);
                    }
                }
                Mount::Refused => {}
            }
        }
        upload.run(location)?;
        Ok(Uploaded::Sent)
    }
}

/// What became of a mount.
enum Mount {
    Done,
    /// The registry wants the bytes, here.
    Begun(Uri),
    Refused,
}

/// How the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Whole,
    Pieces(u64),
}

/// Why sending ended early.
enum Trouble {
    /// To be tried again, or not.
    Failed(Failure),
    /// The registry does not take it this way.
    Unsuitable(RegistryError),
    /// The registry knows nothing of this upload any more.
    Lost(RegistryError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<RegistryError> for Trouble {
    fn from(error: RegistryError) -> Self {
        Self::Failed(error.into())
    }
}

/// Where an upload stands.
struct Stand {
    location: Uri,
    /// The registry has as many bytes.
    offset: u64,
    /// Whether bytes were sent that may or may not have arrived.
    resumed: bool,
}

struct Upload<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    scope: String,
    blob: &'a Descriptor,
    content: Open<'a>,
    progress: &'a (dyn Fn(u64) + Sync),
    what: String,
    source: RefCell<Source>,
    /// Smaller pieces are refused, but for the last.
    piece_min: Cell<u64>,
}

/// The blob's bytes from a position on.
struct Source {
    reader: Option<Box<dyn Read + Send>>,
    position: u64,
    /// Our own failure, which must not be taken for the network's.
    failed: Option<io::Error>,
}

impl Upload<'_> {
    fn ask<'a>(&'a self, method: Method, target: Target<'a>) -> Ask<'a> {
        let ask = self.client.ask_about(self.endpoint, &self.scope, method, "", &self.what);
        Ask { target, ..ask }
    }

    fn mount(&self, from: &Reference) -> Result<Mount, RegistryError> {
        let session = self.client.session();
        let other = session.home(from)?;
        if other.base != self.endpoint.base || other.repository == self.endpoint.repository {
            return Ok(Mount::Refused);
        }
        let scope = format!("{} repository:{}:pull", self.scope, other.repository);
        let (digest, from) = (self.blob.digest.to_string(), url::encode(&other.repository));
        let path =
            format!("{}/blobs/uploads/?mount={}&from={from}", self.endpoint.repository, url::encode(&digest));
        let ask = Ask { scope: &scope, ..self.ask(Method::POST, Target::Path(&path)) };
        let response = match session.ask(&ask) {
            Ok(response) => response,
            // Whoever may not read there may still write here.
            Err(error) if matches!(error.kind(), Kind::Denied) => return Ok(Mount::Refused),
            Err(error) => return Err(error),
        };
        match response.status {
            201 => Ok(Mount::Done),
            202 => Ok(Mount::Begun(self.begun(&response)?)),
            _ => Ok(Mount::Refused),
        }
    }

    /// Tells the registry to forget an upload. It would do so by itself, later.
    fn cancel(&self, location: &Uri) {
        let ask = self.ask(Method::DELETE, Target::Address(location));
        let _ = self.client.session().ask_once(&ask);
    }

    fn run(&self, location: Option<Uri>) -> Result<(), RegistryError> {
        let session = self.client.session();
        let mut retry = session.retry(self.endpoint);
        let mut way = self.first_way();
        let mut stand = location.map(Stand::new);
        let mut restarts = 0;
        loop {
            let current = match &mut stand {
                Some(current) => current,
                None => match self.begin() {
                    Ok(location) => stand.insert(Stand::new(location)),
                    Err(failure) => {
                        retry.wait(failure)?;
                        continue;
                    }
                },
            };
            let before = current.offset;
            let trouble = match self.send(current, way) {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Unsuitable(error) => {
                    way = self.next_way(way).ok_or(error)?;
                    stand = None;
                }
                Trouble::Lost(error) if restarts == RESTARTS_MAX => return Err(error),
                Trouble::Lost(_) => {
                    restarts += 1;
                    stand = None;
                }
                Trouble::Failed(failure) => {
                    retry.wait(failure)?;
                    if !self.find_out(&mut stand, &mut retry)? {
                        stand = None;
                        // It may be gone because it arrived, and only the answer was lost.
                        if self.client.has_blob_at(self.endpoint, self.blob, &self.scope)? {
                            return Ok(());
                        }
                    }
                    // As for blobs on their way here, a few bytes are no progress.
                    let progress = before.saturating_add(self.client.limits().slow_bytes);
                    if stand.as_ref().is_some_and(|stand| stand.offset >= progress) {
                        retry = session.retry(self.endpoint);
                    }
                }
            }
        }
    }

    fn first_way(&self) -> Way {
        let piece = self.client.limits().upload_chunk_bytes;
        piece.filter(|piece| self.blob.size > *piece).map_or(Way::Whole, |piece| Way::Pieces(piece.max(1)))
    }

    /// Smaller and smaller pieces.
    fn next_way(&self, way: Way) -> Option<Way> {
        match way {
            Way::Whole => Some(Way::Pieces(self.client.limits().fallback_chunk_bytes.max(1))),
            Way::Pieces(piece) if piece > PIECE_BYTES_MIN => Some(Way::Pieces(PIECE_BYTES_MIN)),
            Way::Pieces(_) => None,
        }
    }

    fn begin(&self) -> Result<Uri, Failure> {
        let path = format!("{}/blobs/uploads/", self.endpoint.repository);
        let ask = self.ask(Method::POST, Target::Path(&path));
        let response = self.client.session().ask_once(&ask)?;
        match response.status {
            202 => Ok(self.begun(&response)?),
            _ => Err(self.client.session().refuse(&ask, response).into()),
        }
    }

    /// Where an upload that has begun goes on.
    fn begun(&self, response: &Response) -> Result<Uri, RegistryError> {
        let piece_min = response.header(CHUNK_MIN_HEADER).and_then(|bytes| bytes.trim().parse().ok());
        self.piece_min.set(piece_min.unwrap_or(0));
        location_of(response)
    }

    /// Asks how many bytes have arrived. Says whether the upload can go on.
    fn find_out(
        &self,
        stand: &mut Option<Stand>,
        retry: &mut crate::retry::Retry<'_>,
    ) -> Result<bool, RegistryError> {
        let Some(stand) = stand else { return Ok(false) };
        let session = self.client.session();
        let location = stand.location.clone();
        let ask = self.ask(Method::GET, Target::Address(&location));
        let response = loop {
            match session.ask_once(&ask) {
                Ok(response) => break response,
                Err(failure) => retry.wait(failure)?,
            }
        };
        stand.resumed = true;
        if !matches!(response.status, 200 | 202 | 204) {
            return Ok(false);
        }
        if response.header("location").is_some() {
            stand.location = location_of(&response)?;
        }
        stand.offset = received(&response).unwrap_or(0);
        Ok(stand.offset <= self.blob.size)
    }

    fn send(&self, stand: &mut Stand, way: Way) -> Result<(), Trouble> {
        if way == Way::Whole && stand.offset == 0 && !stand.resumed {
            return self.put(stand, self.blob.size);
        }
        let piece = match way {
            Way::Whole => self.blob.size,
            Way::Pieces(piece) => piece.max(self.piece_min.get()),
        };
        while stand.offset < self.blob.size {
            self.patch(stand, piece)?;
        }
        self.put(stand, 0)
    }

    /// Sends one piece.
    fn patch(&self, stand: &mut Stand, piece: u64) -> Result<(), Trouble> {
        let length = piece.min(self.blob.size - stand.offset);
        let end = stand.offset + length;
        let headers = [
            ("content-type", "application/octet-stream".to_owned()),
            ("content-range", format!("{}-{}", stand.offset, end - 1)),
        ];
        let location = stand.location.clone();
        let response = self.send_bytes(Method::PATCH, &location, &headers, stand.offset, length)?;
        match response.status {
            200..=204 => {
                if response.header("location").is_some() {
                    stand.location = location_of(&response)?;
                }
                // Some say nothing, and some have taken less than they were sent.
                let taken = received(&response).filter(|received| *received > stand.offset).unwrap_or(end);
                self.advance(stand, taken, end, &response)
            }
            416 => {
                let error = || response.nonsense("it refuses the bytes that follow those it has");
                let taken = received(&response).ok_or_else(|| Trouble::Lost(error()))?;
                if response.header("location").is_some() {
                    stand.location = location_of(&response)?;
                }
                self.advance(stand, taken, end, &response)
            }
            _ => Err(self.trouble(Method::PATCH, &location, stand, response)),
        }
    }

    /// Takes note of how many bytes the registry has. A few of those that were sent are no progress: at that rate it would
    /// never end.
    fn advance(&self, stand: &mut Stand, taken: u64, end: u64, response: &Response) -> Result<(), Trouble> {
        if taken > end {
            return Err(Trouble::Lost(response.nonsense("it claims to have more bytes than it was sent")));
        }
        if taken < end && taken < stand.offset + self.client.limits().slow_bytes {
            return Err(Trouble::Lost(response.nonsense("it takes next to nothing of what it is sent")));
        }
        stand.offset = taken;
        Ok(())
    }

    /// Finishes the upload, with the last `length` bytes in it.
    fn put(&self, stand: &mut Stand, length: u64) -> Result<(), Trouble> {
        let digest = format!("digest={}", url::encode(&self.blob.digest.to_string()));
        let target: Uri = url::with_query(&stand.location, &digest)
            .parse()
            .map_err(|_| Trouble::from(self.bad_location()))?;
        let headers = [("content-type", "application/octet-stream".to_owned())];
        let offset = self.blob.size - length;
        let response = self.send_bytes(Method::PUT, &target, &headers, offset, length)?;
        if !matches!(response.status, 200 | 201 | 204) {
            return Err(self.trouble(Method::PUT, &target, stand, response));
        }
        let told = response.header(DIGEST_HEADER).and_then(|told| told.parse::<Digest>().ok());
        match told.filter(|told| *told != self.blob.digest) {
            Some(found) => {
                let (place, what) = (response.place(), self.blob.digest);
                Err(RegistryError::WrongDigest { place, what, found }.into())
            }
            None => Ok(()),
        }
    }

    fn bad_location(&self) -> RegistryError {
        RegistryError::Nonsense {
            place: self.endpoint.registry.clone(),
            doing: format!("the upload of {}", self.what),
            reason: "its Location is no address".to_owned(),
        }
    }

    fn send_bytes(
        &self,
        method: Method,
        target: &Uri,
        headers: &[(&'static str, String)],
        offset: u64,
        length: u64,
    ) -> Result<Response, Trouble> {
        let open = || -> io::Result<Box<dyn Read + '_>> {
            self.source.borrow_mut().seek(offset, self.content)?;
            Ok(Box::new(Piece { source: &self.source, left: length, progress: self.progress }))
        };
        let content = if length == 0 { Content::None } else { Content::Stream { length, open: &open } };
        let ask = self.ask(method, Target::Address(target));
        let ask = Ask { headers, content, patience: self.client.limits().commit, ..ask };
        let sent = self.client.session().ask_once(&ask);
        if let Some(source) = self.source.borrow_mut().failed.take() {
            let doing = format!("read {}", self.what);
            return Err(RegistryError::Io { doing, source }.into());
        }
        sent.map_err(|failure| match failure.error {
            // Answers that came before the end, from whoever would not read on.
            RegistryError::Status { status: 413, .. } => Trouble::Unsuitable(failure.error),
            RegistryError::Status { status: 404 | 416, .. } => Trouble::Lost(failure.error),
            RegistryError::Status { ref place, status: 401, .. } => {
                let (place, reason) =
                    (place.clone(), "it wants another token in the middle of a blob".to_owned());
                Trouble::Failed(RegistryError::Unreachable { place, reason, source: None }.into())
            }
            _ => Trouble::Failed(failure),
        })
    }

    /// What an unexpected status means for the upload as a whole.
    fn trouble(&self, method: Method, target: &Uri, stand: &Stand, mut response: Response) -> Trouble {
        let (status, place) = (response.status, self.endpoint.registry.clone());
        let body = response.read_some(self.client.limits().error_bytes).unwrap_or_default();
        let answer = response.words_of(&body, &[]);
        let doing = format!("{method} {}", url::public(target));
        let error = RegistryError::Status { place, doing, status, answer };
        let damaged = ["DIGEST_INVALID", "SIZE_INVALID"].iter().any(|code| answer::has_code(&body, code));
        match status {
            404 | 416 => Trouble::Lost(error),
            400 if damaged && stand.resumed => Trouble::Lost(error),
            405 | 411 | 413 | 415 | 501 => Trouble::Unsuitable(error),
            _ => error.into(),
        }
    }
}

impl Stand {
    fn new(location: Uri) -> Self {
        Self { location, offset: 0, resumed: false }
    }
}

/// Where the upload goes on.
fn location_of(response: &Response) -> Result<Uri, RegistryError> {
    let location = response.header("location").ok_or_else(|| response.nonsense("it has no Location"))?;
    let location = url::join(&response.uri, location);
    let location = location.ok_or_else(|| response.nonsense("its Location is no address"))?;
    let https = |uri: &Uri| uri.scheme_str() == Some("https");
    if https(&response.uri) && !https(&location) {
        let same_host = location.host() == response.uri.host();
        // Behind a proxy that ends TLS, registries often believe that they are spoken to in plain HTTP.
        let upgraded = same_host.then(|| upgrade(&response.uri, &location)).flatten();
        return upgraded
            .ok_or_else(|| response.nonsense("its Location is plain http, and it itself is https"));
    }
    Ok(location)
}

/// `location` at the scheme, host and port of `home`.
fn upgrade(home: &Uri, location: &Uri) -> Option<Uri> {
    url::join(home, location.path_and_query()?.as_str())
}

/// How many bytes `Range: 0-99` says there are. `0-0` is what registries say when there are none.
fn received(response: &Response) -> Option<u64> {
    let range = response.header("range")?.trim();
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let end: u64 = range.split_once('-')?.1.trim().parse().ok()?;
    if end == 0 { Some(0) } else { end.checked_add(1) }
}

impl Source {
    fn seek(&mut self, offset: u64, open: Open<'_>) -> io::Result<()> {
        if self.reader.is_some() && self.position == offset {
            return Ok(());
        }
        let mut reader = open()?;
        let mut scratch = vec![0; usize::try_from(SKIP_BYTES.min(offset)).unwrap_or(0)];
        let mut left = offset;
        while left > 0 {
            let room = scratch.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match reader.read(&mut scratch[..room])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => left -= read as u64,
            }
        }
        (self.reader, self.position) = (Some(reader), offset);
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(reader) = &mut self.reader else { return Err(io::ErrorKind::NotConnected.into()) };
        let read = reader.read(buffer).and_then(|bytes| match bytes {
            0 => {
                let reason = format!("it ends after {} bytes", self.position);
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason))
            }
            _ => Ok(bytes),
        });
        match read {
            Ok(bytes) => {
                self.position += bytes as u64;
                Ok(bytes)
            }
            Err(error) => {
                self.reader = None;
                let copy = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(copy)
            }
        }
    }
}

/// The part of a blob that one request sends.
struct Piece<'a> {
    source: &'a RefCell<Source>,
    left: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let mut source = self.source.borrow_mut();
        let bytes = source.read(&mut buffer[..room])?;
        self.left -= bytes as u64;
        (self.progress)(source.position);
        Ok(bytes)
    }
}
