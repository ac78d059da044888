//! An HTTP proxy for tests. To it every name is this machine, so that registries can have any name, those included that
//! clients do not treat like a registry of their own machine.

use std::{
    io::{self, BufReader, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::http::Head;

/// A proxy that understands `CONNECT`, until it is dropped.
#[derive(Debug)]
pub struct TestProxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The value that `Proxy-Authorization` must have.
    authorization: Option<String>,
    asked: Mutex<Vec<String>>,
    ends: AtomicBool,
}

impl TestProxy {
    /// One for everybody.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(State::default())
    }

    /// One that wants a name and a password.
    #[must_use]
    pub fn with_password(user: &str, password: &str) -> Self {
        let authorization = Some(super::auth::basic(user, password));
        Self::start_with(State { authorization, ..State::default() })
    }

    fn start_with(state: State) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port to listen at");
        let address = listener.local_addr().expect("the port");
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if shared.ends.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A client or registry that goes away is no failure of the proxy.
                thread::spawn(move || _ = serve(&shared, socket));
            }
        });
        Self { address, state }
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What was asked for: `registry.example:443`, in order; those that were refused too.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::SeqCst);
        // Wakes the thread that listens.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(state: &State, client: TcpStream) -> io::Result<()> {
    let mut io = BufReader::new(client.try_clone()?);
    let Some(head) = Head::read(&mut io)? else { return Ok(()) };
    state.asked.lock().unwrap_or_else(PoisonError::into_inner).push(head.target.clone());
    let mut out = &client;
    if head.method != "CONNECT" {
        return out.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    }
    if state.authorization.as_deref().is_some_and(|right| head.header("proxy-authorization") != Some(right)) {
        return out.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    }
    let port = head.target.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return out.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    };
    out.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut io, &mut &server);
    let _ = server.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}
