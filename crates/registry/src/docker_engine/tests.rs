use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use fs_err as fs;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Engine, names, wire::read_answer};
use crate::{Environment, Kind, RegistryError, Stop, environment};

const PONG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

fn go_on() -> Stop {
    Arc::new(|| false)
}

/// An engine that answers the ping, and then one load with `answer`; gives the request of the load.
struct Fake {
    root: TempDir,
    thread: JoinHandle<Vec<u8>>,
}

impl Fake {
    fn start(answer: &str) -> Self {
        Self::behaving(answer.to_owned(), |stream| {
            let mut request = Vec::new();
            let mut reader = BufReader::new(stream);
            while !request.ends_with(b"0\r\n\r\n") && reader.read_until(b'\n', &mut request).unwrap() > 0 {}
            request
        })
    }

    fn behaving(answer: String, read: impl FnOnce(&UnixStream) -> Vec<u8> + Send + 'static) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("var/run")).unwrap();
        let listener = UnixListener::bind(root.path().join("var/run/docker.sock")).unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            assert_eq!(line, "GET /_ping HTTP/1.1\r\n");
            stream.write_all(PONG.as_bytes()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let request = read(&stream);
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        Self { root, thread }
    }

    fn environment(&self) -> Environment {
        environment::of(&[], self.root.path())
    }

    fn load(&self, mut archive: impl Read) -> Result<Vec<String>, RegistryError> {
        let engine = Engine::find(&self.environment(), &go_on()).unwrap().unwrap();
        engine.load(&mut archive, &go_on())
    }

    fn error(&self, archive: impl Read) -> String {
        let text = self.load(archive).unwrap_err().to_string();
        text.replace(&self.root.path().display().to_string(), "")
    }
}

fn chunked(chunks: &[&str]) -> String {
    let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

#[test]
fn an_archive_is_sent_in_chunks_and_names_come_back() {
    let answer = chunked(&[
        "{\"stream\":\"Loaded image: a:1\\n\"}\r\n{\"status\":\"x\"}\r\n{\"stre",
        "am\":\"Loaded image ID: sha256:12\"}",
    ]);
    let fake = Fake::start(&answer);
    let archive = io::Cursor::new(b"tar".repeat(30_000));
    assert_eq!(fake.load(archive).unwrap(), ["a:1", "sha256:12"]);
    let request = fake.thread.join().unwrap();
    let text = String::from_utf8(request).unwrap();
    assert!(text.starts_with("POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\n"), "{text:.200}");
    let body = text.split_once("\r\n\r\n").unwrap().1;
    assert!(body.starts_with("10000\r\ntar") && body.ends_with("ar\r\n0\r\n\r\n"));
    assert_eq!(body.len(), 90_000 + "10000\r\n\r\n5f90\r\n\r\n0\r\n\r\n".len());
}

#[test]
fn what_the_engine_says_against_it_is_told() {
    let error = |answer: &str| Fake::start(answer).error(io::empty());
    let prefix = "the Docker engine at /var/run/docker.sock did not take the image:";
    let line = "{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no \\u001bspace\"}\r\n";
    assert_eq!(error(&chunked(&[line])), format!("{prefix} no  space"));
    let status =
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 25\r\n\r\n{\"message\":\"bad archive\"}\n";
    assert_eq!(error(status), format!("{prefix} it answered with status 500 (bad archive)"));
    assert_eq!(error("HTTP/1.0 404 x\r\n\r\n<html>"), format!("{prefix} it answered with status 404"));
    assert_eq!(error(&chunked(&["<html>"])), format!("{prefix} it answered with something that is not JSON"));
    assert_eq!(error("SSH-2.0\r\n"), format!("{prefix} it cannot load an image: it does not speak HTTP"));
    assert_eq!(error(""), format!("{prefix} it cannot load an image: unexpected end of file"));
}

#[test]
fn an_engine_that_hangs_up_early_is_still_heard() {
    let answer = "HTTP/1.1 400 Bad\r\nContent-Length: 20\r\n\r\n{\"message\":\"no tar\"}".to_owned();
    let fake = Fake::behaving(answer, |stream| {
        let mut some = [0; 100];
        (&mut &*stream).read_exact(&mut some).unwrap();
        some.to_vec()
    });
    let text = fake.error(io::repeat(b'x').take(64 << 20));
    assert_eq!(
        text,
        "the Docker engine at /var/run/docker.sock did not take the image: it answered with status 400 (no tar)"
    );
}

#[test]
fn an_archive_that_cannot_be_read_is_our_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let fake = Fake::start("");
    let error = fake.load(Broken).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), ("cannot read the image archive", Kind::Io));
}

