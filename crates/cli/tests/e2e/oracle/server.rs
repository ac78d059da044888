//! One file for whoever asks at a port of this machine: how an archive that is a context comes to BuildKit.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Answers every request with `content`, as long as the process lives; gives the URL.
pub(super) fn serve(content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/context", listener.local_addr().unwrap());
    let content = Arc::new(content);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let content = Arc::clone(&content);
            thread::spawn(move || answer(&stream, &content));
        }
    });
    url
}

/// Whoever hangs up is no fault of ours.
fn answer(mut stream: &TcpStream, content: &[u8]) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let head = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())
        .ok()?;
    if head.starts_with("GET ") { stream.write_all(content).ok() } else { Some(()) }
}
