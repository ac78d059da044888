//! The mounts of a run step: from what the Dockerfile says to what the runner gets.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use fs_err as fs;
use galley_oci::{Digest, Entry, Kind, Stack, Tree, minimal};
use galley_store::{CacheMount, Layer, Origins, Store, Taken};

use super::{
    draft::shown,
    files::{Files, store_error},
    select,
};
use crate::{
    Cancel, Error, ErrorKind, Snapshot,
    build::{Builder, LOCK_POLL},
    contexts::Context,
    events::Event,
    plan::{MountKind, RunMount, RunOp, Sharing, Source, Step},
    ports::{MountSource, ResolvedMount, Secret},
    ssh::{Loan, Owner},
};

/// How long a step waits for what was killed before it says so: as a rule that ends at once.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Where the files of a bind mount, or the first content of a cache mount, come from.
#[derive(Clone, Debug)]
pub(crate) enum MountInput {
    /// A build context.
    Context(Arc<Context>),
    /// A stage or an image.
    Snapshot(Snapshot),
}

impl MountInput {
    /// What it adds to the key of the step: a snapshot is known by its id, of a context only the mounted part counts.
    pub(crate) fn digest(&self, path: &[u8]) -> Result<Digest, Error> {
        match self {
            Self::Snapshot(snapshot) => Ok(*snapshot.id()),
            Self::Context(context) => {
                Ok(select::shown_digest(context.files.stack(), &context.resolve(path)?))
            }
        }
    }

    /// A snapshot that has the files, and where in it they are. The mounted part of a context becomes a layer of its
    /// own, so that nothing that is ignored can be seen and nothing changes while the step runs.
    fn mountable(&self, store: &Store, path: &[u8]) -> Result<(Snapshot, Vec<u8>), Error> {
        match self {
            Self::Snapshot(snapshot) => {
                let stack = snapshot.stack()?;
                Ok((snapshot.clone(), resolve_in(&stack, path)?))
            }
            Self::Context(context) => {
                let path = context.resolve(path)?;
                let layer = part_of(store, &context.files, &path)?;
                Ok((Snapshot::empty().with(layer)?, path))
            }
        }
    }

    /// Copies the directory at `path` to `dir`, which is there and empty.
    fn copy_to(&self, store: &Store, path: &[u8], dir: &Path) -> Result<(), Failed> {
        let (snapshot, path) = self.mountable(store, path)?;
        let files = Files::of_snapshot(&snapshot)?;
        if !files.is_directory(&path) {
            let message = format!("a cache mount cannot start with {}, which is no directory", shown(&path));
            return Err(Failed(Error::new(ErrorKind::Input, message)));
        }
        fs::remove_dir(dir).map_err(prepare_error)?;
        Ok(files.copy_directory(store, &path, dir)?)
    }
}

/// Whose files a mount shows, or starts with, and from which path.
pub(crate) fn source(mount: &RunMount) -> Option<(Source, &[u8])> {
    match &mount.kind {
        MountKind::Bind { from, source, .. } => Some((*from, source)),
        MountKind::Cache { from: Some((from, source)), .. } => Some((*from, source)),
        _ => None,
    }
}

/// Where `path` of a stage leads.
fn resolve_in(stack: &Stack, path: &[u8]) -> Result<Vec<u8>, Error> {
    let selected = select::literal(stack, path)?;
    Ok(selected.path)
}

/// What is at `path`, at its place, as a layer.
fn part_of(store: &Store, files: &Files, path: &[u8]) -> Result<Layer, Error> {
    let (mut entries, mut origins) = (Vec::new(), Origins::new());
    for found in files.stack().walk(path) {
        entries.push(Entry::clone(found.entry));
        if matches!(found.entry.kind, Kind::File { .. }) {
            origins.insert(found.path(), files.origin(found));
        }
    }
    let tree = minimal(Tree::from_entries(entries), &Stack::default());
    store.commit_origins(tree, origins).map_err(store_error)
}

/// The mounts that are ready, and what must be held while they are used.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub mounts: Vec<ResolvedMount>,
    pub secret_env: Vec<(String, Secret)>,
    /// Cache mounts stay locked as their sharing says; by their ids, for a step may mount one at several places.
    held: BTreeMap<String, CacheMount>,
    /// SSH agents, answered as long as the step runs.
    loans: Vec<Loan>,
}

