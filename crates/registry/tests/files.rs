//! Plain files at URLs.

use std::io;

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
