//! The helper process: one thread that forks every sandbox and waits for all of them.
//!
//! Being the first process of a pid namespace it adopts and reaps whatever its children leave behind, and takes
//! everything with it when it ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::cgroup::{CgroupParent, Placement, Plan};
use crate::error::{SetupError, SetupStep};
use crate::guard::{self, Lifeline};
use crate::manner::Manner;
use crate::setup::{self, Request, step::Step as _};
use crate::spare::Spare;
use crate::sys::{self, Fork};
use crate::wire::{self, Status};
use crate::{owners, seccomp};

/// Why the kernel calls / invalid.
const PLAIN_ROOT: &str = "/ is not a mount point, as in a chroot to a plain directory; bind it to itself first: \
                          mount --rbind DIR DIR && chroot DIR";

/// What stays the same for all children.
pub(crate) struct Inherited {
    /// The limit of open files that galley was started with; the helper itself raises its own.
    pub(crate) open_files: Rlimit,
    /// What programs would ignore too.
    pub(crate) ignored_signals: Vec<i32>,
    /// Whether device files can be made: not in a user namespace.
    pub(crate) may_make_devices: bool,
    /// Whether the kernel knows one user only, so that owners have to be told by a supervisor.
    pub(crate) one_id: bool,
    /// How sandboxes are made.
    pub(crate) manner: Manner,
    /// What tells guards of the end of this process.
    pub(crate) lifeline: Lifeline,
    /// What is locked as long as this process or a guard lives; each guard has them from its fork on.
    kept: RefCell<Vec<OwnedFd>>,
    /// The next sandbox, when one was made ahead.
    spare: RefCell<Option<Spare>>,
}

impl Inherited {
    /// One in another network would never be asked for again. A supervisor of owners is made with its sandbox.
    fn make_spare(&self, network: Option<&OwnedFd>) {
        let there = self.spare.borrow().as_ref().is_some_and(|spare| spare.is_in(network));
        if !there && !self.one_id && self.manner == Manner::Namespaces {
            self.spare.replace(Spare::make(network, self));
        }
    }

    /// The spare sandbox, as the child of this request.
    fn take_spare(&self, request: &Request) -> Option<Fork> {
        self.spare.borrow_mut().take_if(|spare| spare.is_in(request.network()))?.take_over(request)
    }
}

/// A child that runs.
struct Running {
    /// Where its end is reported.
    status: OwnedFd,
    /// Removed after its end; none of its own for a process that has joined another's sandbox.
    placement: Option<Placement>,
    /// Stands for it when others join its sandbox.
    pidfd: OwnedFd,
    /// Where a guard is asked to start them.
    guard: Option<OwnedFd>,
}

/// All children, by process id.
type Children = HashMap<i32, Running>;

/// Runs until galley is gone; gives the exit code.
pub(crate) fn run(manner: Manner) -> i32 {
    // SAFETY: become_zygote placed the control socket at this number, and nothing in this process has used it yet.
    let control = unsafe { sys::adopt_descriptor(wire::CONTROL) };
    let (inherited, deaths) = match prepare(&control, manner) {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = wire::send(&control, error.to_string().as_bytes(), &[]);
            return 1;
        }
    };
    let greeted = wire::send(&control, wire::READY, &[]).is_ok();
    // What every child would do for itself, before the first is asked for.
    seccomp::make_usual();
    let mut children = Children::new();
    let failed = !greeted || serve(&control, &deaths, &inherited, &mut children).is_err();
    let kept = inherited.kept.take();
    drop(inherited);
    match manner {
        Manner::Namespaces => end_placed(children),
        Manner::Chroot => {
            guard::end_all(children.keys().copied().collect(), |_| ());
            // Their cgroups go with them, when nothing is left in those.
            drop(children);
        }
    }
    drop(kept);
    i32::from(failed)
}

/// The streams of whoever started galley are not kept open: a reader at the other end would wait for this process.
fn let_go_of_streams() -> rustix::io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)
}

fn prepare(control: &OwnedFd, manner: Manner) -> io::Result<(Inherited, OwnedFd)> {
    let failed = |action: &str, error: Errno| io::Error::other(format!("{action}: {error}"));
    rustix::io::fcntl_setfd(control, rustix::io::FdFlags::CLOEXEC)?;
    let_go_of_streams().map_err(|error| failed("open /dev/null", error))?;
    let deaths = sys::signal_file(&[libc::SIGCHLD])?;
    match manner {
        Manner::Namespaces => {
            // SAFETY: one thread, and no descriptor of this process depends on its mount namespace.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
                .map_err(|error| failed("make a mount namespace", error))?;
            keep_mounts_from_host()?;
        }
        Manner::Chroot => sys::adopt_orphans()?,
    }
    let open_files = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: open_files.maximum, ..open_files };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    let may_make_devices = !crate::userns::in_user_namespace();
    let (one_id, lifeline) = (crate::userns::has_one_id(), Lifeline::new()?);
    let inherited = Inherited {
        open_files,
        ignored_signals: sys::ignored_signals(),
        may_make_devices,
        one_id,
        manner,
        lifeline,
        kept: RefCell::default(),
        spare: RefCell::default(),
    };
    Ok((inherited, deaths))
}

