//! Listeners and connections: reads requests, lets faults strike, sends answers, writes down both.

use std::{
    cell::Cell,
    collections::HashMap,
    fmt,
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    ops::DerefMut,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    time::Timespec,
};

use super::{
    Auth, Fault, Request, Settings,
    auth::Guard,
    control,
    faults::{Faults, Meeting},
    http::{Answer, Connection, Head, Message, Stream},
    routes::{self, Route},
    storage::Storage,
};

/// How often whoever waits looks whether the registry ends.
const TICK: Duration = Duration::from_millis(10);
/// Bytes between two looks.
const PIECE_BYTES: usize = 64 << 10;

/// All requests so far. Forgetting keeps the numbering, so that those under way do not write to the wrong place.
#[derive(Debug, Default)]
pub(super) struct Record {
    forgotten: usize,
    requests: Vec<Request>,
}

impl Record {
    pub(super) fn clone(&self) -> Vec<Request> {
        self.requests.clone()
    }

    pub(super) fn forget(&mut self) {
        self.forgotten += self.requests.len();
        self.requests.clear();
    }

    fn add(&mut self, head: &Head) -> usize {
        self.requests.push(Request {
            method: head.method.clone(),
            target: head.target.clone(),
            headers: head.headers.clone(),
            received: 0,
            status: 0,
            sent: 0,
            at: Instant::now(),
        });
        self.forgotten + self.requests.len() - 1
    }

    fn get(&mut self, number: usize) -> Option<&mut Request> {
        self.requests.get_mut(number.checked_sub(self.forgotten)?)
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    storage: Mutex<Storage>,
    guard: Mutex<Guard>,
    faults: Mutex<Faults>,
    record: Mutex<Record>,
    connections: Mutex<HashMap<u64, TcpStream>>,
    connected: AtomicU64,
    parallel: AtomicUsize,
    most_parallel: AtomicUsize,
    ends: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn storage(&self) -> impl DerefMut<Target = Storage> + '_ {
        lock(&self.storage)
    }

    pub(super) fn faults(&self) -> impl DerefMut<Target = Faults> + '_ {
        lock(&self.faults)
    }

    pub(super) fn record(&self) -> impl DerefMut<Target = Record> + '_ {
        lock(&self.record)
    }

    pub(super) fn most_parallel(&self) -> usize {
        self.most_parallel.load(Ordering::SeqCst)
    }

    pub(super) fn connected(&self) -> u64 {
        self.connected.load(Ordering::SeqCst)
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::SeqCst)
    }

    /// Sleeps; false when the registry ends meanwhile.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.ends() && Instant::now() < until {
            thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        !self.ends()
    }
}

/// Writes down the bytes of one answer, each piece before it goes out: whoever has received it finds it in the record.
struct Outgoing<'a> {
    shared: &'a Shared,
    /// Answers that tests do not count have none.
    number: Option<usize>,
    bytes: Cell<u64>,
}

impl<'a> Outgoing<'a> {
    fn new(shared: &'a Shared, number: Option<usize>) -> Self {
        Self { shared, number, bytes: Cell::new(0) }
    }

    /// Sends a piece of the body between what encloses it.
    fn write(&self, out: &mut dyn Write, before: &[u8], piece: &[u8], after: &[u8]) -> io::Result<()> {
        let bytes = self.bytes.get();
        self.set(bytes + piece.len() as u64);
        let written =
            out.write_all(before).and_then(|()| out.write_all(piece)).and_then(|()| out.write_all(after));
        written.inspect_err(|_| self.set(bytes))
    }

    fn set(&self, bytes: u64) {
        self.bytes.set(bytes);
        if let Some(number) = self.number
            && let Some(request) = self.shared.record().get(number)
        {
            request.sent = bytes;
        }
    }
}

/// The listening threads; ends with them.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) shared: Arc<Shared>,
    ports: Vec<std::net::SocketAddr>,
}

