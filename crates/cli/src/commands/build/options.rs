//! What was typed for `build`, turned into what the plan wants: files read, variables looked up, words understood.

use std::io::{self, Read};

use fs_err as fs;
use galley_engine::{
    Error, ErrorKind, context,
    plan::{BuildContext, Entitlement, Network, NoCache, PlanOptions},
    ports::{Secret, Secrets},
    remote::Remote,
};
use galley_oci::Platform;

use super::{BuildArgs, sources::Sources};
use crate::{
    args::{csv, platform},
    environment::Environment,
};

/// A Dockerfile is text that people write; the parser has a limit of its own below this.
const DOCKERFILE_BYTES_MAX: u64 = 16 << 20;
/// BuildKit's limit.
const SECRET_BYTES_MAX: u64 = 500 << 10;

/// The plan's options, without those of the command line that are about other things than the plan.
pub(super) fn plan_options(
    arguments: &BuildArgs,
    environment: &Environment,
    remote: &Remote<'_>,
    may_write: bool,
) -> Result<PlanOptions, Error> {
    let build_args = build_args(&arguments.build_arg, environment);
    let sources = Sources {
        context: &arguments.context,
        file: arguments.file.as_deref(),
        build_args: &build_args,
        remote,
        may_write,
    };
    let (name, text, context) = sources.read()?;
    let mut options = PlanOptions::new(name, text, context, Platform::of_this_machine());
    options.platforms = platforms(&arguments.platform, environment)?;
    // Scripts pass on empty variables: an empty flag is none, as in docker.
    options.target = arguments.target.clone().filter(|target| !target.is_empty());
    options.build_args = build_args;
    options.build_contexts = build_contexts(&arguments.build_context)?;
    options.labels = arguments.label.iter().map(|label| name_and_value(label)).collect();
    options.no_cache = no_cache(arguments);
    options.network = network(&arguments.network)?;
    options.ssh = arguments.ssh.iter().flatten().map(|agent| agent.id.clone()).collect();
    options.secrets = arguments.secret.iter().filter_map(|text| secret_id(text)).collect();
    let rights: Vec<_> = arguments.allow.iter().map(|right| entitlement(right)).collect::<Result<_, _>>()?;
    options.allow = rights.into_iter().flatten().collect();
    if options.network == Network::Host {
        // Saying --network=host is allowing it, as in buildx.
        options.allow.push(Entitlement::NetworkHost);
    }
    options.hostname.clone_from(&arguments.hostname);
    options.surroundings = arguments.surroundings.resolved(options.network == Network::Host)?;
    options.settle_epoch();
    Ok(options)
}

/// A Dockerfile from standard input.
pub(crate) fn read_standard_input() -> Result<Vec<u8>, Error> {
    read_limited(io::stdin().lock()).map_err(|error| {
        Error::new(ErrorKind::Input, "cannot read the Dockerfile on standard input").because(error)
    })
}

/// A Dockerfile, as long as one may be.
pub(crate) fn read_limited(reader: impl Read) -> io::Result<Vec<u8>> {
    limited(reader, DOCKERFILE_BYTES_MAX)
}

