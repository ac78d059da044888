//! What a sandbox should be: plain data that crosses to the process that makes it.
//!
//! Open files (standard streams, the network namespace) are no data; they travel beside it, in
//! [`Handles`](crate::Handles).

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::cgroup::{CgroupParent, Plan};
use crate::raw;
use crate::seccomp::SeccompProgram;

/// One sandbox: its root, what is mounted in it, and the process that runs as its pid 1.
///
/// [`Spec::new`] gives Docker's defaults; change the fields that differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The root file system.
    pub root: Root,
    /// Whether the root is mounted read-only once every mount point exists.
    pub readonly_root: bool,
    /// Mounts in the order they are made, after /proc, /dev and /sys.
    pub mounts: Vec<Mount>,
    /// The program and its arguments; a name without a slash is looked up in the PATH of `env`.
    #[serde(with = "raw::list")]
    pub args: Vec<OsString>,
    /// The environment, `NAME=value`, in order; nothing is added to it.
    #[serde(with = "raw::list")]
    pub env: Vec<OsString>,
    /// The working directory inside the root; it has to exist.
    #[serde(with = "raw")]
    pub cwd: PathBuf,
    /// Who the process runs as, in the sandbox's numbers.
    pub user: User,
    /// The host name in the UTS namespace.
    pub hostname: String,
    /// Which network the process sees.
    pub network: Network,
    /// A terminal of this size instead of the three streams of the handles.
    pub tty: Option<TtySize>,
    /// The bounding set of the process.
    pub capabilities: Capabilities,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// Whether devices work and /sys can be written to: [`Spec::make_insecure`].
    pub insecure: bool,
    /// Whether setuid programs and file capabilities have no effect (off in Docker, for builds and runs).
    pub no_new_privileges: bool,
    /// Paths hidden behind an empty file or directory, where they exist.
    #[serde(with = "raw::list")]
    pub masked_paths: Vec<PathBuf>,
    /// Paths made read-only, where they exist.
    #[serde(with = "raw::list")]
    pub readonly_paths: Vec<PathBuf>,
    /// Resource limits set before the program starts.
    pub ulimits: Vec<Ulimit>,
    /// Size of /dev/shm in bytes.
    pub shm_size: u64,
    /// The score that the out-of-memory killer adds, -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Below which cgroup the sandbox gets one of its own; without it, it stays in that of galley. It travels apart,
    /// because it is made before the sandbox.
    #[serde(skip)]
    pub cgroup_parent: Option<CgroupParent>,
    /// A cgroup of its own with limits, which wins over the parent. It travels like that.
    #[serde(skip)]
    pub cgroup: Option<Plan>,
    /// Whether a small first process starts the program, passes signals on to it and reaps what others leave behind.
    #[serde(default)]
    pub init: bool,
    /// Whether whatever would make a socket waits, Unix sockets excepted, as [`Child::take_gate`](crate::Child::take_gate)
    /// says. Not where owners are told by a supervisor, nor in a chroot: there it is refused.
    #[serde(default)]
    pub hold_sockets: bool,
    /// Settings of the kernel that its namespaces have of their own, by their names with dots.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
    /// Whether nothing runs in it: root and mounts are there for galley alone, who looks at them as /proc/N/root of the
    /// [`Child`](crate::Child), until that is dropped. Not in a chroot, where nothing is mounted.
    #[serde(default)]
    pub idle: bool,
}

/// Size of /dev/shm unless asked otherwise, as in Docker.
pub const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// What Docker hides: kernel memory, keys and timers of the whole machine. And what it does not: pages of the machine, and the
/// file that makes a disk in memory when it is read.
const MASKED_PATHS: [&str; 17] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/sys/class/zram-control",
];

/// What Docker makes read-only: settings of the whole machine.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

impl Spec {
    /// A sandbox with Docker's defaults that runs `args` in `root` as its root user, without a network.
    pub fn new(root: Root, args: Vec<OsString>) -> Self {
        Self {
            root,
            readonly_root: false,
            mounts: Vec::new(),
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: User::default(),
            hostname: "galley".to_owned(),
            network: Network::None,
            tty: None,
            capabilities: Capabilities::docker_default(),
            seccomp: Seccomp::Default,
            insecure: false,
            no_new_privileges: false,
            masked_paths: MASKED_PATHS.map(PathBuf::from).to_vec(),
            readonly_paths: READONLY_PATHS.map(PathBuf::from).to_vec(),
            ulimits: Vec::new(),
            shm_size: DEFAULT_SHM_SIZE,
            oom_score_adj: None,
            cgroup_parent: None,
            cgroup: None,
            init: false,
            hold_sockets: false,
            sysctls: Vec::new(),
            idle: false,
        }
    }

