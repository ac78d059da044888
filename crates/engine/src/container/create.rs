//! `galley create`: from an image and options to the folder of a container.

use std::{collections::BTreeSet, net::Ipv4Addr};

use galley_dockerfile::Span;
use galley_oci::RunConfig;
use galley_store::{ContainerDir, Store, StoreError};

use super::{
    Container, ContainerConfig, ContainerMount, CreateOptions, MountFrom, NetworkMode, Protocol,
    PublishedPort, Restart, Service, VolumeOption, damaged_config, names, options::VolumeSource, sysctl,
    volume::NewVolumes,
};
use crate::{Error, ErrorKind, clock, images, plan::DEFAULT_PATH};

/// SIGTERM, unless the image says otherwise.
pub(super) const DEFAULT_STOP_SIGNAL: i32 = 15;

/// How many names are chosen for one container that others take first.
const NAMES_MAX: u32 = 100;

/// Creates a container; nothing runs yet.
pub fn create(store: &Store, options: &CreateOptions) -> Result<Container, Error> {
    let image = images::find_for(store, &options.image, options.platform.as_ref())?;
    let defaults = images::config(&image)?.config;
    let (arguments, entrypoint) = arguments(options, &defaults)?;
    let exposed = exposed(options, &defaults)?;
    let mut config = ContainerConfig {
        image: options.image.clone(),
        image_id: image.id,
        arguments,
        entrypoint,
        environment: environment(options, &defaults),
        working_directory: working_directory(options, &defaults),
        user: options.user.clone().unwrap_or_else(|| defaults.user.clone()),
        hostname: options.hostname.clone().unwrap_or_default(),
        mounts: Vec::new(),
        ports: ports(options, &exposed),
        network: options.network,
        tty: options.tty,
        open_stdin: options.interactive,
        remove: options.remove,
        stop_signal: stop_signal(options, &defaults),
        labels: defaults.labels.clone().into_iter().chain(options.labels.clone()).collect(),
        created: clock::now().rfc3339(),
        surroundings: options.surroundings.clone(),
        service: Service {
            health: options.health.resolve(&defaults)?,
            exposed: exposed.iter().map(|(port, protocol)| format!("{port}/{}", protocol.name())).collect(),
            ..options.service.clone()
        },
    };
    config.service.check()?;
    sysctl::refuse_machines(&config.service.sysctls, config.network == NetworkMode::Host)?;
    config.service.check_rights(galley_sandbox::Capabilities::permitted())?;
    if options.remove && config.service.restart != Restart::No {
        return Err(Error::new(ErrorKind::Usage, "--rm and --restart contradict each other"));
    }
    refuse_twice(options)?;
    let name = name(store, options)?;
    // Until the container is there, nobody removes what it is about to need.
    let mut volumes = NewVolumes::new(store);
    config.mounts = mounts(&mut volumes, options, &defaults)?;
    let bytes = serde_json::to_vec(&config).map_err(damaged_config)?;
    let again = || options.name.is_none().then(|| self::name(store, options)).transpose();
    let folder = make(store, name, &bytes, again)?;
    volumes.keep();
    Container::read(folder)
}

/// Makes the container. A name that was chosen may be another's by now: then `again` gives one more, and none for what was typed.
fn make(
    store: &Store,
    mut name: String,
    config: &[u8],
    mut again: impl FnMut() -> Result<Option<String>, Error>,
) -> Result<ContainerDir, Error> {
    for _ in 1..NAMES_MAX {
        match store.create_container(&name, config) {
            Err(StoreError::NameTaken { .. }) => {}
            made => return made.map_err(|error| not_made(&name, error)),
        }
        match again()? {
            Some(other) => name = other,
            None => break,
        }
    }
    store.create_container(&name, config).map_err(|error| not_made(&name, error))
}

fn not_made(name: &str, error: StoreError) -> Error {
    Error::new(ErrorKind::Usage, format!("cannot create the container {name:?}")).because(error)
}

fn name(store: &Store, options: &CreateOptions) -> Result<String, Error> {
    let Some(name) = &options.name else {
        let seed = format!("{:?} {}", clock::now(), std::process::id());
        let taken = |name: &str| store.container(name).is_ok_and(|found| found.is_some());
        return Ok(names::name_for(&galley_oci::Digest::blake3(seed.as_bytes()), &taken));
    };
    if names::is_valid(name) {
        return Ok(name.clone());
    }
    Err(names::invalid(name))
}

/// The entry point, then what was typed, or else the image's CMD; and how many of them are the first.
fn arguments(options: &CreateOptions, defaults: &RunConfig) -> Result<(Vec<String>, usize), Error> {
    let (mut arguments, cmd) = match &options.entrypoint {
        Some(program) if program.is_empty() => (Vec::new(), Vec::new()),
        Some(program) => (vec![program.clone()], Vec::new()),
        None => (defaults.entrypoint.clone(), defaults.cmd.clone()),
    };
    let entrypoint = arguments.len();
    arguments.extend(if options.command.is_empty() { cmd } else { options.command.clone() });
    if arguments.is_empty() {
        return Err(Error::new(ErrorKind::Usage, format!("image {} names no program to run", options.image))
            .help("give one after the image, or build the image with CMD or ENTRYPOINT"));
    }
    Ok((arguments, entrypoint))
}