fn limited(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// The platforms of `--platform`, in this order, each once; `local` is this machine's. Without the flag the variable
/// speaks.
pub(crate) fn platforms(given: &[String], environment: &Environment) -> Result<Vec<Platform>, Error> {
    let default = environment.text(platform::VARIABLE).filter(|_| given.is_empty());
    let name = if default.is_some() { "DOCKER_DEFAULT_PLATFORM=" } else { "--platform " };
    let wanted = given.iter().chain(&default);
    let mut platforms: Vec<Platform> = Vec::new();
    for text in wanted.flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty()) {
        let platform = match text {
            "local" => Platform::of_this_machine(),
            _ => text.parse().map_err(|error| {
                Error::new(ErrorKind::Usage, format!("{name}{text} is not a platform"))
                    .because(error)
                    .help("write linux/arm64, or several: linux/amd64,linux/arm64")
            })?,
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

fn name_and_value(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// The contexts of `--build-context`; an empty value is none, as in docker.
pub(crate) fn build_contexts(given: &[String]) -> Result<Vec<(String, BuildContext)>, Error> {
    given.iter().filter(|text| !text.is_empty()).map(|text| context::build_context(text)).collect()
}

/// A name without a value is looked up; one that is not set there is not given. SOURCE_DATE_EPOCH goes along by itself.
pub(crate) fn build_args(given: &[String], environment: &Environment) -> Vec<(String, String)> {
    let looked_up = |name: &str| environment.text(name).map(|value| (name.to_owned(), value));
    let one = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => looked_up(text),
    };
    let epoch = looked_up("SOURCE_DATE_EPOCH").filter(|(_, value)| !value.is_empty());
    epoch.into_iter().chain(given.iter().filter_map(one)).collect()
}

fn no_cache(arguments: &BuildArgs) -> NoCache {
    if arguments.no_cache {
        return NoCache::All;
    }
    let stages: Vec<String> =
        arguments.no_cache_filter.iter().filter(|stage| !stage.is_empty()).cloned().collect();
    if stages.is_empty() { NoCache::None } else { NoCache::Stages(stages) }
}

fn network(text: &str) -> Result<Network, Error> {
    match text {
        "default" | "" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Err(Error::new(ErrorKind::Usage, format!("--network {other} is not supported yet"))
            .help("supported are default, none and host")),
    }
}

fn entitlement(right: &str) -> Result<Option<Entitlement>, Error> {
    match right {
        "network.host" => Ok(Some(Entitlement::NetworkHost)),
        "security.insecure" => Ok(Some(Entitlement::SecurityInsecure)),
        // `-o type=local,mode=delete` is the person's own word already.
        "" | "buildx.local.delete" => Ok(None),
        device if device == "device" || device.starts_with("device=") => {
            let message =
                format!("--allow {right} is not supported yet: RUN --device is experimental in docker");
            Err(Error::new(ErrorKind::Usage, message).help("leave out --allow device"))
        }
        other => Err(Error::new(ErrorKind::Usage, format!("--allow {other}: there is no such right"))
            .help("known are network.host and security.insecure")),
    }
}

/// The id alone, without reading the secret.
fn secret_id(text: &str) -> Option<String> {
    csv::pairs(text).ok()?.into_iter().find(|(key, _)| key == "id").and_then(|(_, value)| value)
}

/// Reads the secrets; only here and in the step's memory are they in the clear.
pub(crate) fn secrets(given: &[String], environment: &Environment) -> Result<Secrets, Error> {
    given.iter().filter(|text| !text.is_empty()).map(|text| secret(text, environment)).collect()
}

fn secret(text: &str, environment: &Environment) -> Result<(String, Secret), Error> {
    let usage = |message: String| Error::new(ErrorKind::Usage, format!("--secret {text}: {message}"));
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for (key, value) in csv::pairs(text).map_err(usage)? {
        if value.is_none() {
            return Err(
                usage(format!("{key:?} is not KEY=VALUE")).help("write id=ID,src=FILE or id=ID,env=NAME")
            );
        }
        match key.as_str() {
            "id" => id = value,
            "src" | "source" => source = value,
            "env" => variable = value,
            "type" => kind = value,
            other => return Err(usage(format!("unknown key {other:?}: known are id, src, env, type"))),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| usage("id= is missing".to_owned()))?;
    match kind.as_deref() {
        Some("env") => variable = variable.or_else(|| source.take()),
        Some("file") | None => {}
        Some(other) => return Err(usage(format!("unknown type {other:?}: known are file and env"))),
    }
    // Neither named: a variable of that name, else a file of that name.
    if source.is_none() && variable.is_none() {
        if environment.raw(&id).is_some() { variable = Some(id.clone()) } else { source = Some(id.clone()) }
    }
    let value = match (variable, source) {
        (Some(name), _) => environment
            .raw(&name)
            .map(|value| value.as_encoded_bytes().to_vec())
            .ok_or_else(|| usage(format!("the environment has no {name}")))?,
        (None, source) => fs::File::open(source.unwrap_or_default())
            .and_then(|file| limited(file, SECRET_BYTES_MAX))
            .map_err(|error| usage("cannot read it".to_owned()).because(error))?,
    };
    Ok((id, Secret::new(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_arguments_without_a_value_come_from_the_environment() {
        let environment = Environment::of(&[("FROM_HERE", "x"), ("SOURCE_DATE_EPOCH", "7")]);
        let given = ["A=1=2", "FROM_HERE", "NOWHERE", "EMPTY="].map(str::to_owned);
        let expected = [("SOURCE_DATE_EPOCH", "7"), ("A", "1=2"), ("FROM_HERE", "x"), ("EMPTY", "")];
        assert_eq!(build_args(&given, &environment), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "from file").unwrap();
        let environment = Environment::of(&[("TOKEN", "from variable")]);
        let read = |text: &str| match secret(text, &environment) {
            Ok((id, secret)) => format!("{id}: {}", String::from_utf8_lossy(&secret.expose())),
            Err(error) => error.to_string(),
        };
        assert_eq!(read(&format!("id=a,src={}", path.display())), "a: from file");
        assert_eq!(read("id=a,env=TOKEN"), "a: from variable");
        assert_eq!(read("id=a,type=env,src=TOKEN"), "a: from variable");
        assert_eq!(read("id=TOKEN"), "TOKEN: from variable");
        assert_eq!(read("src=x"), "--secret src=x: id= is missing");
        assert_eq!(read("token"), "--secret token: \"token\" is not KEY=VALUE");
        assert_eq!(read("id=a,env=NO"), "--secret id=a,env=NO: the environment has no NO");
        assert_eq!(
            read("id=a,sauce=x"),
            "--secret id=a,sauce=x: unknown key \"sauce\": known are id, src, env, type"
        );
    }

    #[test]
    fn empty_values_are_none() {
        let empty = [String::new()];
        assert!(secrets(&empty, &Environment::of(&[])).unwrap().is_empty());
        assert!(build_contexts(&empty).unwrap().is_empty());
        let elsewhere = Environment::of(&[(platform::VARIABLE, "linux/s390x")]);
        assert!(platforms(&empty, &elsewhere).unwrap().is_empty());
        assert_eq!(platforms(&[], &elsewhere).unwrap(), [Platform::new("linux", "s390x")]);
        assert_eq!(
            platforms(&[], &Environment::of(&[(platform::VARIABLE, "pdp11")])).unwrap_err().message,
            "DOCKER_DEFAULT_PLATFORM=pdp11 is not a platform"
        );
    }

    #[test]
    fn platforms_in_the_order_given() {
        let read = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            platforms(&given, &Environment::of(&[]))
                .map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        let own = Platform::of_this_machine().to_string();
        assert_eq!(read(&["", "local"]).unwrap(), own);
        assert_eq!(read(&["linux/s390x,linux/arm64/v8", "aarch64"]).unwrap(), "linux/s390x linux/arm64");
        assert_eq!(read(&["pdp11"]).unwrap_err().message, "--platform pdp11 is not a platform");
    }
}
