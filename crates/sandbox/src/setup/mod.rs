//! The child's side: from a fresh clone in new namespaces to exec, one step after the other.
//!
//! [`sandbox`] is the sequence; every step has its own error. The child reports to galley over the setup socket,
//! which exec closes.

mod ahead;
mod chroot;
mod exec;
mod init;
mod kernel_fs;
mod last;
mod layers;
mod mounts;
mod obstacle;
pub(crate) mod packed;
pub(crate) mod path;
mod process;
mod staging;
pub(crate) mod step;
mod sysctl;
mod terminal;

pub(crate) use staging::new_mount;

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::mount::{UnmountFlags, unmount};
use serde::de::DeserializeOwned;

use crate::cgroup::Placement;
use crate::error::{ExecError, SetupError, SetupStep};
use crate::manner::Manner;
use crate::net::NETNS_NAME;
use crate::outcome::MadeMountPoint;
use crate::spawner::HelperProgram;
use crate::spec::{Network, Spec};
use crate::sys;
use crate::wire::{self, Setup};
use crate::zygote::Inherited;

use self::last::LastFilter;
use self::step::Step as _;

pub(crate) use self::ahead::Ahead;
pub use self::init::CALLS as INIT_CALLS;

/// The longest description of what a child is to do; files that steps are given are in it.
const DESCRIPTION_BYTES_MAX: u64 = 256 << 20;

/// One request with its open files.
pub(crate) struct Request {
    kind: u8,
    description: OwnedFd,
    setup: OwnedFd,
    /// Where the helper process reports the end of the child.
    pub(crate) status: OwnedFd,
    streams: [OwnedFd; 3],
    extra: Option<OwnedFd>,
    /// Leads to the process that answers for owners, where there has to be one.
    pub(crate) supervisor: Option<OwnedFd>,
}

impl Request {
    /// Whether it asks for a program of the host.
    pub(crate) const fn is_helper(&self) -> bool {
        self.kind == wire::HELPER
    }

    /// All that is still needed when the program runs; the other files close.
    pub(crate) fn into_status(self) -> OwnedFd {
        self.status
    }

    /// Sorts the files of a message; `None` when they are not what a request has.
    pub(crate) fn from_files(kind: u8, files: Vec<OwnedFd>) -> Option<Self> {
        let mut files = files.into_iter();
        Some(Self {
            kind,
            description: files.next()?,
            setup: files.next()?,
            status: files.next()?,
            streams: [files.next()?, files.next()?, files.next()?],
            extra: files.next(),
            supervisor: None,
        })
    }

    /// The namespaces that every child of this kind gets. The network is decided later, by the spec; the cgroup
    /// namespace is made where the child is by then.
    pub(crate) fn namespaces(&self) -> u64 {
        if matches!(self.kind, wire::HELPER | wire::JOIN) { 0 } else { Self::sandbox_namespaces() }
    }

    pub(crate) const fn sandbox_namespaces() -> u64 {
        (libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS) as u64
    }

    /// The network namespace that comes along.
    pub(crate) const fn network(&self) -> Option<&OwnedFd> {
        self.extra.as_ref()
    }

    /// All files, in the order in which they came.
    pub(crate) fn files(&self) -> Vec<BorrowedFd<'_>> {
        let [stdin, stdout, stderr] = &self.streams;
        let always = [&self.description, &self.setup, &self.status, stdin, stdout, stderr];
        always.into_iter().chain(&self.extra).map(AsFd::as_fd).collect()
    }

    fn describe<T: DeserializeOwned>(&self) -> Result<T, SetupError> {
        let mut text = Vec::new();
        let file = std::fs::File::from(self.description.try_clone().step(SetupStep::ReadSpec)?);
        // What is cut off is no description.
        file.take(DESCRIPTION_BYTES_MAX).read_to_end(&mut text).step(SetupStep::ReadSpec)?;
        serde_json::from_slice(&text).map_err(std::io::Error::from).step(SetupStep::ReadSpec)
    }

    fn report(&self, report: &Setup, files: &[BorrowedFd<'_>]) {
        // galley being gone is noticed by the helper process, which ends this one too.
        let Ok(text) = serde_json::to_vec(report) else { return };
        let mut rest = text.as_slice();
        let mut files = files;
        while !rest.is_empty() {
            let Ok(sent) = wire::send(&self.setup, rest, files) else { return };
            (rest, files) = (&rest[sent..], &[]);
        }
    }
}

