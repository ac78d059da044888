//! `galley ps`, and finding a container by what was typed.

use std::{
    thread,
    time::{Duration, Instant},
};

use galley_oci::{Digest, Time};
use galley_store::{ContainerDir, Store};

use super::{
    ContainerConfig, ContainerState, Phase, control, read_config, read_state, store_failed, write_state,
};
use crate::{Error, ErrorKind};

/// The exit code of a container whose supervisor was killed: it took the container with it, by SIGKILL.
pub(super) const KILLED: i32 = 137;

/// How long that may take, as the kernel has to end all processes, and how often it is looked at.
pub(super) const KILL_TIME_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// A container of the store.
#[derive(Debug)]
pub struct Container {
    /// Its folder.
    pub folder: ContainerDir,
    /// Its name.
    pub name: String,
    /// What it is.
    pub config: ContainerConfig,
    /// What became of it, as written.
    pub state: ContainerState,
    /// What is true now.
    pub status: Status,
}

/// Whether a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Never started.
    Created,
    /// Since then.
    Running {
        /// When it started.
        started: Option<Time>,
    },
    /// Runs, but all its processes are stopped for now.
    Paused {
        /// When it started.
        started: Option<Time>,
    },
    /// Ended, and about to be started again.
    Restarting {
        /// 128 + n for signal n.
        code: i32,
        /// When it ended.
        finished: Option<Time>,
    },
    /// Ended.
    Exited {
        /// 128 + n for signal n.
        code: i32,
        /// When it ended; none when its supervisor was killed.
        finished: Option<Time>,
    },
}

/// All containers, the newest first.
pub fn list(store: &Store) -> Result<Vec<Container>, Error> {
    let mut containers = Vec::new();
    for folder in store.containers().map_err(store_failed)? {
        // One that is being removed just now is passed over.
        if let Ok(container) = Container::read(folder) {
            containers.push(container);
        }
    }
    containers.sort_by(|a, b| b.config.created.cmp(&a.config.created));
    Ok(containers)
}

/// What all containers were made with. One that cannot be read needs nobody knows what: that is an error.
pub(crate) fn configs(store: &Store) -> Result<Vec<(ContainerDir, ContainerConfig)>, Error> {
    let mut configs = Vec::new();
    for folder in store.containers().map_err(store_failed)? {
        match read_config(&folder) {
            // One that is being removed just now is passed over.
            Err(_) if folder.is_gone() => {}
            read => configs.push((folder, read?)),
        }
    }
    Ok(configs)
}

/// The name of a container made of `image`, which would lose its files without it.
pub fn made_of(store: &Store, image: &Digest) -> Result<Option<String>, Error> {
    let user = configs(store)?.into_iter().find(|(_, config)| config.image_id == *image);
    user.map(|(folder, _)| folder.name().map_err(store_failed)).transpose()
}

/// The container that `name` means: its name, its id, or the start of its id.
pub fn find(store: &Store, name: &str) -> Result<Container, Error> {
    Container::read_present(folder_of(store, name)?)?.ok_or_else(|| no_such(name))
}

/// The same, of which nothing is read yet.
pub(super) fn folder_of(store: &Store, name: &str) -> Result<ContainerDir, Error> {
    let folder = store.container(name).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("{name:?} names no single container")).because(error)
    })?;
    folder.ok_or_else(|| no_such(name))
}

pub(super) fn no_such(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such container: {name}"))
        .help("`galley ps -a` lists all of them")
}

/// What was done with `container`; where another has removed it meanwhile, that is why it failed.
pub(super) fn unless_gone<T>(container: &Container, done: Result<T, Error>) -> Result<T, Error> {
    done.map_err(|error| if container.folder.is_gone() { no_such(&container.name) } else { error })
}

/// Why `container`, which did not run when it was looked at, cannot be locked.
pub(super) fn in_use(container: &Container) -> Error {
    let name = &container.name;
    if container.folder.is_gone() {
        return no_such(name);
    }
    let runs = Container::read(container.folder.clone()).is_ok_and(|now| now.is_running());
    if runs {
        return Error::new(ErrorKind::Usage, format!("container {name} is running already"));
    }
    let message = format!("container {name} is in use, and does not run");
    Error::new(ErrorKind::Usage, message).help(
        "it is being started or removed, or `galley cp` or `commit` is at it; try again when that is done",
    )
}

