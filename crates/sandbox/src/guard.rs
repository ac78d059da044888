//! What stands in for the first process of a pid namespace where none can be made.
//!
//! ```text
//! helper process ──▶ guard (adopts orphans) ──┬─▶ program ──▶ whatever it starts
//!        └── further programs of the sandbox ──┴─▶ program ──▶ …
//! ```
//!
//! Whatever loses its parent below a guard becomes the guard's child. So when the first program ends, killing children until
//! there are none leaves nothing of the sandbox. The same happens when the helper process is gone: its end of a pipe closes.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::iter;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::cgroup::Placement;
use crate::error::{SetupError, SetupStep};
use crate::setup::step::Step as _;
use crate::setup::{self, Request};
use crate::sys::{self, Ended, Fork};
use crate::wire::{self, Status};
use crate::zygote::{Inherited, report};

/// A pipe that tells all guards of the end of the helper process, which alone keeps the second end.
pub(crate) struct Lifeline {
    guards: OwnedFd,
    helpers: Cell<Option<OwnedFd>>,
}

impl Lifeline {
    pub(crate) fn new() -> io::Result<Self> {
        let (guards, helpers) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { guards, helpers: Cell::new(Some(helpers)) })
    }
}

/// Starts the program and stays until nothing of it is left. More of them are asked for through `requests`.
pub(crate) fn run(
    request: Request,
    placement: Option<&Placement>,
    requests: OwnedFd,
    inherited: &Inherited,
) -> ! {
    drop(inherited.lifeline.helpers.take());
    match start(request, placement, inherited) {
        Ok((pid, status, deaths)) => {
            let mut guard =
                Guard { program: pid, deaths, requests, further: HashMap::new(), placement, inherited };
            let ended = guard.watch();
            end_all(Vec::new(), |ended| guard.tell(ended));
            if let Some(ended) = ended {
                let oom_killed = guard.placement.is_some_and(Placement::oom_killed);
                report(&status, &Status::Ended(ended.outcome(oom_killed)), &[]);
            }
        }
        Err((status, error)) => report(&status, &Status::NotStarted(error), &[]),
    }
    sys::exit_now(0)
}

/// The process id of the program, where its end is told, and what says that a child has ended.
type Started = (i32, OwnedFd, OwnedFd);

fn start(
    request: Request,
    placement: Option<&Placement>,
    inherited: &Inherited,
) -> Result<Started, (OwnedFd, SetupError)> {
    let prepared = sys::adopt_orphans().and_then(|()| sys::signal_file(&[libc::SIGCHLD]));
    match prepared.step(SetupStep::CloneProcess) {
        Ok(deaths) => {
            let (pid, status) = start_program(request, placement, inherited)?;
            Ok((pid, status, deaths))
        }
        Err(error) => Err((request.into_status(), error)),
    }
}

/// Starts a program of the sandbox; the rest of the request closes, for the program's streams have to end with it.
fn start_program(
    request: Request,
    placement: Option<&Placement>,
    inherited: &Inherited,
) -> Result<(i32, OwnedFd), (OwnedFd, SetupError)> {
    // SAFETY: this process has one thread, so the child may do what it likes.
    match unsafe { sys::fork_into(0) }.step(SetupStep::CloneProcess) {
        Ok(Fork::Child) => setup::run(&request, placement, None, inherited),
        Ok(Fork::Parent { pid, pidfd }) => {
            // The helper process knows a sandbox by its guard.
            let number = getpid().as_raw_nonzero().get();
            report(&request.status, &Status::Started { number }, &[pidfd.as_fd()]);
            Ok((pid, request.into_status()))
        }
        Err(error) => Err((request.into_status(), error)),
    }
}

/// A guard whose program runs.
struct Guard<'a> {
    program: i32,
    deaths: OwnedFd,
    requests: OwnedFd,
    /// Further programs, and where the end of each is told.
    further: HashMap<i32, OwnedFd>,
    placement: Option<&'a Placement>,
    inherited: &'a Inherited,
}