impl Server {
    /// Listens: once for the registry, and at another port for the token endpoint when there is one.
    pub(super) fn start(mut settings: Settings) -> Self {
        let registry = TcpListener::bind(settings.address).expect("a port to listen at");
        let tokens = matches!(settings.auth, Auth::Token(_))
            .then(|| TcpListener::bind((settings.address.ip(), 0)).expect("a port to listen at"));
        let base = |listener: &TcpListener| {
            let port = listener.local_addr().expect("the port").port();
            format!("{}://{}:{port}", settings.scheme(), settings.name)
        };
        let realm = tokens.as_ref().map(|tokens| base(tokens) + "/token").unwrap_or_default();
        settings.base = base(&registry);
        let shared = Arc::new(Shared {
            storage: Mutex::default(),
            guard: Mutex::new(Guard::new(settings.auth.clone(), realm)),
            faults: Mutex::default(),
            record: Mutex::default(),
            connections: Mutex::default(),
            connected: AtomicU64::new(0),
            parallel: AtomicUsize::new(0),
            most_parallel: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
            settings,
        });
        let listeners = [registry].into_iter().chain(tokens);
        let ports = listeners.map(|listener| {
            let port = listener.local_addr().expect("the port");
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&shared, &listener));
            port
        });
        let ports = ports.collect();
        Self { shared, ports }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        for port in &self.ports {
            // Wakes the thread that listens; when it is gone already, so much the better.
            let _ = TcpStream::connect(port);
        }
        for connection in lock(&self.shared.connections).values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Settings {
    #[cfg(feature = "tls")]
    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    #[cfg(not(feature = "tls"))]
    fn scheme(&self) -> &'static str {
        "http"
    }

    fn stream(&self, socket: TcpStream) -> io::Result<Box<dyn Stream>> {
        #[cfg(feature = "tls")]
        if let Some(identity) = self.tls {
            return super::tls::serve(identity, socket);
        }
        Ok(Box::new(socket))
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for socket in listener.incoming() {
        if shared.ends() {
            return;
        }
        let Ok(socket) = socket else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let number = shared.connected.fetch_add(1, Ordering::SeqCst);
            if let Ok(copy) = socket.try_clone() {
                lock(&shared.connections).insert(number, copy);
            }
            // A client that goes away, or a fault that ends the connection, is no failure of the registry.
            let _ = converse(&shared, &socket);
            let _ = socket.shutdown(Shutdown::Both);
            lock(&shared.connections).remove(&number);
        });
    }
}

fn converse(shared: &Shared, socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let io = BufReader::new(shared.settings.stream(socket.try_clone()?)?);
    let mut connection = Connection { io, socket: socket.try_clone()? };
    if speaks_tls(&mut connection)? {
        // As Go's servers do, by which clients know that they may try without.
        return connection.io.get_mut().write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nthis is plain HTTP\n");
    }
    while let Some(head) = Head::read(&mut connection.io)? {
        if !exchange(shared, &mut connection, head)? {
            return Ok(());
        }
    }
    Ok(())
}

fn speaks_tls(connection: &mut Connection) -> io::Result<bool> {
    const HANDSHAKE: u8 = 22;
    let begins = connection.io.fill_buf()?;
    let tls = begins.first() == Some(&HANDSHAKE);
    if tls {
        // Bytes that were not read would turn the close into a reset.
        let bytes = begins.len();
        connection.io.consume(bytes);
    }
    Ok(tls)
}

/// One request and its answer; whether the connection goes on.
fn exchange(shared: &Shared, connection: &mut Connection, head: Head) -> io::Result<bool> {
    if let Some(answer) = control::answer(shared, connection, &head)? {
        return send(&Outgoing::new(shared, None), connection, &head, answer, &Fault::None);
    }
    let number = shared.record().add(&head);
    let fault = shared.faults().strike(&head.method, head.path());
    let mut limit = u64::MAX;
    match &fault {
        Fault::Hang => return hang(shared, connection),
        Fault::Reset => return reset(connection),
        Fault::CutUpload { after, .. } => limit = *after,
        Fault::Early(status) => {
            let answer = Answer::error(*status, "SCRIPTED", "no more of this");
            let request = Head { method: "POST".to_owned(), ..Head::default() };
            send(&Outgoing::new(shared, None), connection, &request, answer, &fault)?;
            // Whoever is still sending hears it before a reset does away with it.
            thread::sleep(10 * TICK);
            return Ok(false);
        }
        Fault::Delay(time) if !shared.sleep(*time) => return Ok(false),
        _ => {}
    }
    let body = head.read_body(connection, limit)?;
    if let Some(request) = shared.record().get(number) {
        request.received = body.len() as u64;
    }
    let mut message = Message { head, body };
    let Some(answer) = answer(shared, &mut message, &fault) else { return reset(connection) };
    if let Some(request) = shared.record().get(number) {
        request.status = answer.status;
    }
    if matches!(fault, Fault::NoAnswer) {
        return Ok(false);
    }
    let fetch = matches!(Route::of(message.head.path()), Route::Blob { .. }) && message.head.method == "GET";
    if fetch {
        let now = shared.parallel.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_parallel.fetch_max(now, Ordering::SeqCst);
    }
    let out = Outgoing::new(shared, Some(number));
    let goes_on = match &fault {
        Fault::Together(meeting) if !meet(shared, connection, meeting)? => Ok(false),
        _ => send(&out, connection, &message.head, answer, &fault),
    };
    if fetch {
        shared.parallel.fetch_sub(1, Ordering::SeqCst);
    }
    goes_on
}

