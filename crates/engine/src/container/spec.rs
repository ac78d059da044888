//! From a container's config to the sandbox it runs in.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use galley_sandbox::{Layers, Mount, Root, Source, Spec, TtySize, User, Writable};
use galley_store::Store;

use super::{Container, ContainerMount, MountFrom, Tmpfs, chroot, network::Network, snapshot_of, volume};
use crate::{
    Error, ErrorKind, Snapshot,
    ports::ResolvedUser,
    steps::{files::Files, users::Accounts},
    upper,
};

/// Everything the sandbox needs to know.
pub(super) fn spec(
    store: &Store,
    container: &Container,
    network: &Network,
    tty_size: TtySize,
    by_chroot: bool,
) -> Result<Spec, Error> {
    let config = &container.config;
    let snapshot = snapshot_of(store, config)?;
    let files = Files::of_snapshot(&snapshot)?;
    let accounts = Accounts::read(store, &files)?;
    let mut user =
        accounts.process(&config.user).map_err(|error| no_account("--user", &config.user, &error))?;
    for group in &config.service.group_add {
        user.groups.push(accounts.group(group).map_err(|error| no_account("--group-add", group, &error))?);
    }
    let root = match by_chroot {
        true => Root::Directory(chroot::root(store, container, &snapshot)?),
        false => mounted_root(store, container, &snapshot, &files)?,
    };
    let mut spec = Spec::new(root, config.arguments.iter().map(OsString::from).collect());
    spec.hostname = hostname(container, by_chroot);
    spec.env = environment(container, &user, &spec.hostname);
    spec.cwd = PathBuf::from(&config.working_directory);
    spec.user = User { uid: user.uid, gid: user.gid, groups: user.groups };
    spec.network = network.mode();
    spec.tty = config.tty.then_some(tty_size);
    spec.mounts = network.files(&spec.hostname, &config.surroundings, &config.service.dns);
    config.surroundings.apply(&mut spec);
    config.service.apply(&mut spec)?;
    mount_volumes(store, container, &files, &mut spec)?;
    Ok(spec)
}

/// The container's files with its volumes, and nothing that runs.
pub(super) fn idle(store: &Store, container: &Container) -> Result<Spec, Error> {
    let snapshot = snapshot_of(store, &container.config)?;
    let files = Files::of_snapshot(&snapshot)?;
    let mut spec = Spec::new(mounted_root(store, container, &snapshot, &files)?, Vec::new());
    spec.idle = true;
    spec.readonly_root = container.config.service.read_only;
    spec.mounts.extend(container.config.service.tmpfs.iter().map(Tmpfs::mount));
    mount_volumes(store, container, &files, &mut spec)?;
    Ok(spec)
}

fn mount_volumes(store: &Store, container: &Container, files: &Files, spec: &mut Spec) -> Result<(), Error> {
    // Volumes of a root that is the container's alone are part of it.
    let whole = matches!(spec.root, Root::Directory(_));
    let in_root = |mount: &&ContainerMount| whole && matches!(mount.source, MountFrom::Anonymous(_));
    for mount in container.config.mounts.iter().filter(|mount| !in_root(mount)) {
        spec.mounts.push(Mount {
            target: PathBuf::from(&mount.target),
            source: Source::Bind {
                path: source(store, files, mount)?,
                subpath: PathBuf::new(),
                recursive: true,
            },
            readonly: mount.read_only,
        });
    }
    Ok(())
}

/// The image's layers with the container's own above; or all of its files at once, when it ran where nothing can be mounted.
fn mounted_root(
    store: &Store,
    container: &Container,
    snapshot: &Snapshot,
    files: &Files,
) -> Result<Root, Error> {
    let folder = &container.folder;
    if folder.root().exists() {
        chroot::recover(folder)?;
        return Ok(Root::Directory(folder.root()));
    }
    let lowers = snapshot.lowers(store)?;
    let writable = Some(Writable { upper: folder.upper(), work: folder.work() });
    let directory = container.config.working_directory.as_bytes();
    upper::prepare(files.stack(), &folder.upper(), directory, (0, 0))?;
    Ok(Root::Layers(Layers { lowers, writable }))
}

fn source(store: &Store, files: &Files, mount: &ContainerMount) -> Result<PathBuf, Error> {
    match &mount.source {
        MountFrom::Path(path) => Ok(path.clone()),
        MountFrom::Volume(name) | MountFrom::Anonymous(name) => {
            volume::directory(store, files, name, &mount.target)
        }
    }
}

fn hostname(container: &Container, by_chroot: bool) -> String {
    match container.config.hostname.as_str() {
        "" if by_chroot => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        "" => container.short_id().to_owned(),
        name => name.to_owned(),
    }
}

/// The config's variables, with HOSTNAME and HOME as Docker adds them.
fn environment(container: &Container, user: &ResolvedUser, hostname: &str) -> Vec<OsString> {
    let variables = &container.config.environment;
    let has = |name: &str| variables.iter().any(|variable| variable.split('=').next() == Some(name));
    let mut environment: Vec<OsString> = variables.iter().map(OsString::from).collect();
    if !has("HOSTNAME") {
        environment.push(format!("HOSTNAME={hostname}").into());
    }
    if !has("HOME") {
        environment.push(OsString::from_vec([b"HOME=", &user.home[..]].concat()));
    }
    environment
}

/// What `flag` names is not in the container: the advice of `error` is for who writes a Dockerfile.
pub(super) fn no_account(flag: &str, name: &str, error: &Error) -> Error {
    Error::new(ErrorKind::Usage, format!("{flag} {name}: {}", error.message)).help(format!(
        "name one of the container's /etc/passwd and /etc/group, or give a number: {flag} 1000"
    ))
}
