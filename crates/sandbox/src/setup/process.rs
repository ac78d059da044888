//! The process itself: directory, limits, filter, identity.

use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::process::{Resource as Limit, setrlimit};

use super::step::Step as _;
use crate::capabilities::Capabilities;
use crate::error::{SetupError, SetupStep};
use crate::manner::Manner;
use crate::spec::{Network, Resource, Seccomp, Spec, Ulimit};
use crate::zygote::Inherited;
use crate::{gate, owners, seccomp};
use crate::{sys, userns};

/// The mask of new files' permissions, as in Docker.
const UMASK: u32 = 0o022;
/// Bits of a capability set.
const CAPABILITIES_MAX: usize = 64;

/// What is left to do once nothing has to be told to others any more.
pub(crate) struct Restricted {
    /// Where sockets wait, when they are to.
    pub(crate) gate: Option<OwnedFd>,
    /// It is in its working directory.
    entered: bool,
}

/// Takes most away that the program should not have; [`settle`] does the rest. The order matters: the filter needs rights that
/// go next, and changing the user comes after everything that only root may do.
pub(crate) fn restrict(
    spec: &Spec,
    inherited: &Inherited,
    supervisor: Option<&OwnedFd>,
) -> Result<Restricted, SetupError> {
    reset(inherited)?;
    limits(spec)?;
    if inherited.manner == Manner::Namespaces {
        score(spec)?;
    }
    // Root may enter any directory; a user may own one that root of a user namespace cannot enter.
    let early = rustix::process::chdir(spec.cwd.as_path());
    // Where there is no namespace for it. A set-id program could do without the filter.
    let no_sockets = inherited.manner == Manner::Chroot && spec.network == Network::None;
    if spec.no_new_privileges || no_sockets {
        rustix::thread::set_no_new_privs(true).step(SetupStep::SetNoNewPrivileges)?;
    }
    if spec.seccomp == Seccomp::Default && (no_sockets || may_filter(spec, inherited)) {
        sys::load_filter(&seccomp::docker_default(spec.capabilities)).step(SetupStep::LoadSeccomp)?;
    }
    if no_sockets {
        sys::load_filter(&seccomp::no_sockets()).step(SetupStep::LoadSeccomp)?;
    }
    let gate = match supervisor {
        Some(supervisor) => {
            let door = owners::hand_over(supervisor, spec).step(SetupStep::HandOver)?;
            super::terminal::give_streams(spec.tty.is_some(), &spec.user);
            door
        }
        None if spec.hold_sockets => Some(gate::close().step(SetupStep::HoldSockets)?),
        None => None,
    };
    Ok(Restricted { gate, entered: early.is_ok() })
}

/// Becomes the program's user, in its directory. Gives the user's capabilities.
pub(crate) fn settle(spec: &Spec, inherited: &Inherited, restricted: &Restricted) -> Result<u64, SetupError> {
    let capabilities = identity(spec, inherited)?;
    if !restricted.entered {
        rustix::process::chdir(spec.cwd.as_path()).step_at(SetupStep::ChangeDirectory, &spec.cwd)?;
    }
    Ok(capabilities)
}

/// What every program should find as if it were started by a shell.
pub(crate) fn reset(inherited: &Inherited) -> Result<(), SetupError> {
    sys::reset_signals(&inherited.ignored_signals);
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    setrlimit(Limit::Nofile, inherited.open_files).step(SetupStep::SetLimits)
}

fn limits(spec: &Spec) -> Result<(), SetupError> {
    // Where the kernel knows one user only, this one says who a process is (owners/ids.rs).
    let ours = |resource: Resource| resource == Resource::Locks && userns::has_one_id();
    for limit in spec.ulimits.iter().filter(|limit| !ours(limit.resource)) {
        let Ulimit { resource, soft, hard } = *limit;
        sys::set_limit(kernel_number(resource), soft, hard).step_at(SetupStep::SetLimits, resource.name())?;
    }
    Ok(())
}