/// PATH and TERM as Docker adds them, the image's variables, then those that were typed, each in its old place.
fn environment(options: &CreateOptions, defaults: &RunConfig) -> Vec<String> {
    let mut variables: Vec<String> = vec![format!("PATH={DEFAULT_PATH}")];
    if options.tty {
        variables.push("TERM=xterm".to_owned());
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in defaults.env.iter().chain(&options.environment) {
        match variables.iter_mut().find(|known| name(known) == name(variable)) {
            Some(known) => known.clone_from(variable),
            None => variables.push(variable.clone()),
        }
    }
    variables
}

/// The ports that the image and the person name, in order and each once.
fn exposed(options: &CreateOptions, defaults: &RunConfig) -> Result<Vec<(u16, Protocol)>, Error> {
    let mut all = Vec::new();
    for text in defaults.exposed_ports.iter().chain(&options.service.exposed) {
        all.extend(PublishedPort::exposed(text)?);
    }
    all.extend(options.ports.iter().map(|port| (port.container_port, port.protocol)));
    all.sort_by_key(|(port, protocol)| (*port, protocol.name()));
    all.dedup();
    Ok(all)
}

/// What `-p` says, and with `-P` any free port for each that is left.
fn ports(options: &CreateOptions, exposed: &[(u16, Protocol)]) -> Vec<PublishedPort> {
    let mut ports = options.ports.clone();
    let wanted = exposed.iter().filter(|_| options.publish_all);
    for &(container_port, protocol) in wanted {
        if !ports.iter().any(|port| (port.container_port, port.protocol) == (container_port, protocol)) {
            let host_address = Ipv4Addr::UNSPECIFIED.into();
            ports.push(PublishedPort { host_address, host_port: 0, container_port, protocol });
        }
    }
    ports
}

fn working_directory(options: &CreateOptions, defaults: &RunConfig) -> String {
    let wanted = options.working_directory.clone().unwrap_or_else(|| defaults.working_dir.clone());
    if wanted.is_empty() { "/".to_owned() } else { wanted }
}

fn stop_signal(options: &CreateOptions, defaults: &RunConfig) -> i32 {
    let from_image = galley_dockerfile::signal::parse(&defaults.stop_signal, Span::default()).ok();
    options.stop_signal.or(from_image).unwrap_or(DEFAULT_STOP_SIGNAL)
}

/// Of two mounts at one place nobody would see the first.
fn refuse_twice(options: &CreateOptions) -> Result<(), Error> {
    let tmpfs = options.service.tmpfs.iter().map(|tmpfs| &tmpfs.target);
    let mut seen = BTreeSet::new();
    let mut targets = options.volumes.iter().map(|volume| &volume.target).chain(tmpfs);
    match targets.find(|target| !seen.insert(target.trim_end_matches('/'))) {
        Some(twice) => Err(Error::new(ErrorKind::Usage, format!("duplicate mount point: {twice}"))
            .help("give it one volume, folder or tmpfs")),
        None => Ok(()),
    }
}

/// What was asked for with `-v`, then a volume for every VOLUME of the image that has none yet.
fn mounts(
    volumes: &mut NewVolumes<'_>,
    options: &CreateOptions,
    defaults: &RunConfig,
) -> Result<Vec<ContainerMount>, Error> {
    // Whatever answers there, no lock is held for it.
    options.volumes.iter().try_for_each(make_folder)?;
    let asked = options.volumes.iter().cloned();
    let from_image = defaults.volumes.iter().filter(|target| {
        !options
            .volumes
            .iter()
            .any(|volume| volume.target.trim_end_matches('/') == target.trim_end_matches('/'))
    });
    let anonymous = |target: &String| VolumeOption {
        source: VolumeSource::Anonymous,
        target: target.clone(),
        read_only: false,
    };
    asked.chain(from_image.map(anonymous)).map(|volume| mount(volumes, volume)).collect()
}

/// As docker: a folder of this machine that is not there is made.
fn make_folder(volume: &VolumeOption) -> Result<(), Error> {
    let VolumeSource::Path(path) = &volume.source else { return Ok(()) };
    if path.exists() {
        return Ok(());
    }
    fs_err::create_dir_all(path).map_err(|error| {
        let message = format!("cannot make the folder {} to mount", path.display());
        Error::new(ErrorKind::Usage, message).because(error)
    })
}

fn mount(volumes: &mut NewVolumes<'_>, volume: VolumeOption) -> Result<ContainerMount, Error> {
    let source = match volume.source {
        VolumeSource::Path(path) => MountFrom::Path(path),
        VolumeSource::Volume(name) => {
            volumes.need(&name)?;
            MountFrom::Volume(name)
        }
        VolumeSource::Anonymous => {
            let seed = format!("{:?} {} {}", clock::now(), std::process::id(), volume.target);
            let name = galley_oci::Digest::blake3(seed.as_bytes()).hex();
            volumes.need(&name)?;
            MountFrom::Anonymous(name)
        }
    };
    Ok(ContainerMount { target: volume.target, source, read_only: volume.read_only })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::testing::with_container;

    #[test]
    fn a_place_has_one_mount() {
        let volume = |text: &str| VolumeOption::parse(text).unwrap();
        let check = |volumes: &[&str]| {
            let volumes = volumes.iter().map(|text| volume(text)).collect();
            refuse_twice(&CreateOptions { volumes, ..CreateOptions::default() })
        };
        check(&["/x", "a:/y", "/z:/y/z"]).unwrap();
        assert_eq!(check(&["a:/x", "b:/y", "/z:/x/"]).unwrap_err().message, "duplicate mount point: /x/");
    }

    #[test]
    fn a_name_that_is_taken_meanwhile_is_chosen_anew() {
        with_container(|store, _| {
            let mut others = ["app", "app", "other"].into_iter();
            let made = make(store, "app".to_owned(), b"{}", || Ok(others.next().map(str::to_owned))).unwrap();
            assert_eq!(made.name().unwrap(), "other");
            let error = make(store, "app".to_owned(), b"{}", || Ok(None)).unwrap_err();
            assert_eq!(error.message, "cannot create the container \"app\"");
        });
    }
}
