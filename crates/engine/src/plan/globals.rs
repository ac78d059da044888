//! ARGs before the first FROM, and what the build itself predefines.

use galley_dockerfile::{Command, Expander, Instruction, Stages};
use galley_oci::Platform;

use super::{
    PlanOptions, environment::Environment, options::EPOCH, text::Text, unfolded::Unfolded, warnings::Warnings,
};
use crate::{Error, ErrorKind};

/// Names that need no declaration: proxies for every RUN, and what steers the build itself.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "all_proxy",
];

/// Asks for an index of images, even of one.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// Variables of the global scope in a build for `platform`: the platforms', then the file's ARGs.
pub(super) fn globals(
    options: &PlanOptions,
    platform: &Platform,
    stages: &Stages,
    text: &Text,
) -> Result<Environment, Error> {
    let given = |name: &str| options.given(name);
    let mut globals = with_args(platform_args(options, platform, stages), stages, text, given)?;
    let epoch = globals.get(EPOCH).map(|epoch| options.epoch_of(epoch).unwrap_or_else(|| epoch.to_owned()));
    match epoch.as_deref() {
        Some("") => globals.remove(EPOCH),
        Some(epoch) => globals.set(EPOCH, epoch),
        None => {}
    }
    Ok(globals)
}

/// The same as if no build argument set an ARG of the file.
pub(super) fn defaults(
    options: &PlanOptions,
    platform: &Platform,
    stages: &Stages,
    text: &Text,
) -> Result<Environment, Error> {
    with_args(platform_args(options, platform, stages), stages, text, |_| None)
}

fn with_args<'a>(
    mut environment: Environment,
    stages: &Stages,
    text: &Text,
    given: impl Fn(&str) -> Option<&'a str>,
) -> Result<Environment, Error> {
    let unfolded = Unfolded::default();
    for instruction in &stages.global_args {
        let Command::Arg(arg) = &instruction.command else { continue };
        for definition in &arg.definitions {
            let name = definition.name.text.as_str();
            let value = match (given(name), &definition.default) {
                (Some(given), _) => given.to_owned(),
                (None, Some(default)) => {
                    let lookup = |name: &str| environment.get(name).map(ToOwned::to_owned);
                    let expanded = Expander::new(text.escape, &lookup).word(default);
                    expanded.map_err(|error| text.error(&error))?.text
                }
                (None, None) => continue,
            };
            unfolded.add(value.len());
            unfolded.check(text, instruction.span)?;
            environment.set(name, &value);
        }
    }
    Ok(environment)
}

fn platform_args(options: &PlanOptions, platform: &Platform, stages: &Stages) -> Environment {
    let build = &options.build_platform;
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let version = |platform: &Platform| platform.os_version.clone().unwrap_or_default();
    let last = stages.stages.last().and_then(|stage| stage.name.as_deref());
    let target = options.target.as_deref().or(last).unwrap_or("default");
    let mut environment = Environment::default();
    for (name, value) in [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", version(build)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("TARGETPLATFORM", platform.to_string()),
        ("TARGETOS", platform.os.clone()),
        ("TARGETOSVERSION", version(platform)),
        ("TARGETARCH", platform.architecture.clone()),
        ("TARGETVARIANT", variant(platform)),
        ("TARGETSTAGE", target.to_owned()),
    ] {
        environment.set(name, options.build_arg(name).unwrap_or(&value));
    }
    environment
}

/// Proxy settings of the command line, in both spellings, as BuildKit adds them to every RUN.
pub(super) fn proxies(options: &PlanOptions) -> Vec<(String, String)> {
    let mut proxies = Vec::new();
    for upper in PREDEFINED.iter().take(PREDEFINED.len() / 2) {
        let lower = upper.to_lowercase();
        // Of both spellings the lower one wins, as in BuildKit.
        let value = options.build_arg(&lower).or_else(|| options.build_arg(upper)).unwrap_or_default();
        if !value.is_empty() {
            proxies.push(((*upper).to_owned(), value.to_owned()));
            proxies.push((lower, value.to_owned()));
        }
    }
    proxies
}

/// `SOURCE_DATE_EPOCH`, from the command line or a global ARG. The name of a stage stands for a time that only a build
/// asks for ([`super::epoch_address`]).
pub(super) fn epoch(
    options: &PlanOptions,
    globals: &Environment,
    stages: &Stages,
) -> Result<Option<i64>, Error> {
    let name = EPOCH;
    let value = options.build_arg(name).or_else(|| globals.get(name)).unwrap_or_default();
    if value.is_empty() || stages.by_name(value).is_some() {
        return Ok(None);
    }
    let wrong = || {
        let message = format!("{name} is `{value}`, not a number of seconds since 1970");
        Error::new(ErrorKind::Usage, message)
            .help("give the number, `$(git log -1 --pretty=%ct)`, or the name of a context or of a stage that only fetches")
    };
    value.parse().map(Some).map_err(|_| wrong())
}

/// Whether the images are listed in an index: when there are several, or when a build argument says so.
pub(super) fn is_index(options: &PlanOptions, targets: &[Platform]) -> Result<bool, Error> {
    let several = targets.len() > 1;
    let Some(given) = options.build_arg(MULTI_PLATFORM).filter(|given| !given.is_empty()) else {
        return Ok(several);
    };
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    match given {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" if several => {
            Err(usage(format!("{MULTI_PLATFORM}={given} does not go with several platforms"))
                .help("images for several platforms need an index: leave the build argument out"))
        }
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(usage(format!("build argument {MULTI_PLATFORM}={other} is neither true nor false"))),
    }
}

/// Tells of `--build-arg`s that nothing declares.
pub(super) fn warn_unused(
    options: &PlanOptions,
    stages: &Stages,
    triggers: &[String],
    warnings: &mut Warnings,
) {
    let declared = declared_names(stages);
    for (name, _) in &options.build_args {
        let known = PREDEFINED.contains(&name.as_str())
            || name.starts_with("BUILDKIT_")
            || name == "SOURCE_DATE_EPOCH"
            || is_platform_arg(name)
            || declared.contains(&name.as_str())
            || triggers.contains(name);
        if !known {
            let message = format!("build argument `{name}` was not consumed: no ARG declares it");
            let help = format!("add `ARG {name}` to the stage that should see it, or leave the argument out");
            warnings.add(message, None, &help);
        }
    }
}

fn declared_names(stages: &Stages) -> Vec<&str> {
    let of_stages = stages.stages.iter().flat_map(|stage| &stage.instructions);
    stages.global_args.iter().chain(of_stages).flat_map(names_of).collect()
}

/// The names an ARG declares.
pub(super) fn names_of(instruction: &Instruction) -> Vec<&str> {
    match &instruction.command {
        Command::Arg(arg) => arg.definitions.iter().map(|definition| definition.name.text.as_str()).collect(),
        Command::Onbuild(onbuild) => names_of(&onbuild.trigger),
        _ => Vec::new(),
    }
}

fn is_platform_arg(name: &str) -> bool {
    let kind = name.strip_prefix("TARGET").or_else(|| name.strip_prefix("BUILD"));
    kind.is_some_and(|kind| ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT", "STAGE"].contains(&kind))
}
