//! What decides about sandboxes on this machine, one fact at a time.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::trial::{Rung, Trial, trial};
use crate::userns::{IdMaps, UserNsError};

/// How a fact bears on galley.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Good,
    /// galley works, with less.
    Limited,
    /// In the way.
    Bad,
}

/// One fact about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What was looked at.
    pub name: &'static str,
    /// What was found.
    pub value: String,
    /// How it bears on galley.
    pub status: Status,
    /// What it means.
    pub meaning: String,
    /// What to change, as a command or a line of a file.
    pub change: Option<String>,
}

impl Fact {
    fn new(name: &'static str, status: Status, value: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self { name, value: value.into(), status, meaning: meaning.into(), change: None }
    }

    fn change(mut self, change: impl Into<String>) -> Self {
        self.change = Some(change.into());
        self
    }
}

/// Everything worth knowing; `store` is the folder where the layers will be.
pub fn doctor(store: &Path) -> Vec<Fact> {
    let mut facts = vec![rung(store), kernel(), file_system(store)];
    if !rustix::process::geteuid().is_root() {
        facts.extend([namespaces(), unprivileged(), apparmor()]);
        facts.extend(ranges());
        facts.extend([helper("newuidmap"), helper("newgidmap")]);
    }
    facts.extend([proc_masks(), tun(), pasta(), fuse(), cgroups()]);
    facts
}

fn rung(store: &Path) -> Fact {
    const NAME: &str = "sandboxes";
    let Trial { rung, obstacles } = match trial(store) {
        Ok(trial) => trial,
        Err(error) => return Fact::new(NAME, Status::Bad, "not tried", error.to_string()),
    };
    let why: Vec<String> = obstacles.into_iter().map(|obstacle| obstacle.error).collect();
    match rung {
        Some(Rung::Root) => Fact::new(NAME, Status::Good, "as root", "steps run with all of Docker's rights"),
        Some(Rung::UserRange) => Fact::new(
            NAME,
            Status::Good,
            "in a user namespace",
            "steps run as root over this user's ranges of ids",
        ),
        Some(Rung::SingleId) => Fact::new(
            NAME,
            Status::Limited,
            "in a user namespace with one id",
            format!(
                "steps run as this user alone, who is root inside; other owners of files are told, not enforced, and each \
                 question about them costs 6 to 30 us; for more: {}",
                why.join("; ")
            ),
        ),
        Some(Rung::Chroot) => Fact::new(
            NAME,
            Status::Limited,
            "by chroot, in a copy of the files",
            format!(
                "steps and containers are not kept from this container, see no /proc, and have its network; `galley run` \
                 refuses what needs mounts; better ways do not work here: {}",
                why.join("; ")
            ),
        )
        .change("give the container CAP_SYS_ADMIN and a seccomp profile that allows mounts, or run as a user with ranges of ids"),
        None => Fact::new(
            NAME,
            Status::Bad,
            "none",
            format!(
                "RUN and `galley run` do not work here: {}",
                why.join("; ")
            ),
        )
        .change("see the facts below that are in the way"),
    }
}

fn kernel() -> Fact {
    const NAME: &str = "kernel";
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version < (5, 12) {
        return Fact::new(NAME, Status::Bad, release, "sandboxes need Linux 5.12")
            .change("use a newer kernel");
    }
    Fact::new(NAME, Status::Good, release, "everything galley uses is there")
}

fn file_system(store: &Path) -> Fact {
    const NAME: &str = "file system of the store";
    let Ok(found) = rustix::fs::statfs(store) else {
        let meaning = format!("{} cannot be looked at", store.display());
        return Fact::new(NAME, Status::Bad, "unknown", meaning)
            .change("make the folder, or choose another by --root");
    };
    match found.f_type as u64 {
        0x794c_7630 => {
            Fact::new(NAME, Status::Bad, "overlayfs", "an overlay cannot have its layers on an overlay")
                .change("put the store on a volume: --root or GALLEY_ROOT")
        }
        0x6969 => Fact::new(NAME, Status::Bad, "nfs", "an overlay cannot have its upper layer on NFS")
            .change("put the store on a local disk: --root or GALLEY_ROOT"),
        magic => {
            let name = match magic {
                0xef53 => "ext4".to_owned(),
                0x5846_5342 => "xfs".to_owned(),
                0x9123_683e => "btrfs".to_owned(),
                0x0102_1994 => "tmpfs".to_owned(),
                other => format!("{other:#x}"),
            };
            Fact::new(NAME, Status::Good, name, "the trial decides")
        }
    }
}

