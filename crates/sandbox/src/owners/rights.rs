//! What the supervisor may do.

use rustix::io::Errno;

use crate::sys;

/// What is needed to look into a process, and to mark files that cannot be written to.
const OWN: u64 = 1 << SYS_CHROOT | 1 << SYS_PTRACE | 1 << SYS_RESOURCE | 1 << SETFCAP;
/// What the sandbox's own programs can do to files. The supervisor has no more of it than they when it acts for one.
const OF_SANDBOX: u64 = 1 << CHOWN | 1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH | 1 << FOWNER | 1 << FSETID;

/// With these and its own it can mark any file.
const TO_MARK: u64 = 1 << DAC_OVERRIDE | 1 << FOWNER;

const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;
const FOWNER: u32 = 3;
const FSETID: u32 = 4;
const SYS_CHROOT: u32 = 18;
const SYS_PTRACE: u32 = 19;
const SYS_RESOURCE: u32 = 24;
const SETFCAP: u32 = 31;

/// Sets of capabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    all: u64,
    usual: u64,
}

impl Rights {
    /// Keeps nothing else, for the supervisor of a sandbox whose programs can have these.
    pub(super) fn take(sandbox: u64) -> Result<Self, Errno> {
        let all = (OWN | OF_SANDBOX) & sys::permitted_capabilities();
        let rights = Self { all, usual: all & (OWN | sandbox) };
        sys::set_capabilities(all, 0).map_err(|_| Errno::PERM)?;
        rights.set(rights.usual);
        Ok(rights)
    }

    /// Writes a mark, with all of them if it takes more than the usual.
    pub(super) fn to_mark<T>(self, act: impl FnOnce() -> T) -> T {
        if self.usual & TO_MARK == TO_MARK {
            return act();
        }
        self.set(self.all);
        let done = act();
        self.set(self.usual);
        done
    }

    fn set(self, effective: u64) {
        // They are permitted, so it does not fail.
        let _ = sys::set_effective_capabilities(effective, self.all);
    }
}
