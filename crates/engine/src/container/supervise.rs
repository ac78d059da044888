//! Running a container to its end: the work of the process that holds its lock.

use std::{
    io::Read,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::{Arc, Weak},
    thread,
    time::Instant,
};

use fs_err as fs;
use galley_sandbox::{CgroupPlan, Child, Handles, Pty, Spawner, Spec, TtySize};
use galley_store::{FileLock, Store};

use super::{
    Container, ContainerState, HealthState, HealthStatus, Phase, PublishedPort, Request, Service, ask,
    chroot, control, exec, health,
    log::LogWriter,
    network::Network,
    pipe::Pipe,
    read_config, read_state,
    remove::{Gone, remove_held},
    restart::Restarts,
    spec, turn,
    watch::{Inside, Watch},
};
use crate::{Error, ErrorKind, clock, events::Stream, runner};

/// How much of the output is read at once.
const READ_BYTES: usize = 64 << 10;

/// The exit code for everything that keeps a container from starting, except a program that cannot be executed.
const NOT_STARTED: i32 = 125;

/// Signals by which a person, a closed terminal or systemd ends a container: SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

/// Where a container's streams lead, and who is told when it runs.
pub struct Streams<'a> {
    /// What the program reads; nothing when it is none. With a terminal it is not used: type into [`Running::pty`].
    pub stdin: Option<BorrowedFd<'a>>,
    /// The terminal's first size.
    pub tty_size: TtySize,
    /// Gets what the program writes.
    pub output: &'a (dyn Fn(Stream, &[u8]) + Sync),
    /// Gets what the person should know.
    pub warn: &'a (dyn Fn(&str) + Sync),
    /// Called once the program runs.
    pub started: &'a (dyn Fn(&Running) + Sync),
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// A container whose program runs; clones may outlive it.
#[derive(Clone, Debug)]
pub struct Running {
    child: Arc<Child>,
    /// Where signals go, also while it is not there for a moment between two runs.
    watch: Weak<Watch>,
    /// The terminal, when it has one.
    pub pty: Option<Arc<Pty>>,
}

impl Running {
    /// Passes a signal of the person on to the first process. One that asks to end is meant for good.
    pub fn signal(&self, signal: i32) {
        self.watch.upgrade().into_iter().for_each(|watch| watch.pass_on(signal, ENDING.contains(&signal)));
    }

    /// Ends every process of the container.
    pub fn kill(&self) {
        self.watch.upgrade().into_iter().for_each(|watch| watch.act(Request::Kill));
    }
}

/// A container that did not start, with docker's exit code for it.
#[derive(Debug)]
pub struct NotStarted {
    /// 125, 126 or 127.
    pub code: i32,
    /// Why.
    pub error: Error,
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> Self {
        Self { code: NOT_STARTED, error }
    }
}

/// Runs `container` until its program ends and is not to start again; the program's exit code.
pub fn supervise(store: &Store, mut container: Container, streams: &Streams<'_>) -> Result<i32, NotStarted> {
    let lock = turn::lock(&container)?;
    // What an earlier run noted is over.
    lock.note("");
    let before = read_state(&container.folder)?;
    before.freezer.iter().for_each(|left| galley_sandbox::thaw(left));
    let state = ContainerState { phase: before.phase, ..ContainerState::default() };
    let watch = Arc::new(Watch::new(container.folder.clone(), container.config.stop_signal, state));
    let ended = listen(&container, &watch).map_err(NotStarted::from);
    let ended = ended.and_then(|()| keep_running(store, &mut container, &lock, streams, &watch));
    conclude(store, &container, &ended, &lock, &watch, streams.warn);
    // Who waits for it finds nothing, or what stays.
    lock.release();
    ended
}

/// Leaves of a container what its end leaves. The program has ended as it has, whatever fails here.
fn conclude(
    store: &Store,
    container: &Container,
    ended: &Result<i32, NotStarted>,
    lock: &FileLock,
    watch: &Watch,
    warn: &(dyn Fn(&str) + Sync),
) {
    let tell = |what: &str, error: &Error| {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        warn(&format!("{what}: {}{cause}", error.message));
    };
    lock.note(&code_of(ended).to_string());
    if let Err(error) = watch.update(|state| note_end(state, ended)) {
        tell("the end of the container is not written down", &error);
    }
    if !container.config.remove {
        return;
    }
    match remove_held(store, container, true) {
        Ok(Gone { volumes_stay: None }) => {}
        Ok(Gone { volumes_stay: Some(error) }) => tell("the volumes of the container stay", &error),
        Err(error) => tell("the container stays", &error),
    }
}

