//! Ctrl-C and SIGTERM: the first asks the build to stop, the second ends galley at once.

use std::{
    io::{self, Read},
    thread::{self, JoinHandle},
};

use galley_engine::{Cancel, CancelGuard, Error, ErrorKind};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle, Signals},
};

use crate::{exit, failure::Outcome};

const STATUS_BYTES_MAX: usize = 8 * 1024;

/// Throws `cancel` at the first signal. The second ends the process; what steps still run ends with it, since their
/// init watches a pipe from here.
fn start(cancel: &Cancel) -> io::Result<(Handle, JoinHandle<()>)> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if !is_ignored(&status().unwrap_or_default(), SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let (handle, cancel) = (signals.handle(), cancel.clone());
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if cancel.is_cancelled() {
                leave();
            }
            cancel.cancel();
        }
    })?;
    Ok((handle, thread))
}

/// What /proc says of this process, read at once: it tells no length, and grows line by line otherwise.
fn status() -> io::Result<String> {
    let mut status = String::with_capacity(STATUS_BYTES_MAX);
    let file = fs_err::File::open("/proc/self/status")?;
    file.take(STATUS_BYTES_MAX as u64).read_to_string(&mut status)?;
    Ok(status)
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
    start(&cancel).map_err(deaf)?;
    Ok(cancel)
}

/// The same for as long as `work` takes: afterwards signals mean something else.
pub(crate) fn while_listening<T>(work: impl FnOnce(Cancel) -> Outcome<T>) -> Outcome<T> {
    let cancel = Cancel::new();
    let (handle, thread) = start(&cancel).map_err(deaf)?;
    let done = work(cancel.clone());
    handle.close();
    // The thread takes the handlers with it.
    let _ = thread.join();
    if cancel.is_cancelled() {
        done?;
        return Err(Error::new(ErrorKind::Cancelled, "cancelled").into());
    }
    done
}

fn deaf(error: io::Error) -> Error {
    Error::new(ErrorKind::Machine, "cannot listen for signals").because(error)
}

/// Ends galley at the first signal from now on, with success: what it was asked for is done, and what it still does can be
/// left at any moment. For as long as the answer lives.
pub(crate) fn end_at_first(cancel: &Cancel) -> CancelGuard {
    cancel.on_cancel(|| exit::leave())
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
    fn what_listened_for_a_while_does_not_end_galley_later() {
        let raise = || signal_hook::low_level::raise(SIGTERM).unwrap();
        let done = while_listening(|cancel| {
            raise();
            while !cancel.is_cancelled() {
                thread::yield_now();
            }
            Ok(())
        });
        assert_eq!(done.unwrap_err().code(), exit::INTERRUPTED);
        // A second one would have, and a third.
        raise();
        raise();
    }

    #[test]
    fn nohup_is_respected() {
        let status =
            |set: &str| format!("Name:\tgalley\nSigBlk:\t0000000000000001\nSigIgn:\t{set}\nSigCgt:\t0\n");
        assert!(is_ignored(&status("0000000000001001"), SIGHUP));
        assert!(!is_ignored(&status("0000000000001000"), SIGHUP));
        assert!(!is_ignored("", SIGHUP));
    }
}
