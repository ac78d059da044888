//! Files at URLs.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use super::{super::File, *};

const OLD: &str = "Thu, 02 Jan 2020 03:04:05 GMT";

#[test]
fn a_file_is_asked_for_again_and_sent_once() {
    let web = Web::start();
    web.put("/a", Page::new("one\n").with("ETag", "\"1\""));
    let Some(kitchen) = kitchen(&web) else { return };
    assert_eq!(kitchen.files(&["."])["x"].content, b"one\n");
    assert_eq!(statuses(&web), [200]);
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 0);
    assert_eq!(statuses(&web), [304]);
    kitchen.build(&["-t", "x", "--offline", "."]);
    assert_eq!(statuses(&web), [0; 0]);
    // Another validator, the same content: nothing after it is executed.
    web.put("/a", Page::new("one\n").with("ETag", "\"2\""));
    assert_eq!(kitchen.build(&["-t", "x", "."]).executed, 1);
    web.put("/a", Page::new("two\n").with("ETag", "\"3\""));
    assert_eq!(kitchen.files(&["."])["x"].content, b"two\n");
    assert_eq!(statuses(&web), vec![200; 2 * answers_when_new()]);
}

/// How often a server has to say that something is new: an ordinary user's first pass asks, and may not keep the answer.
fn answers_when_new() -> usize {
    if rustix::process::geteuid().is_root() { 1 } else { 2 }
}

#[test]
fn last_modified_is_asked_with_when_it_is_old() {
    let web = Web::start();
    web.put("/a", Page::new("one\n").with("Last-Modified", OLD));
    let Some(kitchen) = kitchen(&web) else { return };
    kitchen.build(&["-t", "x", "."]);
    kitchen.build(&["-t", "x", "."]);
    assert_eq!(statuses(&web), [200, 304]);
    web.put("/a", Page::new("one\n").with("Last-Modified", "Wed, 01 Jan 2200 00:00:00 GMT"));
    kitchen.build(&["-t", "x", "."]);
    kitchen.build(&["-t", "x", "."]);
    assert_eq!(statuses(&web), vec![200; 2 * answers_when_new()]);
}

#[test]
fn a_checksum_asks_nobody_for_what_is_there() {
    let web = Web::start();
    web.put("/a", Page::new("one\n"));
    let Some(kitchen) = kitchen(&web) else { return };
    let sum = Digest::sha256(b"one\n");
    let add = |sum: &Digest| format!("FROM scratch\nADD --checksum={sum} {} /x\n", web.url("/a"));
    kitchen.dockerfile(&add(&sum)).build(&["-t", "x", "."]);
    kitchen.build(&["-t", "x", "."]);
    assert_eq!(statuses(&web), [200]);
    let (code, said) = kitchen.dockerfile(&add(&Digest::sha256(b"two\n"))).build_fails(&["."]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Dockerfile:2:") && said.contains(&sum.to_string()), "{said}");
}

#[test]
fn a_download_goes_on_where_it_broke() {
    let web = Web::start();
    let body: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let Some(kitchen) = kitchen(&web) else { return };
    let page = Page { breaks: Some((500_000, 2)), ..Page::new(body.clone()) };
    web.put("/a", page.clone().with("ETag", "\"1\""));
    assert_eq!(kitchen.files(&["."])["x"].content, body);
    let asked = web.asked();
    let ranges: Vec<_> = asked.iter().map(|asked| asked.header("range").map(str::to_owned)).collect();
    assert!(ranges.len() > 1 && ranges[0].is_none(), "{ranges:?}");
    assert!(ranges.iter().skip(1).all(Option::is_some), "{ranges:?}");
    // Without anything to know it by, it begins again.
    web.put("/b", page);
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /y\n", web.url("/b")));
    assert_eq!(kitchen.files(&["."])["y"].content, body);
    assert!(web.asked().iter().all(|asked| asked.header("range").is_none() && asked.status == 200));
}

#[test]
fn what_the_server_says_is_told_at_the_line() {
    let web = Web::start();
    let Some(kitchen) = kitchen(&web) else { return };
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("Dockerfile:2:5") && said.contains("answered with status 404"), "{said}");
    web.put("/a", Page { authorization: Some("x".to_owned()), ..Page::new("") });
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("--secret id=HTTP_AUTH_TOKEN_127.0.0.1"), "{said}");
    web.put("/a", Page { status: 302, ..Page::new("") }.with("Location", "/a"));
    let (code, said) = kitchen.build_fails(&["."]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("too many redirects"), "{said}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new("gzip");
    let mut child = command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn equal_files_are_one_whatever_their_address() {
    let web = Web::start();
    web.put("/a/f", Page::new("one\n"));
    web.put("/b/f", Page::new(gzip(b"one\n")).with("Content-Encoding", "gzip"));
    let Some(kitchen) = kitchen(&web) else { return };
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /x/\n", web.url("/a/f")));
    let one: BTreeMap<String, File> = kitchen.files(&["."]);
    kitchen.dockerfile(&format!("FROM scratch\nADD {} /x/\n", web.url("/b/f")));
    assert_eq!(kitchen.files(&["."]), one);
}

#[test]
fn an_epoch_is_that_of_a_file() {
    let web = Web::start();
    web.put("/a", Page::new("one\n").with("Last-Modified", OLD));
    let Some(kitchen) = kitchen(&web) else { return };
    kitchen.dockerfile(&format!(
        "ARG SOURCE_DATE_EPOCH=source\nFROM scratch AS source\nARG NAME=a\nADD {} /x\nFROM busybox\n\
         ARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /e\n",
        web.url("/$NAME")
    ));
    let files = kitchen.files(&["."]);
    assert_eq!(files["e"].content, b"1577934245\n");
    kitchen.build(&["-t", "x", "."]);
    let created = kitchen.galley(&["inspect", "--format", "{{.Created}}", "x"]);
    assert!(created.starts_with("2020-01-02T03:04:05"), "{created}");
    let (_, said) = kitchen.build_fails(&["--build-arg", "SOURCE_DATE_EPOCH=none", "."]);
    assert!(said.contains("SOURCE_DATE_EPOCH is `none`"), "{said}");
}
