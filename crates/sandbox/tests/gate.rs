//! Programs that run before their network is there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::sync::mpsc::channel;

use galley_sandbox::net::NetNs;
use galley_sandbox::{Child, Exit, Gate, Handles, Network, Spec};
use rustix::thread::move_into_link_name_space;

use crate::fixture::{Kitchen, spawner};

crate::tests![
    privileged_a_socket_waits_for_the_network,
    privileged_who_wants_no_socket_does_not_wait,
    privileged_a_second_process_waits_as_well,
    privileged_what_waits_for_nothing_is_killed,
    privileged_what_waits_can_be_killed,
];

const PORT: u16 = 8080;
/// Says that it runs, then connects.
const CONNECTS: &str = "echo before; nc 127.0.0.1 8080 </dev/null";
const KILLED: Exit = Exit::Signal(9);

/// A sandbox whose sockets wait.
pub(crate) fn start_held(netns: &NetNs, mut spec: Spec) -> (Child, Gate, std::io::PipeReader) {
    (spec.network, spec.hold_sockets) = (Network::Shared, true);
    let (reader, writer) = std::io::pipe().unwrap();
    let output = Some(writer.as_fd());
    let handles =
        Handles { stdout: output, stderr: output, netns: Some(netns.as_fd()), ..Handles::default() };
    let mut child = spawner().spawn(&spec, handles).unwrap();
    let gate = child.take_gate().unwrap();
    (child, gate, reader)
}

fn rest_of(mut reader: impl Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

/// There from when this returns.
fn greeter(netns: &NetNs) {
    let namespace = netns.as_fd().try_clone_to_owned().unwrap();
    let listen = move || {
        move_into_link_name_space(namespace.as_fd(), None).unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).unwrap()
    };
    let server = std::thread::spawn(listen).join().unwrap();
    std::thread::spawn(move || {
        server.incoming().for_each(|client| client.unwrap().write_all(b"hello\n").unwrap())
    });
}

/// The server is there only after somebody has asked for a socket: who did not wait would be refused.
fn assert_served(script: &str, expected: &str) {
    let (kitchen, netns) = (Kitchen::new(), NetNs::isolated().unwrap());
    let (child, gate, reader) = start_held(&netns, kitchen.shell(script));
    let is_ready = || {
        greeter(&netns);
        true
    };
    assert!(gate.keep(&child, is_ready).unwrap());
    assert!(child.wait().unwrap().exit.success());
    assert_eq!(rest_of(reader), expected);
}

fn privileged_a_socket_waits_for_the_network() {
    assert_served(CONNECTS, "before\nhello\n");
    // The second one does not ask again.
    assert_served(&format!("{CONNECTS}; {CONNECTS}"), "before\nhello\nbefore\nhello\n");
}

fn privileged_a_second_process_waits_as_well() {
    assert_served(&format!("({CONNECTS}) & wait"), "before\nhello\n");
}

fn privileged_who_wants_no_socket_does_not_wait() {
    let (kitchen, netns) = (Kitchen::new(), NetNs::isolated().unwrap());
    let (child, gate, reader) = start_held(&netns, kitchen.shell("echo done"));
    assert!(gate.keep(&child, || panic!("it wants a socket")).unwrap());
    assert!(child.wait().unwrap().exit.success());
    assert_eq!(rest_of(reader), "done\n");
}

fn privileged_what_waits_for_nothing_is_killed() {
    let (kitchen, netns) = (Kitchen::new(), NetNs::isolated().unwrap());
    let script = format!("({CONNECTS}; echo after) & wait; echo end");
    let (child, gate, reader) = start_held(&netns, kitchen.shell(&script));
    assert!(!gate.keep(&child, || false).unwrap());
    assert_eq!(child.wait().unwrap().exit, KILLED);
    assert_eq!(rest_of(reader), "before\n", "nobody sees a socket that cannot be made");
}

fn privileged_what_waits_can_be_killed() {
    let (kitchen, netns) = (Kitchen::new(), NetNs::isolated().unwrap());
    let (child, gate, reader) = start_held(&netns, kitchen.shell(CONNECTS));
    let (asks, asked) = channel();
    let (ends, ended) = channel();
    std::thread::scope(|scope| {
        let child = &child;
        let keeper = scope.spawn(move || {
            gate.keep(child, || {
                asks.send(()).unwrap();
                ended.recv().unwrap();
                true
            })
        });
        asked.recv().unwrap();
        // While the network is not there, and will not be before this has returned.
        assert_eq!(child.kill_tree().unwrap().exit, KILLED);
        ends.send(()).unwrap();
        assert!(keeper.join().unwrap().unwrap());
    });
    assert_eq!(rest_of(reader), "before\n");
}