/// What to answer; `None` when the connection is to be reset.
fn answer(shared: &Shared, message: &mut Message, fault: &Fault) -> Option<Answer> {
    let path = message.head.path().to_owned();
    match fault {
        Fault::Answer { status, headers, body } => {
            let body: Arc<Vec<u8>> = Arc::new(body.clone());
            return Some(Answer { status: *status, headers: headers.clone(), range: 0..body.len(), body });
        }
        Fault::Endless | Fault::Huge(_) => {
            return Some(Answer::new(200).with("Content-Type", "application/json"));
        }
        Fault::Redirect(target) => {
            let query = message.head.target.split_once('?').map(|(_, query)| format!("?{query}"));
            let target = target.replace("{path}", &path).replace("{query}", &query.unwrap_or_default());
            return Some(Answer::new(307).with("Location", target));
        }
        Fault::CutUpload { keep: false, .. } => return None,
        Fault::IgnoreRange => message.head.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("range")),
        Fault::PartialPatch(bytes) => message.body.truncate(usize::try_from(*bytes).unwrap_or(usize::MAX)),
        _ => {}
    }
    if path == "/token" {
        return Some(lock(&shared.guard).token(message)).map(|answer| disturb(answer, fault));
    }
    let route = Route::of(&path);
    if let Some(refusal) = lock(&shared.guard).refuse(message, &route.scopes(&message.head)) {
        return Some(refusal);
    }
    let storage = &mut *shared.storage();
    if let (Fault::LoseUpload, Route::Upload { id, .. }) = (fault, &route) {
        storage.uploads.remove(id);
    }
    let answer = routes::serve(storage, &shared.settings, &route, message);
    match fault {
        Fault::CutUpload { .. } => return None,
        Fault::MoveTag { repository, tag, digest } => {
            storage.repository(repository).tags.insert(tag.clone(), digest.clone());
        }
        _ => {}
    }
    Some(disturb(answer, fault))
}

/// Changes the right answer into what the fault makes of it.
fn disturb(mut answer: Answer, fault: &Fault) -> Answer {
    match fault {
        Fault::Body(bytes) => {
            answer.body = Arc::new(bytes.clone());
            answer.range = 0..bytes.len();
        }
        Fault::Corrupt => {
            let mut bytes = answer.body.to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            answer.body = Arc::new(bytes);
        }
        Fault::Header(name, value) => {
            answer.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
            answer.headers.extend(value.iter().map(|value| ((*name).to_owned(), value.clone())));
        }
        Fault::PartialPatch(_) if answer.status == 202 => answer.status = 416,
        _ => {}
    }
    answer
}

