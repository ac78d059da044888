//! Docker's default system call filter, compiled to classic BPF.
//!
//! The program looks at the architecture of the call first, since a process of one machine can make calls of another
//! (i386 programs on x86-64), then searches the number by halves. Denied calls fail with EPERM, calls that the table
//! does not know with ENOSYS: programs then fall back to older ones, as they do on an older kernel.

mod compile;
mod custom;
mod denied;
mod listener;
mod profile;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::capabilities::Capabilities;

pub use custom::{SeccompError, SeccompProfile, SeccompProgram};
pub(crate) use listener::{Call, Listener, load_listener};

/// What the profile says about a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Allowed to all.
    Allow,
    /// Allowed with any of these capabilities.
    With(&'static [&'static str]),
    /// Without CAP_SYS_ADMIN: no new namespaces.
    Clone,
    /// Without CAP_SYS_ADMIN: not there (its flags are behind a pointer, which a filter cannot follow).
    Clone3,
    /// No sockets to the hypervisor or into the kernel's cryptography.
    Socket,
    /// Only what changes the layout or name of the machine harmlessly.
    Personality,
}

/// What the filter does with a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    /// Fails with this error.
    Errno(i32),
    /// Looks at the flags.
    CheckClone,
    /// Looks at the address family.
    CheckSocket,
    /// Looks at the value.
    CheckPersonality,
    /// Goes to the supervisor.
    Notify,
    /// Goes to the supervisor when the flags, which are this argument, say that a file may be made.
    NotifyCreation(u8),
    /// Goes to the supervisor when this argument is one of those.
    NotifyFor(u8, &'static [u32]),
    /// Goes to the supervisor unless this argument is that.
    NotifyUnless(u8, u32),
    /// Fails with this error when this argument is one of those.
    ErrnoFor(i32, u8, &'static [u32]),
    /// Fails with this error unless this argument is that.
    ErrnoUnless(i32, u8, u32),
}

impl Rule {
    fn action(self, capabilities: Capabilities) -> Action {
        let admin = capabilities.contains("SYS_ADMIN");
        match self {
            Self::Allow => Action::Allow,
            Self::With(any) if any.iter().any(|name| capabilities.contains(name)) => Action::Allow,
            Self::With(_) => Action::Errno(libc::EPERM),
            Self::Clone | Self::Clone3 if admin => Action::Allow,
            Self::Clone => Action::CheckClone,
            Self::Clone3 => Action::Errno(libc::ENOSYS),
            Self::Socket => Action::CheckSocket,
            Self::Personality => Action::CheckPersonality,
        }
    }
}

/// The kernel's names of the machines, from `linux/audit.h`.
mod audit_arch {
    pub(super) const X86_64: u32 = 0xc000_003e;
    pub(super) const I386: u32 = 0x4000_0003;
    pub(super) const AARCH64: u32 = 0xc000_00b7;
}

/// The column of a machine in the table.
type Column = fn(&profile::Row) -> u32;

/// The machines whose calls a process of this machine can make, with their column of the table.
fn machines() -> Vec<(u32, Column)> {
    if cfg!(target_arch = "aarch64") {
        vec![(audit_arch::AARCH64, |row| row.3)]
    } else {
        vec![(audit_arch::X86_64, |row| row.1), (audit_arch::I386, |row| row.2)]
    }
}

/// The filter that nearly every sandbox gets: made once in the helper process, and inherited by its children.
static USUAL: OnceLock<Vec<libc::sock_filter>> = OnceLock::new();

/// Makes the usual filter, while nobody waits for it.
pub(crate) fn make_usual() {
    USUAL.get_or_init(|| compiled(Capabilities::docker_default()));
}

/// The filter for a process with these capabilities.
pub(crate) fn docker_default(capabilities: Capabilities) -> Cow<'static, [libc::sock_filter]> {
    match USUAL.get() {
        Some(usual) if capabilities == Capabilities::docker_default() => Cow::Borrowed(usual),
        _ => Cow::Owned(compiled(capabilities)),
    }
}

/// The calls that are about owners of files and identities of processes.
const ABOUT_OWNERS: [&str; 41] = [
    "chown",
    "chroot",
    "creat",
    "execve",
    "fchown",
    "fchownat",
    "fstat",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getresgid",
    "getresuid",
    "getuid",
    "lchown",
    "lstat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "getrlimit",
    "setrlimit",
    "prlimit64",
    "prctl",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
    "stat",
    "statx",
    "symlink",
    "symlinkat",
];

/// What becomes of the rights of who leaves root's id.
const KEEPING: [u32; 2] = [libc::PR_SET_KEEPCAPS as u32, libc::PR_SET_SECUREBITS as u32];
/// The resource limit in which a process carries its identity.
const LOCKS: [u32; 1] = [libc::RLIMIT_LOCKS];

/// The filter that hands the calls of this machine about owners over (crate::owners). Those of 32-bit programs go to the
/// kernel, as does everything else. With `sockets` those that make one are handed over too, as by [`sockets`].
pub(crate) fn owners(sockets: bool) -> Vec<libc::sock_filter> {
    let ranges = |index, column| match index {
        0 => owners_ranges(column, sockets),
        _ if sockets => sockets_ranges(column),
        _ => vec![(0, Action::Allow)],
    };
    let machines = machines().into_iter().enumerate();
    let sections: Vec<_> = machines.map(|(index, (arch, column))| (arch, ranges(index, column))).collect();
    compile::program(&sections)
}