fn setting(path: &str) -> Option<String> {
    fs_err::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn namespaces() -> Fact {
    const NAME: &str = "user.max_user_namespaces";
    match setting("/proc/sys/user/max_user_namespaces") {
        Some(value) if value == "0" => {
            Fact::new(NAME, Status::Bad, value, "nobody may make user namespaces, not even root").change(
                "sysctl -w user.max_user_namespaces=28633 (and the same line in /etc/sysctl.d/userns.conf)",
            )
        }
        Some(value) => Fact::new(NAME, Status::Good, value, "user namespaces are allowed"),
        None => Fact::new(NAME, Status::Bad, "absent", "the kernel was built without user namespaces")
            .change("use a kernel with CONFIG_USER_NS=y"),
    }
}

fn unprivileged() -> Fact {
    const NAME: &str = "kernel.unprivileged_userns_clone";
    match setting("/proc/sys/kernel/unprivileged_userns_clone") {
        Some(value) if value == "0" => Fact::new(
            NAME,
            Status::Bad,
            value,
            "only root may make user namespaces",
        )
        .change(
            "sysctl -w kernel.unprivileged_userns_clone=1 (and the same line in /etc/sysctl.d/userns.conf)",
        ),
        Some(value) => Fact::new(NAME, Status::Good, value, "ordinary users may make user namespaces"),
        None => Fact::new(NAME, Status::Good, "absent", "this kernel has no such switch"),
    }
}

fn apparmor() -> Fact {
    const NAME: &str = "kernel.apparmor_restrict_unprivileged_userns";
    match setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") {
        Some(value) if value == "1" => Fact::new(
            NAME,
            Status::Bad,
            value,
            "AppArmor takes all rights from user namespaces of programs that have no profile",
        )
        .change(
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give galley a profile: `profile galley \
             /path/to/galley flags=(unconfined) { userns, }` in /etc/apparmor.d/galley, then apparmor_parser -r",
        ),
        Some(value) => Fact::new(NAME, Status::Good, value, "AppArmor does not restrict user namespaces"),
        None => Fact::new(NAME, Status::Good, "absent", "AppArmor does not restrict user namespaces"),
    }
}

/// Images have ids up to 65534 (nobody), so fewer ids are a limit.
const USEFUL_IDS: u64 = 65_536;

fn ranges() -> Vec<Fact> {
    const NAME: &str = "subordinate ids";
    let fact = match IdMaps::for_current_user() {
        Ok(maps) => {
            let (uids, gids) = (maps.uid_count(), maps.gid_count());
            let value = format!("{uids} users, {gids} groups");
            if uids.min(gids) < USEFUL_IDS {
                Fact::new(NAME, Status::Limited, value, "images that use ids up to 65534 will fail")
                    .change("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER")
            } else {
                Fact::new(NAME, Status::Good, value, "enough for any image")
            }
        }
        Err(error @ UserNsError::NoRange { .. }) => {
            Fact::new(NAME, Status::Limited, "none", error.to_string())
                .change("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER")
        }
        Err(error) => Fact::new(NAME, Status::Bad, "unknown", error.to_string()),
    };
    vec![fact]
}

/// Where a program is, by PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).map(|directory| directory.join(name));
    let executable = |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    candidates.filter(executable).find(|path| path.is_file())
}

fn helper(name: &'static str) -> Fact {
    match find_program(name) {
        Some(path) => Fact::new(name, Status::Good, path.display().to_string(), "writes the map of ids"),
        None => Fact::new(
            name,
            Status::Limited,
            "not in PATH",
            "only it may map a range of ids for an ordinary user",
        )
        .change("apt-get install uidmap (Debian, Ubuntu), or shadow-utils (Fedora), shadow-uidmap (Alpine)"),
    }
}

/// Containers hide parts of /proc by mounts; then the kernel refuses a new one in a user namespace.
fn proc_masks() -> Fact {
    const NAME: &str = "/proc";
    let mounts = setting("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let masks: Vec<&str> = points.filter(|point| point.starts_with("/proc/")).collect();
    let harmless = |point: &&str| *point == "/proc/sys/fs/binfmt_misc";
    let Some(first) = masks.iter().find(|point| !harmless(point)) else {
        return Fact::new(NAME, Status::Good, "whole", "sandboxes can have a /proc of their own");
    };
    let value = format!("partly hidden ({first})");
    if crate::userns::in_user_namespace() || !rustix::process::geteuid().is_root() {
        Fact::new(NAME, Status::Bad, value, "the kernel refuses a new /proc in a user namespace")
            .change("start the outer container with --security-opt systempaths=unconfined")
    } else {
        Fact::new(NAME, Status::Good, value, "no hindrance for root")
    }
}

fn opens(path: &str) -> Result<(), rustix::io::Errno> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map(drop)
}

fn tun() -> Fact {
    const NAME: &str = "/dev/net/tun";
    match opens(NAME) {
        Ok(()) => Fact::new(NAME, Status::Good, "usable", "pasta can connect private networks"),
        Err(error) => Fact::new(
            NAME,
            Status::Limited,
            error.to_string(),
            "pasta cannot be used; build steps share the host's network",
        )
        .change("modprobe tun; chmod 666 /dev/net/tun (in a container: --device /dev/net/tun)"),
    }
}

fn pasta() -> Fact {
    const NAME: &str = "pasta";
    match find_program(NAME) {
        Some(path) => Fact::new(NAME, Status::Good, path.display().to_string(), "connects private networks"),
        None => Fact::new(
            NAME,
            Status::Limited,
            "not in PATH",
            "build steps share the host's network; containers see published ports only",
        )
        .change("apt-get install passt"),
    }
}

fn fuse() -> Fact {
    const NAME: &str = "/dev/fuse";
    match opens(NAME) {
        Ok(()) => Fact::new(NAME, Status::Good, "usable", "ready for what later versions do with it"),
        Err(error) => {
            Fact::new(NAME, Status::Good, error.to_string(), "not used yet; later versions want it")
                .change("chmod 666 /dev/fuse (in a container: --device /dev/fuse)")
        }
    }
}

fn cgroups() -> Fact {
    const NAME: &str = "cgroups";
    let magic = rustix::fs::statfs("/sys/fs/cgroup").map(|found| found.f_type as u64);
    let value = match magic {
        Ok(0x6367_7270) => "v2",
        Ok(_) => "v1 or hybrid",
        Err(_) => "none",
    };
    Fact::new(NAME, Status::Good, value, "`galley run` sets limits in them, where galley may make cgroups")
}