    /// Takes back everything that keeps the machine from a process, but for namespaces: all capabilities that galley
    /// has, no filter, nothing masked or read-only, devices. In a user namespace none of this reaches the machine.
    pub fn make_insecure(&mut self) {
        self.insecure = true;
        self.capabilities = Capabilities::all();
        self.seccomp = Seccomp::Off;
        self.masked_paths.clear();
        self.readonly_paths.clear();
    }
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// A merged view of layers.
    Layers(Layers),
    /// A directory of the host, used as it is and written to directly.
    Directory(#[serde(with = "raw")] PathBuf),
}

/// Layers seen as one through overlayfs. All paths are absolute.
///
/// No lowers and a writable directory: that directory itself. No writable directory: a read-only view (of one
/// lower: that one alone; of none: an empty directory).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Read-only layers, the topmost first.
    pub lowers: Vec<Lower>,
    /// Where changes go; without it the view is read-only.
    pub writable: Option<Writable>,
}

/// One read-only layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lower {
    /// A directory.
    Directory(#[serde(with = "raw")] PathBuf),
    /// A file that is an EROFS file system, mounted for as long as the sandbox lives.
    Packed(#[serde(with = "raw")] PathBuf),
}

impl From<PathBuf> for Lower {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

/// The two directories overlayfs needs to take changes, both on one file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writable {
    /// Takes the changed files; afterwards it is the difference to the lowers.
    #[serde(with = "raw")]
    pub upper: PathBuf,
    /// An empty directory for the kernel's own use; worthless afterwards.
    #[serde(with = "raw")]
    pub work: PathBuf,
}

/// Something mounted at a path of the sandbox.
///
/// A missing mount point is created in what lies below it, and reported by
/// [`Child::made_mount_points`](crate::Child::made_mount_points).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, inside the root; symbolic links are followed inside the root only.
    #[serde(with = "raw")]
    pub target: PathBuf,
    /// What.
    pub source: Source,
    /// Whether it is mounted read-only.
    pub readonly: bool,
}

/// What a mount shows. Device files do not work on any of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        #[serde(with = "raw")]
        path: PathBuf,
        /// A path below it, whose symbolic links cannot leave it; empty for the whole.
        #[serde(with = "raw")]
        subpath: PathBuf,
        /// Whether mounts below it come along.
        recursive: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Its limit in bytes; the kernel's default (half of the memory) without one.
        size: Option<u64>,
        /// Permissions of its root; without them those of the directory that it hides, or 1777.
        mode: Option<u32>,
        /// Whether programs on it cannot be executed.
        noexec: bool,
    },
    /// A merged view of layers, or a part of it.
    Layers {
        /// The view.
        layers: Layers,
        /// A path inside the view, whose symbolic links cannot leave it; empty for the whole.
        #[serde(with = "raw")]
        subpath: PathBuf,
    },
    /// A file in memory with these bytes; it is never written to a disk.
    File {
        /// All of its bytes.
        #[serde(with = "raw")]
        content: Vec<u8>,
        /// Permissions.
        mode: u32,
        /// Owner, in the sandbox's numbers.
        uid: u32,
        /// Group, in the sandbox's numbers.
        gid: u32,
    },
}

/// Numeric identity; names are looked up by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups; replaces all others.
    pub groups: Vec<u32>,
}

/// Which network the process sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The one galley itself is in.
    Host,
    /// A namespace of its own with nothing but loopback.
    None,
    /// The namespace of [`Handles::netns`](crate::Handles), which several sandboxes may share.
    Shared,
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub cols: u16,
}

/// The system call filter of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile.
    Default,
    /// No filter.
    Off,
    /// This one, instead of Docker's. It has to allow `execve`, and with `init` what that process needs
    /// ([`INIT_CALLS`](crate::INIT_CALLS)).
    Own(SeccompProgram),
}

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ulimit {
    /// Which.
    pub resource: Resource,
    /// The limit in force; `u64::MAX` for none.
    pub soft: u64,
    /// How far the process may raise it; `u64::MAX` for none.
    pub hard: u64,
}

/// What a [`Ulimit`] limits, named as in `docker run --ulimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are those of setrlimit(2)")]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    /// All there are, by name.
    pub const ALL: [(&str, Self); 15] = [
        ("core", Self::Core),
        ("cpu", Self::Cpu),
        ("data", Self::Data),
        ("fsize", Self::Fsize),
        ("locks", Self::Locks),
        ("memlock", Self::Memlock),
        ("msgqueue", Self::Msgqueue),
        ("nice", Self::Nice),
        ("nofile", Self::Nofile),
        ("nproc", Self::Nproc),
        ("rss", Self::Rss),
        ("rtprio", Self::Rtprio),
        ("rttime", Self::Rttime),
        ("sigpending", Self::Sigpending),
        ("stack", Self::Stack),
    ];

    /// As in `--ulimit`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, resource)| *resource == self).map_or("", |(name, _)| name)
    }

    /// The limit of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
    }
}
