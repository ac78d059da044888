//! Credential helpers: programs named `docker-credential-NAME` that keep secrets in a keychain.
//!
//! One word on the command line says what to do (`get`, `store`, `erase`), standard input names the registry, and the
//! answer is JSON on standard output. Helpers write their errors to standard output too, so what a failed one says is
//! quoted only as far as it cannot hold a secret: one line that is no JSON.

use std::{
    ffi::OsStr,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::Credential;
use crate::{RegistryError, Secret, settings_file};

/// Helpers may ask a person for a password first.
pub(super) const HELPER_TIME_MAX: Duration = Duration::from_secs(120);
/// The longest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// The longest quotation of an error.
const QUOTE_CHARS_MAX: usize = 200;
/// How often is looked whether the helper has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The user name of helpers that says: the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// What helpers say when they have nothing.
const NOT_FOUND: [&str; 3] =
    ["credentials not found in native keychain", "no credentials server URL", "no credentials username"];

/// A helper that is installed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Helper {
    name: String,
    program: PathBuf,
    time_max: Duration,
}

impl Helper {
    /// Looks `docker-credential-NAME` up in the folders of `path`; `origin` is the file that names it.
    pub(super) fn find(
        name: &str,
        path: Option<&OsStr>,
        origin: &Path,
        time_max: Duration,
    ) -> Result<Self, RegistryError> {
        let program = format!("docker-credential-{name}");
        if name.contains(['/', '\0']) {
            return Err(settings_file::wrong(
                origin,
                "the name of a credential helper has a slash or zero byte",
            ));
        }
        // A folder that depends on where galley is started is nobody's place for a keeper of passwords.
        let folders =
            path.map(std::env::split_paths).into_iter().flatten().filter(|folder| folder.is_absolute());
        let found = folders.map(|folder| folder.join(&program)).find(|program| program.is_file());
        let missing = || RegistryError::Helper {
            program: program.clone(),
            reason: format!("it is not in $PATH: install it, or take it out of {}", origin.display()),
        };
        let found = found.ok_or_else(missing)?;
        Ok(Self { name: program, program: found, time_max })
    }

    /// What it knows of a registry.
    pub(super) fn get(&self, server: &str) -> Result<Credential, RegistryError> {
        let answer = self.run("get", server.as_bytes())?;
        if !answer.status.success() {
            if answer.is_not_found() {
                return Ok(Credential::Anonymous);
            }
            return Err(self.failed(answer.complaint()));
        }
        understand(&answer.output).map_err(|reason| self.failed(reason))
    }

    /// Gives it a credential to keep.
    pub(super) fn store(&self, server: &str, credential: &Credential) -> Result<(), RegistryError> {
        let (user, secret) = match credential {
            Credential::Anonymous => return Ok(()),
            Credential::Basic { user, password } => (user.as_str(), password),
            Credential::IdentityToken(token) => (TOKEN_USER, token),
        };
        let request = json!({ "ServerURL": server, "Username": user, "Secret": secret.reveal() });
        let answer = self.run("store", request.to_string().as_bytes())?;
        if answer.status.success() { Ok(()) } else { Err(self.failed(answer.complaint())) }
    }

    /// Makes it forget a registry; whether it knew it.
    pub(super) fn erase(&self, server: &str) -> Result<bool, RegistryError> {
        let answer = self.run("erase", server.as_bytes())?;
        match answer.status.success() {
            true => Ok(true),
            false if answer.is_not_found() => Ok(false),
            false => Err(self.failed(answer.complaint())),
        }
    }

    /// The program's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn failed(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Helper { program: self.name.clone(), reason: reason.into() }
    }

    fn run(&self, action: &str, input: &[u8]) -> Result<Answer, RegistryError> {
        let mut command = Command::new(&self.program);
        command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| self.failed(format!("it cannot be started: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // On a thread of its own, as the helper may never read it. That it does not is no error of ours.
            thread::spawn(move || stdin.write_all(&input));
        }
        let output = collect(child.stdout.take());
        let errors = collect(child.stderr.take());
        let deadline = Instant::now() + self.time_max;
        let answer = wait(&mut child, deadline).and_then(|status| {
            Some(Answer { status, output: receive(&output, deadline)?, errors: receive(&errors, deadline)? })
        });
        answer.ok_or_else(|| {
            // It may have ended meanwhile, and then there is nothing to end.
            let _ = child.kill();
            let _ = child.wait();
            self.failed(format!("it gave no answer in {} seconds", self.time_max.as_secs()))
        })
    }
}

/// What a helper said.
struct Answer {
    status: ExitStatus,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Answer {
    fn is_not_found(&self) -> bool {
        let text = String::from_utf8_lossy(&self.output);
        NOT_FOUND.iter().any(|message| text.trim().contains(message))
    }

    /// The first line of what it said, when that is words.
    fn complaint(&self) -> String {
        let line = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
            let plain: String =
                line.chars().filter(|char| !char.is_control()).take(QUOTE_CHARS_MAX).collect();
            (!plain.starts_with(['{', '[', '"'])).then_some(plain)
        };
        match line(&self.output).or_else(|| line(&self.errors)) {
            Some(words) => format!("{words} ({})", self.status),
            None => self.status.to_string(),
        }
    }
}

fn understand(output: &[u8]) -> Result<Credential, &'static str> {
    let answer: Value = serde_json::from_slice(output).map_err(|_| "its answer is not JSON")?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let (user, secret) = (text("Username"), Secret::new(text("Secret")));
    Ok(match (user, secret.reveal()) {
        ("", "") => Credential::Anonymous,
        (TOKEN_USER, _) => Credential::IdentityToken(secret),
        _ => Credential::Basic { user: user.to_owned(), password: secret },
    })
}

/// Reads what comes, on a thread, up to the limit.
fn collect(source: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(source) = source {
            // What came before an error still counts, and an unfinished answer is no JSON.
            let _ = source.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        }
        // Nobody waits any more after the deadline.
        let _ = sender.send(bytes);
    });
    receiver
}

fn receive(bytes: &Receiver<Vec<u8>>, deadline: Instant) -> Option<Vec<u8>> {
    bytes.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
}

fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => thread::sleep(POLL_INTERVAL),
            Err(_) => return None,
        }
    }
    None
}
