//! A sandbox where neither mounts nor namespaces are allowed: another root directory, and fewer rights.
//!
//! What would be mounted is there already, as files that whoever asked for the sandbox has put below its root.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Signal, chdir, chroot, set_parent_process_death_signal};

use super::{Request, exec, process, step::Step as _, terminal};
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
    // Where the caller does not know better, a private network, a wait for it or a terminal is refused here.
    if spec.network != Network::Host {
        return Err(Errno::PERM).step(SetupStep::NewNetwork);
    }
    if spec.hold_sockets {
        return Err(Errno::PERM).step(SetupStep::HoldSockets);
    }
    if spec.tty.is_some() {
        return Err(Errno::PERM).step(SetupStep::OpenTerminal);
    }
    change_root(&spec.root)?;
    let program = exec::Program::new(&spec.args, &spec.env)?;
    request.report(&Setup::Ready { made: Vec::new() }, &[]);
    terminal::connect(None, &request.streams, &spec.user)?;
    process::restrict(&spec, inherited, request.supervisor.as_ref())?;
    // Last, for a change of user takes it back. The guard does not need it; this is for the case that it is killed.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    Ok(program.exec())
}

fn change_root(root: &Root) -> Result<(), SetupError> {
    let Root::Directory(path) = root else { return Err(Errno::PERM).step(SetupStep::MountOverlay) };
    chdir(path.as_path()).step_at(SetupStep::ChangeRoot, path)?;
    chroot(Path::new(".")).step_at(SetupStep::ChangeRoot, path)
}
