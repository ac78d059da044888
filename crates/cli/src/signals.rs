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
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if !is_ignored(&fs_err::read_to_string("/proc/self/status").unwrap_or_default(), SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
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

/// Whether whoever started us ignores `signal`, by what /proc says of this process: `nohup` wants builds to go on when the
/// terminal is closed.
fn is_ignored(status: &str, signal: i32) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default();
    ignored & (1 << (signal - 1)) != 0
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_respected() {
        let status =
            |set: &str| format!("Name:\tgalley\nSigBlk:\t0000000000000001\nSigIgn:\t{set}\nSigCgt:\t0\n");
        assert!(is_ignored(&status("0000000000001001"), SIGHUP));
        assert!(!is_ignored(&status("0000000000001000"), SIGHUP));
        assert!(!is_ignored("", SIGHUP));
    }
}