fn code_of(ended: &Result<i32, NotStarted>) -> i32 {
    match ended {
        Ok(code) => *code,
        Err(failure) => failure.code,
    }
}

fn note_end(state: &mut ContainerState, ended: &Result<i32, NotStarted>) {
    state.phase = Phase::Exited;
    state.pid = None;
    state.finished = Some(clock::now().rfc3339());
    state.exit_code = Some(code_of(ended));
    state.error = ended.as_ref().err().map(|failure| exec::said(&failure.error).0);
    // What has ended is not well, as docker has it.
    state.health.iter_mut().for_each(|health| health.status = HealthStatus::Unhealthy);
}

/// Starts the program again as its policy says. The first start has to succeed.
fn keep_running(
    store: &Store,
    container: &mut Container,
    lock: &FileLock,
    streams: &Streams<'_>,
    watch: &Arc<Watch>,
) -> Result<i32, NotStarted> {
    let mut restarts = Restarts::new(container.config.service.restart);
    loop {
        let began = Instant::now();
        let ended = run(store, container, lock, streams, watch);
        watch.set_inside(None);
        watch.ended();
        watch.audience.end(code_of(&ended));
        if watch.is_stopped() || (ended.is_err() && restarts.count == 0) {
            return ended;
        }
        restarts.policy = watch.restart().unwrap_or(restarts.policy);
        let Some(pause) = restarts.next(code_of(&ended), began.elapsed()) else { return ended };
        watch.update(|state| {
            note_end(state, &ended);
            state.phase = Phase::Restarting;
            state.restart_count = restarts.count;
        })?;
        if !watch.rest(pause) {
            return ended;
        }
        // What `galley update` has changed since.
        container.config.service.limits = read_config(&container.folder)?.service.limits;
    }
}

/// Everything that is there before the program.
struct Stage {
    spawner: Spawner,
    network: Network,
    spec: Spec,
    /// What is in its root, where nothing can be mounted.
    furniture: Option<chroot::Furniture>,
    /// For its output and its errors.
    pipes: (Pipe, Pipe),
}

fn prepare(
    store: &Store,
    container: &Container,
    lock: &FileLock,
    streams: &Streams<'_>,
) -> Result<Stage, NotStarted> {
    let service = &container.config.service;
    let parent = service.parent()?;
    // Before anything is started: this process may have to move.
    let cgroup = (!service.limits.is_empty()).then(|| CgroupPlan::make(&service.limits, parent.as_ref()));
    let cgroup = cgroup.transpose().map_err(|refusal| not_started(refusal.into()))?;
    let spawner = runner::start_spawner(store.root())?;
    let by_chroot = spawner.makes_chroots();
    if by_chroot {
        chroot::admit(&container.config, streams.warn)?;
        // When this process is killed, its root is nobody else's before its processes have ended.
        let lock = lock.share().map_err(|error| {
            Error::new(ErrorKind::Machine, "cannot share the lock of the container").because(error)
        })?;
        spawner.keep_open(lock.as_fd()).map_err(not_started)?;
    }
    let network = Network::open(&container.config, &spawner, streams.warn)?;
    let mut spec = spec::spec(store, container, &network, streams.tty_size, by_chroot)?;
    let mut furniture = by_chroot.then(|| chroot::Furniture::new(store, container, &spec)).transpose()?;
    if !by_chroot {
        spec.mounts.extend(cgroup.iter().flat_map(CgroupPlan::mounts));
    }
    (spec.cgroup, spec.cgroup_parent) = (cgroup, parent);
    let named = furniture.as_mut().and_then(chroot::Furniture::pipes);
    let pipes = named.map_or_else(|| Ok((Pipe::new()?, Pipe::new()?)), Ok::<_, Error>)?;
    Ok(Stage { spawner, network, spec, furniture, pipes })
}