/// Writes down that `container`, whose lock this process has, has ended, when whoever ran it was killed before they could.
pub fn note_killed(container: &Container) -> Result<(), Error> {
    let mut state = read_state(&container.folder)?;
    match state.phase {
        Phase::Created | Phase::Exited => return Ok(()),
        Phase::Restarting => {}
        Phase::Running | Phase::Paused => (state.exit_code, state.finished) = (Some(KILLED), None),
    }
    (state.phase, state.pid) = (Phase::Exited, None);
    write_state(&container.folder, &state)
}

impl Container {
    pub(super) fn read(folder: ContainerDir) -> Result<Self, Error> {
        let (held, state) = settled(&folder)?;
        let name = folder.name().map_err(store_failed)?;
        // The last, as it cannot be missing: where it is there, all was.
        let config = read_config(&folder)?;
        let status = status(held, &state);
        Ok(Self { name, folder, config, state, status })
    }

    /// None when another process has removed it by now.
    pub(super) fn read_present(folder: ContainerDir) -> Result<Option<Self>, Error> {
        match Self::read(folder.clone()) {
            Err(_) if folder.is_gone() => Ok(None),
            read => read.map(Some),
        }
    }

    /// Whether its program runs, or is about to run again.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.status, Status::Running { .. } | Status::Paused { .. } | Status::Restarting { .. })
    }

    /// The first twelve digits of its id.
    #[must_use]
    pub fn short_id(&self) -> &str {
        &self.folder.id()[..12]
    }
}

/// Whether its lock is held, and its state. By chroot the lock of a container whose supervisor was killed is held until its
/// last process has ended, which is waited for: it neither runs nor may be touched.
fn settled(folder: &ContainerDir) -> Result<(bool, ContainerState), Error> {
    let until = Instant::now() + KILL_TIME_MAX;
    loop {
        // The lock first: a state read later is at least as new.
        let held = folder.is_held().map_err(store_failed)?;
        let state = read_state(folder)?;
        let runs = held && !matches!(state.phase, Phase::Created | Phase::Exited);
        let is_left = runs && folder.root().exists() && !control::is_heard(&folder.path().join("control"));
        if !is_left || Instant::now() >= until {
            return Ok((held, state));
        }
        thread::sleep(POLL);
    }
}

fn status(held: bool, state: &ContainerState) -> Status {
    let time = |text: &Option<String>| text.as_deref().and_then(Time::parse_rfc3339);
    match (held, state.phase) {
        (true, Phase::Running) => Status::Running { started: time(&state.started) },
        (true, Phase::Paused) => Status::Paused { started: time(&state.started) },
        (_, Phase::Created) => Status::Created,
        (true, Phase::Restarting) => {
            Status::Restarting { code: state.exit_code.unwrap_or(KILLED), finished: time(&state.finished) }
        }
        (false, Phase::Running | Phase::Paused) => Status::Exited { code: KILLED, finished: None },
        (_, Phase::Exited | Phase::Restarting) => {
            Status::Exited { code: state.exit_code.unwrap_or(KILLED), finished: time(&state.finished) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::testing::config;

    const REMOVALS: u32 = 300;

    #[test]
    fn a_state_is_believed_only_with_its_lock() {
        let state = |phase| ContainerState { phase, ..ContainerState::default() };
        assert_eq!(status(true, &state(Phase::Running)), Status::Running { started: None });
        assert_eq!(status(false, &state(Phase::Running)), Status::Exited { code: 137, finished: None });
        assert_eq!(status(true, &state(Phase::Created)), Status::Created);
        let restarting = Status::Restarting { code: 137, finished: None };
        assert_eq!(status(true, &state(Phase::Restarting)), restarting);
        assert_eq!(status(false, &state(Phase::Restarting)), Status::Exited { code: 137, finished: None });
    }

    /// A container goes as a whole: what is read of it is of one that was there.
    #[test]
    fn what_is_being_removed_has_its_name_or_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), galley_store::OpenOptions::default()).unwrap();
        let config = serde_json::to_vec(&config()).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..REMOVALS {
                    store.create_container("app", &config).unwrap().remove().unwrap();
                }
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(list(&store).unwrap().iter().all(|container| container.name == "app"));
            }
        });
    }
}
