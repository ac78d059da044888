//! Run steps in sandboxes of this machine.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

use fs_err as fs;
use galley_sandbox as sandbox;
use galley_store::{ScanOptions, Store, TempDir};
use rustix::{
    event::{PollFd, PollFlags},
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    Cancel, Error, ErrorKind, Events,
    events::Stream,
    plan::{DEFAULT_PATH, MountKind, RunMount},
    ports::{Exit, MountSource, ResolvedMount, ResolvedUser, RunOutcome, RunRequest, Runner},
    steps::files::store_error,
    upper,
};

mod chroot;
mod closer;
mod foreign;
mod helpers;
mod network;
mod points;
mod stubs;

pub(crate) use chroot::{NETWORK_NONE, devices, furniture};
pub use foreign::emulated;
pub use galley_sandbox::{CgroupParent, Limits};
pub(crate) use helpers::start as start_spawner;
pub(crate) use network::machine_resolv_conf;

/// How much output is read at once.
const OUTPUT_BYTES: usize = 64 << 10;

/// Runs steps with [`galley_sandbox`]: one helper process and one network for all steps.
#[derive(Debug)]
pub struct SandboxRunner {
    store: Store,
    events: Events,
    /// Before what its threads make.
    early: helpers::Early,
    helpers: Arc<helpers::Helpers>,
    /// Where nothing can be mounted.
    roots: chroot::Roots,
    /// The directories of the next step.
    blank: Mutex<Option<TempDir>>,
    /// Of the mounts of steps that have ended; made with the first of them.
    closer: OnceLock<closer::Closer>,
    /// Below the layers of every step, when there is one; removed when those mounts are gone.
    points: OnceLock<points::MountPoints>,
    cgroup_parent: Option<CgroupParent>,
    limits: Limits,
}

impl SandboxRunner {
    /// A runner for snapshots of `store` that warns through `events`. Nothing is started yet.
    #[must_use]
    pub fn new(store: &Store, events: &Events) -> Self {
        Self {
            store: store.clone(),
            events: events.clone(),
            early: Default::default(),
            helpers: Arc::new(helpers::Helpers::new(store)),
            roots: Default::default(),
            blank: Mutex::default(),
            closer: OnceLock::new(),
            points: OnceLock::new(),
            cgroup_parent: None,
            limits: Limits::default(),
        }
    }

    /// Has each step in a cgroup of its own below this one. It counts and limits, and changes no result, so it is no
    /// part of a plan.
    #[must_use]
    pub fn below_cgroup(self, cgroup_parent: Option<CgroupParent>) -> Self {
        Self { cgroup_parent, ..self }
    }

    /// Has each step use no more than this, each by itself. It changes no result either.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Says that the last step has run. The helpers end while the image is put together; nothing runs after this.
    pub fn rest(&self) {
        self.early.rest(&self.helpers);
    }

    fn spec(&self, request: &RunRequest<'_>, scratch: &Scratch) -> Result<sandbox::Spec, Error> {
        let lowers = request.snapshot.lowers(&self.store)?;
        let mut layers = sandbox::Layers { lowers, writable: Some(scratch.root()) };
        if let Some(points) = self.points.get() {
            points.support(&mut layers, &request.snapshot.stack()?);
        }
        let mut spec = self.process(request, sandbox::Root::Layers(layers))?;
        for (number, mount) in request.mounts.iter().enumerate() {
            spec.mounts.push(self.mount(mount, scratch, number)?);
        }
        Ok(spec)
    }

    /// What runs, without what is mounted.
    fn process(&self, request: &RunRequest<'_>, root: sandbox::Root) -> Result<sandbox::Spec, Error> {
        let operation = request.operation;
        let arguments = operation.arguments.iter().map(|word| OsStr::from_bytes(word).to_owned());
        let mut spec = sandbox::Spec::new(root, arguments.collect());
        spec.env = environment(request);
        spec.cwd = PathBuf::from(OsStr::from_bytes(&operation.working_directory));
        spec.hostname.clone_from(&operation.hostname);
        if operation.insecure {
            spec.make_insecure();
        }
        operation.surroundings.apply(&mut spec);
        spec.cgroup_parent.clone_from(&self.cgroup_parent);
        if !self.limits.is_empty() {
            let plan = sandbox::CgroupPlan::make(&self.limits, self.cgroup_parent.as_ref());
            spec.cgroup = Some(plan.map_err(|refusal| machine(refusal.into()))?);
        }
        let ResolvedUser { uid, gid, ref groups, .. } = request.user;
        spec.user = sandbox::User { uid, gid, groups: groups.clone() };
        Ok(spec)
    }

