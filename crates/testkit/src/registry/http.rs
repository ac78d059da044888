//! As much of HTTP/1.1 as a registry needs: heads, bodies with a length or in chunks, answers.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
};

/// The longest line of a head.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// What a connection is made of: a socket, or TLS over one.
pub(super) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// One connection of a client.
pub(super) struct Connection {
    pub(super) io: BufReader<Box<dyn Stream>>,
    /// The socket beneath, to close it without ado.
    pub(super) socket: TcpStream,
}

/// Request line and headers.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

/// A request with its body.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl Head {
    /// The next one of a connection; `None` when the client has closed it.
    pub(super) fn read(io: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(first) = read_line(io)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut head = Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new() };
        while let Some(line) = read_line(io)?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
            head.headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(Some(head))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a query parameter.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        self.query_all(name).into_iter().next()
    }

    /// All values of a query parameter.
    pub(super) fn query_all(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        form(query).into_iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect()
    }

    /// Reads the body, at most `limit` bytes of it; fewer than announced when the limit ended it.
    pub(super) fn read_body(&self, connection: &mut Connection, limit: u64) -> io::Result<Vec<u8>> {
        if self.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            connection.io.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            connection.io.get_mut().flush()?;
        }
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return read_chunks(&mut connection.io, limit);
        }
        let Some(length) = self.header("content-length") else { return Ok(Vec::new()) };
        let length: u64 = length.parse().map_err(|_| bad("a Content-Length that is no number"))?;
        read_exactly(&mut connection.io, length.min(limit))
    }
}

fn read_exactly(io: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    io.take(length).read_to_end(&mut body)?;
    if (body.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

fn read_chunks(io: &mut impl BufRead, limit: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(io)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = line.split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(length.trim(), 16).map_err(|_| bad("a chunk without a length"))?;
        let left = limit.saturating_sub(body.len() as u64);
        body.extend(read_exactly(io, length.min(left))?);
        if length > left {
            return Ok(body);
        }
        read_line(io)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn read_line(io: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    io.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(line).map_err(|_| bad("a head that is no text"))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A header's value, whatever the case of its name.
pub(super) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Pairs of `application/x-www-form-urlencoded`.
pub(super) fn form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0);
        out.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(hex(bytes.next()) * 16 + hex(bytes.next())).unwrap_or(b'?'),
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// Shared, so that a layer is not copied for each who fetches it.
    pub(super) body: Arc<Vec<u8>>,
    /// The part of the body that is sent.
    pub(super) range: std::ops::Range<usize>,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Arc::default(), range: 0..0 }
    }

    pub(super) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(super) fn body(self, media_type: &str, bytes: impl Into<Arc<Vec<u8>>>) -> Self {
        let body = bytes.into();
        Self { range: 0..body.len(), body, ..self.with("Content-Type", media_type) }
    }

    pub(super) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status).body("application/json", value.to_string().into_bytes())
    }

    /// The specification's shape of an error.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let errors = serde_json::json!({"errors": [{"code": code, "message": message, "detail": null}]});
        Self::json(status, &errors)
    }

    /// The head as bytes; without a `Content-Length` when it is `None`.
    pub(super) fn head(&self, length: Option<u64>) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(length) = length {
            text += &format!("Content-Length: {length}\r\n");
        }
        (text + "\r\n").into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301..=308 => "Elsewhere",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