/// Gets everything ready that the step wants mounted, the scripts of its heredocs too.
pub(crate) fn resolve(
    builder: &Builder<'_>,
    step: &Step,
    operation: &RunOp,
    inputs: &[Option<MountInput>],
    stop: &Cancel,
) -> Result<Mounts, Error> {
    let mut mounts = Mounts::default();
    let mut caches = Vec::new();
    for (mount, input) in operation.mounts.iter().zip(inputs) {
        match &mount.kind {
            MountKind::Cache { .. } => caches.push((mount, input.as_ref())),
            _ => mounts.add(builder, mount, input.as_ref())?,
        }
    }
    // Two steps that lock the same caches take them in one order, so neither waits for the other for ever.
    caches.sort_by_cached_key(|(mount, input)| cache_id(mount, *input));
    for cache in caches {
        mounts.add_cache(builder, step, cache, stop)?;
    }
    for script in &operation.scripts {
        let content = Arc::from(script.content.as_slice());
        let source = MountSource::File { content, mode: script.mode, uid: 0, gid: 0 };
        mounts.mounts.push(ResolvedMount { target: script.path.clone(), source });
    }
    // A mount below another comes after it.
    mounts.mounts.sort_by(|a, b| galley_oci::tree::compare_paths(&a.target, &b.target));
    Ok(mounts)
}

impl Mounts {
    fn add(
        &mut self,
        builder: &Builder<'_>,
        mount: &RunMount,
        input: Option<&MountInput>,
    ) -> Result<(), Error> {
        let source = match &mount.kind {
            MountKind::Bind { source, writable, .. } => {
                let input = input.ok_or_else(|| no_input(mount))?;
                let (snapshot, path) = input.mountable(builder.store, source)?;
                MountSource::Snapshot { snapshot, path, writable: *writable }
            }
            MountKind::Tmpfs { size, read_only } => MountSource::Tmpfs { size: *size, writable: !read_only },
            MountKind::Secret { .. } => return self.add_secret(builder, mount),
            MountKind::Ssh { .. } => return self.add_agent(builder, mount),
            MountKind::Cache { .. } => return Err(no_input(mount)),
        };
        self.mounts.push(ResolvedMount { target: mount.target.clone(), source });
        Ok(())
    }

    fn add_secret(&mut self, builder: &Builder<'_>, mount: &RunMount) -> Result<(), Error> {
        let MountKind::Secret { id, file, environment, required, mode, uid, gid } = &mount.kind else {
            return Err(no_input(mount));
        };
        let Some(secret) = builder.secrets.get(id) else {
            if *required {
                return Err(missing_secret(id));
            }
            // The variable is there all the same, as in BuildKit.
            self.secret_env.extend(environment.iter().map(|name| (name.clone(), Secret::new([]))));
            return Ok(());
        };
        if let Some(name) = environment {
            if secret.expose().contains(&0) {
                return Err(unfit_for_environment(id));
            }
            self.secret_env.push((name.clone(), secret.clone()));
        }
        if *file {
            let source = MountSource::File { content: secret.expose(), mode: *mode, uid: *uid, gid: *gid };
            self.mounts.push(ResolvedMount { target: mount.target.clone(), source });
        }
        Ok(())
    }

    fn add_agent(&mut self, builder: &Builder<'_>, mount: &RunMount) -> Result<(), Error> {
        let MountKind::Ssh { id, required, mode, uid, gid } = &mount.kind else {
            return Err(no_input(mount));
        };
        let Some(agent) = builder.ssh.get(id) else {
            return if *required { Err(missing_agent(id)) } else { Ok(()) };
        };
        let loan = Loan::new(builder.store, agent, Owner { mode: *mode, uid: *uid, gid: *gid })?;
        let path = loan.socket().to_owned();
        let source = MountSource::Host { path, writable: true, discard: false };
        self.mounts.push(ResolvedMount { target: mount.target.clone(), source });
        self.loans.push(loan);
        Ok(())
    }

    fn add_cache(
        &mut self,
        builder: &Builder<'_>,
        step: &Step,
        (mount, input): (&RunMount, Option<&MountInput>),
        stop: &Cancel,
    ) -> Result<(), Error> {
        let MountKind::Cache { sharing, from, read_only, .. } = &mount.kind else {
            return Err(no_input(mount));
        };
        let id = cache_id(mount, input);
        if !self.held.contains_key(&id) {
            let init = |dir: &Path| match (input, from, CacheOwner::asked(&mount.kind)) {
                (Some(input), Some((_, path)), None) => input.copy_to(builder.store, path, dir),
                (.., owner) => set_attributes(dir, owner.unwrap_or_default()),
            };
            let sharing = match store_sharing(*sharing) {
                galley_store::Sharing::Shared if builder.runner.0.takes_caches_away() => {
                    galley_store::Sharing::Locked
                }
                sharing => sharing,
            };
            let held = hold_cache(builder, step, &id, sharing, &init, stop)?;
            self.held.insert(id.clone(), held);
        }
        let path = self.held.get(&id).ok_or_else(|| no_input(mount))?.path().to_owned();
        let source = MountSource::Host { path, writable: !read_only, discard: false };
        self.mounts.push(ResolvedMount { target: mount.target.clone(), source });
        Ok(())
    }
}