    fn mount(
        &self,
        mount: &ResolvedMount,
        scratch: &Scratch,
        number: usize,
    ) -> Result<sandbox::Mount, Error> {
        let (source, readonly) = match &mount.source {
            MountSource::Snapshot { snapshot, path, writable } => {
                let lowers = snapshot.lowers(&self.store)?;
                let writable_dirs = if *writable { Some(scratch.extra(number)?) } else { None };
                let layers = sandbox::Layers { lowers, writable: writable_dirs };
                let subpath = PathBuf::from(OsStr::from_bytes(path));
                (sandbox::Source::Layers { layers, subpath }, !writable)
            }
            MountSource::Host { path, writable, discard: false } => (bind(path), !writable),
            MountSource::Host { path, discard: true, .. } => {
                let layers = sandbox::Layers {
                    lowers: vec![path.clone().into()],
                    writable: Some(scratch.extra(number)?),
                };
                (sandbox::Source::Layers { layers, subpath: PathBuf::new() }, false)
            }
            MountSource::Tmpfs { size, writable } => {
                (sandbox::Source::Tmpfs { size: *size, mode: Some(0o1777), noexec: false }, !writable)
            }
            MountSource::File { content, mode, uid, gid } => {
                let (content, mode) = (content.to_vec(), *mode);
                (sandbox::Source::File { content, mode, uid: *uid, gid: *gid }, true)
            }
        };
        Ok(sandbox::Mount { target: PathBuf::from(OsStr::from_bytes(&mount.target)), source, readonly })
    }
}

fn bind(path: &Path) -> sandbox::Source {
    sandbox::Source::Bind { path: path.to_owned(), subpath: PathBuf::new(), recursive: false }
}

/// What BuildKit gives a process: the image's variables and arguments, then what must not be in a key, then what every
/// process expects.
fn environment(request: &RunRequest<'_>) -> Vec<OsString> {
    let operation = request.operation;
    let mut all: Vec<OsString> = Vec::new();
    all.extend(operation.environment.iter().map(|(name, value)| format!("{name}={value}").into()));
    all.extend(operation.proxies.iter().map(|(name, value)| format!("{name}={value}").into()));
    for (name, value) in &request.secret_env {
        let mut variable = OsString::from(format!("{name}="));
        // The kernel takes a name twice, and programs do not agree which one counts.
        all.retain(|known| !known.as_bytes().starts_with(variable.as_bytes()));
        variable.push(OsStr::from_bytes(&value.expose()));
        all.push(variable);
    }
    let has = |all: &[OsString], name: &str| {
        all.iter().any(|variable| variable.as_bytes().starts_with(name.as_bytes()))
    };
    if !has(&all, "PATH=") {
        all.push(format!("PATH={DEFAULT_PATH}").into());
    }
    if !has(&all, "HOME=") {
        let mut home = OsString::from("HOME=");
        home.push(OsStr::from_bytes(&request.user.home));
        all.push(home);
    }
    all
}

impl Runner for SandboxRunner {
    fn prepare(&self, network: bool) {
        self.early.begin(&self.helpers, network);
    }

    fn run(
        &self,
        request: RunRequest<'_>,
        output: &(dyn Fn(Stream, &[u8]) + Sync),
        cancel: &Cancel,
    ) -> Result<RunOutcome, Error> {
        if let Some(platform) = &request.operation.platform {
            foreign::check(platform, request.snapshot)?;
        }
        let spawner = self.helpers.spawner()?;
        if spawner.makes_chroots() {
            return chroot::run(self, &spawner, request, output, cancel);
        }
        loop {
            if let Some(outcome) = self.attempt(&spawner, request.clone(), output, cancel)? {
                return Ok(outcome);
            }
        }
    }

