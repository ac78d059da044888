//! Why a program could not be executed, and what to do about it.

use std::ffi::{OsStr, OsString};
use std::io;

use serde::{Deserialize, Serialize};

use crate::raw;

/// Why the program could not be executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("exec {}: {}", shown(&self.program), self.reason())]
pub struct ExecError {
    /// The program as asked for.
    #[serde(with = "raw")]
    pub program: OsString,
    /// What is in the way.
    pub cause: ExecCause,
    /// The kernel's answer.
    pub errno: i32,
    /// What the file itself tells about it, when it can be read.
    pub obstacle: Option<Obstacle>,
}

/// The kinds of [`ExecError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecCause {
    /// No such file, or not in any directory of PATH.
    NotFound,
    /// The file is there, its interpreter (of a script, or the dynamic loader) is not.
    NoInterpreter,
    /// The file is there and cannot be executed.
    NotExecutable,
}

/// What is wrong with a file that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Obstacle {
    /// A program is linked dynamically, and its loader is not there.
    Loader {
        /// The loader that is missing.
        #[serde(with = "raw")]
        loader: OsString,
        /// Whose it is: the program, or the interpreter of a script.
        #[serde(with = "raw")]
        of: OsString,
    },
    /// What runs a script is not there.
    Interpreter {
        /// What the line that begins with `#!` names.
        #[serde(with = "raw")]
        interpreter: OsString,
        /// The script.
        #[serde(with = "raw")]
        of: OsString,
    },
    /// A program for another kind of machine: its number in ELF.
    Machine(u16),
    /// Neither a program nor a script that names its interpreter.
    NoProgram,
    /// A directory.
    Directory,
    /// A file that nobody may execute.
    Mode,
}

/// The reason of a [`ExecCause::NoInterpreter`] whose file cannot be read.
const NO_INTERPRETER: &str =
    "no such file or directory: the file is there, but its script interpreter or dynamic loader is not";

impl ExecError {
    /// 127 when the program is not found, 126 when it cannot be executed.
    pub fn exit_code(&self) -> i32 {
        match self.cause {
            ExecCause::NotFound | ExecCause::NoInterpreter => 127,
            ExecCause::NotExecutable => 126,
        }
    }

    /// What to do, where that is known.
    pub fn help(&self) -> Option<String> {
        match &self.obstacle {
            Some(obstacle) => obstacle.help(),
            None if self.cause == ExecCause::NotFound && self.program == "/bin/sh" => Some(
                "the image has no shell: name a program in the exec form, [\"/program\", \"argument\"], or use a base that has one".to_owned(),
            ),
            None => None,
        }
    }

    fn reason(&self) -> String {
        match (&self.obstacle, self.cause) {
            (Some(obstacle), _) => obstacle.to_string(),
            (None, ExecCause::NotFound) if self.program.to_string_lossy().contains('/') => {
                "no such file or directory".to_owned()
            }
            (None, ExecCause::NotFound) => "executable file not found in $PATH".to_owned(),
            (None, ExecCause::NoInterpreter) => NO_INTERPRETER.to_owned(),
            (None, ExecCause::NotExecutable) => match self.errno {
                libc::ENOEXEC => "exec format error (not a program for this machine)".to_owned(),
                libc::EACCES => "permission denied".to_owned(),
                errno => io::Error::from_raw_os_error(errno).to_string(),
            },
        }
    }
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loader { loader, of } => {
                let (loader, of) = (shown(loader), shown(of));
                write!(f, "no such file or directory: {of} is there, but its dynamic loader {loader} is not")
            }
            Self::Interpreter { interpreter, of } => {
                let (interpreter, of) = (shown(interpreter), shown(of));
                write!(
                    f,
                    "no such file or directory: {of} is there, but {interpreter}, which its #! line names, is not"
                )
            }
            Self::Machine(number) => {
                write!(f, "exec format error: the program is for {}", machine(*number))?;
                write!(f, ", this machine is {}", std::env::consts::ARCH)
            }
            Self::NoProgram => {
                f.write_str("exec format error: neither a program nor a script that begins with #!")
            }
            Self::Directory => f.write_str("permission denied: it is a directory"),
            Self::Mode => f.write_str("permission denied: the file is not executable"),
        }
    }
}

impl Obstacle {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Loader { loader, .. } => format!(
                "the program needs {} at run time: link it statically (Go: CGO_ENABLED=0, or with cgo \
                 -ldflags=\"-extldflags=-static\"), or use a base image that has it",
                c_library(loader)
            ),
            Self::Interpreter { interpreter, .. } if interpreter.as_encoded_bytes().ends_with(b"\r") => {
                "the script has the line endings of Windows: take them out, as with sed -i 's/\\r$//' FILE"
                    .to_owned()
            }
            Self::Interpreter { interpreter, .. } => {
                format!("use a base image with {}, or install it in an earlier RUN", shown(interpreter))
            }
            Self::Machine(_) => "build it for this machine".to_owned(),
            Self::NoProgram => "let a script begin with a line such as #!/bin/sh".to_owned(),
            Self::Directory => return None,
            Self::Mode => {
                "make it executable: chmod +x before the build, COPY --chmod=755, or RUN chmod +x".to_owned()
            }
        })
    }
}

/// Whose loader it is.
fn c_library(loader: &OsStr) -> String {
    let loader = shown(loader);
    match &loader {
        name if name.contains("ld-musl") => "musl, the C library of Alpine,".to_owned(),
        name if name.contains("/ld-linux") || name.contains("/ld64.so") => {
            "glibc, the C library of Debian, Fedora and others,".to_owned()
        }
        _ => loader,
    }
}

/// The name of a machine, by its number in ELF.
fn machine(number: u16) -> String {
    let name = match number {
        3 => "x86",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        258 => "loongarch",
        _ => return format!("another one (number {number})"),
    };
    name.to_owned()
}

/// A path for a message: what cannot be seen, such as a carriage return, is written out.
fn shown(path: &OsStr) -> String {
    path.to_string_lossy().chars().fold(String::new(), |mut text, character| {
        if character.is_control() {
            text.extend(character.escape_debug());
        } else {
            text.push(character);
        }
        text
    })
}
