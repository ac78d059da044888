//! Ctrl-C and SIGTERM: the first asks the build to stop, the second ends galley at once.

use std::{io, thread};

use galley_engine::{Cancel, Error, ErrorKind};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::exit;

/// Throws `cancel` at the first signal. The second ends the process; what steps still run ends with it, since their
/// init watches a pipe from here.
pub(crate) fn cancel_on_signal(cancel: &Cancel) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let cancel = cancel.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if cancel.is_cancelled() {
                leave();
            }
            cancel.cancel();
        }
    })?;
    Ok(())
}

/// A switch that the first signal throws.
pub(crate) fn listen() -> Result<Cancel, Error> {
    let cancel = Cancel::new();
    cancel_on_signal(&cancel)
        .map_err(|error| Error::new(ErrorKind::Machine, "cannot listen for signals").because(error))?;
    Ok(cancel)
}

#[expect(
    clippy::exit,
    reason = "the person asked twice; nothing is visible before it is whole, so nothing is lost"
)]
fn leave() {
    std::process::exit(i32::from(exit::INTERRUPTED));
}
