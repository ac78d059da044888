//! Running the program `git`: in an environment of our own, with bounds, until it is to stop.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::{
    Cancel, Error, ErrorKind,
    ssh::{Loan, SshAgent},
};

/// The longest that one command may take: a big repository over a slow line, not a server that went away.
const TIME_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// As much of what it prints is read: lists of references.
const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// As much of the end of its complaints is kept.
const COMPLAINT_BYTES_MAX: usize = 16 << 10;
/// How long one waits before looking again whether it has ended; it doubles up to the second.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));
/// What commands that ask other machines may speak; submodules too.
pub(super) const OTHER_MACHINES: &str = "http:https:ssh:git";
/// What a command may speak that fetches from a repository of our own.
pub(super) const THIS_MACHINE: &str = "file";

/// Settings for every command. A server that sends less than a KiB in a second for a minute is gone.
const CONFIG: [(&str, &str); 12] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "master"),
    ("fetch.recurseSubmodules", "false"),
    ("http.lowSpeedLimit", "1024"),
    ("http.lowSpeedTime", "60"),
];

/// How git is run, as far as that is up to the person.
#[derive(Clone, Debug, Default)]
pub struct GitSettings {
    /// Where programs are: `$PATH`.
    pub path: Option<OsString>,
    /// Variables that it gets: proxies and certificates.
    pub variables: Vec<(OsString, OsString)>,
    /// What holds ssh keys: `--ssh default`; for what the person typed, `$SSH_AUTH_SOCK`.
    pub ssh: Option<SshAgent>,
    /// Files with the keys of hosts. What is in them counts; hosts that are in none are let pass, as in Docker.
    pub known_hosts: Vec<PathBuf>,
}

impl GitSettings {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { path: None, variables: Vec::new(), ssh: None, known_hosts: Vec::new() }
    }
}

/// Runs git.
#[derive(Clone, Debug)]
pub(super) struct Git<'a> {
    pub(super) settings: &'a GitSettings,
    pub(super) stop: &'a Cancel,
    /// A header for the remote and its scope: a secret.
    pub(super) header: Option<(String, String)>,
    /// What the address says of who asks.
    pub(super) login: Option<Login>,
    pub(super) git_dir: Option<PathBuf>,
    pub(super) work_tree: Option<PathBuf>,
    /// The agent, when keys of files are answered for by galley itself.
    pub(super) loan: Option<Arc<Loan>>,
    pub(super) protocols: &'static str,
}

/// A user and a password for what is in one folder of a server: a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) folder: String,
    pub(super) user: String,
    pub(super) password: String,
}

impl Login {
    /// What git asks when a server wants to know. The words are in variables, since everybody can read arguments.
    const HELPER: &str =
        "!f() { printf 'username=%s\\npassword=%s\\n' \"$GALLEY_GIT_USER\" \"$GALLEY_GIT_PASSWORD\"; }; f";

    fn config(&self) -> [(String, String); 2] {
        let helper = format!("credential.{}.helper", self.folder);
        [("credential.useHttpPath".to_owned(), "true".to_owned()), (helper, Self::HELPER.to_owned())]
    }

    fn variables(&self) -> [(&str, &str); 2] {
        [("GALLEY_GIT_USER", &self.user), ("GALLEY_GIT_PASSWORD", &self.password)]
    }
}

