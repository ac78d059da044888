//! A filter of system calls of somebody's own: `--security-opt seccomp=FILE`.

use std::sync::Arc;

use galley_sandbox::{Capabilities, INIT_CALLS, SeccompError, SeccompProfile, SeccompProgram};

use crate::{Error, ErrorKind, Place};

const HELP: &str = "write what docker takes, https://docs.docker.com/engine/security/seccomp; SCMP_ACT_NOTIFY, which needs an \
                    agent beside it, is not supported";

/// Checks the profile in `file` and gives what a [`Service`](super::Service) keeps of it.
pub fn seccomp_profile(file: &str, text: String) -> Result<String, Error> {
    let checked = SeccompProfile::read(text.as_bytes())
        .and_then(|profile| profile.program(Capabilities::docker_default()));
    match checked {
        Ok(_) => Ok(text),
        Err(error) => Err(explained(file, &text, &error)),
    }
}

fn explained(file: &str, text: &str, error: &SeccompError) -> Error {
    let message = format!("--security-opt seccomp={file}: {error}");
    let failed = Error::new(ErrorKind::Usage, message);
    match error {
        SeccompError::Written { what, line, column } => {
            let at = byte(text, *line, *column);
            let place = Place { file: Arc::from(file), text: Arc::from(text), span: at..at };
            failed.at(&place).label(what.clone()).help(HELP)
        }
        SeccompError::Long => {
            failed.help("docker's own has 14000 bytes; write names together that are treated alike")
        }
        SeccompError::Both(..) => failed.help("leave one of them out"),
        SeccompError::Large(_) => failed.help("write fewer rules with args"),
    }
}

/// The place of the byte before which reading stopped.
fn byte(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let at = (before + column.saturating_sub(1)).min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// The filter for a process with these capabilities, behind a first process of galley's with `init`. Refuses one under which no
/// program starts.
pub(super) fn program(
    profile: &str,
    capabilities: Capabilities,
    init: bool,
) -> Result<SeccompProgram, Error> {
    let failed = |error| Error::new(ErrorKind::Usage, format!("the container's seccomp profile: {error}"));
    let profile = SeccompProfile::read(profile.as_bytes()).map_err(failed)?;
    let needs = |calls: &[&'static str], why: &str| match profile.refuses(calls, capabilities) {
        None => Ok(()),
        Some(call) => {
            let message = format!("the container's seccomp profile refuses {call}, with which {why}");
            Err(Error::new(ErrorKind::Usage, message).help(format!(
                "add {{\"names\": [\"{call}\"], \"action\": \"SCMP_ACT_ALLOW\"}} to its syscalls"
            )))
        }
    };
    needs(&["execve"], "the program is started")?;
    if init {
        needs(&INIT_CALLS, "the process of --init works")?;
    }
    profile.program(capabilities).map_err(failed)
}