/// Waits until the client or the registry ends it.
fn hang(shared: &Shared, connection: &Connection) -> io::Result<bool> {
    connection.socket.set_read_timeout(Some(TICK))?;
    let mut byte = [0];
    while !shared.ends() {
        match connection.socket.peek(&mut byte) {
            Ok(0) => break,
            Ok(_) => thread::sleep(TICK),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Waits until as many as are wanted wait here; false when that does not come.
fn meet(shared: &Shared, connection: &Connection, meeting: &Meeting) -> io::Result<bool> {
    meeting.enter();
    while !meeting.is_complete() && !shared.ends() && !is_left(connection)? {
        thread::sleep(TICK);
    }
    meeting.leave();
    Ok(meeting.is_complete())
}

/// Whether the client has ended the connection, whatever it has sent before.
fn is_left(connection: &Connection) -> io::Result<bool> {
    let mut ends = [PollFd::new(&connection.socket, PollFlags::RDHUP)];
    Ok(rustix::event::poll(&mut ends, Some(&Timespec::default()))? > 0)
}

/// Closes so that the client sees "connection reset".
fn reset(connection: &Connection) -> io::Result<bool> {
    rustix::net::sockopt::set_socket_linger(&connection.socket, Some(Duration::ZERO))?;
    Ok(false)
}

/// Sends an answer; whether the connection goes on.
fn send(
    outgoing: &Outgoing<'_>,
    connection: &mut Connection,
    head: &Head,
    answer: Answer,
    fault: &Fault,
) -> io::Result<bool> {
    let answer = match fault {
        Fault::Chunked { .. } => answer.with("Transfer-Encoding", "chunked"),
        _ => answer,
    };
    let body = &answer.body[answer.range.clone()];
    let length = body.len() as u64;
    let wants_close = head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let bare = head.method == "HEAD" || matches!(answer.status, 204 | 304);
    let told = match fault {
        Fault::LengthOff(by) => Some(length.saturating_add_signed(*by)),
        Fault::NoLength | Fault::Endless | Fault::Chunked { .. } => None,
        Fault::Huge(bytes) => Some(*bytes),
        _ if answer.status == 204 => None,
        _ => Some(length),
    };
    let out = connection.io.get_mut();
    out.write_all(&answer.head(told))?;
    if bare {
        out.flush()?;
        return Ok(!wants_close);
    }
    let whole = match fault {
        Fault::Endless => fill(outgoing, out, u64::MAX, 0)?,
        Fault::Huge(bytes) => fill(outgoing, out, *bytes, b' ')?,
        Fault::Drip { bytes, pause } => drip(outgoing, out, body, *bytes, *pause)?,
        Fault::Chunked { after } => chunks(outgoing, out, body, *after)?,
        Fault::Cut { after, .. } | Fault::Stall { after } => {
            let after = usize::try_from(*after).unwrap_or(usize::MAX).min(body.len());
            drip(outgoing, out, &body[..after], PIECE_BYTES, Duration::ZERO)?;
            false
        }
        _ => drip(outgoing, out, body, PIECE_BYTES, Duration::ZERO)?,
    };
    if matches!(fault, Fault::Stall { .. }) {
        return hang(outgoing.shared, connection);
    }
    if matches!(fault, Fault::Cut { reset: true, .. }) {
        // What was sent must arrive before the reset overtakes it.
        thread::sleep(TICK);
        return reset(connection);
    }
    let ends = told == Some(length) || matches!(fault, Fault::Huge(_) | Fault::Chunked { .. });
    Ok(!wants_close && whole && ends)
}

fn drip(
    outgoing: &Outgoing<'_>,
    out: &mut Box<dyn Stream>,
    body: &[u8],
    bytes: usize,
    pause: Duration,
) -> io::Result<bool> {
    out.flush()?;
    for piece in body.chunks(bytes.max(1)) {
        if !pause.is_zero() && !outgoing.shared.sleep(pause) {
            return Ok(false);
        }
        outgoing.write(out, b"", piece, b"")?;
        out.flush()?;
    }
    Ok(true)
}

fn chunks(outgoing: &Outgoing<'_>, out: &mut Box<dyn Stream>, body: &[u8], after: u64) -> io::Result<bool> {
    const CHUNK_BYTES: usize = 1000;
    let after = usize::try_from(after).unwrap_or(usize::MAX).min(body.len());
    for chunk in body[..after].chunks(CHUNK_BYTES) {
        outgoing.write(out, format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n")?;
    }
    let whole = after == body.len();
    if whole {
        out.write_all(b"0\r\n\r\n")?;
    }
    out.flush()?;
    Ok(whole)
}

fn fill(outgoing: &Outgoing<'_>, out: &mut Box<dyn Stream>, bytes: u64, byte: u8) -> io::Result<bool> {
    let piece = vec![byte; PIECE_BYTES];
    while outgoing.bytes.get() < bytes && !outgoing.shared.ends() {
        let rest = bytes - outgoing.bytes.get();
        let next = piece.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        outgoing.write(out, b"", &piece[..next], b"")?;
    }
    out.flush()?;
    Ok(outgoing.bytes.get() == bytes)
}
