//! A published UDP port: each client gets a socket inside, so that answers find their way back.

use std::collections::HashMap;
use std::io::{self, PipeReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::namespace::inside as do_inside;
use super::{Inside, await_input, thread};

const DATAGRAM_MAX: usize = 64 << 10;
/// Clients at one time; datagrams of more are lost, as datagrams may be.
const CLIENTS_MAX: usize = 1024;
/// How long a silent client keeps its socket, as in Docker.
const IDLE: Duration = Duration::from_secs(90);
/// How often a waiting thread looks whether it shall stop.
const TICK: Duration = Duration::from_millis(250);

struct Port {
    outside: UdpSocket,
    inside: Inside,
    clients: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
    stop: AtomicBool,
}

pub(super) fn start(
    inside: Inside,
    listen: SocketAddr,
    stopped: PipeReader,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let outside = UdpSocket::bind(listen)?;
    let local = outside.local_addr()?;
    let port = Port { outside, inside, clients: Mutex::default(), stop: AtomicBool::new(false) };
    Ok((local, thread("port", move || serve(&Arc::new(port), &stopped))?))
}

fn serve(port: &Arc<Port>, stopped: &PipeReader) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    while await_input(port.outside.as_fd(), stopped) {
        let Ok((length, client)) = port.outside.recv_from(&mut buffer) else { continue };
        if let Ok(socket) = socket_for(port, client) {
            // Nobody listens inside, perhaps: the datagram is lost.
            let _ = socket.send(&buffer[..length]);
        }
    }
    port.stop.store(true, Ordering::Relaxed);
}

fn socket_for(port: &Arc<Port>, client: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let mut clients = port.clients.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(socket) = clients.get(&client) {
        return Ok(socket.clone());
    }
    if clients.len() >= CLIENTS_MAX {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let socket = Arc::new(connected(&port.inside)?);
    socket.set_read_timeout(Some(TICK))?;
    let (answers, owner) = (socket.clone(), port.clone());
    thread("port", move || answer(&owner, &answers, client))?;
    clients.insert(client, socket.clone());
    Ok(socket)
}

fn connected(inside: &Inside) -> io::Result<UdpSocket> {
    let port = inside.port;
    let make = move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        Ok(socket)
    };
    match &inside.netns {
        Some(netns) => do_inside(netns.as_fd(), make).map_err(io::Error::other)?,
        None => make(),
    }
}

/// Passes a client's answers back until it has been silent for long.
fn answer(port: &Port, socket: &UdpSocket, client: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut last = Instant::now();
    while !port.stop.load(Ordering::Relaxed) && last.elapsed() < IDLE {
        if let Ok(length) = socket.recv(&mut buffer) {
            last = Instant::now();
            let _ = port.outside.send_to(&buffer[..length], client);
        }
    }
    port.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&client);
}
