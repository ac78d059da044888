//! Containers where nothing can be mounted: the program runs by chroot in a root of the container's own, which has all files
//! of the image from the first start on.
//!
//! What would be mounted is moved to its place before the program runs, and away again when it has ended; after a kill by
//! whoever uses the root next.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use fs_err as fs;
use galley_sandbox::{After, Capabilities, Furnished, Mount, Source, Spec};
use galley_store::{ContainerDir, ScanOptions, Store, remove_tree};
use rustix::io::Errno;

use super::{Container, ContainerConfig, ContainerMount, MountFrom, NetworkMode, pipe::Pipe, store_failed};
use crate::{
    Error, ErrorKind, Snapshot,
    runner::{NETWORK_NONE, devices, furniture},
    steps::files::{Files, store_error},
    upper,
};

/// What is told of every container.
const WARNING: &str = "the container is not kept from this one: nothing can be mounted here, so it runs by chroot, on the \
                       network of this one and without /proc; `galley doctor` tells what is missing";
/// Permissions of an empty directory that hides nothing.
const OPEN_MODE: u32 = 0o1777;

/// Refuses what cannot be had, and tells what is not as it is elsewhere.
pub(super) fn admit(config: &ContainerConfig, warn: &(dyn Fn(&str) + Sync)) -> Result<(), Error> {
    let service = &config.service;
    if service.read_only {
        return Err(refused("--read-only", "leave it out"));
    }
    if let Some(name) = service.sysctls.keys().next() {
        return Err(refused(
            &format!("--sysctl {name}"),
            "set it on the machine, or in the pod: securityContext.sysctls",
        ));
    }
    if let Some(tmpfs) = service.tmpfs.iter().find(|tmpfs| tmpfs.size.is_some() || tmpfs.read_only) {
        let help = "leave the option out: it is a directory of the store, removed in the end";
        return Err(refused(&format!("--tmpfs {} with size or ro", tmpfs.target), help));
    }
    if !service.cap_drop.is_empty() && !Capabilities::permitted().contains("SETPCAP") {
        return Err(refused(
            "--cap-drop",
            "give this container CAP_SETPCAP, or run the program as another user: -u",
        ));
    }
    admit_volumes(config)?;
    warn(WARNING);
    if config.network == NetworkMode::None {
        warn(NETWORK_NONE);
    }
    if !config.hostname.is_empty() {
        warn(
            "--hostname is in /etc/hostname, /etc/hosts and $HOSTNAME alone: the host name is that of this container",
        );
    }
    if config.surroundings.shm_size.is_some() {
        warn("--shm-size has no effect: /dev/shm is a directory of the store");
    }
    Ok(())
}

/// A volume is one directory in several places, which nothing but a mount does; nor does anything else keep it from changes.
/// What is only read may be a copy.
fn admit_volumes(config: &ContainerConfig) -> Result<(), Error> {
    for ContainerMount { source, target, read_only, .. } in &config.mounts {
        match source {
            MountFrom::Volume(name) if !read_only => {
                let help = format!(
                    "with :ro it is a copy; -v {target} is part of the container, which keeps it until it is removed: `galley \
                     start` runs it again"
                );
                return Err(refused(&format!("-v {name}:{target}"), &help));
            }
            MountFrom::Anonymous(_) if *read_only => {
                let help = format!("leave `ro` out: -v {target} is part of the container");
                return Err(refused(&format!("a read-only volume at {target}"), &help));
            }
            MountFrom::Volume(_) | MountFrom::Anonymous(_) | MountFrom::Path(_) => {}
        }
    }
    Ok(())
}

fn refused(what: &str, help: &str) -> Error {
    let message =
        format!("{what} cannot be had in this container, which allows neither mounts nor namespaces");
    Error::new(ErrorKind::Machine, message).help(help)
}

/// The container's root; made when it starts for the first time.
pub(super) fn root(store: &Store, container: &Container, snapshot: &Snapshot) -> Result<PathBuf, Error> {
    let folder = &container.folder;
    if folder.root().exists() {
        return Ok(folder.root());
    }
    let upper = folder.upper();
    if fs::read_dir(&upper).map_err(failed("look at", &upper))?.next().is_some() {
        let message = format!("container {} has files that only an overlay shows", container.name);
        return Err(Error::new(ErrorKind::Machine, message)
            .help("start it where it was started before, with mounts; here make a new one: `galley run`"));
    }
    let root = store.new_root(&snapshot.layers()?).map_err(store_error)?;
    let directory = container.config.working_directory.as_bytes();
    upper::prepare_root(&snapshot.stack()?, &root.path(), directory, (0, 0))?;
    root.keep_as(&folder.root()).map_err(store_failed)?;
    Ok(folder.root())
}

/// What is in a root while its program runs; it is taken away when this is dropped.
pub(super) struct Furniture {
    furnished: Furnished,
    aside: PathBuf,
    pipes: Option<[devices::Pipe; 2]>,
}