/// How soon the kernel ends it when memory is short; needs a /proc.
pub(super) fn score(spec: &Spec) -> Result<(), SetupError> {
    let Some(score) = spec.oom_score_adj else { return Ok(()) };
    let path = "/proc/self/oom_score_adj";
    fs_err::write(path, score.to_string()).step_at(SetupStep::SetOomScore, path)
}

/// The kernel's numbers; the C libraries disagree about their type.
fn kernel_number(resource: Resource) -> u32 {
    match resource {
        Resource::Cpu => 0,
        Resource::Fsize => 1,
        Resource::Data => 2,
        Resource::Stack => 3,
        Resource::Core => 4,
        Resource::Rss => 5,
        Resource::Nproc => 6,
        Resource::Nofile => 7,
        Resource::Memlock => 8,
        Resource::Locks => 10,
        Resource::Sigpending => 11,
        Resource::Msgqueue => 12,
        Resource::Nice => 13,
        Resource::Rtprio => 14,
        Resource::Rttime => 15,
    }
}

/// A filter needs a right that a container without mounts does not have, or that setuid programs stop working, which
/// builds need more. There the filter of that container is the only one.
fn may_filter(spec: &Spec, inherited: &Inherited) -> bool {
    let admin = || Capabilities::none().with("SYS_ADMIN").is_some_and(|admin| has_all(admin.bits()));
    inherited.manner == Manner::Namespaces || spec.no_new_privileges || admin()
}

fn has_all(bits: u64) -> bool {
    sys::permitted_capabilities() & bits == bits
}

/// Whether a capability is gone from what the program can get; `false` when the kernel does not know the number. A
/// container that may not change its bounding set keeps it.
fn drop_bounding(number: usize, inherited: &Inherited) -> std::io::Result<bool> {
    match sys::drop_bounding(number) {
        Err(error) if inherited.manner == Manner::Chroot && error.raw_os_error() == Some(libc::EPERM) => {
            Ok(true)
        }
        result => result,
    }
}

/// What is kept beyond the user's own until the program is executed: the right to load a filter.
fn kept_for_filter(spec: &Spec) -> u64 {
    let admin = || Capabilities::none().with("SYS_ADMIN").map_or(0, Capabilities::bits);
    let wanted = matches!(spec.seccomp, Seccomp::Own(_)) && !spec.no_new_privileges;
    if wanted { admin() & sys::permitted_capabilities() } else { 0 }
}

fn identity(spec: &Spec, inherited: &Inherited) -> Result<u64, SetupError> {
    sys::clear_ambient().step(SetupStep::DropBounding)?;
    for number in (0..CAPABILITIES_MAX).filter(|&number| !spec.capabilities.has(number)) {
        if !drop_bounding(number, inherited).step(SetupStep::DropBounding)? {
            break;
        }
    }
    let (user, kept) = (&spec.user, kept_for_filter(spec));
    // Where the kernel knows one user only, nobody leaves root's id as it sees it.
    if spec.insecure || (kept != 0 && user.uid != 0 && !userns::has_one_id()) {
        sys::keep_capabilities().step(SetupStep::SetCapabilities)?;
    }
    sys::set_groups(&user.groups).step(SetupStep::SetGroups)?;
    sys::set_gid(user.gid).step(SetupStep::SetIds)?;
    sys::set_uid(user.uid).step(SetupStep::SetIds)?;
    // Exec gives root everything the bounding set leaves, and others nothing. An outer container may have kept some from
    // galley itself.
    let permitted = spec.capabilities.bits() & sys::permitted_capabilities();
    if spec.insecure {
        return keep_all(permitted, kept).step(SetupStep::SetCapabilities).map(|()| permitted);
    }
    let bits = if user.uid == 0 { permitted } else { 0 };
    sys::set_capabilities(bits | kept, 0).step(SetupStep::SetCapabilities).map(|()| bits)
}

/// Leaves these capabilities to the program whoever it runs as, as in BuildKit; those of `kept` stay until then.
fn keep_all(bits: u64, kept: u64) -> std::io::Result<()> {
    sys::set_capabilities(bits | kept, bits)?;
    (0..CAPABILITIES_MAX).filter(|number| bits & (1 << number) != 0).try_for_each(sys::raise_ambient)
}