    fn takes_caches_away(&self) -> bool {
        self.helpers.spawner().is_ok_and(|spawner| spawner.makes_chroots())
    }
}

impl SandboxRunner {
    /// Makes the directories of the next step while this one runs. Should that not work, it will be told then.
    fn make_blank(&self) {
        if self.points.get().is_none()
            && let Ok(points) = points::MountPoints::make(&self.store)
        {
            let _ = self.points.set(points);
        }
        let mut blank = self.blank.lock().unwrap_or_else(PoisonError::into_inner);
        if blank.is_none() {
            *blank = Scratch::blank(&self.store).ok();
        }
    }

    /// Runs a step; `None` when it has to begin anew, with another network.
    fn attempt(
        &self,
        spawner: &sandbox::Spawner,
        mut request: RunRequest<'_>,
        output: &(dyn Fn(Stream, &[u8]) + Sync),
        cancel: &Cancel,
    ) -> Result<Option<RunOutcome>, Error> {
        let mut scratch = Scratch::new(self, &request)?;
        let joined = self.helpers.network.join(&request, spawner, &self.events)?;
        joined.add_files(&mut request);
        let mut spec = self.spec(&request, &scratch)?;
        (spec.network, spec.hold_sockets) = (joined.kind, joined.holds);
        // A network of its own is not made ahead, and what was made in another would have to be made anew.
        let followed = request.followed && joined.kind != sandbox::Network::None;
        let Some(mut started) = start(spawner, &spec, &joined, followed)? else {
            self.helpers.network.await_from_now_on();
            return Ok(None);
        };
        if request.followed {
            self.make_blank();
        }
        let mounts = started.mounts.take();
        let child = Arc::clone(&started.child);
        let keep = &|gate: sandbox::Gate| gate.keep(&child, || joined.is_connected(spawner));
        let (outcome, has_network) = thread::scope(|scope| {
            // Most steps want no socket.
            let mut keeper = None;
            let wanted = |gate| keeper = Some(scope.spawn(move || keep(gate).map_err(machine)));
            let outcome = follow(&self.store, started, wanted, output, cancel);
            let outcome = outcome.inspect_err(|_| drop(child.signal(SIGKILL)))?;
            let kept = keeper.map_or(Ok(true), |it| it.join().unwrap_or_else(|panic| resume_unwind(panic)));
            Ok((outcome, kept?))
        })?;
        if let Some(mounts) = mounts {
            scratch.temp.keep_while(self.closer.get_or_init(Default::default).close(mounts));
        }
        if !has_network {
            self.events.emit(network::begins_anew());
            return Ok(None);
        }
        let changes = match outcome.exit {
            Exit::Code(0) => Some(scratch.changes(&self.store, child.made_mount_points(), &spec)?),
            _ => None,
        };
        let lets_out = lets_out(joined.kind, &request.operation.mounts);
        Ok(Some(RunOutcome { changes, lets_out, ..outcome }))
    }
}

/// Whether a step could hand open files to others: by sockets without a name in the host's network, or by sockets in a folder that
/// others have, too.
fn lets_out(network: sandbox::Network, mounts: &[RunMount]) -> bool {
    let is_shared = |mount: &RunMount| matches!(mount.kind, MountKind::Cache { .. } | MountKind::Ssh { .. });
    network == sandbox::Network::Host || mounts.iter().any(is_shared)
}

