//! A filter of somebody's own: the very last step before the program.
//!
//! It may refuse anything, so nothing of galley's comes after it but `execve`. The right to load it, which the kernel asks for
//! unless setuid programs are given up, is therefore held until the program takes it away. Why a program could not be
//! executed is left in memory that galley has as well, since the filter may refuse to send it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::{Request, step::Step as _};
use crate::error::{ExecError, SetupError, SetupStep};
use crate::note::{NOTE_BYTES, Note};
use crate::seccomp::SeccompProgram;
use crate::spec::{Seccomp, Spec};
use crate::sys;
use crate::wire::Setup;

/// So much of the name of a program is left that is too long for a note.
const SHOWN_BYTES: usize = 256;

/// What is loaded last.
pub(crate) struct LastFilter {
    program: SeccompProgram,
    note: Note,
    /// The capabilities of the program's user.
    capabilities: u64,
}

impl LastFilter {
    /// Where there is one, tells galley where the last word will be.
    pub(super) fn prepare(
        request: &Request,
        spec: &Spec,
        capabilities: u64,
    ) -> Result<Option<Self>, SetupError> {
        let Seccomp::Own(program) = &spec.seccomp else { return Ok(None) };
        let note = Note::new().step(SetupStep::LoadSeccomp)?;
        request.report(&Setup::Note, &[note.file()]);
        Ok(Some(Self { program: program.clone(), note, capabilities }))
    }

    pub(super) fn load(&self) -> Result<(), SetupError> {
        let (instructions, flags) = (self.program.instructions(), self.program.flags());
        sys::load_filter_with(&instructions, flags).step(SetupStep::LoadSeccomp)
    }

    /// The same for a process that executes no program. That would take away the right to load it; here capabilities go before,
    /// and what the kernel asks for instead is set: that no program will ever gain any.
    pub(super) fn load_and_stay(&self) -> Result<(), SetupError> {
        sys::set_capabilities(self.capabilities, 0).step(SetupStep::SetCapabilities)?;
        rustix::thread::set_no_new_privs(true).step(SetupStep::SetNoNewPrivileges)?;
        self.load()
    }

    /// Takes back what was left: the next attempt may succeed.
    pub(super) fn keep_silent(&self) {
        self.note.leave(&[]);
    }

    /// Leaves why the program was not executed.
    pub(super) fn tell(&self, error: &ExecError) {
        self.note.leave(&word(error));
    }
}

/// As much of it as can be left: a program's name may be longer than any path, and half a word says nothing.
fn word(error: &ExecError) -> Vec<u8> {
    let text = |error: ExecError| serde_json::to_vec(&Setup::Exec(error)).unwrap_or_default();
    let whole = text(error.clone());
    if whole.len() < NOTE_BYTES {
        return whole;
    }
    let shown = error.program.as_bytes().get(..SHOWN_BYTES).unwrap_or_default();
    text(ExecError { program: OsStr::from_bytes(shown).to_owned(), ..error.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec_error::ExecCause;

    #[test]
    fn a_name_that_is_too_long_is_cut_and_not_the_note() {
        for length in [1, 4095, 20_000, 130_000] {
            let program = OsStr::from_bytes(&vec![b'x'; length]).to_owned();
            let error = ExecError { program, cause: ExecCause::NotFound, errno: 2, obstacle: None };
            let text = word(&error);
            assert!(text.len() < NOTE_BYTES, "{length}");
            let Ok(Setup::Exec(read)) = serde_json::from_slice(&text) else { panic!("{length}") };
            assert!(read.errno == 2 && (read == error || read.program.len() == SHOWN_BYTES));
        }
    }
}