impl Furniture {
    /// Puts everything in its place that `spec` would have mounted.
    pub(super) fn new(store: &Store, container: &Container, spec: &Spec) -> Result<Self, Error> {
        let (root, aside) = (container.folder.root(), container.folder.aside());
        recover(&container.folder)?;
        let streams = match (spec.tty, container.config.open_stdin) {
            (Some(_), _) => devices::Streams::Terminal,
            (None, true) => devices::Streams::Given,
            (None, false) => devices::Streams::Empty,
        };
        let begin = || {
            fs::create_dir(&aside)?;
            let pipes = devices::make(&aside.join("dev"), (spec.user.uid, spec.user.gid), streams)?;
            Ok(Self { furnished: Furnished::new(&root, &aside)?, aside: aside.clone(), pipes })
        };
        let mut furniture = begin().map_err(failed("prepare", &root))?;
        furniture.lay_system(&container.config).map_err(failed("put devices in", &root))?;
        for (number, mount) in spec.mounts.iter().enumerate() {
            furniture.lay(store, mount, &root, number)?;
        }
        Ok(furniture)
    }

    /// The pipes that the program writes to, when it has no terminal; to be asked for once.
    pub(super) fn pipes(&mut self) -> Option<(Pipe, Pipe)> {
        let [stdout, stderr] = self.pipes.take()?;
        let pipe = |(read, write): (OwnedFd, OwnedFd)| Pipe { read: read.into(), write: write.into() };
        Some((pipe(stdout), pipe(stderr)))
    }

    /// Empty places of the kernel's file systems, devices, and volumes of the container alone, which are part of its root.
    fn lay_system(&mut self, config: &ContainerConfig) -> io::Result<()> {
        let own = config.mounts.iter().filter(|mount| matches!(mount.source, MountFrom::Anonymous(_)));
        let empty = ["/proc", "/sys"].into_iter().chain(own.map(|mount| mount.target.as_str()));
        for path in empty {
            self.furnished.make(Path::new(path))?;
        }
        self.furnished.lay(&self.aside.join("dev"), Path::new("/dev"), After::Forget)
    }

    fn lay(&mut self, store: &Store, mount: &Mount, root: &Path, number: usize) -> Result<(), Error> {
        let thing = self.aside.join(format!("thing-{number}"));
        match &mount.source {
            Source::File { content, mode, uid, gid } => {
                furniture::write(&thing, content, *mode, (*uid, *gid))
                    .map_err(failed("write the file for", &mount.target))?
            }
            Source::Tmpfs { mode, .. } => {
                let mode = mode.or_else(|| mode_of(root, &mount.target)).unwrap_or(OPEN_MODE);
                fs::create_dir(&thing)
                    .and_then(|()| devices::set_mode(&thing, mode))
                    .map_err(failed("make a directory for", &mount.target))?;
            }
            Source::Bind { path, .. } => show(store, path, mount, &thing)?,
            Source::Layers { .. } => return Err(refused("a view of layers", "leave it out")),
        }
        let laid = self.furnished.lay(&thing, &mount.target, After::Forget);
        laid.map_err(failed("put what is mounted there in", &mount.target))
    }
}

impl Drop for Furniture {
    fn drop(&mut self) {
        // What stays is taken away by whoever uses the root next.
        if self.furnished.clear().is_ok() {
            drop(remove_tree(&self.aside));
        }
    }
}

/// Takes away what a killed supervisor has left in the root.
pub(super) fn recover(folder: &ContainerDir) -> Result<(), Error> {
    let (root, aside) = (folder.root(), folder.aside());
    if !aside.exists() {
        return Ok(());
    }
    Furnished::recover(&root, &aside).map_err(failed("clean up", &root))?;
    remove_tree(&aside).map_err(store_failed)
}

/// Where a running program has in its root what is no part of it.
pub(super) fn laid(folder: &ContainerDir) -> Result<Vec<PathBuf>, Error> {
    Furnished::places(&folder.aside()).map_err(failed("look at", &folder.aside()))
}

/// Makes `thing` what a mount of `path` would show: a file is another name of the same one, unless it must not change; what
/// must not change may be a copy as well.
fn show(store: &Store, path: &Path, mount: &Mount, thing: &Path) -> Result<(), Error> {
    let failed_here = |error| failed("show a file at", &mount.target)(error);
    let is_directory = fs::metadata(path).map_err(failed_here)?.is_dir();
    let flag = format!("-v {}:{}", path.display(), mount.target.display());
    match (mount.readonly, is_directory) {
        (false, true) => Err(refused(
            &flag,
            "with :ro it is a copy of the directory; without a volume, files are in the container until it is removed",
        )),
        (true, true) => {
            let tree = store.scan(path, &ScanOptions::default()).map_err(store_error)?;
            Files::of_directory(path, Arc::new(tree)).copy_directory(store, b"", thing)
        }
        (true, false) => fs::copy(path, thing).map(drop).map_err(failed_here),
        (false, false) => match rustix::fs::link(&fs::canonicalize(path).map_err(failed_here)?, thing) {
            Err(Errno::XDEV) => Err(refused(
                &flag,
                "with :ro it is a copy; to be written to, the file has to be on the file system of the store",
            )),
            linked => linked.map_err(|errno| failed_here(errno.into())),
        },
    }
}

/// Permissions of a directory in the root, where there is one.
fn mode_of(root: &Path, target: &Path) -> Option<u32> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = crate::confined::open(&root, target, flags, ResolveFlags::IN_ROOT).ok()?;
    rustix::fs::fstat(&found).ok().map(|stat| stat.st_mode & 0o7777)
}

/// The error of something that could not be put in its place.
fn failed(what: &str, path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let message = format!("cannot {what} {}", path.display());
    move |error| Error::new(ErrorKind::Machine, format!("{message}: {error}")).because(error)
}