fn run(
    store: &Store,
    container: &Container,
    lock: &FileLock,
    streams: &Streams<'_>,
    watch: &Arc<Watch>,
) -> Result<i32, NotStarted> {
    let service = &container.config.service;
    let Stage { spawner, network, spec, furniture, pipes: (stdout, stderr) } =
        prepare(store, container, lock, streams)?;
    // Pipes that have a name are there for whoever opens them, to the end.
    let held = furniture.as_ref().map(|_| [stdout.write.try_clone(), stderr.write.try_clone()]);
    let kept = (container.config.open_stdin && streams.stdin.is_none() && !container.config.tty)
        .then(Pipe::new)
        .transpose()?;
    let (input, typed) = kept.map(|pipe| (pipe.read, pipe.write)).unzip();
    let handles = Handles {
        stdin: streams.stdin.filter(|_| container.config.open_stdin).or(input.as_ref().map(AsFd::as_fd)),
        stdout: Some(stdout.write.as_fd()),
        stderr: Some(stderr.write.as_fd()),
        netns: network.namespace(),
        ..Handles::default()
    };
    let mut child = spawner.spawn(&spec, handles).map_err(not_started)?;
    drop(input);
    let pty = child.take_pty().map(Arc::new);
    let running = Running { child: Arc::new(child), watch: Arc::downgrade(watch), pty };
    let (child, pty) = (Arc::clone(&running.child), running.pty.clone());
    let inside = Arc::new(Inside { spawner, child, spec, pty, stdin: typed });
    let ports = network.publish(&container.config.ports)?;
    watch.update(|state| note_start(state, &running, ports, service))?;
    watch.set_inside(Some(Arc::clone(&inside)));
    (streams.started)(&running);
    let log = open_log(&container.folder.log())?;
    let outcome = thread::scope(|scope| {
        if let Some(health) = &service.health {
            let inside = Arc::clone(&inside);
            scope.spawn(move || health::check(&inside, &container.config, health, watch));
        }
        pass_on(scope, &running, (stdout, stderr), Shown { streams, log: &log, watch });
        let outcome = running.child.wait();
        watch.set_inside(None);
        drop(held);
        outcome
    });
    drop(log.finish());
    // Before its helper process.
    drop(network);
    let outcome = outcome.map_err(not_started)?;
    watch.update(|state| state.oom_killed = outcome.oom_killed)?;
    Ok(outcome.exit.code())
}

fn note_start(state: &mut ContainerState, running: &Running, ports: Vec<PublishedPort>, service: &Service) {
    state.phase = Phase::Running;
    state.pid = running.child.id();
    state.started = Some(clock::now().rfc3339());
    state.oom_killed = false;
    state.ports = ports;
    state.health = service.health.as_ref().map(|_| HealthState::default());
}

/// Has what the program writes passed on until it closes its streams.
fn pass_on<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    running: &Running,
    (stdout, stderr): (Pipe, Pipe),
    shown: Shown<'scope>,
) {
    if let Some(pty) = running.pty.clone() {
        drop((stdout, stderr));
        scope.spawn(move || relay(&mut PtyReader(&pty), Stream::Stdout, &shown));
        return;
    }
    for (pipe, stream) in [(stdout, Stream::Stdout), (stderr, Stream::Stderr)] {
        let Pipe { mut read, write } = pipe;
        // Only the container has it now: the pipe ends when its last process does.
        drop(write);
        scope.spawn(move || relay(&mut read, stream, &shown));
    }
}

/// Lets `galley stop`, `galley exec` and the like reach the container.
fn listen(container: &Container, watch: &Arc<Watch>) -> Result<(), Error> {
    // Who listens does so until this process ends, and must not keep the store open for that long.
    let acting = Arc::downgrade(watch);
    control::listen(&container.folder.path().join("control"), move |request| {
        acting.upgrade().into_iter().for_each(|watch| watch.act(request));
    })?;
    ask::listen(container, watch)
}

fn not_started(error: galley_sandbox::Error) -> NotStarted {
    let code = error.exit_code();
    let kind = if code == NOT_STARTED { ErrorKind::Machine } else { ErrorKind::Usage };
    let help = error.help();
    let error = Error::new(kind, "cannot start the container").because(error);
    NotStarted { code, error: help.into_iter().fold(error, Error::help) }
}

fn open_log(path: &Path) -> Result<LogWriter<fs::File>, Error> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    Ok(LogWriter::new(
        file.map_err(|error| Error::new(ErrorKind::Store, "cannot open the container's log").because(error))?,
    ))
}

