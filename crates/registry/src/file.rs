//! Plain files at a URL: asked for by what is known of them, gone on with after a cut.
//!
//! What is written where it broke off is only kept when the server can say that the rest belongs to it (an `ETag`, or a
//! `Last-Modified`); else it begins again.

use std::io::{self, Read};

use base64::{Engine, engine::general_purpose::STANDARD};
use ureq::http::{Method, Uri};

use crate::{
    Client, RegistryError, Secret,
    http::{self, Exchange, Payload, Response},
    retry::{Failure, Retry},
    url,
};

/// Bytes that are handed on at once.
const PIECE_BYTES: usize = 128 << 10;

/// A question for a file.
#[derive(Clone, Copy, Debug)]
pub struct FileRequest<'a> {
    /// `http://…` or `https://…`. A user and password in it become its `Authorization`, unless there is one.
    pub url: &'a str,
    /// The value of `Authorization`. It stays with the host of `url`.
    pub authorization: Option<&'a Secret>,
    /// The `ETag` of what is known.
    pub etag: Option<&'a str>,
    /// The `Last-Modified` of what is known.
    pub modified: Option<&'a str>,
    /// The most bytes that are taken.
    pub limit: u64,
}

/// What the server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileAnswer {
    /// The file is what is known; nothing was sent.
    pub unchanged: bool,
    /// Its `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    pub modified: Option<String>,
    /// Its `Content-Encoding`, which was not asked for.
    pub encoding: Option<String>,
}

/// Where a file goes.
pub trait FileSink {
    /// It begins, perhaps not for the first time: what came before does not count.
    fn begin(&mut self, size: Option<u64>) -> io::Result<()>;

    /// Its next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Client {
    /// Gets a file. Redirects are followed; from https they lead to https alone.
    pub fn file(
        &self,
        request: &FileRequest<'_>,
        sink: &mut dyn FileSink,
    ) -> Result<FileAnswer, RegistryError> {
        let (uri, login) = address(request.url)?;
        let authorization = request.authorization.cloned().or(login);
        let answer = FileAnswer::default();
        Transfer { client: self, request, uri, authorization, sink, answer, position: 0, size: None }.run()
    }
}

/// The address without its user, and what the user becomes.
fn address(text: &str) -> Result<(Uri, Option<Secret>), RegistryError> {
    let wrong = || {
        let reason = "it is no address of a file".to_owned();
        RegistryError::Setting { what: "the URL".to_owned(), reason }
    };
    let text = text.split('#').next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let path = escaped(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") });
    let uri: Uri = format!("{scheme}://{host}{path}").parse().map_err(|_| wrong())?;
    url::origin(&uri).ok_or_else(wrong)?;
    Ok((uri, login.map(basic)))
}

/// Characters that people write and HTTP does not.
fn escaped(path: String) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    let bytes = path.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    bytes.collect()
}

fn basic(login: &str) -> Secret {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let plain = [url::unescape(user), b":".to_vec(), url::unescape(password)].concat();
    Secret::new(format!("Basic {}", STANDARD.encode(plain)))
}

/// A file on its way.
struct Transfer<'a> {
    client: &'a Client,
    request: &'a FileRequest<'a>,
    uri: Uri,
    authorization: Option<Secret>,
    sink: &'a mut dyn FileSink,
    /// What the server said when it began to send what is here.
    answer: FileAnswer,
    position: u64,
    size: Option<u64>,
}