#[test]
fn a_silent_engine_can_be_left() {
    let fake = Fake::behaving(String::new(), |stream| {
        let mut all = Vec::new();
        let _ = (&mut &*stream).read_to_end(&mut all);
        all
    });
    let engine = Engine::find(&fake.environment(), &go_on()).unwrap().unwrap();
    let stop: Stop = Arc::new(|| true);
    assert!(matches!(engine.load(&mut io::empty(), &stop), Err(RegistryError::Stopped)));
}

#[test]
fn engines_are_found_where_they_listen() {
    let root = tempfile::tempdir().unwrap();
    let find = |variables: &[(&str, &str)]| Engine::find(&environment::of(variables, root.path()), &go_on());
    assert_eq!(find(&[]).unwrap(), None);
    fs::create_dir_all(root.path().join("var/run")).unwrap();
    fs::write(root.path().join("var/run/docker.sock"), "no socket").unwrap();
    assert_eq!(find(&[]).unwrap(), None);
    fs::remove_file(root.path().join("var/run/docker.sock")).unwrap();
    drop(UnixListener::bind(root.path().join("var/run/docker.sock")).unwrap());
    assert_eq!(find(&[]).unwrap(), None, "nobody listens any more");
    let users = root.path().join("docker.sock");
    let listener = UnixListener::bind(&users).unwrap();
    let pong = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(PONG.as_bytes()).unwrap();
        BufReader::new(stream).read_line(&mut String::new()).unwrap();
    });
    let engine = find(&[("XDG_RUNTIME_DIR", root.path().to_str().unwrap())]).unwrap().unwrap();
    assert_eq!(engine.socket(), users);
    pong.join().unwrap();
}

#[test]
fn docker_host_is_taken_at_its_word() {
    let find = |host: &str| {
        let found = Engine::find(&environment::of(&[("DOCKER_HOST", host)], Path::new("/nowhere")), &go_on());
        found.unwrap_err().to_string()
    };
    let refused = "$DOCKER_HOST is wrong: an engine behind tcp:// cannot be handed an image: name a Unix socket of \
                   this machine, or push the image to a registry";
    assert_eq!(find("tcp://10.0.0.1:2375"), refused);
    assert!(find("ssh://me@host").contains("behind ssh://"));
    assert_eq!(
        find("/run/x.sock"),
        "$DOCKER_HOST is wrong: it is no address of an engine: write unix:///PATH"
    );
    let missing = "the Docker engine at /nowhere/x.sock did not take the image: it cannot be connected to: No such file or \
                   directory (os error 2)";
    assert_eq!(find("unix:///nowhere/x.sock"), missing);
}

#[test]
fn names_have_many_forms() {
    assert_eq!(names("Loaded image: a:1\nLoaded image: b:1\n"), ["a:1", "b:1"]);
    assert_eq!(names("Loaded image: a:1,b:2"), ["a:1", "b:2"]);
    assert_eq!(names("Importing"), [""; 0]);
}

#[test]
fn endless_answers_end() {
    let endless = |head: &str| {
        let bytes = head.as_bytes().chain(io::repeat(b'a'));
        read_answer(&mut BufReader::new(bytes)).unwrap_err().to_string()
    };
    let long = "its answer has more than 1048576 bytes";
    assert_eq!(endless("HTTP/1.1 200 OK\r\n\r\n"), long);
    assert_eq!(endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"), long);
    assert_eq!(endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"), long);
    assert_eq!(endless("HTTP/1.1 200 OK\r\n"), "unexpected end of file");
    let again = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
    read_answer(&mut again.as_slice()).unwrap_err();
}

proptest! {
    #[test]
    fn foreign_answers_never_panic(text in "(HTTP/1\\.1 200 OK|\r\n|Content-Length: ?[0-9]{0,21}|Transfer-Encoding: chunked|[0-9a-f]{0,17}\r\n|\\PC){0,12}") {
        let _ = read_answer(&mut text.as_bytes());
    }

    #[test]
    fn chunks_are_put_together(chunks in proptest::collection::vec("[a-z\r\n]{1,20}", 0..6)) {
        let pieces: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let answer = read_answer(&mut chunked(&pieces).as_bytes()).unwrap();
        prop_assert_eq!(answer.body, chunks.concat().into_bytes());
    }
}