/// Passes on what a program writes until it ends; `wanted` gets the gate when something stands before it.
fn follow(
    store: &Store,
    started: Started,
    wanted: impl FnOnce(sandbox::Gate),
    output: &(dyn Fn(Stream, &[u8]) + Sync),
    cancel: &Cancel,
) -> Result<RunOutcome, Error> {
    let Started { child, gate, streams, .. } = started;
    store.failpoint("step-running");
    let _guard = cancel.on_cancel({
        let child = Arc::clone(&child);
        // The first process of a sandbox takes all others with it.
        move || drop(child.signal(SIGKILL))
    });
    pass_on(streams, gate.map(|gate| (gate, wanted)), output)?;
    let outcome = child.wait().map_err(machine)?;
    let exit = match outcome.exit {
        sandbox::Exit::Code(code) => Exit::Code(code),
        sandbox::Exit::Signal(signal) => Exit::Signal(signal),
    };
    Ok(RunOutcome {
        exit,
        changes: None,
        lets_out: false,
        memory_bytes_max: outcome.usage.max_rss_bytes,
        cpu: outcome.usage.user_time + outcome.usage.system_time,
    })
}

/// A program that was started, and what it writes.
struct Started {
    child: Arc<sandbox::Child>,
    gate: Option<sandbox::Gate>,
    mounts: Option<OwnedFd>,
    streams: [(Stream, OwnedFd); 2],
}

/// Starts a program, whose sockets wait if the spec wants them to; `None` where they cannot.
fn start(
    spawner: &sandbox::Spawner,
    spec: &sandbox::Spec,
    joined: &network::Joined,
    followed: bool,
) -> Result<Option<Started>, Error> {
    let pipe = || {
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| {
            Error::new(ErrorKind::Machine, "cannot make a pipe for the output of the step")
                .because(std::io::Error::from(error))
        })
    };
    let ((out_read, out_write), (error_read, error_write)) = (pipe()?, pipe()?);
    let handles = sandbox::Handles {
        stdin: None,
        stdout: Some(out_write.as_fd()),
        stderr: Some(error_write.as_fd()),
        netns: joined.namespace(),
        followed,
    };
    let mut child = match spawner.spawn(spec, handles) {
        Err(sandbox::Error::Setup(error)) if error.step == sandbox::SetupStep::HoldSockets => {
            return Ok(None);
        }
        started => started.map_err(|error| not_started(spec, error))?,
    };
    let (gate, mounts) = (child.take_gate(), child.take_mounts());
    let streams = [(Stream::Stdout, out_read), (Stream::Stderr, error_read)];
    Ok(Some(Started { child: Arc::new(child), gate, mounts, streams }))
}

const SIGKILL: i32 = 9;

/// Reads both streams to their ends, and goes on until nothing can stand before the gate any more. When something does,
/// `wanted` gets the gate, once.
fn pass_on(
    streams: [(Stream, OwnedFd); 2],
    gate: Option<(sandbox::Gate, impl FnOnce(sandbox::Gate))>,
    output: &(dyn Fn(Stream, &[u8]) + Sync),
) -> Result<(), Error> {
    let failed = |error: rustix::io::Errno| {
        Error::new(ErrorKind::Machine, "cannot read the output of the step")
            .because(std::io::Error::from(error))
    };
    let (mut open, mut gate): (Vec<_>, _) = (streams.into_iter().collect(), gate);
    let mut buffer = vec![0; OUTPUT_BYTES];
    while !open.is_empty() || gate.is_some() {
        let files = open.iter().map(|(_, pipe)| pipe.as_fd());
        let files: Vec<_> = files.chain(gate.iter().map(|(gate, _)| gate.as_fd())).collect();
        let events = await_events(&files).map_err(failed)?;
        if let Some(events) = events.get(open.len()).filter(|events| !events.is_empty())
            && let Some((gate, wanted)) = gate.take()
            && events.contains(PollFlags::IN)
        {
            wanted(gate);
        }
        let mut ended = Vec::new();
        for (index, (stream, pipe)) in open.iter().enumerate() {
            if events.get(index).is_none_or(|events| events.is_empty()) {
                continue;
            }
            match rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut buffer)).map_err(failed)? {
                0 => ended.push(index),
                count => output(*stream, &buffer[..count]),
            }
        }
        for index in ended.into_iter().rev() {
            open.remove(index);
        }
    }
    Ok(())
}

/// What there is of each file; waits until there is something of one.
fn await_events(files: &[BorrowedFd<'_>]) -> rustix::io::Result<Vec<PollFlags>> {
    let mut polled: Vec<_> =
        files.iter().map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN)).collect();
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
    Ok(polled.iter().map(PollFd::revents).collect())
}

