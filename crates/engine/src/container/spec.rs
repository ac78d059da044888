//! From a container's config to the sandbox it runs in.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use galley_sandbox::{Layers, Mount, Root, Source, Spec, TtySize, User, Writable};
use galley_store::Store;

use super::{Container, ContainerMount, MountFrom, network::Network, snapshot_of, store_failed, volume};
use crate::{
    Error, ErrorKind,
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
) -> Result<Spec, Error> {
    let config = &container.config;
    let snapshot = snapshot_of(store, config)?;
    let files = Files::of_snapshot(&snapshot)?;
    let accounts = Accounts::read(store, &files)?;
    let mut user = accounts.process(&config.user)?;
    for group in &config.service.group_add {
        user.groups.push(accounts.group(group)?);
    }
    let lowers = snapshot.lowers(store)?;
    let writable = Some(Writable { upper: container.folder.upper(), work: container.folder.work() });
    let root = Root::Layers(Layers { lowers, writable });
    upper::prepare(files.stack(), &container.folder.upper(), config.working_directory.as_bytes(), (0, 0))?;
    let mut spec = Spec::new(root, config.arguments.iter().map(OsString::from).collect());
    spec.hostname = hostname(container);
    spec.env = environment(container, &user, &spec.hostname);
    spec.cwd = PathBuf::from(&config.working_directory);
    spec.user = User { uid: user.uid, gid: user.gid, groups: user.groups };
    spec.network = network.mode();
    spec.tty = config.tty.then_some(tty_size);
    spec.mounts = network.files(&spec.hostname, &config.surroundings, &config.service.dns);
    config.surroundings.apply(&mut spec);
    config.service.apply(&mut spec)?;
    for mount in &config.mounts {
        spec.mounts.push(Mount {
            target: PathBuf::from(&mount.target),
            source: Source::Bind {
                path: source(store, &files, mount)?,
                subpath: PathBuf::new(),
                recursive: true,
            },
            readonly: mount.read_only,
        });
    }
    Ok(spec)
}

fn source(store: &Store, files: &Files, mount: &ContainerMount) -> Result<PathBuf, Error> {
    match &mount.source {
        MountFrom::Path(path) => Ok(path.clone()),
        MountFrom::Volume(name) | MountFrom::Anonymous(name) => {
            let path = store.volume(name, true).map_err(store_failed)?;
            let path =
                path.ok_or_else(|| Error::new(ErrorKind::Store, format!("volume {name} cannot be made")))?;
            volume::fill(store, files, &mount.target, &path)?;
            Ok(path)
        }
    }
}

fn hostname(container: &Container) -> String {
    match container.config.hostname.as_str() {
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
