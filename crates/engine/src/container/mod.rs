//! Containers: created from an image, run by a supervising process, listed, stopped, exported, removed.
//!
//! ```text
//! containers/<id>/  config.json  what it is; limits and policy may be changed
//!                   state.json   what became of it
//!                   lock         held by the process that supervises it: held means running
//!                   control      a named pipe that the supervisor listens on: signals
//!                   exec         a socket that it listens on: further processes, and all that needs an answer
//!                   log          its output
//!                   upper/ work/ what it changed
//!                   root/ aside/ instead of those: all its files, and what a running program has in their place
//! ```

mod access;
mod anchor;
mod ask;
mod attach;
mod audience;
mod changes;
mod chroot;
mod commit;
mod config;
mod control;
mod copy;
mod copy_archive;
mod create;
mod exec;
mod export;
mod filter;
mod health;
mod health_options;
mod list;
mod log;
mod names;
mod network;
mod options;
mod pause;
mod pipe;
mod remove;
mod restart;
mod service;
mod spec;
mod stop;
mod supervise;
mod sysctl;
#[cfg(test)]
pub(crate) mod testing;
mod turn;
mod update;
mod usage;
mod volume;
mod watch;

pub use galley_dockerfile::duration::parse as parse_duration;
pub use galley_sandbox::Limits;
use galley_store::{ContainerDir, Store, StoreError};

pub use self::{
    attach::{Attached, Seen, attach},
    changes::{ChangeKind, changes, sizes},
    commit::{CommitOptions, Pausing, commit},
    config::{
        ContainerConfig, ContainerMount, ContainerState, MountFrom, NetworkMode, Phase, Protocol,
        PublishedPort,
    },
    control::Request,
    copy::{CopyOptions, copy_in, copy_out},
    copy_archive::{copy_archive_in, copy_archive_out},
    create::create,
    exec::{ExecRequest, Execution, exec},
    export::export,
    filter::seccomp_profile,
    health::{HealthResult, HealthState, HealthStatus},
    health_options::HealthOptions,
    list::{Container, Status, find, list, made_of, note_killed},
    log::{LogLine, read_line},
    options::{CreateOptions, VolumeOption, VolumeSource},
    pause::{pause, unpause},
    remove::{Gone, remove, remove_named},
    service::{Dns, Health, Restart, Service, Tmpfs, check_limits},
    stop::{patience, signal, stop, wait},
    supervise::{NotStarted, Running, Streams, supervise},
    turn::lend_lock,
    update::{Change, rename, update},
    usage::{Process, Usage, processes, usage},
    volume::remove_volume,
};
pub(crate) use self::{list::configs, remove::remove_unless_held, volume::take_unused};
use crate::{Error, ErrorKind};

/// A failure of the store as the person sees it.
pub(crate) fn store_failed(error: StoreError) -> Error {
    Error::new(ErrorKind::Store, "cannot use the store's containers").because(error)
}

fn read_config(folder: &ContainerDir) -> Result<ContainerConfig, Error> {
    let config = folder
        .config()
        .map_err(store_failed)
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| damaged(folder, error)));
    config.map_err(|error| error.help(format!("`galley rm -f {}` removes it", &folder.id()[..12])))
}

/// One that cannot be read, as after a power cut, says nothing, and whether the container runs tells its lock.
fn read_state(folder: &ContainerDir) -> Result<ContainerState, Error> {
    let Some(bytes) = folder.state().map_err(store_failed)? else { return Ok(ContainerState::default()) };
    let unknown = |_| ContainerState { phase: Phase::Running, ..ContainerState::default() };
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(unknown))
}

fn write_state(folder: &ContainerDir, state: &ContainerState) -> Result<(), Error> {
    let bytes = serde_json::to_vec(state).map_err(|error| damaged(folder, error))?;
    folder.write_state(&bytes).map_err(store_failed)
}

fn damaged(folder: &ContainerDir, error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Store, format!("container {} is damaged", &folder.id()[..12])).because(error)
}

fn damaged_config(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "cannot write the container's config").because(error)
}

/// The image a container was made of, whose layers must still be there.
fn snapshot_of(store: &Store, config: &ContainerConfig) -> Result<crate::Snapshot, Error> {
    let image = store.image(&config.image_id).map_err(store_failed)?.ok_or_else(|| no_image(config))?;
    crate::Snapshot::of_image(store, &config.image, &image.layers)
}

fn no_image(config: &ContainerConfig) -> Error {
    Error::new(ErrorKind::NotFound, format!("the image {} is not in the store any more", config.image))
}
