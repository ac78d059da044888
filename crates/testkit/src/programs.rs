//! Programs that tests make and then execute.
//!
//! What is executed may be open for writing nowhere. So a process of its own writes it: if the test did, a child that another
//! thread starts just then would have the file open too, and for a moment it would be "Text file busy".

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use fs_err as fs;

/// A copy of a program that everybody may execute.
///
/// # Panics
///
/// When it cannot be made.
pub fn install(program: &Path, to: &Path) {
    let file = fs::File::open(program).expect("the program can be read");
    run(file.into_file().into(), to)
        .wait()
        .ok()
        .filter(ExitStatus::success)
        .expect("`install` makes the program");
}

/// The same with a script's text.
///
/// # Panics
///
/// When it cannot be made.
pub fn install_script(text: &str, to: &Path) {
    let mut child = run(Stdio::piped(), to);
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    written.transpose().expect("`install` takes the script");
    child.wait().ok().filter(ExitStatus::success).expect("`install` makes the script");
}

fn run(from: Stdio, to: &Path) -> Child {
    let mut command = Command::new("install");
    command.args(["-m", "755", "/dev/stdin"]).arg(to).stdin(from).spawn().expect("`install` is there")
}