/// Waits for a cache mount. One that has to start fresh is emptied, once a build.
fn hold_cache(
    builder: &Builder<'_>,
    step: &Step,
    id: &str,
    sharing: galley_store::Sharing,
    init: &dyn Fn(&Path) -> Result<(), Failed>,
    stop: &Cancel,
) -> Result<CacheMount, Error> {
    let emptied = || builder.emptied.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    if step.no_cache && emptied() {
        // In use elsewhere: then it is not ours to empty.
        builder.store.remove_cache_mount(id).map_err(store_error)?;
    }
    let mut left_since = None;
    loop {
        let held = builder.store.try_cache_mount(id, sharing, init);
        match held.map_err(|Failed(error)| error)? {
            Ok(held) => return Ok(held),
            Err(Taken::InUse) => {}
            Err(Taken::Left) => {
                let (since, told) = left_since.get_or_insert_with(|| (Instant::now(), false));
                if !*told && since.elapsed() >= SILENCE_MAX {
                    *told = true;
                    builder.events.emit(waits(step, id));
                }
            }
        }
        if stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        std::thread::sleep(LOCK_POLL);
    }
}

fn waits(step: &Step, id: &str) -> Event {
    Event::Warning {
        rule: None,
        message: format!(
            "RUN waits for the cache mount {id}: a build that had it was killed, and a program of its step still runs"
        ),
        place: step.place.as_ref().map(ToString::to_string),
        help: Some(
            "such a program is killed too, and ends when the kernel lets it; Ctrl-C ends this build"
                .to_owned(),
        ),
    }
}

/// An error of ours that the store's callback can return.
struct Failed(Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<galley_store::StoreError> for Failed {
    fn from(error: galley_store::StoreError) -> Self {
        Self(store_error(error))
    }
}

/// How the directory of a new cache mount looks.
struct CacheOwner {
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Default for CacheOwner {
    fn default() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0 }
    }
}

impl CacheOwner {
    /// What the mount says of it, if it says anything.
    fn asked(kind: &MountKind) -> Option<Self> {
        let MountKind::Cache { mode, uid, gid, .. } = *kind else { return None };
        let usual = Self::default();
        (mode.is_some() || uid.is_some() || gid.is_some()).then(|| Self {
            mode: mode.unwrap_or(usual.mode),
            uid: uid.unwrap_or(usual.uid),
            gid: gid.unwrap_or(usual.gid),
        })
    }
}

/// What makes two cache mounts the same: the id, and all that says how a new one looks. As in BuildKit, one that is given
/// the usual mode and owner is another one than one that is given none.
fn cache_id(mount: &RunMount, input: Option<&MountInput>) -> String {
    let MountKind::Cache { id, from, .. } = &mount.kind else { return String::new() };
    let mut text = id.clone();
    if let Some(CacheOwner { mode, uid, gid }) = CacheOwner::asked(&mount.kind) {
        text += &format!(" mode={mode:04o} uid={uid} gid={gid}");
    }
    match input {
        Some(MountInput::Snapshot(snapshot)) => text += &format!(" from={}", snapshot.id()),
        Some(MountInput::Context(_)) => text += " from=context",
        None => {}
    }
    if let Some((_, path)) = from {
        text += &format!(" source={}", shown(path));
    }
    text
}

const fn store_sharing(sharing: Sharing) -> galley_store::Sharing {
    match sharing {
        Sharing::Shared => galley_store::Sharing::Shared,
        Sharing::Private => galley_store::Sharing::Private,
        Sharing::Locked => galley_store::Sharing::Locked,
    }
}

/// Gives a new cache mount its directory's attributes; set-id and sticky bits are not among them.
fn set_attributes(dir: &Path, CacheOwner { mode, uid, gid }: CacheOwner) -> Result<(), Failed> {
    if (uid, gid) != (0, 0) {
        galley_store::give(dir, uid, gid).map_err(prepare_error)?;
    }
    let mode = std::fs::Permissions::from_mode(mode & 0o777);
    fs::set_permissions(dir, mode).map_err(prepare_error)
}

fn prepare_error(error: std::io::Error) -> Failed {
    Failed(Error::new(ErrorKind::Store, format!("cannot prepare a cache mount: {error}")).because(error))
}

fn no_input(mount: &RunMount) -> Error {
    let message = format!("the mount at {} was planned without its source", shown(&mount.target));
    Error::new(ErrorKind::Internal, message)
}

fn missing_secret(id: &str) -> Error {
    Error::new(ErrorKind::Input, format!("the secret {id:?} is required and was not given"))
        .label("required here")
        .help(format!("give it with --secret id={id},src=FILE or --secret id={id},env=NAME"))
}

fn missing_agent(id: &str) -> Error {
    Error::new(ErrorKind::Input, format!("the SSH agent {id:?} is required and was not given"))
        .label("required here")
        .help(format!("give it with --ssh {id} or --ssh {id}=PATH"))
}

/// Refused here, where its value is not part of the message.
fn unfit_for_environment(id: &str) -> Error {
    let message = format!("the secret {id:?} holds a zero byte, which no environment variable can");
    Error::new(ErrorKind::Input, message).label("wanted in the environment here").help("mount it as a file")
}