/// Becomes the child of a request; `host` is the first process of the sandbox that it joins.
pub(crate) fn run(
    request: &Request,
    placement: Option<&Placement>,
    host: Option<BorrowedFd<'_>>,
    inherited: &Inherited,
) -> ! {
    let result = match host {
        _ if request.kind == wire::HELPER => helper(request, inherited),
        Some(host) => {
            placement.map_or(Ok(()), Placement::enter).and_then(|()| join(request, host, inherited))
        }
        None if inherited.manner == Manner::Chroot => chroot::enter(request, placement, inherited),
        None => enter_cgroup(placement)
            .and_then(|()| Ahead::new(inherited))
            .and_then(|ahead| sandbox(request, ahead, inherited)),
    };
    end(request, result)
}

/// Says why the program does not run, and ends.
fn end(request: &Request, result: Result<ExecError, SetupError>) -> ! {
    let code = match result {
        Ok(error) => {
            let code = error.exit_code();
            request.report(&Setup::Exec(error), &[]);
            code
        }
        Err(error) => {
            request.report(&Setup::Failed(error), &[]);
            125
        }
    };
    sys::exit_now(code)
}

/// The namespace's root is the cgroup in which the process that makes it is.
fn enter_cgroup(placement: Option<&Placement>) -> Result<(), SetupError> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    placement.map_or(Ok(()), Placement::enter)?;
    // SAFETY: a new cgroup namespace invalidates no descriptor.
    unsafe { unshare_unsafe(UnshareFlags::NEWCGROUP) }.step(SetupStep::NewCgroupNamespace)
}

/// Everything from the clone to exec; returns only why exec did not happen.
fn sandbox(request: &Request, ahead: Ahead, inherited: &Inherited) -> Result<ExecError, SetupError> {
    let spec: Spec = request.describe()?;
    if !ahead.in_network() {
        enter_network(&spec, request.extra.as_ref())?;
    }
    sysctl::set(&spec.sysctls)?;
    let made = build_root(&spec, ahead, inherited)?;
    rustix::system::sethostname(spec.hostname.as_bytes()).step(SetupStep::SetHostname)?;
    if spec.idle {
        request.report(&Setup::Ready { made }, &[]);
        idle();
    }
    let terminal = spec.tty.map(|size| terminal::open(size, spec.user.uid)).transpose()?;

    // Prepared while the process may still do everything, because afterwards nothing may fail half-way unseen.
    let program = exec::Program::new(&spec.args, &spec.env)?;
    let master: Vec<BorrowedFd<'_>> = terminal.iter().map(|terminal| terminal.master.as_fd()).collect();
    request.report(&Setup::Ready { made }, &master);
    terminal::connect(terminal.as_ref(), &request.streams, &spec.user)?;
    let program = program.behind(restrict(request, &spec, inherited)?);
    if spec.init {
        return init::run(program, terminal.is_some());
    }
    program.exec()
}

/// Keeps the mounts until it is killed. It has all rights that galley has, and nothing else is in its sandbox to take them.
fn idle() -> ! {
    // Galley waits for the end of the reports.
    sys::close_from(0);
    loop {
        rustix::event::pause();
    }
}

/// Another process of a sandbox that stands; returns only why exec did not happen.
fn join(request: &Request, host: BorrowedFd<'_>, inherited: &Inherited) -> Result<ExecError, SetupError> {
    let spec: Spec = request.describe()?;
    rustix::process::setsid().step(SetupStep::NewSession)?;
    sys::join_new_session_keyring();
    // Until exec this process holds more than the sandbox's own: none of them may look into it, or take it over (CVE-2016-9962).
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .step(SetupStep::JoinSandbox)?;
    sys::join_sandbox(host, spec.network != Network::Host).step(SetupStep::JoinSandbox)?;
    let terminal = spec.tty.map(|size| terminal::open_further(size, spec.user.uid)).transpose()?;
    let program = exec::Program::new(&spec.args, &spec.env)?;
    let master: Vec<BorrowedFd<'_>> = terminal.iter().map(|terminal| terminal.master.as_fd()).collect();
    request.report(&Setup::Ready { made: Vec::new() }, &master);
    terminal::connect(terminal.as_ref(), &request.streams, &spec.user)?;
    program.behind(restrict(request, &spec, inherited)?).exec()
}

