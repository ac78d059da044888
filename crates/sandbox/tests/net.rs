//! Shared networks, pasta, published ports.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use galley_sandbox::net::{Connectivity, NetNs, Protocol, Proxy, dial_tcp, resolv_conf};
use galley_sandbox::{Child, Handles, Mount, Network, Source, Spec};

use rustix::thread::move_into_link_name_space;

use crate::fixture::{Kitchen, spawner};

crate::tests![
    privileged_sandboxes_share_a_network,
    privileged_tcp_ports_are_published,
    privileged_udp_ports_are_published,
    privileged_pasta_connects,
    privileged_pasta_reaches_the_world,
];

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(60);

fn start_in(netns: &NetNs, mut spec: Spec) -> (Child, std::io::PipeReader) {
    spec.network = Network::Shared;
    let (reader, writer) = std::io::pipe().unwrap();
    let output = Some(writer.as_fd());
    let handles =
        Handles { stdout: output, stderr: output, netns: Some(netns.as_fd()), ..Handles::default() };
    (spawner().spawn(&spec, handles).unwrap(), reader)
}

fn output_in(netns: &NetNs, spec: Spec) -> String {
    let (child, mut reader) = start_in(netns, spec);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Waits for a server inside to listen.
fn await_server(netns: &NetNs, port: u16) {
    let start = Instant::now();
    while dial_tcp(netns.as_fd(), loopback(port)).is_err() {
        assert!(start.elapsed() < PATIENCE, "the server does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn privileged_sandboxes_share_a_network() {
    let (one, two) = (Kitchen::new(), Kitchen::new());
    let netns = NetNs::isolated().unwrap();
    // As in Docker, low ports are for everybody in a network of its own.
    let mut server = one.shell("nc -ll -p 80 -e /bin/echo hello");
    server.user.uid = 1000;
    let (_server, _output) = start_in(&netns, server);
    await_server(&netns, 80);
    assert_eq!(output_in(&netns, two.shell("nc 127.0.0.1 80 < /dev/null")), "hello\n");
    let other = NetNs::isolated().unwrap();
    assert!(output_in(&other, Kitchen::new().shell("nc 127.0.0.1 80")).contains("refused"));
}

/// Sends back what it gets, and the end of it too.
fn echo_server(netns: &NetNs) {
    let namespace = netns.as_fd().try_clone_to_owned().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), None).unwrap();
        let server = TcpListener::bind(loopback(PORT)).unwrap();
        ready.send(()).unwrap();
        for client in server.incoming().map(Result::unwrap) {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &client, &mut &client);
                let _ = client.shutdown(Shutdown::Write);
            });
        }
    });
    is_ready.recv().unwrap();
}

fn privileged_tcp_ports_are_published() {
    let netns = NetNs::isolated().unwrap();
    let proxy = Proxy::start(Some(netns.as_fd()), Protocol::Tcp, loopback(0), PORT).unwrap();
    // Nobody listens yet: the connection is closed.
    let mut early = TcpStream::connect(proxy.local_addr()).unwrap();
    assert_eq!(early.read(&mut [0]).unwrap_or(0), 0);
    echo_server(&netns);
    let long = vec![b'x'; 1 << 20];
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = TcpStream::connect(proxy.local_addr()).unwrap();
                let mut writer = client.try_clone().unwrap();
                scope.spawn({
                    let long = &long;
                    move || {
                        writer.write_all(long).unwrap();
                        writer.shutdown(Shutdown::Write).unwrap();
                    }
                });
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).unwrap();
                assert_eq!(answer.len(), long.len(), "all of it comes back after the end was passed on");
            });
        }
    });
    let mut open = TcpStream::connect(proxy.local_addr()).unwrap();
    open.write_all(b"ping").unwrap();
    open.read_exact(&mut [0; 4]).unwrap();
    let taken = Proxy::start(Some(netns.as_fd()), Protocol::Tcp, proxy.local_addr(), PORT);
    assert!(taken.unwrap_err().to_string().starts_with("cannot listen on 127.0.0.1:"));
    let address = proxy.local_addr();
    drop(proxy);
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0, "open connections are closed");
    assert!(TcpStream::connect(address).is_err());
}

fn privileged_udp_ports_are_published() {
    let netns = NetNs::isolated().unwrap();
    let proxy = Proxy::start(Some(netns.as_fd()), Protocol::Udp, loopback(0), PORT).unwrap();
    let namespace = netns.as_fd().try_clone_to_owned().unwrap();
    std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), None).unwrap();
        let server = UdpSocket::bind(loopback(PORT)).unwrap();
        let mut buffer = [0; 16];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            server.send_to(&buffer[..length], from).unwrap();
        }
    });
    let client = UdpSocket::bind(loopback(0)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let start = Instant::now();
    let mut buffer = [0; 16];
    loop {
        assert!(start.elapsed() < PATIENCE, "no answer");
        client.send_to(b"ping", proxy.local_addr()).unwrap();
        if let Ok((4, from)) = client.recv_from(&mut buffer) {
            assert_eq!((&buffer[..4], from), (b"ping".as_slice(), proxy.local_addr()));
            break;
        }
    }
}

/// With pasta where it can run, and with a reason where not.
fn privileged_pasta_connects() {
    let netns = NetNs::connected(spawner()).unwrap();
    match netns.connectivity().unwrap() {
        Connectivity::LoopbackOnly { reason } => println!("    SKIPPED: {reason}"),
        _ => {
            let text = output_in(&netns, Kitchen::new().shell("ip route"));
            assert!(text.contains("default via"), "{text}");
            drop(netns);
            // It ends by itself when it sees that nobody is left, which takes a moment on a busy machine.
            let is_gone = || {
                let own = crate::fixture::descendants(std::process::id());
                !own.iter().any(|(_, command)| command.contains("pasta"))
            };
            let soon = (0..6000).any(|_| {
                is_gone() || {
                    std::thread::sleep(Duration::from_millis(10));
                    false
                }
            });
            assert!(soon, "pasta ends");
        }
    }
}

/// Asks the host's name server from inside, when the host itself gets an answer.
fn privileged_pasta_reaches_the_world() {
    let netns = NetNs::connected(spawner()).unwrap();
    let host = fs_err::read("/etc/resolv.conf").unwrap_or_default();
    let kitchen = Kitchen::new();
    let mut spec = kitchen.shell("nslookup deb.debian.org");
    let content = resolv_conf(&host, netns.connectivity().unwrap());
    let source = Source::File { content, mode: 0o644, uid: 0, gid: 0 };
    spec.mounts = vec![Mount { target: "/etc/resolv.conf".into(), source, readonly: true }];
    let online = ("deb.debian.org", 80).to_socket_addrs().is_ok();
    if *netns.connectivity().unwrap() != Connectivity::Pasta || !online {
        println!("    SKIPPED: no pasta, or this machine is offline");
        return;
    }
    let text = output_in(&netns, spec);
    assert!(text.contains("Name:"), "{text}");
}
