//! Instructions of a Dockerfile that change the config of an image and nothing else: `--change` of `import` and `commit`.

use galley_dockerfile::{Command, Source};
use galley_oci::{Digest, ImageConfig, Platform, Reference, RunConfig};

use crate::{
    Error, ErrorKind,
    plan::{self, ContextSource, PlanOptions},
    ports::{BaseImage, ImageSource},
};

/// A build gives every image a PATH, where it has none yet; a change does not.
const NO_PATH: &str = "PATH=";

/// The config that the changes make of `config`.
pub(crate) fn changed(
    config: RunConfig,
    changes: &[String],
    platform: &Platform,
) -> Result<RunConfig, Error> {
    if changes.is_empty() {
        return Ok(config);
    }
    let mut variables: Vec<String> = config.env.iter().map(|variable| name(variable).to_owned()).collect();
    for change in changes {
        variables.extend(check(change)?);
    }
    let text = format!("FROM nothing\n{}\n", changes.join("\n"));
    let context = ContextSource { name: ".".to_owned(), path: ".".into(), ignore: None, kept: None };
    let plan = PlanOptions::new("--change", text, context, platform.clone());
    let mut base = config;
    // They are for builds on the image, which this is none of.
    let mut on_build = std::mem::take(&mut base.on_build);
    if !base.env.iter().any(|variable| name(variable) == "PATH") {
        base.env.insert(0, NO_PATH.to_owned());
    }
    let plan = plan::plan(&plan, &Base(base)).map_err(|mut error| {
        error.place = None;
        error
    })?;
    let mut config = plan.targets.into_iter().next().map(|target| target.config.config).unwrap_or_default();
    config.env.retain(|variable| variable != NO_PATH);
    // PATH was there first, but is to stand where it was written.
    let written = |entry: &String| variables.iter().position(|known| name(entry) == known);
    config.env.sort_by_key(|entry| written(entry).unwrap_or(usize::MAX));
    on_build.append(&mut config.on_build);
    config.on_build = on_build;
    Ok(config)
}

fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

/// The variables that a change sets. Only what changes nothing but the config is accepted; the others want files, or
/// another image.
fn check(change: &str) -> Result<Vec<String>, Error> {
    let refused = |why: &str| {
        let error = Error::new(ErrorKind::Usage, format!("--change {change:?} is refused: {why}"));
        error.help(
            "these can be given: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR",
        )
    };
    let source = Source::new("--change", change).map_err(|error| refused(&error.to_string()))?;
    let parsed = galley_dockerfile::parse(&source).map_err(|error| refused(&error.to_string()))?;
    let mut variables = Vec::new();
    for instruction in parsed.instructions {
        match instruction.command {
            Command::Env(env) => variables.extend(env.pairs.into_iter().map(|pair| pair.key.text)),
            Command::Cmd(_)
            | Command::Entrypoint(_)
            | Command::Expose(_)
            | Command::Healthcheck(_)
            | Command::Label(_)
            | Command::Onbuild(_)
            | Command::StopSignal(_)
            | Command::User(_)
            | Command::Volume(_)
            | Command::Workdir(_) => {}
            other => return Err(refused(&format!("{} changes more than the config", other.name()))),
        }
    }
    Ok(variables)
}

/// The base of the changes: an image of this config, without files.
#[derive(Debug)]
struct Base(RunConfig);

impl ImageSource for Base {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let config = ImageConfig { config: self.0.clone(), ..for_platform(platform) };
        let document = config.to_bytes();
        let (name, id) = (reference.familiar(), Digest::sha256(&document));
        Ok(Some(BaseImage { name, id, config, document, layers: Vec::new(), manifest: None }))
    }
}

/// An image that says nothing but for whom it is.
pub(crate) fn for_platform(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(config: RunConfig, changes: &[&str]) -> Result<RunConfig, Error> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        changed(config, &changes, &Platform::of_this_machine())
    }

    #[test]
    fn changes_make_a_config_and_nothing_else() {
        let changes = [
            "ENV A=b\nENV C=$A",
            "CMD [\"sh\"]",
            "workdir /x",
            "WORKDIR y",
            "ENV PATH=/bin",
            "EXPOSE 80",
            "LABEL a=b",
        ];
        let config = all(RunConfig::default(), &changes).unwrap();
        assert_eq!(config.env, ["A=b", "C=b", "PATH=/bin"]);
        assert_eq!((config.cmd, config.working_dir.as_str()), (vec!["sh".to_owned()], "/x/y"));
        assert!(config.exposed_ports.contains("80/tcp") && config.labels.contains_key("a"));
        assert_eq!(all(RunConfig::default(), &[]).unwrap(), RunConfig::default());
    }

    #[test]
    fn what_is_not_changed_stays() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let before = RunConfig {
            env: words(&["B=1", "PATH=/own", "A=$B"]),
            cmd: words(&["old"]),
            on_build: words(&["RUN true", "COPY . /"]),
            working_dir: "/srv".to_owned(),
            user: "me".to_owned(),
            ..RunConfig::default()
        };
        let after = all(before.clone(), &["WORKDIR x", "ENV B=2", "ONBUILD RUN false"]).unwrap();
        let expected = RunConfig {
            env: words(&["B=2", "PATH=/own", "A=$B"]),
            on_build: words(&["RUN true", "COPY . /", "RUN false"]),
            working_dir: "/srv/x".to_owned(),
            ..before.clone()
        };
        assert_eq!(after, expected);
        // As in a Dockerfile: arguments of a program are not those of another.
        let after = all(before, &["ENTRYPOINT [\"new\"]"]).unwrap();
        assert_eq!((after.entrypoint, after.cmd), (words(&["new"]), Vec::new()));
    }

    #[test]
    fn changes_of_files_are_refused() {
        for change in ["RUN true", "COPY a b", "FROM x", "ENV A=b\nADD a b", "ARG x", "NONSENSE 1", "", "ENV"]
        {
            let error = all(RunConfig::default(), &[change]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage, "{change:?}: {error}");
        }
        assert!(all(RunConfig::default(), &["EXPOSE nothing"]).is_err());
    }
}