/// Gives what is to be loaded when nothing else is left to do.
fn restrict(request: &Request, spec: &Spec, inherited: &Inherited) -> Result<Option<LastFilter>, SetupError> {
    let restricted = process::restrict(spec, inherited, request.supervisor.as_ref())?;
    if let Some(gate) = &restricted.gate {
        request.report(&Setup::Holds { supervised: request.supervisor.is_some() }, &[gate.as_fd()]);
    }
    let capabilities = process::settle(spec, inherited, &restricted)?;
    LastFilter::prepare(request, spec, capabilities)
}

/// A program of the host, beside the sandboxes: no namespaces, no restrictions.
fn helper(request: &Request, inherited: &Inherited) -> Result<ExecError, SetupError> {
    let spec: HelperProgram = request.describe()?;
    let program = exec::Program::new(&spec.args, &spec.env)?;
    if let (Some(directory), Some(netns)) = (&spec.netns_directory, &request.extra) {
        show_namespace(netns, directory)?;
    }
    request.report(&Setup::Ready { made: Vec::new() }, &[]);
    terminal::connect(None, &request.streams, &crate::spec::User::default())?;
    process::reset(inherited)?;
    program.exec()
}

/// Gives a network namespace a name in the file system, in a mount namespace of this process alone. Programs that drop
/// rights early can open it there, but not through another process's /proc.
fn show_namespace(netns: &OwnedFd, directory: &str) -> Result<(), SetupError> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: one thread, and a new mount namespace invalidates no descriptor.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.step(SetupStep::MountStaging)?;
    let step = SetupStep::MountStaging;
    let files = new_mount("tmpfs", &[("mode", "0755")], rustix::mount::MountAttrFlags::empty());
    let files = files.step_at(step, directory)?;
    staging::attach(files.as_fd(), rustix::fs::CWD, directory).step_at(step, directory)?;
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(&files, NETNS_NAME, rustix::fs::FileType::RegularFile, mode, 0)
        .step_at(step, directory)?;
    let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(netns));
    let namespace = staging::clone_mount(rustix::fs::CWD, name, false).step_at(step, directory)?;
    staging::attach(namespace.as_fd(), files.as_fd(), NETNS_NAME).step_at(step, directory)
}

fn enter_network(spec: &Spec, netns: Option<&OwnedFd>) -> Result<(), SetupError> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    match (spec.network, netns) {
        (Network::Host, _) => Ok(()),
        (Network::Shared, Some(netns)) => join_network(netns),
        (Network::Shared, None) => Err(rustix::io::Errno::BADF).step(SetupStep::JoinNetwork),
        (Network::None, _) => {
            // SAFETY: a new network namespace invalidates no descriptor.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.step(SetupStep::NewNetwork)?;
            sys::furnish_network().step(SetupStep::NewNetwork)
        }
    }
}

fn join_network(netns: &OwnedFd) -> Result<(), SetupError> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).step(SetupStep::JoinNetwork)
}

/// Mounts everything and makes it the root of the process; the host's files are out of reach afterwards.
fn build_root(spec: &Spec, ahead: Ahead, inherited: &Inherited) -> Result<Vec<MadeMountPoint>, SetupError> {
    let mut builder = ahead.build(spec, inherited)?;
    for mount in &spec.mounts {
        builder.mount(mount)?;
    }
    kernel_fs::restrict_covered(&mut builder, spec)?;
    if spec.readonly_root {
        builder.make_root_readonly()?;
    }
    pivot(builder.root())?;
    Ok(builder.into_made())
}

fn pivot(root: BorrowedFd<'_>) -> Result<(), SetupError> {
    rustix::process::fchdir(root).step(SetupStep::PivotRoot)?;
    // The old root ends up on top of the new one, at the same place, and the staging file system on top of that: one
    // call detaches the uppermost, with all below it in the tree.
    rustix::process::pivot_root(".", ".").step(SetupStep::PivotRoot)?;
    unmount(".", UnmountFlags::DETACH).step(SetupStep::DetachHost)?;
    unmount(".", UnmountFlags::DETACH).step(SetupStep::DetachHost)?;
    rustix::process::chdir("/").step(SetupStep::DetachHost)
}
