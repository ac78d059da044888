//! galley's end of the helper process that forks every sandbox.
//!
//! ```text
//! galley (threads) ── control: one packet per sandbox, with its files ──▶ zygote (one thread, pid 1 of its namespace)
//!    ▲  ▲                                                                    │ clone3 into new namespaces
//!    │  └────────── status: started + pidfd, ended + usage ──────────────────┤
//!    └───────────── setup: ready / failed, end of file = exec happened ──── child (pid 1 of the sandbox)
//! ```
//!
//! The helper is the first process of a pid namespace: when it ends, for whatever reason, the kernel kills every
//! sandbox. It ends when the control socket closes, which the kernel does when galley is gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags};
use serde::Serialize;

use crate::capabilities::Capabilities;
use crate::cgroup::Plan as CgroupPlan;
use crate::child::{self, Child};
use crate::error::Error;
use crate::manner::Manner;
use crate::spec::{Network, Spec};
use crate::sys::{self, CStringArray, Fork};
use crate::{exe, init, wire};

/// Starts sandboxes; one per galley process, shared by all threads.
///
/// Dropping it kills every sandbox that still runs.
#[derive(Debug)]
pub struct Spawner {
    control: Option<OwnedFd>,
    pidfd: OwnedFd,
    manner: Manner,
}

/// A longer complaint of the helper process is cut.
const GREETING_MAX: usize = 512;

const TOO_LONG: Error = Error::Spec("the paths of the cgroups are too long");

/// The open files of one sandbox. A missing stream is /dev/null.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handles<'a> {
    /// Standard input.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Standard output.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Standard error.
    pub stderr: Option<BorrowedFd<'a>>,
    /// The network namespace to join with [`Network::Shared`].
    pub netns: Option<BorrowedFd<'a>>,
    /// Whether another sandbox will be asked for after this one, in the same network: it is made ahead, as with
    /// [`Spawner::make_ahead`], beside the start of this one.
    pub followed: bool,
}

impl Spawner {
    /// Starts the helper process. The caller needs the right to make namespaces: root, or the first user of a user
    /// namespace.
    pub fn start() -> Result<Self, Error> {
        Self::start_as(Manner::Namespaces)
    }

    /// Starts a helper process that makes neither namespaces nor mounts. Its sandboxes are chroots into a
    /// [`Root::Directory`](crate::Root), on the network of this process; they protect nothing. Of a spec only the process
    /// itself counts: what is mounted, masked or read-only is the caller's business.
    pub fn start_chroot() -> Result<Self, Error> {
        Self::start_as(Manner::Chroot)
    }

    /// Whether it was started by [`start_chroot`](Self::start_chroot).
    pub fn makes_chroots(&self) -> bool {
        self.manner == Manner::Chroot
    }

    fn start_as(manner: Manner) -> Result<Self, Error> {
        let failed = |action| move |source: io::Error| Error::StartSpawner { action, source };
        if manner == Manner::Namespaces && !Capabilities::permitted().contains("SYS_ADMIN") {
            // Before the program is copied, which is where this takes time.
            return Err(failed("clone into a pid namespace")(rustix::io::Errno::PERM.into()));
        }
        let program = own_program(manner).map_err(failed("open own program"))?;
        // Out of the way of the number that the control socket gets.
        let program = rustix::io::fcntl_dupfd_cloexec(program, wire::CONTROL + 1)
            .map_err(|e| failed("open own program")(e.into()))?;
        let (control, theirs) = wire::packet_pair().map_err(|e| failed("make a socket pair")(e.into()))?;
        let words = [c"galley", init::ZYGOTE, manner.argument()];
        let args = CStringArray::new(words.map(ToOwned::to_owned).to_vec());
        let env = CStringArray::new(vec![]);
        let namespaces = if manner == Manner::Namespaces { libc::CLONE_NEWPID as u64 } else { 0 };
        // SAFETY: everything that needs memory was made above; the child makes system calls until it executes.
        let fork = unsafe { sys::fork_into(namespaces) };
        match fork.map_err(failed("clone into a pid namespace"))? {
            Fork::Child => become_zygote(program.as_fd(), theirs.as_fd(), &args, &env),
            Fork::Parent { pidfd, .. } => {
                drop(theirs);
                let spawner = Self { control: Some(control), pidfd, manner };
                spawner.await_ready().map_err(failed("prepare"))?;
                Ok(spawner)
            }
        }
    }