impl Guard<'_> {
    /// Waits for the end of the program; `None` when the helper process has ended before.
    fn watch(&mut self) -> Option<Ended> {
        loop {
            let lifeline = &self.inherited.lifeline.guards;
            let mut polled =
                [&self.deaths, lifeline, &self.requests].map(|file| PollFd::new(file, PollFlags::IN));
            rustix::io::retry_on_intr(|| poll(&mut polled, None)).ok()?;
            let [_, alone, asked] = polled.map(|file| !file.revents().is_empty());
            while sys::read_signal(self.deaths.as_fd()).is_some() {}
            while let Some(ended) = sys::reap_any() {
                if ended.pid == self.program {
                    return Some(ended);
                }
                self.tell(&ended);
            }
            if alone || (asked && !self.accept()) {
                return None;
            }
        }
    }

    /// Starts a further program; `false` when the helper process is gone.
    fn accept(&mut self) -> bool {
        let (mut message, mut files) = (vec![0; wire::REQUEST_MAX], Vec::new());
        let length = match wire::receive(&self.requests, &mut message, &mut files) {
            Ok(0) | Err(_) => return false,
            Ok(length) => length,
        };
        if message[0] != wire::JOIN {
            self.place(&message[1..length], &files);
            return true;
        }
        let Some(request) = Request::from_files(wire::JOIN, files) else { return true };
        match start_program(request, self.placement, self.inherited) {
            Ok((pid, status)) => drop(self.further.insert(pid, status)),
            Err((status, error)) => report(&status, &Status::NotStarted(error), &[]),
        }
        true
    }

    /// Has further programs start in these cgroups. They are the helper process's to remove.
    fn place(&mut self, placement: &[u8], files: &[OwnedFd]) {
        let Some(status) = files.first() else { return };
        // Nothing of it is dropped here, at the end of the sandbox neither.
        self.placement = Some(Box::leak(Box::new(Placement::from_bytes(placement))));
        report(status, &Status::Placed, &[]);
    }

    /// Tells the end of a further program.
    fn tell(&mut self, ended: &Ended) {
        if let Some(status) = self.further.remove(&ended.pid) {
            report(&status, &Status::Ended(ended.outcome(false)), &[]);
        }
    }
}

/// Returns when this process has no children, or none that it may kill. All that are none of `spared`, which end by
/// themselves, are killed; `ended` is told of each.
pub(crate) fn end_all(mut spared: Vec<i32>, mut ended: impl FnMut(&Ended)) {
    loop {
        let beyond = kill_orphans(spared.iter());
        if !beyond.is_empty() && own_children().iter().all(|pid| beyond.contains(pid)) {
            // They would be waited for as long as they like.
            return;
        }
        // What was killed ends; its own children come here then, and are next.
        let Some(first) = sys::await_any() else { return };
        for reaped in iter::once(first).chain(iter::from_fn(sys::reap_any)) {
            spared.retain(|pid| *pid != reaped.pid);
            ended(&reaped);
        }
    }
}

/// Kills the children of this process that are none of `spared`. What is below them comes here when they end. Only a child
/// keeps its number until it is reaped here: that of anything further down may be another process's by now. Gives those that
/// cannot be killed.
pub(crate) fn kill_orphans<'a>(spared: impl Iterator<Item = &'a i32> + Clone) -> Vec<i32> {
    let orphans = own_children().into_iter().filter(|pid| !spared.clone().any(|known| known == pid));
    orphans.filter(|pid| !killed(*pid)).collect()
}

/// Whether a child is dead, or about to be.
fn killed(pid: i32) -> bool {
    let Some(child) = Pid::from_raw(pid) else { return true };
    let kill = || kill_process(child, Signal::KILL);
    // Root of a container without CAP_KILL kills what is root's; what is another user's, that user kills.
    kill() != Err(Errno::PERM) || user_of(pid).is_some_and(|user| sys::succeeds_as(user, || kill().is_ok()))
}

fn own_children() -> Vec<i32> {
    children(getpid().as_raw_nonzero().get())
}

/// The real user of a process.
fn user_of(pid: i32) -> Option<u32> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().next()?.parse().ok()
}

/// The children of the first thread of a process: galley's own has no other, and orphans are given to that one. Those of
/// other threads come when their parent is dead.
fn children(pid: i32) -> Vec<i32> {
    let listed = fs_err::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    match listed {
        Ok(text) => text.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        // A kernel without these lists, or a process that is gone.
        Err(_) => all_with_parent(pid),
    }
}

fn all_with_parent(parent: i32) -> Vec<i32> {
    let Ok(entries) = fs_err::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
