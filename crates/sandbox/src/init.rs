//! The roles in which the program runs itself again.

use std::ffi::{CStr, OsString};

use crate::manner::Manner;

/// First argument of the process that makes sandboxes.
pub(crate) const ZYGOTE: &CStr = c"__galley-zygote";

/// First argument of the process that tries what a user namespace allows.
pub(crate) const PROBE: &CStr = c"__galley-probe";

/// Runs the hidden role that the program was started for, if any, and then does not return. Else it sets how this process
/// keeps its memory.
///
/// Has to be the first call in `main`, before any thread exists: the roles fork.
pub fn init() {
    #[cfg(target_env = "gnu")]
    crate::sys::give_back_memory();
    let mut args = std::env::args_os().skip(1);
    let Some(role) = args.next() else { return };
    if is(&role, ZYGOTE) {
        let manner = Manner::of_argument(args.next().as_deref());
        crate::sys::exit_now(crate::zygote::run(manner));
    }
    if is(&role, PROBE) {
        crate::sys::exit_now(crate::probe::run(args));
    }
}

fn is(arg: &OsString, role: &CStr) -> bool {
    arg.as_encoded_bytes() == role.to_bytes()
}