    /// Makes a sandbox and starts its program; returns once the program runs.
    pub fn spawn(&self, spec: &Spec, handles: Handles<'_>) -> Result<Child, Error> {
        if spec.args.is_empty() && !spec.idle {
            return Err(Error::Spec("there is no program to run"));
        }
        if spec.idle && self.makes_chroots() {
            return Err(Error::Spec("nothing is mounted in a chroot that could be looked at"));
        }
        let netns = match (spec.network, handles.netns) {
            (Network::Shared, None) => return Err(Error::Spec("a shared network without its namespace")),
            (Network::Shared, netns) => netns,
            (Network::Host | Network::None, _) => None,
        };
        let kind = match (&spec.cgroup, &spec.cgroup_parent) {
            (Some(plan), _) => [&[wire::PLANNED], plan.to_bytes().as_slice()].concat(),
            (None, Some(parent)) => [&[wire::PLACED], parent.as_bytes()].concat(),
            (None, None) => vec![wire::SANDBOX],
        };
        if kind.len() > wire::REQUEST_MAX {
            return Err(TOO_LONG);
        }
        self.request(&kind, spec, handles, netns)
    }

    /// Runs another program in the sandbox of `child`, which has to be one of this spawner's. Of `spec` counts what is about
    /// the process; root, mounts, network and host name are the sandbox's. It ends with the sandbox at the latest.
    pub fn join(&self, child: &Child, spec: &Spec, handles: Handles<'_>) -> Result<Child, Error> {
        if spec.args.is_empty() {
            return Err(Error::Spec("there is no program to run"));
        }
        let kind = [&[wire::JOIN], child.number().to_ne_bytes().as_slice()].concat();
        self.request(&kind, spec, Handles { netns: None, ..handles }, None)
    }

    /// Makes the cgroups of `plan` for `child`, a sandbox that runs, beside those that it has. Who joins it from now on is in
    /// them; who is there already is moved by [`CgroupPlan::gather`]. They are removed with its others.
    pub fn place(&self, child: &Child, plan: &CgroupPlan) -> Result<(), Error> {
        self.replace(wire::PLACE, child, plan)
    }

    /// Removes them before its end. Nobody may be in them any more.
    pub fn displace(&self, child: &Child, plan: &CgroupPlan) -> Result<(), Error> {
        self.replace(wire::DISPLACE, child, plan)
    }

    fn replace(&self, kind: u8, child: &Child, plan: &CgroupPlan) -> Result<(), Error> {
        let failed = |action| move |source: io::Error| Error::Spawner { action, source };
        let request = [&[kind], child.number().to_ne_bytes().as_slice(), &plan.to_bytes()].concat();
        if request.len() > wire::REQUEST_MAX {
            return Err(TOO_LONG);
        }
        let (status, their_status) = wire::packet_pair().map_err(|e| failed("making sockets")(e.into()))?;
        self.send(&request, &[their_status.as_fd()]).map_err(failed("asking for cgroups"))?;
        drop(their_status);
        child::await_placed(&status)
    }

    /// Has the next sandbox made while nobody waits for it, to be in this network, or in that of the host. A request
    /// that it does not suit does without it.
    pub fn make_ahead(&self, netns: Option<BorrowedFd<'_>>) {
        let files: Vec<BorrowedFd<'_>> = netns.into_iter().collect();
        // What does not work here is told to who asks for a sandbox.
        let _ = self.send(&[wire::AHEAD], &files);
    }

    /// Has a file kept open as long as anything of a sandbox that is asked for after this may run, also when this process is
    /// killed: a lock on it is not free before. By chroot alone, where nothing ends with the helper process at once.
    pub fn keep_open(&self, file: BorrowedFd<'_>) -> Result<(), Error> {
        let sent = self.send(&[wire::KEEP], &[file]);
        sent.map_err(|source| Error::Spawner { action: "handing a lock over", source })
    }