/// A command that failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// It says why.
    Complaint(String),
    /// It could not be run, or was stopped.
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Git<'_> {
    /// Runs `git ARGUMENTS`: what it prints.
    pub(super) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Vec<u8>, Failed> {
        let mut child = self.command(arguments).spawn().map_err(|error| not_run(&error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (ended, output, complaint) = thread::scope(|scope| {
            let output = scope.spawn(|| stdout.map(|pipe| head(pipe, OUTPUT_BYTES_MAX)).unwrap_or_default());
            let complaint =
                scope.spawn(|| stderr.map(|pipe| tail(pipe, COMPLAINT_BYTES_MAX)).unwrap_or_default());
            let ended = self.wait(&mut child);
            (ended, output.join().unwrap_or_default(), complaint.join().unwrap_or_default())
        });
        if ended? {
            return Ok(output);
        }
        Err(Failed::Complaint(self.without_secrets(&String::from_utf8_lossy(&complaint))))
    }

    /// The same, as one line of text.
    pub(super) fn line<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, Failed> {
        Ok(String::from_utf8_lossy(&self.run(arguments)?).trim().to_owned())
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new("git");
        command.env_clear().envs(self.settings.path.as_deref().and_then(absolute).map(|path| ("PATH", path)));
        command.envs(self.settings.variables.iter().map(|(name, value)| (name, value)));
        command.envs([
            ("HOME", "/dev/null"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_ALLOW_PROTOCOL", self.protocols),
        ]);
        command.env("GIT_SSH_COMMAND", self.ssh());
        command.envs(self.agent().map(|agent| ("SSH_AUTH_SOCK", agent)));
        // Not as arguments, which everybody on this machine can read.
        let own = CONFIG.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        // Git would give the header to wherever the server leads.
        let stays = self.header.iter().map(|_| ("http.followRedirects".to_owned(), "false".to_owned()));
        let login = self.login.iter().flat_map(Login::config);
        command.envs(self.login.iter().flat_map(Login::variables));
        let all: Vec<_> = own.chain(stays).chain(self.header.clone()).chain(login).collect();
        command.env("GIT_CONFIG_COUNT", all.len().to_string());
        for (number, (name, value)) in all.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        let folder = self.work_tree.as_deref().or(self.git_dir.as_deref()).unwrap_or(Path::new("/"));
        command.current_dir(folder);
        for (option, path) in [("--git-dir", &self.git_dir), ("--work-tree", &self.work_tree)] {
            if let Some(path) = path {
                command.arg(option).arg(path);
            }
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        command
    }

    /// The socket of the agent.
    fn agent(&self) -> Option<PathBuf> {
        match (&self.loan, &self.settings.ssh) {
            (Some(loan), _) => Some(loan.short()),
            (None, Some(SshAgent::Socket(socket))) => Some(socket.clone()),
            _ => None,
        }
    }

    /// Without the person's settings, which could run anything, and without keys that nobody lent; nothing is asked at a
    /// terminal.
    fn ssh(&self) -> OsString {
        let mut words = OsString::from(
            "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4 \
             -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null -o IdentityFile=none",
        );
        let quoted = |path: &Path| !path.to_string_lossy().contains(['\'', '"', ' ', '\\', '%', '\n']);
        let known: Vec<_> = self.settings.known_hosts.iter().filter(|path| quoted(path)).collect();
        if !known.is_empty() {
            words.push(" -o 'GlobalKnownHostsFile=");
            for (number, path) in known.into_iter().enumerate() {
                words.push(if number == 0 { "" } else { " " });
                words.push(path);
            }
            words.push("'");
        }
        words
    }

    /// Whether it ended well. It and all that it started are gone afterwards.
    fn wait(&self, child: &mut Child) -> Result<bool, Error> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let gone = || Error::new(ErrorKind::Internal, "git has no number of a process");
        let pid = pid.ok_or_else(gone)?;
        let (end, mut pause) = (Instant::now() + TIME_MAX, LOOK.0);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let stopped = loop {
            if matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_)) | Err(_)) {
                break None;
            }
            if self.stop.is_cancelled() {
                break Some(Error::new(ErrorKind::Cancelled, "cancelled"));
            }
            if Instant::now() > end {
                let message = format!("git was still busy after {} minutes", TIME_MAX.as_secs() / 60);
                break Some(Error::new(ErrorKind::Registry, message));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LOOK.1);
        };
        // While its leader is not waited for, nobody else can get the group's number.
        let _ = kill_process_group(pid, Signal::KILL);
        let status = child.wait().map_err(|error| not_run(&error))?;
        stopped.map_or(Ok(status.success()), Err)
    }

    fn without_secrets(&self, text: &str) -> String {
        let header = self.header.as_ref().map(|(_, value)| value.as_str()).unwrap_or_default();
        let value = header.split_once(": ").map_or("", |(_, value)| value);
        let token = value.split_once(' ').map_or(value, |(_, token)| token);
        let password = self.login.as_ref().map_or("", |login| &login.password);
        let secrets = [header, value, token, password].into_iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "xxxxx"))
    }
}

/// `$PATH` without places that depend on the current directory: git works in one whose files are a stranger's.
fn absolute(path: &OsStr) -> Option<OsString> {
    let kept = env::split_paths(path).filter(|folder| folder.is_absolute());
    env::join_paths(kept).ok().filter(|path| !path.is_empty())
}

fn not_run(error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::new(
            ErrorKind::Machine,
            "the program git is not installed: galley fetches repositories with it",
        )
        .help("install git (2.31 or newer), for example with `apt install git` or `apk add git`");
    }
    Error::new(ErrorKind::Machine, format!("cannot run git: {error}"))
}

/// The first bytes; the rest is read and forgotten, so that nobody waits.
fn head(mut pipe: impl Read, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(limit as u64).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    bytes
}

/// The last bytes.
fn tail(mut pipe: impl Read, limit: usize) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(bytes @ 1..) = pipe.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..bytes]);
        let extra = kept.len().saturating_sub(limit);
        kept.drain(..extra);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_current_directory_are_not_run() {
        let kept = |path: &str| absolute(OsStr::new(path));
        assert_eq!(kept(".:/usr/bin::bin:/bin:"), Some("/usr/bin:/bin".into()));
        assert_eq!((kept(""), kept("."), kept(":bin")), (None, None, None));
    }
}