/// Where a step writes: the upper and work directories of its overlays.
#[derive(Debug)]
struct Scratch {
    temp: TempDir,
}

impl Scratch {
    fn new(runner: &SandboxRunner, request: &RunRequest<'_>) -> Result<Self, Error> {
        let blank = runner.blank.lock().unwrap_or_else(PoisonError::into_inner).take();
        let temp = blank.map_or_else(|| Self::blank(&runner.store), Ok)?;
        // The next step is not to wait for what is left of this one.
        let temp = if request.followed { temp.removed_later() } else { temp };
        let scratch = Self { temp };
        let stack = request.snapshot.stack()?;
        let owner = (request.user.uid, request.user.gid);
        upper::prepare(&stack, &scratch.temp.diff(), &request.operation.working_directory, owner)?;
        Ok(scratch)
    }

    /// Empty directories, of no step yet.
    fn blank(store: &Store) -> Result<TempDir, Error> {
        let temp = store.temp_dir("run").map_err(store_error)?;
        make_dir(&temp.diff())?;
        make_dir(&temp.path().join("work"))?;
        Ok(temp)
    }

    fn root(&self) -> sandbox::Writable {
        sandbox::Writable { upper: self.temp.diff(), work: self.temp.path().join("work") }
    }

    /// Directories for the writes to a mount, which are thrown away.
    fn extra(&self, number: usize) -> Result<sandbox::Writable, Error> {
        let dir = self.temp.path().join(format!("mount-{number}"));
        let writable = sandbox::Writable { upper: dir.join("upper"), work: dir.join("work") };
        for dir in [&dir, &writable.upper, &writable.work] {
            make_dir(dir)?;
        }
        set_mode(&writable.upper, 0o755)?;
        Ok(writable)
    }

    /// What the step changed. Mount points that had to be made and hold nothing are not its doing.
    fn changes(
        self,
        store: &Store,
        made: &[sandbox::MadeMountPoint],
        spec: &sandbox::Spec,
    ) -> Result<(TempDir, galley_oci::Tree), Error> {
        let shm = (spec.shm_size != sandbox::DEFAULT_SHM_SIZE).then_some(Path::new("/dev/shm"));
        let asked = spec.mounts.iter().map(|mount| mount.target.as_path()).chain(shm);
        let leave_out = stubs::empty(&self.temp.diff(), made, asked);
        let tree = store.scan(&self.temp.diff(), &ScanOptions { leave_out }).map_err(store_error)?;
        Ok((self.temp, tree))
    }
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir(path).map_err(scratch_error)
}

fn set_mode(dir: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).map_err(scratch_error)
}

fn scratch_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Store, format!("cannot prepare the directory of a step: {error}")).because(error)
}

/// The program could not be executed: the step's fault, unless the sandbox could not be made.
fn not_started(spec: &sandbox::Spec, error: sandbox::Error) -> Error {
    let sandbox::Error::Exec(exec) = &error else { return machine(error) };
    let program = spec.args.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = Error::new(ErrorKind::Step, format!("cannot run {program}: {exec}"));
    exec.help().into_iter().fold(failed, Error::help).label("could not be executed").because(error)
}

fn machine(error: sandbox::Error) -> Error {
    let help = error.help().unwrap_or_else(|| "galley doctor says what is missing".to_owned());
    Error::new(ErrorKind::Machine, error.to_string()).help(help).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_hand_an_open_file_to_others() {
        let mount = |kind| RunMount { target: b"/m".to_vec(), kind };
        let (memory, agent) = (
            mount(MountKind::Tmpfs { size: None, read_only: false }),
            mount(MountKind::Ssh { id: String::new(), required: false, mode: 0, uid: 0, gid: 0 }),
        );
        assert!(lets_out(sandbox::Network::Host, &[]) && lets_out(sandbox::Network::None, &[agent]));
        assert!(!lets_out(sandbox::Network::Shared, &[memory]));
    }
}
