//! SSH agents: what `--ssh` names, lent to a step while it runs.
//!
//! ```text
//! step ─▶ socket in the sandbox ─▶ Loan: lists and signs, nothing else ─▶ agent of the person
//! ```
//!
//! A key never comes near a step. The socket that a step sees is one of galley's own, with the owner and the mode that the
//! mount asks for; behind it stands the agent, or a [`Keyring`] of key files. What goes over it is in no key, record or log.

mod keyring;
mod loan;
mod protocol;

use std::{
    collections::BTreeMap,
    fmt,
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use fs_err as fs;

pub use self::keyring::Keyring;
pub(crate) use self::loan::{Loan, Owner};
use crate::{Error, ErrorKind};

/// Agents by the id that `RUN --mount=type=ssh,id=…` asks for.
pub type SshAgents = BTreeMap<String, SshAgent>;

/// Something that holds keys and signs with them.
#[derive(Clone)]
pub enum SshAgent {
    /// A process that listens on a socket, such as ssh-agent.
    Socket(PathBuf),
    /// Galley itself, with keys read from files.
    Keys(Arc<Keyring>),
}

impl fmt::Debug for SshAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "Socket({})", path.display()),
            Self::Keys(_) => f.write_str("Keys(..)"),
        }
    }
}

impl SshAgent {
    /// The agent that paths mean: one socket, or files with keys.
    pub fn from_paths(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut sockets = Vec::new();
        for path in paths {
            let metadata = fs::metadata(path).map_err(|error| unusable(path, error))?;
            if metadata.file_type().is_socket() {
                sockets.push(path);
            }
        }
        match *sockets {
            [] => Keyring::read(paths).map(|keys| Self::Keys(Arc::new(keys))),
            [socket] if paths.len() == 1 => Ok(Self::Socket(socket.clone())),
            _ => Err(Error::new(ErrorKind::Usage, "one id has either one socket of an agent, or key files")
                .help("give the others ids of their own: --ssh ID=PATH")),
        }
    }

    fn open(&self) -> std::io::Result<Conversation> {
        Ok(match self {
            Self::Socket(path) => Conversation::Agent(UnixStream::connect(path)?),
            Self::Keys(keys) => Conversation::Keys(Arc::clone(keys)),
        })
    }
}

/// One program's talk with an agent.
enum Conversation {
    Agent(UnixStream),
    Keys(Arc<Keyring>),
}

impl Conversation {
    fn ask(&mut self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Agent(socket) => {
                protocol::write(socket, request)?;
                protocol::read(socket)?.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
            }
            Self::Keys(keys) => Ok(keys.answer(request)),
        }
    }
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Usage, format!("cannot use {} as an SSH agent", path.display())).because(error)
}

#[cfg(test)]
mod tests;