/// Mounts that appear on the host later are still seen here; nothing done here is seen on the host.
///
/// Below a root that is no mount point, what it lies on would still pass mounts on, and pivot_root is refused too.
fn keep_mounts_from_host() -> io::Result<()> {
    let change = mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC);
    change.map_err(|error| {
        let reason = if error == Errno::INVAL { PLAIN_ROOT.to_owned() } else { error.to_string() };
        io::Error::other(format!("keep mounts from the host: {reason}"))
    })
}

/// The kernel ends all children with this process, but it does not remove their cgroups.
fn end_placed(children: Children) {
    for (pid, child) in children.into_iter().filter(|(_, child)| child.placement.is_some()) {
        let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let wait = || rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        let _ = rustix::io::retry_on_intr(wait);
        drop(child);
    }
}

fn serve(
    control: &OwnedFd,
    deaths: &OwnedFd,
    inherited: &Inherited,
    children: &mut Children,
) -> io::Result<()> {
    loop {
        let mut polled =
            [PollFd::new(control, PollFlags::IN), PollFd::from_borrowed_fd(deaths.as_fd(), PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let [request, death] = polled.map(|file| !file.revents().is_empty());
        if death {
            reap(deaths, inherited.manner, children);
        }
        if request && !accept(control, inherited, children)? {
            return Ok(());
        }
    }
}

/// Tells galley about every child that has ended.
fn reap(deaths: &OwnedFd, manner: Manner, children: &mut Children) {
    while sys::read_signal(deaths.as_fd()).is_some() {}
    while let Some(ended) = sys::reap_any() {
        let Some(Running { status, placement, .. }) = children.remove(&ended.pid) else { continue };
        if manner == Manner::Chroot {
            if ended.status == 0 {
                // A guard that was not killed has told the end, and left nothing behind.
                continue;
            }
            let _ = guard::kill_orphans(children.keys());
        }
        let oom_killed = placement.as_ref().is_some_and(Placement::oom_killed);
        // Before the end is known: who waits for it finds nothing left.
        drop(placement);
        report(&status, &Status::Ended(ended.outcome(oom_killed)), &[]);
    }
    if manner == Manner::Chroot {
        // What guards that were killed have left, and what that has left.
        let _ = guard::kill_orphans(children.keys());
    }
}

/// Takes one request; `false` when galley is gone.
fn accept(control: &OwnedFd, inherited: &Inherited, children: &mut Children) -> io::Result<bool> {
    let (mut message, mut files) = (vec![0; wire::REQUEST_MAX], Vec::new());
    let length = wire::receive(control, &mut message, &mut files)?;
    let Some((&kind, argument)) = message[..length].split_first() else { return Ok(false) };
    if kind == wire::AHEAD {
        inherited.make_spare(files.first());
        return Ok(true);
    }
    if kind == wire::KEEP {
        inherited.kept.borrow_mut().append(&mut files);
        return Ok(true);
    }
    if matches!(kind, wire::PLACE | wire::DISPLACE) {
        if let Some(status) = files.pop()
            && let Err(error) = replace(&message[..length], &status, children)
        {
            report(&status, &Status::NotStarted(error), &[]);
        }
        return Ok(true);
    }
    let Some(mut request) = Request::from_files(kind, files) else { return Ok(true) };
    if let Err(error) = supervise(&mut request, inherited) {
        report(&request.status, &Status::NotStarted(error), &[]);
        return Ok(true);
    }
    if kind == wire::JOIN && inherited.manner == Manner::Chroot {
        if let Err(error) = ask_guard(argument, &request, children) {
            report(&request.status, &Status::NotStarted(error), &[]);
        }
        return Ok(true);
    }
    let status = request.status.try_clone()?;
    match start(kind, argument, request, inherited, children) {
        Ok(Forked { pid, placement, pidfd, guard }) => {
            // A guard tells of what it starts, not of itself.
            if inherited.manner == Manner::Namespaces {
                // Whoever has its mounts takes them apart. That lasts as long as the rest of its end, and nobody is to wait.
                let mounts = if kind == wire::SANDBOX { sys::mounts_of(pidfd.as_fd()) } else { None };
                let files: Vec<_> = std::iter::once(&pidfd).chain(&mounts).map(AsFd::as_fd).collect();
                report(&status, &Status::Started { number: pid }, &files);
            }
            children.insert(pid, Running { status, placement, pidfd, guard });
        }
        Err(error) => report(&status, &Status::NotStarted(error), &[]),
    }
    Ok(true)
}

/// Passes a request on to the guard of the sandbox, which alone can end what is started there with the sandbox.
fn ask_guard(argument: &[u8], request: &Request, children: &Children) -> Result<(), SetupError> {
    let guard = joined(argument, children)?.guard.as_ref();
    let guard = guard.ok_or(Errno::SRCH).step(SetupStep::JoinSandbox)?;
    wire::send(guard, &[wire::JOIN], &request.files()).map(drop).step(SetupStep::JoinSandbox)
}

/// Gives a sandbox that runs more cgroups, or takes them away again. A guard has to know, which starts what joins: it answers.
fn replace(message: &[u8], status: &OwnedFd, children: &mut Children) -> Result<(), SetupError> {
    let invalid = || Err(Errno::INVAL).step(SetupStep::MakeCgroup);
    let Some((&kind, argument)) = message.split_first() else { return invalid() };
    let Some((number, plan)) = argument.split_at_checked(size_of::<i32>()) else { return invalid() };
    let Some(plan) = Plan::from_bytes(plan) else { return invalid() };
    joined(number, children)?;
    let Some(child) = number.try_into().ok().and_then(|it| children.get_mut(&i32::from_ne_bytes(it))) else {
        return invalid();
    };
    let placement = child.placement.get_or_insert_default();
    match kind {
        wire::PLACE => placement.extend(Placement::carry_out(&plan)?),
        _ => placement.displace(&plan),
    }
    match &child.guard {
        Some(guard) => {
            let request = [&[kind], placement.to_bytes().as_slice()].concat();
            wire::send(guard, &request, &[status.as_fd()]).map(drop).step(SetupStep::EnterCgroup)
        }
        None => {
            report(status, &Status::Placed, &[]);
            Ok(())
        }
    }
}

/// Starts the process that answers for owners, where the kernel cannot.
fn supervise(request: &mut Request, inherited: &Inherited) -> Result<(), SetupError> {
    if inherited.one_id && inherited.manner == Manner::Namespaces && !request.is_helper() {
        request.supervisor = Some(owners::start().step(SetupStep::HandOver)?);
    }
    Ok(())
}

/// A child that was forked.
struct Forked {
    pid: i32,
    placement: Option<Placement>,
    pidfd: OwnedFd,
    guard: Option<OwnedFd>,
}

/// Forks the child of a request.
fn start(
    kind: u8,
    argument: &[u8],
    request: Request,
    inherited: &Inherited,
    children: &Children,
) -> Result<Forked, SetupError> {
    let placement = place(kind, argument)?;
    let host = if kind == wire::JOIN { Some(joined(argument, children)?) } else { None };
    let entered = placement.as_ref().or(host.and_then(|host| host.placement.as_ref()));
    let home = host.map(|host| sys::children_go_to(host.pidfd.as_fd())).transpose();
    let home = home.step(SetupStep::JoinSandbox)?;
    let namespaces = if inherited.manner == Manner::Namespaces { request.namespaces() } else { 0 };
    let spare = if kind == wire::SANDBOX { inherited.take_spare(&request) } else { None };
    let (asking, asked) = match inherited.manner {
        Manner::Namespaces => (None, None),
        Manner::Chroot => {
            let (asking, asked) = wire::packet_pair().step(SetupStep::CloneProcess)?;
            (Some(asking), Some(asked))
        }
    };
    // SAFETY: this process has one thread, so the child may do what it likes.
    let fork = spare.map_or_else(|| unsafe { sys::fork_into(namespaces) }, Ok);
    if matches!(fork, Ok(Fork::Child)) {
        match asked {
            None => setup::run(&request, entered, host.map(|host| host.pidfd.as_fd()), inherited),
            Some(asked) => guard::run(request, entered, asked, inherited),
        }
    }
    home.map_or(Ok(()), |home| sys::children_stay(&home)).step(SetupStep::JoinSandbox)?;
    match fork.step(SetupStep::CloneProcess)? {
        Fork::Parent { pid, pidfd } => Ok(Forked { pid, placement, pidfd, guard: asking }),
        Fork::Child => sys::exit_now(1),
    }
}

/// Makes the cgroup of a sandbox, where the request has one.
fn place(kind: u8, argument: &[u8]) -> Result<Option<Placement>, SetupError> {
    let invalid = || Errno::INVAL;
    match kind {
        wire::PLACED => {
            let parent =
                CgroupParent::from_bytes(argument).map_err(|_| invalid()).step(SetupStep::MakeCgroup)?;
            Placement::make(&parent).map(Some)
        }
        wire::PLANNED => {
            let plan = Plan::from_bytes(argument).ok_or_else(invalid).step(SetupStep::MakeCgroup)?;
            Placement::carry_out(&plan).map(Some)
        }
        _ => Ok(None),
    }
}

/// The sandbox that a process is to join. It has not been reaped, so its number is still its own.
fn joined<'a>(argument: &[u8], children: &'a Children) -> Result<&'a Running, SetupError> {
    let number = argument.try_into().map(i32::from_ne_bytes).ok();
    number.and_then(|pid| children.get(&pid)).ok_or(Errno::SRCH).step(SetupStep::JoinSandbox)
}

pub(crate) fn report(socket: &OwnedFd, status: &Status, files: &[std::os::fd::BorrowedFd<'_>]) {
    // A failure means that galley no longer listens; its end is noticed on the control socket.
    if let Ok(text) = serde_json::to_vec(status) {
        let _ = wire::send(socket, &text, files);
    }
}
