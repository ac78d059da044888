//! What was typed for a container, turned into what the engine wants.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, Read},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_engine::{
    Error, ErrorKind,
    container::{
        self, Container, CreateOptions, Dns, NetworkMode, PublishedPort, Service, VolumeOption, VolumeSource,
    },
};
use galley_store::Store;
use signal_hook::low_level::signal_name;

use super::{ContainerArgs, terminal};
use crate::{
    args::{
        mount::MountArg,
        platform,
        service::{Filter, service},
    },
    environment::Environment,
    failure::{Failure, Outcome, file},
};

/// The largest file that is read: a device has no end.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// All that Linux has.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

impl ContainerArgs {
    /// The engine's options.
    pub(crate) fn options(&self, environment: &Environment, remove: bool) -> Outcome<CreateOptions> {
        let mut words = self.image_and_command.iter().map(|word| text(word));
        let image = words.next().unwrap_or_else(|| Err(Failure::usage("an image is missing")))?;
        let ports =
            self.publish.iter().map(|port| PublishedPort::parse(port)).collect::<Result<Vec<_>, _>>()?;
        Ok(CreateOptions {
            image,
            platform: platform::chosen(self.platform.as_ref(), environment)?,
            command: words.collect::<Result<_, _>>()?,
            entrypoint: self.entrypoint.as_deref().map(text).transpose()?,
            environment: variables(&self.env_file, &self.env, environment)?,
            working_directory: self.workdir.clone(),
            user: self.user.clone(),
            name: self.name.clone().filter(|name| !name.is_empty()),
            hostname: self.hostname.clone(),
            volumes: self.volumes()?,
            publish_all: self.publish_all,
            ports: ports.into_iter().flatten().collect(),
            network: network(&self.network)?,
            tty: self.tty,
            interactive: self.interactive,
            remove,
            stop_signal: self.stop_signal.as_deref().map(|name| signal("--stop-signal", name)).transpose()?,
            labels: self.labels()?,
            surroundings: self.surroundings.resolved(network(&self.network)? == NetworkMode::Host)?,
            service: self.service()?,
            health: self.keep.health(),
        })
    }

    /// `-v`, then `--mount`.
    fn volumes(&self) -> Outcome<Vec<VolumeOption>> {
        let mut volumes = self.volume.iter().map(mount).collect::<Outcome<Vec<_>>>()?;
        for given in &self.mount {
            if let MountArg::Volume(option) = given {
                volumes.push(existing(option.clone())?);
            }
        }
        Ok(volumes)
    }

    /// Those of files first, so that what was typed wins.
    fn labels(&self) -> Outcome<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        for path in &self.label_file {
            let text = text_of(path, "--label-file")?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            labels.extend(lines.map(pair));
        }
        labels.extend(self.label.iter().map(|label| pair(label)));
        Ok(labels)
    }

    fn service(&self) -> Outcome<Service> {
        let mut service = service(&self.limits, &self.rights, &self.keep)?;
        service.dns = Dns {
            servers: self.dns.clone(),
            search: self.dns_search.clone(),
            options: self.dns_option.clone(),
        };
        if let Filter::File(path) = self.rights.filter() {
            service.seccomp = Some(container::seccomp_profile(&path.to_string_lossy(), filter_of(path)?)?);
        }
        service.group_add.clone_from(&self.group_add);
        service.exposed.clone_from(&self.expose);
        service.tmpfs.extend(self.mount.iter().filter_map(|given| match given {
            MountArg::Tmpfs(tmpfs) => Some(tmpfs.clone()),
            MountArg::Volume(_) => None,
        }));
        Ok(service)
    }

    /// `-it` needs a terminal to pass on.
    pub(crate) fn check_terminal(&self, detached: bool) -> Outcome {
        let typed = self.tty && self.interactive && !detached;
        Ok(terminal::require(typed).map_err(|error| error.help("leave out -t"))?)
    }

    /// Makes the container and writes its id to `--cidfile`, which is never overwritten: where it cannot be made there
    /// is no container either, and without a container no file.
    pub(crate) fn create(&self, store: &Store, options: &CreateOptions) -> Outcome<Container> {
        let Some(path) = &self.cidfile else { return Ok(container::create(store, options)?) };
        let failed = |error| file("cannot write the file of the container's id", error);
        let mut id_file = fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        let container = container::create(store, options).inspect_err(|_| drop(fs::remove_file(path)))?;
        io::Write::write_all(&mut id_file, container.folder.id().as_bytes()).map_err(failed)?;
        Ok(container)
    }
}

/// Those of files first, as in docker, so that what was typed wins.
pub(in crate::commands) fn variables(
    files: &[PathBuf],
    typed: &[String],
    environment: &Environment,
) -> Outcome<Vec<String>> {
    let mut variables = Vec::new();
    for path in files {
        let text = text_of(path, "--env-file")?;
        let lines =
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            check_name(path, line)?;
            variables.extend(variable(line, environment));
        }
    }
    for text in typed {
        if text.is_empty() || text.starts_with('=') {
            return Err(Failure::usage(format!("--env {text:?} has no name: write NAME=VALUE")));
        }
        variables.extend(variable(text, environment));
    }
    Ok(variables)
}

fn text_of(path: &Path, what: &str) -> Outcome<String> {
    let failed = |error| file(&format!("cannot read the file of {what}"), error);
    let mut text = String::new();
    let opened = fs::File::open(path).map_err(failed)?;
    opened.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 <= TEXT_BYTES_MAX {
        return Ok(text);
    }
    let why = format!("more than {TEXT_BYTES_MAX} bytes: it is no file of {what}");
    Err(Failure::usage(format!("{} has {why}", path.display())))
}

