//! Linux processes in namespaces: what a build step and a container run in.
//!
//! The crate knows the kernel, not images, Dockerfiles or the store. It is the only one with unsafe code.
//!
//! * [`init`] — first call in `main`: the program runs itself again for hidden roles.
//! * [`Spec`] — plain data: root, mounts, process, identity, limits. [`Spec::new`] has Docker's defaults.
//! * [`Spawner`] — starts sandboxes through one helper process (the zygote), from any thread. [`Child`] — one of them.
//! * [`Spawner::start_chroot`], [`Furnished`] — the same where nothing can be mounted.
//! * [`userns`] — an ordinary user becomes root over its own ranges of ids.
//! * [`net`] — network namespaces, `pasta`, published ports.
//! * [`processes`] — those of a sandbox; [`Freezer`] — stops them all.
//! * [`probe`] — what this machine allows, found by trying.
//!
//! How the parts work together is told in docs/internals/sandbox.md.

mod capabilities;
mod cgroup;
mod child;
mod error;
mod exe;
mod exec_error;
mod furnish;
mod gate;
mod guard;
mod init;
mod manner;
mod note;
mod outcome;
mod owners;
mod pty;
mod raw;
mod seccomp;
mod setup;
mod spare;
mod spawner;
mod spec;
mod sys;
mod wire;
mod zygote;

/// Messages with open files between processes of this program.
pub mod message {
    pub use crate::wire::{receive, send};
}
pub mod net;
pub mod probe;
pub mod processes;
pub mod userns;

pub use capabilities::Capabilities;
pub use cgroup::{CgroupParent, Former as FormerLimits, Freezer, Limits, Memory, Plan as CgroupPlan, thaw};
pub use child::Child;
pub use error::{Error, ExecCause, ExecError, Obstacle, Refusal, SetupError, SetupStep};
pub use furnish::{After, Furnished};
pub use gate::Gate;
pub use init::init;
pub use outcome::{Exit, MadeMountPoint, MountPointKind, Outcome, Usage};
pub use pty::Pty;
pub use seccomp::{SeccompError, SeccompProfile, SeccompProgram};
pub use setup::INIT_CALLS;
pub use spawner::{Handles, Spawner};
pub use spec::{
    DEFAULT_SHM_SIZE, Layers, Lower, Mount, Network, Resource, Root, Seccomp, Source, Spec, TtySize, Ulimit,
    User, Writable,
};
