//! Faults at system calls: a program under which another one runs, and that has one of its writing calls fail, or kills it
//! there, or does something just before.
//!
//! `strace` can have calls fail too, but counts those of each thread apart, so that "the 17th" is another one each time.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use fs_err as fs;
use rustix::io::Errno;

use crate::install;

const SOURCE: &str = include_str!("faults/meddle.c");

/// The program, compiled. Root alone has it: for others a filter on system calls would forbid the set-id programs that
/// galley needs.
#[derive(Clone, Debug)]
pub struct Meddler {
    program: PathBuf,
}

/// What is to happen to a command.
#[derive(Clone, Debug)]
pub struct Meddle {
    arguments: Vec<OsString>,
}

impl Meddler {
    /// `None`, said loudly, where it cannot be had.
    #[must_use]
    pub fn new() -> Option<Self> {
        static PROGRAM: OnceLock<Result<Meddler, String>> = OnceLock::new();
        match PROGRAM.get_or_init(Self::compile) {
            Ok(meddler) => Some(meddler.clone()),
            Err(why) => {
                #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
                {
                    eprintln!("SKIPPED: no faults at system calls: {why}");
                }
                None
            }
        }
    }

    /// One file for all test programs that want the same, put in its place whole.
    fn compile() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("they need root".to_owned());
        }
        let name =
            format!("galley-test-meddle-{}", &galley_oci::Digest::blake3(SOURCE.as_bytes()).hex()[..16]);
        let meddler = Self { program: std::env::temp_dir().join(name) };
        if !meddler.program.exists() {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let (source, made) = (folder.path().join("meddle.c"), folder.path().join("meddle"));
            fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
            run(Command::new("cc").args(["-O1", "-o"]).args([&made, &source]))?;
            let beside = meddler.program.with_extension(std::process::id().to_string());
            install(&made, &beside);
            fs::rename(&beside, &meddler.program).map_err(|error| error.to_string())?;
        }
        run(Command::new(&meddler.program).args(["--", "true"]))?;
        Ok(meddler)
    }

    /// Counts the writing calls on files below `folders`, and does nothing yet.
    #[must_use]
    pub fn below(&self, folders: &[&Path]) -> Meddle {
        let mut meddle = Meddle { arguments: vec![self.program.clone().into()] };
        folders.iter().for_each(|folder| meddle.add("-u", folder));
        meddle
    }
}

impl Meddle {
    fn add(&mut self, option: &str, value: impl AsRef<OsStr>) {
        self.arguments.extend([option.into(), value.as_ref().to_owned()]);
    }

    fn with(mut self, option: &str, value: impl AsRef<OsStr>) -> Self {
        self.add(option, value);
        self
    }

    /// A line for each call that counts: its number, its name, its path, and a second path if it has one, between tabs.
    #[must_use]
    pub fn log(self, path: &Path) -> Self {
        self.with("-l", path)
    }

    /// Only these calls count, as `write,rename`; `read` and `pread64` count only when they are named.
    #[must_use]
    pub fn calls(self, names: &str) -> Self {
        self.with("-c", names)
    }

    /// Only calls with this in a path count.
    #[must_use]
    pub fn on(self, text: &str) -> Self {
        self.with("-m", text)
    }

    /// The call that is meant, from one; zero means all.
    #[must_use]
    pub fn nth(self, number: usize) -> Self {
        self.with("-n", number.to_string())
    }

    /// It fails.
    #[must_use]
    pub fn fails(self, error: Errno) -> Self {
        self.with("-e", error.raw_os_error().to_string())
    }

    /// So do all behind it.
    #[must_use]
    pub fn from_then_on(mut self) -> Self {
        self.arguments.push("-f".into());
        self
    }

    /// The command is killed instead of it.
    #[must_use]
    pub fn kills(mut self) -> Self {
        self.arguments.push("-k".into());
        self
    }

    /// `sh` executes this before it.
    #[must_use]
    pub fn runs(self, script: &str) -> Self {
        self.with("-r", script)
    }

    /// `command`, with its environment and folder, meddled with. It ends when all processes below it have.
    #[must_use]
    pub fn command(&self, command: &Command) -> Command {
        let mut new = Command::new(&self.arguments[0]);
        new.args(&self.arguments[1..]).arg("--").arg(command.get_program()).args(command.get_args());
        new.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            new.current_dir(folder);
        }
        new
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{}: {said}", command.get_program().display())) }
}
