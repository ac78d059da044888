//! Steps where nothing can be mounted: the process runs by chroot in a root of the store, which goes from step to step.
//!
//! What the step would find mounted is moved to its place before, and away again before the root is compared with what it
//! was. So a layer never has it, and is the same as of a step with mounts.

pub(crate) mod devices;
pub(crate) mod furniture;
mod goroot;

use std::{
    collections::HashSet,
    os::fd::AsFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use galley_oci::Tree;
use galley_sandbox as sandbox;
use galley_store::{Layer, Root, Store, TempDir};

use self::furniture::Furniture;
use super::{SandboxRunner, Started, follow, network::Joined, not_started};
use crate::{
    Cancel, Error, ErrorKind, Event, Events,
    events::Stream,
    plan::{DEFAULT_HOSTNAME, Network},
    ports::{Exit, MountSource, ResolvedMount, RunOutcome, RunRequest},
    steps::files::store_error,
    upper,
};

/// Roots that are kept for steps to come. Each is as large as an image.
const IDLE_MAX: usize = 2;

/// What is told of every build.
const WARNING: &str = "RUN is not kept from this container: nothing can be mounted here, so steps run by chroot, on its network \
                       and without /proc, and may write without effect to what is mounted read-only";

const HOSTNAME: &str = "--hostname and BUILDKIT_SANDBOX_HOSTNAME are in /etc/hosts alone: the host name is that of this container";
pub(crate) const NETWORK_NONE: &str = "no network is no sockets here, those of Unix excepted: there is no loopback either, and \
                                       set-user-ID programs gain nothing";
const SHM_SIZE: &str = "--shm-size has no effect: /dev/shm is a directory, as large as its disk";
const TMPFS_SIZE: &str =
    "RUN --mount=type=tmpfs,size= has no effect: it is a directory, as large as its disk";

/// The roots of one build that no step runs in, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Roots {
    idle: Mutex<Vec<Root>>,
    /// What somebody was told that this way of running lacks.
    told: Mutex<HashSet<&'static str>>,
}

impl Roots {
    /// A root that shows `layers`: the one that lacks fewest of them, or a new one.
    fn take(&self, store: &Store, layers: &[Layer]) -> Result<Root, Error> {
        let best = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let fitting = idle.iter().enumerate();
            let fitting = fitting.filter_map(|(number, root)| Some((root.is_below(layers)?, number)));
            fitting.max().map(|(shown, number)| (idle.remove(number), shown))
        };
        match best {
            Some((mut root, shown)) => {
                store.extend_root(&mut root, &layers[shown..]).map_err(store_error)?;
                Ok(root)
            }
            None => store.new_root(layers).map_err(store_error),
        }
    }

    fn give_back(&self, root: Root) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(root);
        if idle.len() > IDLE_MAX {
            idle.remove(0);
        }
    }

    /// Warns of that, once.
    fn warn(&self, events: &Events, message: &'static str) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(message) {
            events.emit(Event::Warning {
                rule: None,
                message: message.to_owned(),
                place: None,
                help: Some("`galley doctor` tells what is missing".to_owned()),
            });
        }
    }
}

/// Runs a step to its end.
pub(super) fn run(
    runner: &SandboxRunner,
    spawner: &sandbox::Spawner,
    mut request: RunRequest<'_>,
    output: &(dyn Fn(Stream, &[u8]) + Sync),
    cancel: &Cancel,
) -> Result<RunOutcome, Error> {
    refuse(&request)?;
    let lacks = [WARNING].into_iter().chain(unheeded(&request));
    lacks.for_each(|message| runner.roots.warn(&runner.events, message));
    let joined = Joined::in_place(request.network);
    joined.add_files(&mut request);
    let store = &runner.store;
    let stack = request.snapshot.stack()?;
    let mut root = runner.roots.take(store, &request.snapshot.layers()?)?;
    store.mark_root(&mut root).map_err(store_error)?;
    let owner = (request.user.uid, request.user.gid);
    upper::prepare_root(&stack, &root.path(), &request.operation.working_directory, owner)?;
    let mut furniture = Furniture::new(store, &root.path(), &request)?;
    let mut spec = runner.process(&request, sandbox::Root::Directory(root.path()))?;
    spec.network = joined.kind;
    goroot::tell(&stack, &mut spec.env);
    let started = start(spawner, &spec, &mut furniture)?;
    let outcome = follow(store, started, |_| (), output, cancel);
    furniture.clear(&root.path(), &request)?;
    let outcome = outcome?;
    let changes = match outcome.exit {
        Exit::Code(0) => Some(changes(runner, root, &stack)?),
        _ => None,
    };
    Ok(RunOutcome { changes, ..outcome })
}

fn start(
    spawner: &sandbox::Spawner,
    spec: &sandbox::Spec,
    furniture: &mut Furniture,
) -> Result<Started, Error> {
    let [(out_read, out_write), (error_read, error_write)] = furniture.streams()?;
    let handles = sandbox::Handles {
        stdin: None,
        stdout: Some(out_write.as_fd()),
        stderr: Some(error_write.as_fd()),
        ..sandbox::Handles::default()
    };
    let child = Arc::new(spawner.spawn(spec, handles).map_err(|error| not_started(spec, error))?);
    let streams = [(Stream::Stdout, out_read), (Stream::Stderr, error_read)];
    Ok(Started { child, gate: None, mounts: None, streams })
}

/// What the step changed; the root is kept for the next one.
fn changes(
    runner: &SandboxRunner,
    mut root: Root,
    below: &galley_oci::Stack,
) -> Result<(TempDir, Tree), Error> {
    let (temp, tree) = runner.store.root_changes(&mut root, below).map_err(store_error)?;
    root.has_become(&tree);
    if root.is_exact() {
        runner.roots.give_back(root);
    }
    Ok((temp, tree))
}

/// What cannot be had without namespaces and mounts.
fn refuse(request: &RunRequest<'_>) -> Result<(), Error> {
    let refused = |what: &str| {
        let message =
            format!("{what} cannot be had in this container, which allows neither mounts nor namespaces");
        Err(Error::new(ErrorKind::Machine, message).help("`galley doctor` tells what is missing"))
    };
    if request.operation.insecure {
        return refused("RUN --security=insecure");
    }
    Ok(())
}

/// What was asked for and has no effect: a step runs all the same.
fn unheeded(request: &RunRequest<'_>) -> impl Iterator<Item = &'static str> {
    let sized = |mount: &ResolvedMount| matches!(mount.source, MountSource::Tmpfs { size: Some(_), .. });
    let all = [
        (request.network == Network::None, NETWORK_NONE),
        (request.operation.hostname != DEFAULT_HOSTNAME, HOSTNAME),
        (request.operation.surroundings.shm_size.is_some(), SHM_SIZE),
        (request.mounts.iter().any(sized), TMPFS_SIZE),
    ];
    all.into_iter().filter_map(|(asked, message)| asked.then_some(message))
}

/// The error of something that could not be put in its place.
fn failed(what: impl std::fmt::Display, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let message = format!("cannot {what} {}", path.display());
    move |error| Error::new(ErrorKind::Machine, format!("{message}: {error}")).because(error)
}
