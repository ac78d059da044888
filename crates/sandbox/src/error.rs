//! What can go wrong, named after the step that failed.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::exec_error::{ExecCause, ExecError, Obstacle};
use crate::raw;

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox could not be made; the program was never started.
    #[error("cannot set up the sandbox: {0}")]
    Setup(#[from] SetupError),
    /// The sandbox stood, but the program could not be executed in it.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The helper process that makes sandboxes could not be started.
    #[error("cannot start the sandbox helper: {action}: {source}")]
    StartSpawner {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The conversation with the helper process broke.
    #[error("lost the sandbox helper while {action}: {source}")]
    Spawner {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The spec cannot be carried out as it stands.
    #[error("invalid sandbox: {0}")]
    Spec(&'static str),
    /// The limits that were asked for cannot be had.
    #[error("cannot limit what the sandbox uses: {0}")]
    Limits(#[from] Refusal),
    /// A signal could not be sent to a sandbox.
    #[error("cannot send signal {signal} to the sandbox: {source}")]
    Signal {
        /// Which.
        signal: i32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A terminal could not be used.
    #[error("cannot {action} the terminal: {source}")]
    Terminal {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The user namespace could not be made or entered.
    #[error(transparent)]
    UserNs(#[from] crate::userns::UserNsError),
    /// The network namespace could not be made or used.
    #[error(transparent)]
    Net(#[from] crate::net::NetError),
    /// A trial of the kernel's abilities could not even be run.
    #[error("cannot try what this machine allows: {action}: {source}")]
    Probe {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// What to do, where that is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Exec(error) => error.help(),
            Self::Limits(refusal) => Some(refusal.help()),
            Self::Setup(SetupError { step: SetupStep::LimitCgroup, errno: libc::ENOENT, .. }) => Some(
                "the kernel of this machine does not count that (swap needs `swapaccount=1` on its command line): leave the limit out"
                    .to_owned(),
            ),
            Self::Setup(SetupError { step: SetupStep::LimitCgroup, .. }) => Some(
                "the kernel refuses this value, or the cgroup above allows less: give another one".to_owned(),
            ),
            Self::Setup(SetupError {
                step: SetupStep::Attach, errno: libc::EINVAL | libc::ENOTDIR, ..
            }) => {
                Some("only a directory can be mounted on a directory, and only a file on a file".to_owned())
            }
            Self::Setup(SetupError {
                step: SetupStep::SetIds | SetupStep::SetGroups, errno: libc::EINVAL, ..
            }) => Some(
                "the user or group is outside of the ids of this user: choose a smaller number, or add longer ranges to /etc/subuid and /etc/subgid"
                    .to_owned(),
            ),
            Self::Setup(SetupError { step: SetupStep::SetLimits, errno: libc::EPERM, .. }) => Some(
                "an ordinary user cannot raise a hard limit, and nobody can open more files than /proc/sys/fs/nr_open: give a smaller number"
                    .to_owned(),
            ),
            Self::Setup(SetupError {
                step: SetupStep::MountPacked, errno: libc::EUCLEAN | libc::EINVAL, ..
            }) => Some(
                "the file is damaged: `galley system check --repair` removes the layer, so that it is made or fetched again"
                    .to_owned(),
            ),
            Self::Setup(SetupError { step: SetupStep::SetSysctl, errno: libc::ENOENT, .. }) => Some(
                "this kernel has no such setting: look for its name below /proc/sys".to_owned(),
            ),
            Self::Setup(SetupError { step: SetupStep::SetSysctl, errno: libc::EINVAL | libc::ERANGE, .. }) => {
                Some("the kernel does not take this value: give another one".to_owned())
            }
            Self::Setup(SetupError { step: SetupStep::LoadSeccomp, errno: libc::EACCES, .. }) => Some(
                "a filter needs CAP_SYS_ADMIN here, or --security-opt no-new-privileges".to_owned(),
            ),
            Self::Setup(SetupError { step: SetupStep::FindCgroups, .. }) => Some(
                "a parent cgroup needs cgroups that are mounted and can be written to, as on the machine itself; most containers have none"
                    .to_owned(),
            ),
            Self::Setup(SetupError {
                step: SetupStep::MakeCgroup | SetupStep::EnterCgroup | SetupStep::EnableControllers,
                errno: libc::EACCES | libc::EPERM | libc::EROFS,
                ..
            }) => Some(
                "cgroups are root's: build as root, or leave the parent cgroup out; an ordinary user can only use those that were delegated to it, for galley itself and the parent"
                    .to_owned(),
            ),
            Self::Setup(SetupError { step: SetupStep::EnterCgroup, .. }) => Some(
                "the parent has to be a cgroup that may have others with processes below it, and its limits must leave room for one more"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The exit code that Docker's commands give for this failure: 127 and 126 for a program that cannot be
    /// executed, else 125.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exec(error) => error.exit_code(),
            _ => 125,
        }
    }
}

/// Why a sandbox cannot have limits, found before anything is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There are no cgroups here.
    #[error("no cgroups are mounted that can be written to")]
    NoHierarchy,
    /// The kernel, or an outer container, has not got it.
    #[error("there is no cgroup controller {controller:?} on this machine")]
    NoController {
        /// `memory`, `cpu`, `cpuset` or `pids`.
        controller: &'static str,
    },
    /// The tree that is mounted is not the one that galley is in.
    #[error("galley's own cgroup of the controller {controller:?} is not in the tree that is mounted")]
    Elsewhere {
        /// `memory`, `cpu`, `cpuset` or `pids`.
        controller: &'static str,
    },
    /// It is somebody else's.
    #[error("the cgroup {} cannot be written to", dir.display())]
    ReadOnly {
        /// Which.
        dir: PathBuf,
    },
    /// An ordinary user in a session like any other.
    #[error("the cgroup {} of galley may have no others with the controller {controller:?} below it", own.display())]
    NotDelegated {
        /// Where galley is.
        own: PathBuf,
        /// `memory`, `cpu`, `cpuset` or `pids`.
        controller: &'static str,
    },
}

impl Refusal {
    fn help(&self) -> String {
        match self {
            Self::NoHierarchy => "an outer container has to give cgroups, read-write; else leave the limits out",
            Self::NoController { controller: "memory" } => {
                "the kernel may need `cgroup_enable=memory` on its command line; else leave the limit out"
            }
            Self::NoController { .. } => "the kernel was built without it, or an outer container keeps it: leave the limit out",
            Self::Elsewhere { .. } => "name the place: --cgroup-parent PATH",
            Self::ReadOnly { .. } => {
                "cgroups of version 1 are root's: run galley as root, or switch the machine to version 2 (systemd.unified_cgroup_hierarchy=1)"
            }
            Self::NotDelegated { .. } => {
                "a cgroup has to be delegated to galley: `systemd-run --user --scope -p Delegate=yes galley run …`, or `Delegate=yes` in its unit; \
                 processors need https://systemd.io/CGROUP_DELEGATION (user@.service.d: Delegate=cpu cpuset memory pids)"
            }
        }
        .to_owned()
    }
}

/// A step of the sandbox's set-up that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}{}: {}", self.at(), io::Error::from_raw_os_error(self.errno))]
pub struct SetupError {
    /// Which step.
    pub step: SetupStep,
    /// The path it was about.
    #[serde(with = "raw::option")]
    pub path: Option<PathBuf>,
    /// The kernel's answer.
    pub errno: i32,
}

impl SetupError {
    fn at(&self) -> String {
        self.path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default()
    }
}

/// The steps of the set-up, in about the order they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Display says what each is")]
pub enum SetupStep {
    FindCgroups,
    MakeCgroup,
    EnableControllers,
    LimitCgroup,
    Freeze,
    CloneProcess,
    ReadSpec,
    CloseFiles,
    EnterCgroup,
    JoinSandbox,
    NewCgroupNamespace,
    NewSession,
    JoinNetwork,
    NewNetwork,
    MountStaging,
    OpenLower,
    OpenUpper,
    OpenWork,
    MountOverlay,
    MountPacked,
    BindRoot,
    AttachRoot,
    OpenSource,
    CloneMount,
    SetMountFlags,
    MakeMountPoint,
    Attach,
    MountTmpfs,
    WriteFile,
    MountProc,
    MountDev,
    MakeDevice,
    MountDevpts,
    MountMqueue,
    MountSys,
    MaskPath,
    ReadonlyPath,
    ReadonlyRoot,
    PivotRoot,
    ChangeRoot,
    DetachHost,
    SetHostname,
    SetSysctl,
    OpenTerminal,
    ConnectStreams,
    ChangeDirectory,
    SetLimits,
    SetOomScore,
    LoadSeccomp,
    HandOver,
    HoldSockets,
    DropBounding,
    SetGroups,
    SetIds,
    SetCapabilities,
    SetNoNewPrivileges,
}

impl std::fmt::Display for SetupStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FindCgroups => "find cgroups that can be written to in",
            Self::MakeCgroup => "make the cgroup",
            Self::EnableControllers => "switch controllers on in",
            Self::LimitCgroup => "set the limit",
            Self::Freeze => "stop the processes",
            Self::CloneProcess => "clone the process into new namespaces",
            Self::ReadSpec => "read the sandbox description",
            Self::CloseFiles => "close inherited files",
            Self::JoinSandbox => "join the namespaces of the sandbox",
            Self::EnterCgroup => "move the process into the cgroup",
            Self::NewCgroupNamespace => "make a cgroup namespace",
            Self::NewSession => "start a session",
            Self::JoinNetwork => "join the network namespace",
            Self::NewNetwork => "make a network namespace",
            Self::MountStaging => "mount the staging file system",
            Self::OpenLower => "open the lower directory",
            Self::OpenUpper => "open the upper directory",
            Self::OpenWork => "open the work directory",
            Self::MountOverlay => "mount the overlay",
            Self::MountPacked => "mount the packed layer",
            Self::BindRoot => "bind the root directory",
            Self::AttachRoot => "attach the root file system",
            Self::OpenSource => "open the source of the mount",
            Self::CloneMount => "clone the source of the mount",
            Self::SetMountFlags => "set the flags of the mount at",
            Self::MakeMountPoint => "make the mount point",
            Self::Attach => "mount at",
            Self::MountTmpfs => "mount a tmpfs for",
            Self::WriteFile => "write the file for",
            Self::MountProc => "mount /proc",
            Self::MountDev => "mount /dev",
            Self::MakeDevice => "make the device",
            Self::MountDevpts => "mount /dev/pts",
            Self::MountMqueue => "mount /dev/mqueue",
            Self::MountSys => "mount /sys",
            Self::MaskPath => "mask",
            Self::ReadonlyPath => "make read-only",
            Self::ReadonlyRoot => "make the root read-only",
            Self::PivotRoot => "change to the new root",
            Self::ChangeRoot => "change the root directory to",
            Self::DetachHost => "detach the host's file systems",
            Self::SetHostname => "set the host name",
            Self::SetSysctl => "set the kernel setting",
            Self::OpenTerminal => "open a terminal",
            Self::ConnectStreams => "connect the standard streams",
            Self::ChangeDirectory => "change to the working directory",
            Self::SetLimits => "set the resource limit",
            Self::SetOomScore => "set the out-of-memory score",
            Self::LoadSeccomp => "load the system call filter",
            Self::HandOver => "hand calls about owners over",
            Self::HoldSockets => "have sockets wait for the network",
            Self::DropBounding => "drop capabilities",
            Self::SetGroups => "set the supplementary groups",
            Self::SetIds => "set the user and group",
            Self::SetCapabilities => "set the capabilities",
            Self::SetNoNewPrivileges => "forbid new privileges",
        })
    }
}
