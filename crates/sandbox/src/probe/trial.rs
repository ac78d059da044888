//! Which rung of the ladder carries.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::init;
use crate::setup::packed;
use crate::spawner::{Handles, Spawner};
use crate::spec::{Layers, Network, Root, Spec, Writable};
use crate::userns::{self, IdMaps};

/// How sandboxes can be made on this machine, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rung {
    /// As this user: root (of the machine, or of the user namespace this process is in), with mounts.
    Root,
    /// In a user namespace with the user's ranges of ids.
    UserRange,
    /// In a user namespace with this user alone; owners of files are told by a supervisor.
    SingleId,
    /// As root of a container that may neither mount nor make namespaces: chroot into a copy of the files.
    Chroot,
}

/// The result of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The best rung that works; none of the supported ones otherwise.
    pub rung: Option<Rung>,
    /// Why the better ones do not work.
    pub obstacles: Vec<Obstacle>,
}

/// Why a rung does not carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Which rung.
    pub rung: Rung,
    /// The error met.
    pub error: String,
}

/// Where the trial inside a user namespace leaves its result.
const RESULT: &str = "result";
const PROGRAM: &str = "/galley-trial";

/// Tries a rung in a directory; else why it does not carry.
type Attempt = fn(&Path) -> Result<(), String>;

/// Tries to make a sandbox with its layers in `folder`, which has to exist.
///
/// Takes some 10 ms; the result holds until the next boot.
pub fn trial(folder: &Path) -> Result<Trial, Error> {
    let mut obstacles = Vec::new();
    let rungs: [(Rung, Attempt); 4] = [
        (Rung::Root, here),
        (Rung::UserRange, with_ranges),
        (Rung::SingleId, alone),
        (Rung::Chroot, by_chroot),
    ];
    for (rung, attempt) in rungs {
        let directory = Scratch::new(folder)?;
        match attempt(&directory.0) {
            Ok(()) => return Ok(Trial { rung: Some(rung), obstacles }),
            Err(error) => obstacles.push(Obstacle { rung, error }),
        }
    }
    Ok(Trial { rung: None, obstacles })
}

/// Tries to mount the packed layer at `path`; nothing stays mounted. Costs a twentieth of a millisecond.
pub fn mounts_packed(path: &Path) -> io::Result<()> {
    packed::mount(path).map(drop)
}

/// A directory that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(format!(".trial-{}", std::process::id()));
        let _ = fs_err::remove_dir_all(&path);
        fs_err::create_dir(&path)
            .map_err(|source| Error::Probe { action: "make a directory in the store", source })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs_err::remove_dir_all(&self.0);
    }
}

/// Tries as the user that this process is.
fn here(directory: &Path) -> Result<(), String> {
    let path = |name: &str| directory.join(name);
    let names = ["lower", "lower2", "upper", "work"];
    for name in names {
        fs_err::create_dir(path(name)).map_err(|error| error.to_string())?;
    }
    let writable = Writable { upper: path("upper"), work: path("work") };
    let layers =
        Layers { lowers: vec![path("lower").into(), path("lower2").into()], writable: Some(writable) };
    let result = attempt(layers);
    // The kernel's work directory can be entered by root only, so it goes while this process is root.
    for name in names {
        let _ = fs_err::remove_dir_all(path(name));
    }
    result
}

fn attempt(layers: Layers) -> Result<(), String> {
    let spawner = Spawner::start().map_err(|error| error.to_string())?;
    reach_exec(&spawner, &Spec::new(Root::Layers(layers), vec![PROGRAM.into()]))
}

/// Tries without mounts and namespaces: to give a file away, and to change the root directory.
fn by_chroot(directory: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not tried: this user is not root".to_owned());
    }
    let root = directory.join("root");
    fs_err::create_dir(&root).map_err(|error| error.to_string())?;
    let given = fs_err::os::unix::fs::lchown(&root, Some(1), Some(1));
    given.map_err(|error| format!("files cannot be given to others: {error}"))?;
    let spawner = Spawner::start_chroot().map_err(|error| error.to_string())?;
    let spec = Spec { network: Network::Host, ..Spec::new(Root::Directory(root), vec![PROGRAM.into()]) };
    reach_exec(&spawner, &spec)
}

fn reach_exec(spawner: &Spawner, spec: &Spec) -> Result<(), String> {
    match spawner.spawn(spec, Handles::default()) {
        Err(Error::Exec(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err(format!("{PROGRAM} exists in an empty directory")),
    }
}

fn with_ranges(directory: &Path) -> Result<(), String> {
    let maps = IdMaps::for_current_user().map_err(|error| error.to_string())?;
    in_user_namespace(directory, &maps)
}

fn alone(directory: &Path) -> Result<(), String> {
    in_user_namespace(directory, &IdMaps::alone())
}

/// Tries again as root of a user namespace, in a process of its own.
fn in_user_namespace(directory: &Path, maps: &IdMaps) -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return Err("not tried: this user is root already".to_owned());
    }
    let role = OsString::from(init::PROBE.to_str().unwrap_or_default());
    let args = ["galley".into(), role, directory.as_os_str().to_owned()];
    let path = std::env::var_os("PATH").map(|value| ("PATH".into(), value));
    userns::enter_and_reexec(maps, args, path).map_err(|error| error.to_string())?;
    match fs_err::read_to_string(directory.join(RESULT)) {
        Ok(text) if text.is_empty() => Ok(()),
        Ok(text) => Err(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("the trial process ended early".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The role of the process inside: tries, and leaves the error, or nothing.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) -> i32 {
    let Some(directory) = args.next().map(PathBuf::from) else { return 2 };
    let text = here(&directory).err().unwrap_or_default();
    i32::from(fs_err::write(directory.join(RESULT), text).is_err())
}