impl Transfer<'_> {
    fn run(mut self) -> Result<FileAnswer, RegistryError> {
        let session = self.client.session();
        let (limits, stop) = (&session.options.limits, &session.options.stop);
        let (mut failures, mut failed_at) = (0, 0);
        loop {
            let failure = match self.attempt() {
                Ok(()) => return Ok(self.answer),
                Err(failure) => failure,
            };
            // A few bytes before each failure are no progress: at that rate it would never end.
            if self.position.saturating_sub(failed_at) >= limits.slow_bytes {
                failures = 0;
            }
            failed_at = self.position;
            let mut retry = Retry::resumed(limits, stop, failures);
            retry.wait(failure)?;
            failures = retry.failures();
        }
    }

    fn attempt(&mut self) -> Result<(), Failure> {
        let response = self.ask()?;
        match response.status {
            304 if self.position == 0 && self.is_known() => {
                self.answer = FileAnswer { unchanged: true, ..described(&response) };
                Ok(())
            }
            206 if self.position > 0 && http::range_start(&response) == Some(self.position) => {
                self.receive(response)
            }
            200..=299 if response.status != 206 => self.begin(response),
            _ => Err(self.refused(response)),
        }
    }

    fn is_known(&self) -> bool {
        self.request.etag.is_some() || self.request.modified.is_some()
    }

    fn ask(&self) -> Result<Response, Failure> {
        let mut headers = vec![("accept-encoding", "identity".to_owned())];
        let mut add = |name: &'static str, value: Option<&str>| {
            headers.extend(value.map(|value| (name, value.to_owned())));
        };
        let answer = &self.answer;
        let strong = answer.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        if let Some(validator) = strong.or(answer.modified.as_deref()).filter(|_| self.position > 0) {
            add("range", Some(&format!("bytes={}-", self.position)));
            add("if-range", Some(validator));
        } else {
            add("if-none-match", self.request.etag);
            add("if-modified-since", self.request.modified);
        }
        self.client.session().http().exchange(Exchange {
            method: Method::GET,
            uri: self.uri.clone(),
            headers: &headers,
            payload: Payload::None,
            authorization: self.authorization.as_ref(),
            verify: true,
            patience: self.client.limits().response,
        })
    }

    /// The file from its beginning.
    fn begin(&mut self, response: Response) -> Result<(), Failure> {
        let answer = described(&response);
        // Some servers send what nobody asked for.
        let same = |etag: &str| answer.etag.as_deref().map(opaque) == Some(opaque(etag));
        if self.request.etag.is_some_and(same) {
            self.answer = FileAnswer { unchanged: true, ..answer };
            return Ok(());
        }
        self.answer = answer;
        self.position = 0;
        self.size = response.content_length();
        if self.size.is_some_and(|size| size > self.request.limit) {
            return Err(self.too_large().into());
        }
        self.sink.begin(self.size).map_err(here)?;
        self.receive(response)
    }

    fn receive(&mut self, response: Response) -> Result<(), Failure> {
        let place = response.place();
        let mut body = response.into_body();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match body.read(&mut piece).map_err(|error| http::broken(&place, error))? {
                0 => break,
                bytes => {
                    self.position += bytes as u64;
                    if self.position > self.request.limit {
                        return Err(self.too_large().into());
                    }
                    self.sink.write(&piece[..bytes]).map_err(here)?;
                }
            }
        }
        match self.size {
            Some(size) if self.position < size => {
                Err(http::broken(&place, io::ErrorKind::UnexpectedEof.into()).into())
            }
            // The rest was longer than the rest of the file.
            Some(size) if self.position > size => {
                let (what, found) = (url::public(&self.uri), self.position.to_string());
                Err(RegistryError::WrongLength { place, what, wanted: size, found }.into())
            }
            _ => Ok(()),
        }
    }

    fn too_large(&self) -> RegistryError {
        let (place, what) = (url::place(&self.uri), url::public(&self.uri));
        RegistryError::TooLarge { place, what, limit: self.request.limit }
    }

    fn refused(&self, mut response: Response) -> Failure {
        let (pause, status) = (response.retry_after(), response.status);
        let secrets: Vec<&Secret> = self.authorization.iter().collect();
        let answer = response.words(self.client.limits(), &secrets);
        let (place, doing) = (response.place(), response.doing.clone());
        Failure { error: RegistryError::Status { place, doing, status, answer }, pause }
    }
}

fn described(response: &Response) -> FileAnswer {
    let header = |name: &str| response.header(name).map(ToOwned::to_owned);
    FileAnswer {
        unchanged: false,
        etag: header("etag"),
        modified: header("last-modified"),
        encoding: header("content-encoding").map(|encoding| encoding.trim().to_ascii_lowercase()),
    }
}

/// Without the mark of those that promise equal meaning and not equal bytes.
fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

fn here(source: io::Error) -> Failure {
    RegistryError::Io { doing: "keep what comes".to_owned(), source }.into()
}
