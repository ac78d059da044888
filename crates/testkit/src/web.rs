//! A web server for tests: pages with headers, conditions and ranges, connections that break, and git repositories.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// The longest body of a request.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status, 200 unless it is set.
    pub status: u16,
    /// Headers beside those of length and ranges.
    pub headers: Vec<(String, String)>,
    /// What it holds.
    pub body: Vec<u8>,
    /// `Authorization` that it is given for; others get 401.
    pub authorization: Option<String>,
    /// The connection breaks after as many bytes of a body, this often.
    pub breaks: Option<(usize, usize)>,
}

impl Page {
    /// A page with that body.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), authorization: None, breaks: None }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET`
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// What was answered.
    pub status: u16,
}

impl Asked {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

#[derive(Debug, Default)]
struct Shared {
    pages: Mutex<HashMap<String, Page>>,
    /// Repositories below this folder are at `/git/`.
    git: Mutex<Option<(PathBuf, Option<String>)>>,
    asked: Mutex<Vec<Asked>>,
    ends: AtomicBool,
}

/// The server; it ends with this.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<thread::JoinHandle<()>>,
}

impl Web {
    /// Listens at a port of this machine.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port to listen at");
        let address = listener.local_addr().expect("the port");
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let listening = thread::spawn(move || {
            for connection in listener.incoming() {
                if for_thread.ends.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                if let Ok(connection) = connection {
                    // A client that goes away is no fault of the server's.
                    thread::spawn(move || drop(shared.serve(&connection)));
                }
            }
        });
        Self { address, shared, listening: Some(listening) }
    }

    /// `127.0.0.1:12345`
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The address of a path that begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a page at a path, in the place of what was there.
    pub fn put(&self, path: &str, page: Page) {
        lock(&self.shared.pages).insert(path.to_owned(), page);
    }

    /// Takes a page away.
    pub fn remove(&self, path: &str) {
        lock(&self.shared.pages).remove(path);
    }

    /// Gives the repositories below `folder`, at `/git/`; to those with this `Authorization`, if there is one.
    pub fn git(&self, folder: &Path, authorization: Option<&str>) {
        *lock(&self.shared.git) = Some((folder.to_owned(), authorization.map(str::to_owned)));
    }

    /// All requests since the last call.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.shared.asked))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.listening.take().map(thread::JoinHandle::join));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Shared {
    fn serve(&self, connection: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(connection);
        while let Some(mut asked) = read_head(&mut reader)? {
            let body = read_body(&mut reader, &asked)?;
            let path = asked.target.split('?').next().unwrap_or_default().to_owned();
            if let Some(rest) = path.strip_prefix("/git/") {
                let answer = self.repository(&asked, rest, &body)?;
                asked.status = answer.status;
                lock(&self.asked).push(asked);
                send(connection, &answer, answer.body.len())?;
                continue;
            }
            let answer = self.page(&mut asked, &path);
            let cut = self.cut(&path, &answer);
            let is_head = asked.method == "HEAD";
            lock(&self.asked).push(asked);
            send(connection, &answer, if is_head { 0 } else { cut.unwrap_or(answer.body.len()) })?;
            if cut.is_some() {
                return connection.shutdown(std::net::Shutdown::Both);
            }
        }
        Ok(())
    }

    /// After how many bytes the connection breaks this time.
    fn cut(&self, path: &str, answer: &Page) -> Option<usize> {
        let mut pages = lock(&self.pages);
        let (bytes, times) = pages.get_mut(path)?.breaks.as_mut()?;
        let breaks = *times > 0 && *bytes < answer.body.len();
        *times -= usize::from(breaks);
        breaks.then_some(*bytes)
    }

    fn page(&self, asked: &mut Asked, path: &str) -> Page {
        let found = lock(&self.pages).get(path).cloned();
        let mut page = found.unwrap_or_else(|| Page { status: 404, ..Page::new("no such page\n") });
        let denied =
            page.authorization.as_deref().is_some_and(|it| asked.header("authorization") != Some(it));
        if denied {
            page = Page { status: 401, ..Page::new("who are you?\n") };
        }
        let same = |header: &str, of: &str| {
            let value = asked.header(header);
            value.is_some() && value == page.header(of)
        };
        let known = match asked.header("if-none-match") {
            Some(_) => same("if-none-match", "etag"),
            None => same("if-modified-since", "last-modified"),
        };
        if page.status == 200 && known {
            page.status = 304;
            page.body.clear();
        } else if let Some(start) = range(asked).filter(|start| *start < page.body.len())
            && (same("if-range", "etag") || same("if-range", "last-modified"))
        {
            page.status = 206;
            page = page
                .clone()
                .with("Content-Range", &format!("bytes {start}-{}/{}", page.body.len() - 1, page.body.len()));
            page.body.drain(..start);
        }
        asked.status = page.status;
        page
    }

    /// What `git http-backend` answers.
    fn repository(&self, asked: &Asked, path: &str, body: &[u8]) -> io::Result<Page> {
        let Some((folder, authorization)) = lock(&self.git).clone() else {
            return Ok(Page { status: 404, ..Page::new("") });
        };
        if authorization.is_some_and(|wanted| asked.header("authorization") != Some(&wanted)) {
            return Ok(Page { status: 401, ..Page::new("") }.with("WWW-Authenticate", "Basic realm=\"git\""));
        }
        let mut command = Command::new("git");
        // Git wants to know where it is, even if it has no business there.
        command.current_dir(&folder);
        command.arg("http-backend").env("GIT_PROJECT_ROOT", folder).env("GIT_HTTP_EXPORT_ALL", "1");
        command.env("PATH_INFO", format!("/{path}")).env("REQUEST_METHOD", &asked.method);
        command.env("QUERY_STRING", asked.target.split_once('?').map_or("", |(_, query)| query));
        command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory");
        command.env("GIT_CONFIG_VALUE_0", "*").env("REMOTE_ADDR", "127.0.0.1");
        for (header, variable) in [
            ("content-type", "CONTENT_TYPE"),
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "HTTP_GIT_PROTOCOL"),
        ] {
            command.envs(asked.header(header).map(|value| (variable, value)));
        }
        command.env("CONTENT_LENGTH", body.len().to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // It need not read all of it.
            drop(input.write_all(body));
        }
        Ok(cgi(&child.wait_with_output()?.stdout))
    }
}