/// Passes on what comes out of `reader` until it ends.
fn relay(reader: &mut dyn Read, stream: Stream, shown: &Shown<'_>) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        (shown.streams.output)(stream, &buffer[..count]);
        // A full disk must not stop the program; what it says still reaches the person.
        drop(shown.log.take(stream, &buffer[..count]));
        shown.watch.audience.show(stream, &buffer[..count]);
    }
}

/// Where what a program writes goes.
#[derive(Clone, Copy)]
struct Shown<'a> {
    streams: &'a Streams<'a>,
    log: &'a LogWriter<fs::File>,
    watch: &'a Watch,
}

struct PtyReader<'a>(&'a Pty);

impl Read for PtyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

    use super::*;
    use crate::container::{
        ContainerConfig, ContainerMount, MountFrom,
        testing::{config, with_container_of},
    };

    /// Of a container that removes itself, with a volume that nobody has named. It does not start, for a reason of its own.
    fn passing() -> ContainerConfig {
        let volume = ContainerMount {
            target: "/data".to_owned(),
            source: MountFrom::Anonymous("1".to_owned()),
            read_only: false,
        };
        let service = Service { cgroup_parent: Some("..".to_owned()), ..Service::default() };
        ContainerConfig { remove: true, mounts: vec![volume], service, ..config() }
    }

    fn run_to_end(store: &Store, container: Container, warn: &(dyn Fn(&str) + Sync)) -> NotStarted {
        let tty_size = TtySize { rows: 24, cols: 80 };
        let streams = Streams { stdin: None, tty_size, output: &|_, _| (), warn, started: &|_| () };
        let error = supervise(store, container, &streams).unwrap_err();
        assert!(error.error.message.contains("--cgroup-parent"), "{:?}", error.error);
        error
    }

    /// `start`, `rm` or `prune` may wait for just that moment.
    #[test]
    fn what_removes_itself_is_nobodys_before_it_is_gone() {
        with_container_of(&passing(), |store, container| {
            store.lock_volumes().unwrap().make("1").unwrap();
            let folder = container.folder.clone();
            let lock = open(folder.path().join("lock"), OFlags::RDONLY, Mode::empty()).unwrap();
            let running = container.folder.try_lock().unwrap().unwrap();
            thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    flock(&lock, FlockOperation::LockExclusive).unwrap();
                    (folder.is_gone(), store.volumes().unwrap())
                });
                thread::sleep(Duration::from_millis(100));
                let lent = running.share().unwrap();
                // As the process that watches it has it from the one that started it.
                container.folder.take_over(lent).unwrap();
                drop(running);
                run_to_end(store, container, &|_| ());
                assert_eq!(waiting.join().unwrap(), (true, Vec::new()));
            });
        });
    }

    /// As on a full disk.
    #[test]
    fn an_end_that_cannot_be_written_down_is_one() {
        with_container_of(&passing(), |store, container| {
            let lock = container.folder.try_lock().unwrap().unwrap();
            let watch = Watch::new(container.folder.clone(), 15, ContainerState::default());
            fs::create_dir(container.folder.path().join("state.json")).unwrap();
            let said = Mutex::new(Vec::new());
            let warn = |text: &str| said.lock().unwrap().push(text.to_owned());
            let note = container.folder.end_note().unwrap().unwrap();
            conclude(store, &container, &Ok(3), &lock, &watch, &warn);
            let said = said.into_inner().unwrap();
            assert!(said.len() == 1 && said[0].starts_with("the end of the container"), "{said:?}");
            assert_eq!((note.read().unwrap().as_deref(), container.folder.is_gone()), (Some("3"), true));
        });
    }

    #[test]
    fn a_removal_that_fails_is_not_the_end_of_the_program() {
        with_container_of(&passing(), |store, container| {
            let names = store.root().join("locks/containers");
            fs::remove_file(&names).unwrap();
            fs::create_dir(&names).unwrap();
            let (folder, said) = (container.folder.clone(), Mutex::new(Vec::new()));
            let end = run_to_end(store, container, &|text| said.lock().unwrap().push(text.to_owned()));
            assert_eq!(end.code, NOT_STARTED);
            let said = said.into_inner().unwrap();
            assert!(said.len() == 1 && said[0].starts_with("the container stays"), "{said:?}");
            assert!(!folder.is_held().unwrap());
        });
    }
}
