//! A published TCP port.

use std::collections::HashMap;
use std::io::{self, PipeReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::namespace::enter;
use super::{Inside, await_input, thread};

const BUFFER_BYTES: usize = 64 << 10;
/// A pause after an error of accept: out of open files, most likely, which passes.
const PAUSE: Duration = Duration::from_millis(50);

/// The connections in progress, to close them when the port is closed.
type Open = Arc<Mutex<HashMap<u64, [TcpStream; 2]>>>;

pub(super) fn start(
    inside: Inside,
    listen: SocketAddr,
    stopped: PipeReader,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(listen)?;
    // A client that gives up between poll and accept must not block the loop.
    listener.set_nonblocking(true)?;
    let local = listener.local_addr()?;
    Ok((local, thread("port", move || serve(&listener, &Arc::new(inside), &stopped))?))
}

fn serve(listener: &TcpListener, inside: &Arc<Inside>, stopped: &PipeReader) {
    let open = Open::default();
    let mut number = 0;
    while await_input(listener.as_fd(), stopped) {
        match listener.accept() {
            Ok((client, _)) => {
                number += 1;
                let (inside, open) = (inside.clone(), open.clone());
                // Without a thread the client is dropped, which closes its connection.
                let _ = thread("port", move || {
                    let _ = connect(client, number, &inside, &open);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    for stream in open.lock().unwrap_or_else(PoisonError::into_inner).values().flatten() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// One connection, in a thread that lives inside the namespace.
fn connect(client: TcpStream, number: u64, inside: &Inside, open: &Open) -> io::Result<()> {
    client.set_nonblocking(false)?;
    inside.netns.as_ref().map_or(Ok(()), |netns| enter(netns.as_fd()))?;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, inside.port))
        .or_else(|_| TcpStream::connect((Ipv6Addr::LOCALHOST, inside.port)))?;
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let pair = [client.try_clone()?, server.try_clone()?];
    open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, pair);
    std::thread::scope(|scope| {
        scope.spawn(|| pass_on(&client, &server));
        pass_on(&server, &client);
    });
    open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    Ok(())
}

/// Copies one direction; its end is passed on, while the other direction may go on.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) if to.write_all(&buffer[..length]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // One side is gone for good.
            _ => {
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
