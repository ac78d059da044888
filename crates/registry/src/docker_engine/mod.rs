//! A Docker engine on this machine, which images can be handed to: `POST /images/load` on its Unix socket.
//!
//! Podman's service speaks the same; `$DOCKER_HOST` can name its socket.

#[cfg(test)]
mod tests;
mod wire;

use std::{
    io::{self, Read},
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err as fs;
use serde_json::Value;

use self::wire::{Answer, Wire};
use crate::{Environment, RegistryError, Stop};

/// How long an engine may take to say that it is there.
const PING_TIME_MAX: Duration = Duration::from_secs(5);
/// How long an engine may be silent while it unpacks an image; it says nothing until it is done.
const LOAD_SILENCE_MAX: Duration = Duration::from_secs(1800);
/// What is sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// The longest quotation of an engine's words.
const QUOTE_CHARS_MAX: usize = 500;

/// A Docker engine on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    socket: PathBuf,
}

impl Engine {
    /// The engine that `$DOCKER_HOST` names, else one that answers on its usual socket: the system's, then the user's.
    pub fn find(environment: &Environment, stop: &Stop) -> Result<Option<Self>, RegistryError> {
        if let Some(host) = environment.text("DOCKER_HOST")? {
            let engine = Self { socket: socket_of(&host)? };
            engine.ping(stop)?;
            return Ok(Some(engine));
        }
        let users = environment.path("XDG_RUNTIME_DIR").map(|folder| folder.join("docker.sock"));
        let sockets = [Some(environment.system("var/run/docker.sock")), users].into_iter().flatten();
        let mut engines = sockets.filter(|socket| is_socket(socket)).map(|socket| Self { socket });
        // One that is down, or that is not for this user, is as good as none.
        Ok(engines.find(|engine| engine.ping(stop).is_ok()))
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Hands it an image archive, as `docker save` writes them; gives the names and ids that it loaded.
    pub fn load(&self, archive: &mut dyn Read, stop: &Stop) -> Result<Vec<String>, RegistryError> {
        let mut wire = self.connect(stop, LOAD_SILENCE_MAX)?;
        let head = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
                    Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";
        let sent = wire.send(head.as_bytes()).map_err(Sending::Wire).and_then(|()| send(&mut wire, archive));
        // An engine that does not like what it reads says why and hangs up.
        if let Err(Sending::Archive(source)) = sent {
            return Err(RegistryError::Io { doing: "read the image archive".to_owned(), source });
        }
        let answer = match (wire.answer(), sent) {
            (Ok(answer), _) => answer,
            (Err(_), Err(Sending::Wire(error))) | (Err(error), _) => {
                return Err(self.failed(error, "load an image"));
            }
        };
        self.understand(&answer)
    }

    fn ping(&self, stop: &Stop) -> Result<(), RegistryError> {
        let mut wire = self.connect(stop, PING_TIME_MAX)?;
        let head = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
        let answer =
            wire.send(head).and_then(|()| wire.answer()).map_err(|error| self.failed(error, "answer"))?;
        if answer.status == 200 { Ok(()) } else { Err(self.refused(&answer)) }
    }

    fn connect(&self, stop: &Stop, silence_max: Duration) -> Result<Wire, RegistryError> {
        let stream = UnixStream::connect(&self.socket);
        let wire = stream.and_then(|stream| Wire::new(stream, stop.clone(), silence_max));
        wire.map_err(|error| self.failed(error, "be connected to"))
    }

    fn understand(&self, answer: &Answer) -> Result<Vec<String>, RegistryError> {
        if answer.status != 200 {
            return Err(self.refused(answer));
        }
        let mut loaded = Vec::new();
        for line in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let message: Value = serde_json::from_slice(line)
                .map_err(|_| self.wrong("it answered with something that is not JSON".to_owned()))?;
            let text = |name: &str| message.get(name).and_then(Value::as_str);
            if let Some(error) = text("error") {
                return Err(self.wrong(quote(error)));
            }
            loaded.extend(text("stream").into_iter().flat_map(names));
        }
        Ok(loaded)
    }

    fn refused(&self, answer: &Answer) -> RegistryError {
        let message: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let words = message.as_ref().and_then(|message| message.get("message")?.as_str());
        let words = words.map_or_else(String::new, |words| format!(" ({})", quote(words)));
        self.wrong(format!("it answered with status {}{words}", answer.status))
    }

    fn failed(&self, error: io::Error, doing: &str) -> RegistryError {
        match error.downcast::<RegistryError>() {
            Ok(error) => error,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.wrong("this user may not use it: join the group of its socket".to_owned())
            }
            Err(error) => self.wrong(format!("it cannot {doing}: {error}")),
        }
    }

    fn wrong(&self, reason: String) -> RegistryError {
        RegistryError::DockerEngine { socket: self.socket.clone(), reason }
    }
}

/// Why something was not sent.
enum Sending {
    Archive(io::Error),
    Wire(io::Error),
}

fn send(wire: &mut Wire, archive: &mut dyn Read) -> Result<(), Sending> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match archive.read(&mut buffer) {
            Ok(0) => return wire.send(b"0\r\n\r\n").map_err(Sending::Wire),
            Ok(length) => wire.send_chunk(buffer.get(..length).unwrap_or_default()).map_err(Sending::Wire)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Sending::Archive(error)),
        }
    }
}

/// The socket that a value of `$DOCKER_HOST` names.
fn socket_of(host: &str) -> Result<PathBuf, RegistryError> {
    match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some((scheme @ ("tcp" | "http" | "https" | "ssh" | "fd" | "npipe"), _)) => Err(wrong_host(format!(
            "an engine behind {scheme}:// cannot be handed an image: name a Unix socket of this machine, or push the \
             image to a registry"
        ))),
        _ => Err(wrong_host("it is no address of an engine: write unix:///PATH".to_owned())),
    }
}

fn wrong_host(reason: String) -> RegistryError {
    RegistryError::Setting { what: "$DOCKER_HOST".to_owned(), reason }
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The names in `Loaded image: a:1` (podman: several, with commas) and `Loaded image ID: sha256:…`.
fn names(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| {
        line.strip_prefix("Loaded image: ").or_else(|| line.strip_prefix("Loaded image ID: "))
    });
    lines.flat_map(|names| names.split(',')).map(|name| name.trim().to_owned()).collect()
}

fn quote(text: &str) -> String {
    let plain = text.trim().chars().map(|char| if char.is_control() { ' ' } else { char });
    plain.take(QUOTE_CHARS_MAX).collect()
}