/// A filter of system calls; who mistypes a word names a file that is not there.
fn filter_of(path: &Path) -> Outcome<String> {
    text_of(path, "--security-opt seccomp").map_err(|failure| match failure {
        Failure::Error(error) => {
            error.help("seccomp=unconfined loads no filter, seccomp=builtin docker's").into()
        }
        other => other,
    })
}

/// A line that docker refuses, or that no program can be given.
fn check_name(path: &Path, line: &str) -> Outcome {
    let name = line.split('=').next().unwrap_or_default();
    let why = match () {
        () if name.is_empty() => "has no name: write NAME=VALUE",
        () if name.contains(char::is_whitespace) => "has white space in its name",
        () if line.contains('\0') => "has a zero byte",
        () => return Ok(()),
    };
    let shown: String = name.chars().take(80).collect();
    Err(Failure::usage(format!("a line of {} {why}: {shown:?}", path.display())))
}

/// A name without a value is looked up; one that is not set is not given.
fn variable(text: &str, environment: &Environment) -> Option<String> {
    if text.contains('=') {
        return Some(text.to_owned());
    }
    environment.text(text).map(|value| format!("{text}={value}"))
}

fn text(word: &OsStr) -> Outcome<String> {
    let wrong =
        || Failure::usage(format!("{} is no UTF-8, which the config of a container needs", word.display()));
    word.to_str().map(str::to_owned).ok_or_else(wrong)
}

fn mount(volume: impl AsRef<OsStr>) -> Outcome<VolumeOption> {
    let mut option = VolumeOption::parse(&text(volume.as_ref())?)?;
    if let VolumeSource::Path(path) = option.source {
        option.source = VolumeSource::Path(absolute(path)?);
    }
    Ok(option)
}

/// Unlike `-v`, `--mount` makes no directory of this machine.
fn existing(option: VolumeOption) -> Outcome<VolumeOption> {
    let VolumeSource::Path(path) = option.source else { return Ok(option) };
    if !path.exists() {
        let error = Error::new(ErrorKind::Usage, format!("--mount: there is no {}", path.display()));
        return Err(error.help("make it first; -v makes directories itself").into());
    }
    Ok(VolumeOption { source: VolumeSource::Path(absolute(path)?), ..option })
}

fn absolute(path: PathBuf) -> Outcome<PathBuf> {
    std::path::absolute(&path).map_err(|error| file("cannot find the directory to mount", error))
}

fn network(name: &str) -> Outcome<NetworkMode> {
    match name {
        "" | "bridge" | "default" | "private" => Ok(NetworkMode::Private),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        other => {
            let error = Error::new(ErrorKind::Usage, format!("--network {other} is not supported yet"));
            Err(error.help("supported are bridge, host and none").into())
        }
    }
}

pub(in crate::commands) fn signal(flag: &str, name: &str) -> Outcome<i32> {
    let upper = name.to_ascii_uppercase();
    let wanted = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = |number: &i32| signal_name(*number).and_then(|name| name.strip_prefix("SIG")) == Some(wanted);
    let number = wanted
        .parse()
        .ok()
        .filter(|number| SIGNALS.contains(number))
        .or_else(|| SIGNALS.into_iter().find(named));
    let wrong = || {
        let error = Error::new(ErrorKind::Usage, format!("{flag} {name} is no signal"));
        error.help("write a name or a number: TERM, SIGTERM or 15; `kill -l` of a shell lists them").into()
    };
    number.ok_or_else(wrong)
}

fn pair(label: &str) -> (String, String) {
    let (name, value) = label.split_once('=').unwrap_or((label, ""));
    (name.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Outcome<Vec<String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        variables(&[file.path().to_owned()], &[], &Environment::of(&[("HERE", "x")]))
    }

    #[test]
    fn files_of_variables() {
        let text = b"# c\n\n A=1=2\r\nHERE\nNOWHERE\n B= b \n";
        assert_eq!(read(text).unwrap(), ["A=1=2", "HERE=x", "B= b "]);
        for (text, why) in [
            (&b"=1\n"[..], "has no name"),
            (b"A B=1\n", "white space"),
            (b"A =1\n", "white space"),
            (b"A=1\0\n", "zero byte"),
            (b"A=\xff\n", "cannot read the file of --env-file"),
        ] {
            let said = format!("{:?}", read(text).unwrap_err());
            assert!(said.contains(why), "{said}");
        }
    }

    proptest! {
        #[test]
        fn any_file_is_refused_or_gives_variables(bytes in prop::collection::vec(prop::sample::select(b"A=# \n\r\0\xc3\xa9\xff".to_vec()), 0..40)) {
            for variable in read(&bytes).into_iter().flatten() {
                let name = variable.split('=').next().unwrap();
                prop_assert!(!name.is_empty() && variable.contains('=') && !variable.contains('\0'), "{variable:?}");
            }
        }
    }

    #[test]
    fn variables_without_a_value_are_looked_up() {
        let environment = Environment::of(&[("HERE", "x")]);
        assert_eq!(variable("A=1", &environment).unwrap(), "A=1");
        assert_eq!(variable("HERE", &environment).unwrap(), "HERE=x");
        assert_eq!(variable("NOWHERE", &environment), None);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(["SIGTERM", "int", "9"].map(|name| signal("-s", name).unwrap()), [15, 2, 9]);
        assert!(signal("-s", "SIGNONE").is_err() && signal("-s", "0").is_err());
    }

    #[test]
    fn relative_mounts_become_absolute() {
        let option = mount("./data:/data:ro").unwrap();
        let VolumeSource::Path(path) = option.source else { panic!("no path") };
        assert!(path.is_absolute() && path.ends_with("data"));
        assert!(mount("data:relative").is_err());
    }
}