    /// Begins to end it, and every sandbox that still runs; dropping it waits for the end.
    pub fn end(&self) {
        if let Some(control) = &self.control {
            // It takes the end of the connection for that of galley.
            let _ = rustix::net::shutdown(control, rustix::net::Shutdown::Both);
        }
    }

    /// Runs a program of the host as it is, which dies with the helper process like a sandbox does.
    pub(crate) fn spawn_helper(&self, program: &HelperProgram, handles: Handles<'_>) -> Result<Child, Error> {
        self.request(&[wire::HELPER], program, handles, handles.netns)
    }

    fn request(
        &self,
        kind: &[u8],
        description: &impl Serialize,
        handles: Handles<'_>,
        extra: Option<BorrowedFd<'_>>,
    ) -> Result<Child, Error> {
        let failed = |action| move |source: io::Error| Error::Spawner { action, source };
        let description = memory_file(description).map_err(failed("describing the sandbox"))?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| failed("opening /dev/null")(e.into()))?;
        let (setup, their_setup) = wire::stream_pair().map_err(|e| failed("making sockets")(e.into()))?;
        let (status, their_status) = wire::packet_pair().map_err(|e| failed("making sockets")(e.into()))?;
        let mut files = vec![
            description.as_fd(),
            their_setup.as_fd(),
            their_status.as_fd(),
            handles.stdin.unwrap_or(null.as_fd()),
            handles.stdout.unwrap_or(null.as_fd()),
            handles.stderr.unwrap_or(null.as_fd()),
        ];
        files.extend(extra);
        self.send(kind, &files).map_err(failed("asking for a sandbox"))?;
        drop((their_setup, their_status));
        // Earlier the two would wait for each other: who makes a mount namespace stops all who mount something.
        Child::await_start(setup, status, || {
            if handles.followed {
                self.make_ahead(extra);
            }
        })
    }

    fn await_ready(&self) -> io::Result<()> {
        let control = self.control.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let mut greeting = [0; GREETING_MAX];
        match wire::receive(control, &mut greeting, &mut Vec::new())? {
            0 => Err(io::Error::other("it ended early")),
            length if greeting[..length] == *wire::READY => Ok(()),
            length => Err(io::Error::other(String::from_utf8_lossy(&greeting[..length]).into_owned())),
        }
    }

    fn send(&self, kind: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let control = self.control.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        wire::send(control, kind, files)?;
        Ok(())
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.control = None;
        // Its children are dead once it is: the kernel waits for them when the first process of a pid namespace ends.
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(self.pidfd.as_fd()),
            rustix::process::WaitIdOptions::EXITED,
        );
    }
}

/// The program of the helper process. In a chroot nothing shows it to a step, which is kept from nothing by a copy of it.
fn own_program(manner: Manner) -> io::Result<OwnedFd> {
    match manner {
        Manner::Namespaces => exe::pinned_readonly().or_else(|_| exe::pinned()),
        Manner::Chroot => exe::pinned(),
    }
}

/// A program of the host with its arguments and environment.
#[derive(Debug, Serialize, serde::Deserialize)]
pub(crate) struct HelperProgram {
    #[serde(with = "crate::raw::list")]
    pub(crate) args: Vec<std::ffi::OsString>,
    #[serde(with = "crate::raw::list")]
    pub(crate) env: Vec<std::ffi::OsString>,
    /// Where the network namespace that comes along is shown as a file, to this program alone.
    pub(crate) netns_directory: Option<String>,
}

fn memory_file(value: &impl Serialize) -> io::Result<OwnedFd> {
    let bytes = serde_json::to_vec(value)?;
    let file = rustix::fs::memfd_create("galley-spec", MemfdFlags::CLOEXEC)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
        rest = &rest[written..];
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

/// After the fork: only system calls.
fn become_zygote(
    program: BorrowedFd<'_>,
    control: BorrowedFd<'_>,
    args: &CStringArray,
    env: &CStringArray,
) -> ! {
    // A session of its own: keys pressed on the terminal are for galley, which tells the helper what to end.
    let _ = rustix::process::setsid();
    let first_unknown = wire::CONTROL as u32 + 1;
    if sys::place_descriptor(control, wire::CONTROL).is_ok() && sys::close_on_exec_from(first_unknown).is_ok()
    {
        sys::exec_file(program, args, env);
    }
    sys::exit_now(127)
}
