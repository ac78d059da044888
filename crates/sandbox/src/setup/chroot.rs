//! A sandbox where neither mounts nor namespaces are allowed: another root directory, and fewer rights.
//!
//! What would be mounted is there already, as files that whoever asked for the sandbox has put below its root.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Signal, chdir, chroot, set_parent_process_death_signal};

use super::{Request, exec, init, last::LastFilter, process, step::Step as _, terminal};
use crate::cgroup::Placement;
use crate::error::{ExecError, SetupError, SetupStep};
use crate::spec::{Network, Root, Spec};
use crate::sys;
use crate::wire::Setup;
use crate::zygote::Inherited;

/// Everything from the fork to exec; returns only why exec did not happen.
pub(super) fn enter(
    request: &Request,
    placement: Option<&Placement>,
    inherited: &Inherited,
) -> Result<ExecError, SetupError> {
    placement.map_or(Ok(()), Placement::enter)?;
    let spec: Spec = request.describe()?;
    rustix::process::setsid().step(SetupStep::NewSession)?;
    sys::join_new_session_keyring();
    // Where the caller does not know better, a private network or a wait for it is refused here. No network is no sockets.
    if spec.network == Network::Shared {
        return Err(Errno::PERM).step(SetupStep::NewNetwork);
    }
    if spec.hold_sockets {
        return Err(Errno::PERM).step(SetupStep::HoldSockets);
    }
    // Of this container: there is no other devpts, and no /proc in the new root.
    let terminal = spec.tty.map(|size| terminal::open_outside(size, spec.user.uid)).transpose()?;
    process::score(&spec)?;
    change_root(&spec.root)?;
    let program = exec::Program::new(&spec.args, &spec.env)?;
    let master: Vec<BorrowedFd<'_>> = terminal.iter().map(|terminal| terminal.master.as_fd()).collect();
    request.report(&Setup::Ready { made: Vec::new() }, &master);
    terminal::connect(terminal.as_ref(), &request.streams, &spec.user)?;
    let restricted = process::restrict(&spec, inherited, request.supervisor.as_ref())?;
    let capabilities = process::settle(&spec, inherited, &restricted)?;
    // Last, for a change of user takes it back. The guard does not need it; this is for the case that it is killed.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let program = program.behind(LastFilter::prepare(request, &spec, capabilities)?);
    if spec.init {
        return init::run(program, terminal.is_some());
    }
    program.exec()
}

fn change_root(root: &Root) -> Result<(), SetupError> {
    let Root::Directory(path) = root else { return Err(Errno::PERM).step(SetupStep::MountOverlay) };
    chdir(path.as_path()).step_at(SetupStep::ChangeRoot, path)?;
    chroot(Path::new(".")).step_at(SetupStep::ChangeRoot, path)
}
