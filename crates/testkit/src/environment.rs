//! A hermetic place for one test: own home, own store, own work folder, a cleared environment.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use fs_err as fs;
use tempfile::TempDir;

/// A temporary folder with `home/`, `store/` and `work/`, removed at the end.
#[derive(Debug)]
pub struct TestEnv {
    folder: TempDir,
}

impl TestEnv {
    /// A fresh one.
    ///
    /// # Panics
    /// When the temporary folder cannot be made: no test can go on then.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("galley-test-").tempdir().expect("a temporary folder");
        for name in ["home", "work"] {
            fs::create_dir(folder.path().join(name)).expect("a folder in the temporary folder");
        }
        Self { folder }
    }

    /// The folder of the build context.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The store's root; made by the first command.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The whole folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below `work/`, with the folders above it.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        let parent = path.parent().expect("a file below work/");
        fs::create_dir_all(parent).expect("the folders above the file");
        fs::write(path, content).expect("the file");
    }

    /// `program`, to be run in `work/` with nothing of the caller's environment but PATH, GALLEY_PACKED and GALLEY_RUNG.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.work()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path().join("home"));
        command.env("GALLEY_ROOT", self.store());
        command.env("LC_ALL", "C").env("TZ", "UTC");
        // All tests can be run with layers in either form, and on a lower rung.
        command.envs(std::env::var_os("GALLEY_PACKED").map(|packed| ("GALLEY_PACKED", packed)));
        command.envs(std::env::var_os("GALLEY_RUNG").map(|rung| ("GALLEY_RUNG", rung)));
        command
    }

    /// Runs `program` with `arguments`, which must succeed, and returns its standard output.
    ///
    /// # Panics
    /// When it cannot be started or fails; the message holds all it wrote.
    pub fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output().expect("a program that starts");
        assert!(output.status.success(), "{arguments:?} failed: {}", transcript(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}

fn transcript(output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status)
}
