//! A filter of somebody's own: the very last step before the program.
//!
//! It may refuse anything, so nothing of galley's comes after it but `execve`. The right to load it, which the kernel asks for
//! unless setuid programs are given up, is therefore held until the program takes it away. Why a program could not be
//! executed is left in memory that galley has as well, since the filter may refuse to send it.

use super::{Request, step::Step as _};
use crate::error::{ExecError, SetupError, SetupStep};
use crate::note::Note;
use crate::seccomp::SeccompProgram;
use crate::spec::{Seccomp, Spec};
use crate::sys;
use crate::wire::Setup;

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

    /// The same for a process that executes no program, which would take the right to it away.
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
        if let Ok(text) = serde_json::to_vec(&Setup::Exec(error.clone())) {
            self.note.leave(&text);
        }
    }
}
