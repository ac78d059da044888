//! The person's terminal while a container has it: raw, its size passed on, and as it was afterwards.

use std::io::{self, IsTerminal};

use galley_engine::{Error, ErrorKind};
use galley_sandbox::TtySize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// When no terminal says its size.
const DEFAULT_SIZE: TtySize = TtySize { rows: 24, cols: 80 };

/// Every key goes through until this is dropped.
#[derive(Debug)]
pub(in crate::commands) struct Raw {
    before: Termios,
}

impl Raw {
    /// None when standard input is no terminal.
    pub(in crate::commands) fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

/// A container's terminal that is typed into takes one here.
pub(in crate::commands) fn require(wanted: bool) -> Result<(), Error> {
    if !wanted || io::stdin().is_terminal() {
        return Ok(());
    }
    let message = "standard input is no terminal, which -t and -i together need";
    Err(Error::new(ErrorKind::Usage, message))
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The size of the terminal that shows the output.
pub(in crate::commands) fn size() -> TtySize {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin()));
    match size {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => TtySize { rows: size.ws_row, cols: size.ws_col },
        _ => DEFAULT_SIZE,
    }
}
