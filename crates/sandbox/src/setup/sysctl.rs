//! Settings of the kernel that belong to the namespaces of a sandbox.

use rustix::fs::{Mode, OFlags, openat};

use super::staging::{INERT, new_mount};
use super::step::Step as _;
use crate::error::{SetupError, SetupStep};

/// Sets them through a /proc of this process's own, while that of the host is still in sight: without it a user namespace gets none
/// that can be written to. Which names are whose namespace's is the caller's to know; a process in those of the host changes the host.
pub(super) fn set(sysctls: &[(String, String)]) -> Result<(), SetupError> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let proc = new_mount("proc", &[], INERT).step(SetupStep::MountProc)?;
    for (name, value) in sysctls {
        let path = format!("sys/{}", name.replace('.', "/"));
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&proc, path, flags, Mode::empty()).step_at(SetupStep::SetSysctl, name)?;
        rustix::io::write(&file, value.as_bytes()).step_at(SetupStep::SetSysctl, name)?;
    }
    Ok(())
}
