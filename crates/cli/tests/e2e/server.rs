//! One file for whoever asks at a port of this machine: contexts that are URLs, and archives for BuildKit.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Answers every request but that for `/none` with `content`, as long as the process lives; gives the URL.
pub(crate) fn serve(content: Vec<u8>) -> String {
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
    if head.contains(" /none ") {
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(answer).ok();
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())
        .ok()?;
    if head.starts_with("GET ") { stream.write_all(content).ok() } else { Some(()) }
}
