//! What carries HTTP: sockets, proxies and TLS, in the shape that `ureq` wants.

use std::{
    fmt,
    io::{self, Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, time},
    },
};

use crate::{Certificates, Limits, Proxies, Proxy, RegistryError, Stop, answer, socket::Socket};

/// For each direction of a connection.
const BUFFER_BYTES: usize = 128 << 10;
/// A server that will not read on has said why, or does so at once.
const EARLY_TIME: Duration = Duration::from_millis(500);
const EARLY_BYTES: usize = 16 << 10;
/// The longest head of a proxy's answer.
const PROXY_HEAD_BYTES: usize = 16 << 10;

/// Opens connections.
pub(crate) struct Dialler {
    pub(crate) certificates: Certificates,
    pub(crate) proxies: Proxies,
    pub(crate) stop: Stop,
    pub(crate) limits: Arc<Limits>,
    /// Whether certificates count.
    pub(crate) verify: bool,
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler").field("verify", &self.verify).finish_non_exhaustive()
    }
}

impl Connector for Dialler {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Wire>, Error> {
        let stream = self.open(details.uri).map_err(|error| Error::Io(error.into()))?;
        Ok(Some(Wire { buffers: LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES), stream }))
    }
}

impl Dialler {
    fn open(&self, uri: &Uri) -> Result<Stream, RegistryError> {
        let https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let place = crate::url::place(uri);
        let socket = match self.proxies.get(https, host, port) {
            Some(proxy) => self.through(&proxy, host, port)?,
            None => Socket::connect(host, port, &place, &self.stop, &self.limits)?,
        };
        if https { self.encrypt(socket, host, &place) } else { Ok(Stream::Plain(socket)) }
    }

    fn through(&self, proxy: &Proxy, host: &str, port: u16) -> Result<Socket, RegistryError> {
        let place = format!("proxy {}:{}", proxy.host, proxy.port);
        let mut socket = Socket::connect(&proxy.host, proxy.port, &place, &self.stop, &self.limits)?;
        let failed = |error: io::Error| match error.downcast::<RegistryError>() {
            Ok(error) => error,
            Err(error) => unreachable(&place, error.to_string()),
        };
        let authorization = proxy.authorization.as_ref();
        let authorization = authorization
            .map(|value| format!("Proxy-Authorization: {}\r\n", value.reveal()))
            .unwrap_or_default();
        let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n");
        socket.write_all(head.as_bytes()).map_err(failed)?;
        let status = proxy_status(&mut socket).map_err(failed)?;
        if (200..300).contains(&status) {
            return Ok(socket);
        }
        Err(unreachable(&place, format!("it refused to connect to {host}:{port} with status {status}")))
    }

    fn encrypt(&self, mut socket: Socket, host: &str, place: &str) -> Result<Stream, RegistryError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|error| unreachable(place, error.to_string()))?;
        let config = self.certificates.client_config(place, self.verify)?;
        let mut connection = ClientConnection::new(config, name)
            .map_err(|error| unreachable(place, format!("TLS cannot be set up: {error}")))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| tls_error(place, error))?;
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
    }
}

fn unreachable(place: &str, reason: String) -> RegistryError {
    RegistryError::Unreachable { place: place.to_owned(), reason, source: None }
}

fn tls_error(place: &str, error: io::Error) -> RegistryError {
    let error = match error.downcast::<RegistryError>() {
        Ok(error) => return error,
        Err(error) => error,
    };
    let place = place.to_owned();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner @ rustls::Error::InvalidCertificate(_)) => {
            RegistryError::Untrusted { place, reason: inner.to_string() }
        }
        Some(rustls::Error::InvalidMessage(_)) => RegistryError::NoTls { place },
        _ => RegistryError::Unreachable {
            place,
            reason: format!("TLS failed: {error}"),
            source: Some(Box::new(error)),
        },
    }
}

/// Reads the head of a proxy's answer byte by byte, since what follows it belongs to someone else.
fn proxy_status(socket: &mut Socket) -> io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > PROXY_HEAD_BYTES {
            return Err(io::Error::other("its answer has no end"));
        }
    }
    status_of(&head).ok_or_else(|| io::Error::other("its answer is not HTTP"))
}

/// The number in `HTTP/1.1 200 OK`.
fn status_of(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(rest.get(2..5)?).ok()?.parse().ok()
}

#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

/// An open connection with its buffers.
#[derive(Debug)]
pub(crate) struct Wire {
    buffers: LazyBuffers,
    stream: Stream,
}

impl Stream {
    fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    fn set_timeout(&mut self, timeout: NextTimeout) {
        let deadline = match timeout.after {
            time::Duration::Exact(left) => Instant::now().checked_add(left),
            time::Duration::NotHappening => None,
        };
        self.socket().set_deadline(deadline);
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

impl Wire {
    /// What a server said that would not listen any longer: that is why a request cannot be sent to its end.
    fn early_answer(&mut self) -> Option<RegistryError> {
        self.stream.socket().set_deadline(Some(Instant::now() + EARLY_TIME));
        let mut answer = vec![0; EARLY_BYTES];
        let mut filled = 0;
        while filled < answer.len() {
            match self.stream.read(&mut answer[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(bytes) => filled += bytes,
            }
        }
        let answer = &answer[..filled];
        let status = status_of(answer).filter(|status| *status >= 400)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let body = end.map_or(&[] as &[u8], |end| &answer[end + 4..]);
        Some(RegistryError::Status {
            place: self.stream.socket().place().to_owned(),
            doing: "a request that it did not read to the end".to_owned(),
            status,
            answer: answer::words(body, &[]),
        })
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_timeout(timeout);
        let sent = self.stream.write_all(&self.buffers.output()[..amount]);
        sent.map_err(|error| Error::Io(self.early_answer().map_or(error, io::Error::from)))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_timeout(timeout);
        let bytes = self.stream.read(self.buffers.input_append_buf()).map_err(Error::Io)?;
        self.buffers.input_appended(bytes);
        Ok(bytes > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.socket().is_idle()
    }

    fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

/// Names are looked up where the connection is made, which can be interrupted.
#[derive(Debug)]
pub(crate) struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

#[cfg(test)]
mod tests {
    use super::status_of;

    #[test]
    fn statuses() {
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 407\r\n", Some(407)),
            ("HTTP/1.1", None),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 2é0", None),
            ("SSH-2.0", None),
            ("", None),
        ] {
            assert_eq!(status_of(answer.as_bytes()), wanted, "{answer:?}");
        }
    }
}