/// The answer of a CGI program.
fn cgi(output: &[u8]) -> Page {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let body = output.get(end + 4..).unwrap_or_default();
    let mut page = Page::new(body);
    for (name, value) in
        String::from_utf8_lossy(&output[..end]).lines().filter_map(|line| line.split_once(':'))
    {
        match name {
            "Status" => page.status = value.trim().get(..3).and_then(|code| code.parse().ok()).unwrap_or(500),
            _ => page = page.with(name, value.trim()),
        }
    }
    page
}

fn range(asked: &Asked) -> Option<usize> {
    asked.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut asked = Asked { method, target, headers: Vec::new(), status: 0 };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => asked.headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(Some(asked)),
        }
    }
}

fn read_body(reader: &mut impl BufRead, asked: &Asked) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if asked.header("transfer-encoding").is_none() {
        let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        reader.take(BODY_BYTES_MAX.min(length)).read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        reader.take(length.min(BODY_BYTES_MAX)).read_to_end(&mut body)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// Sends the head, and as much of the body.
fn send(mut connection: &TcpStream, page: &Page, bytes: usize) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", page.status);
    for (name, value) in &page.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if page.status != 304 {
        head += &format!("Content-Length: {}\r\n", page.body.len());
    }
    connection.write_all((head + "\r\n").as_bytes())?;
    connection.write_all(&page.body[..bytes])
}