/// Whether a call of such a machine has the numbers that the C library of this one knows.
pub(crate) fn is_native(arch: u32) -> bool {
    machines()[0].0 == arch
}

fn owners_ranges(column: Column, sockets: bool) -> Vec<(u32, Action)> {
    let mut actions = vec![Action::Allow; profile::LAST_KNOWN as usize + 2];
    for (number, action) in makers_of_sockets(column).into_iter().filter(|_| sockets) {
        if let Some(slot) = actions.get_mut(number as usize) {
            *slot = action;
        }
    }
    for row in profile::PROFILE.iter().filter(|row| ABOUT_OWNERS.contains(&row.0)) {
        if let Some(action) = actions.get_mut(column(row) as usize) {
            *action = match row.0 {
                "open" => Action::NotifyCreation(1),
                "openat" => Action::NotifyCreation(2),
                "prctl" => Action::NotifyFor(0, &KEEPING),
                "getrlimit" | "setrlimit" => Action::NotifyFor(0, &LOCKS),
                "prlimit64" => Action::NotifyFor(1, &LOCKS),
                _ => Action::Notify,
            };
        }
    }
    let mut ranges: Vec<(u32, Action)> = (0..).zip(actions).collect();
    ranges.dedup_by_key(|range| range.1);
    ranges
}

/// SYS_SOCKET of `socketcall`, which 32-bit programs may still make sockets with; the family is behind a pointer there.
const SOCKET_OF_SOCKETCALL: [u32; 1] = [1];

/// The filter that hands over every call that makes a socket, those of Unix families excepted (crate::gate).
pub(crate) fn sockets() -> Vec<libc::sock_filter> {
    let sections: Vec<_> =
        machines().into_iter().map(|(arch, column)| (arch, sockets_ranges(column))).collect();
    compile::program(&sections)
}

fn sockets_ranges(column: Column) -> Vec<(u32, Action)> {
    alone(makers_of_sockets(column))
}

/// Everything else is allowed.
fn alone(calls: Vec<(u32, Action)>) -> Vec<(u32, Action)> {
    let mut ranges = vec![(0, Action::Allow)];
    for (number, action) in calls {
        ranges.extend([(number, action), (number + 1, Action::Allow)]);
    }
    ranges
}

/// From here on are the calls of x32; other machines have none there.
const X32: u32 = 0x4000_0000;

/// Makes sockets too, behind a queue; the same number on every machine.
const IO_URING_SETUP: u32 = 425;

/// The filter for a process without a network where no namespace can be made: there are no sockets but those of Unix, as on
/// a kernel that knows no other.
pub(crate) fn no_sockets() -> Vec<libc::sock_filter> {
    let ranges = |column| {
        let makers = makers_of_sockets(column).into_iter().map(|(number, action)| {
            let refused = match action {
                Action::NotifyUnless(argument, value) => {
                    Action::ErrnoUnless(libc::EAFNOSUPPORT, argument, value)
                }
                Action::NotifyFor(argument, values) => Action::ErrnoFor(libc::EAFNOSUPPORT, argument, values),
                other => other,
            };
            (number, refused)
        });
        let mut all: Vec<_> = makers.chain([(IO_URING_SETUP, Action::Errno(libc::ENOSYS))]).collect();
        all.sort_by_key(|(number, _)| *number);
        let mut ranges = alone(all);
        // The same calls under the numbers of x32.
        ranges.push((X32, Action::Errno(libc::ENOSYS)));
        ranges
    };
    let sections: Vec<_> = machines().into_iter().map(|(arch, column)| (arch, ranges(column))).collect();
    compile::program(&sections)
}

/// In the order of their numbers.
fn makers_of_sockets(column: Column) -> Vec<(u32, Action)> {
    let number = |name: &str| profile::PROFILE.iter().find(|row| row.0 == name).map(column);
    let makers = [
        (number("socket"), Action::NotifyUnless(0, libc::AF_UNIX as u32)),
        (number("socketcall"), Action::NotifyFor(0, &SOCKET_OF_SOCKETCALL)),
    ];
    let known = makers.into_iter().filter_map(|(number, action)| Some((number?, action)));
    let mut known: Vec<_> = known.filter(|(number, _)| *number != profile::NONE).collect();
    known.sort_by_key(|(number, _)| *number);
    known
}

fn compiled(capabilities: Capabilities) -> Vec<libc::sock_filter> {
    let sections: Vec<_> =
        machines().into_iter().map(|(arch, column)| (arch, ranges(capabilities, column))).collect();
    compile::program(&sections)
}

/// The table as ranges of numbers, each with the number it begins at, from 0 to the end of all numbers.
fn ranges(capabilities: Capabilities, column: Column) -> Vec<(u32, Action)> {
    let mut actions = vec![Action::Errno(libc::EPERM); profile::LAST_KNOWN as usize + 1];
    for row in profile::PROFILE {
        if let Some(action) = actions.get_mut(column(row) as usize) {
            *action = row.4.action(capabilities);
        }
    }
    actions.push(Action::Errno(libc::ENOSYS));
    let mut ranges: Vec<(u32, Action)> = (0..).zip(actions).collect();
    ranges.dedup_by_key(|range| range.1);
    ranges
}
