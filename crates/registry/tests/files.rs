//! Plain files at URLs.

use std::{
    io::{self, Read, Write},
    net::TcpListener,
};

use galley_registry::{Client, FileAnswer, FileRequest, FileSink, Options, RegistryError};
use galley_testkit::web::{Page, Web};

#[derive(Default)]
struct Bytes(Vec<u8>);

impl FileSink for Bytes {
    fn begin(&mut self, _: Option<u64>) -> io::Result<()> {
        self.0.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn get(url: &str, etag: Option<&str>, limit: u64) -> (Result<FileAnswer, RegistryError>, Vec<u8>) {
    let client = Client::new(Options::default()).unwrap();
    let request = FileRequest { url, authorization: None, etag, modified: None, limit };
    let mut sink = Bytes::default();
    (client.file(&request, &mut sink), sink.0)
}

#[test]
fn more_than_the_limit_is_refused() {
    let web = Web::start();
    web.put("/a", Page::new("four"));
    assert_eq!(get(&web.url("/a"), None, 4).1, b"four");
    let (answer, bytes) = get(&web.url("/a"), None, 3);
    assert!(matches!(answer, Err(RegistryError::TooLarge { limit: 3, .. })), "{answer:?}");
    assert!(bytes.is_empty());
}

#[test]
fn a_tag_that_comes_again_is_the_same_file() {
    let web = Web::start();
    web.put("/a", Page::new("four").with("ETag", "W/\"1\""));
    let (answer, bytes) = get(&web.url("/a"), Some("\"1\""), 9);
    assert!(answer.unwrap().unchanged && bytes.is_empty());
    let (answer, bytes) = get(&web.url("/a"), Some("\"2\""), 9);
    assert!(!answer.unwrap().unchanged && bytes == b"four");
}

#[test]
fn what_is_no_address_is_an_error() {
    for url in ["", "x", "ftp://127.0.0.1/", "http://", "http:// /", "http://[::1/"] {
        assert!(get(url, None, 9).0.is_err(), "{url:?}");
    }
}

/// Answers one connection after the other, each with one of `answers`.
fn answering(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn a_rest_longer_than_the_file_is_refused() {
    let cut = "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\nabc";
    let rest = |bytes: &str| {
        let length = bytes.len();
        let head = "HTTP/1.1 206 Partial\r\nConnection: close\r\nContent-Range: bytes 3-4/5\r\n";
        format!("{head}Content-Length: {length}\r\n\r\n{bytes}")
    };
    let url = answering(vec![cut.to_owned(), rest("de")]);
    assert_eq!(get(&url, None, 99).1, b"abcde");
    let url = answering(vec![cut.to_owned(), rest("defghi")]);
    let (answer, _) = get(&url, None, 99);
    assert!(matches!(answer, Err(RegistryError::WrongLength { wanted: 5, .. })), "{answer:?}");
}
