//! What the person asked for, as plain data: nothing here is read from the environment.

use std::collections::BTreeSet;

use galley_oci::Platform;

use crate::{
    plan::{ContextSource, Network, Surroundings},
    ports::LayoutReference,
    remote::Address,
};

/// The time of the image, in seconds since 1970.
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The host name in steps when nobody gives one.
pub(crate) const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// Everything a plan depends on, apart from base images.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The Dockerfile's name, as messages should show it.
    pub dockerfile_name: String,
    /// Its text.
    pub dockerfile: Vec<u8>,
    /// `--target`: a stage's name or number; the last stage without it.
    pub target: Option<String>,
    /// `--build-arg`, values already looked up; the last of several with one name wins.
    pub build_args: Vec<(String, String)>,
    /// The canonical names of images whose digest galley.lock holds.
    pub locked: BTreeSet<String>,
    /// The main context.
    pub context: ContextSource,
    /// `--build-context NAME=…`; the last of several with one name wins.
    pub build_contexts: Vec<(String, BuildContext)>,
    /// The machine that builds: `BUILDPLATFORM`.
    pub build_platform: Platform,
    /// `--platform`, in the order given: what to build for. It decides the platform in the config. Without any it is this
    /// machine, and the base image decides.
    pub platforms: Vec<Platform>,
    /// `--label`, which wins over LABEL.
    pub labels: Vec<(String, String)>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--network`: what RUN sees without a flag of its own.
    pub network: Network,
    /// `--allow`.
    pub allow: Vec<Entitlement>,
    /// `--secret`: the ids that have a value.
    pub secrets: Vec<String>,
    /// `--ssh`: the ids that have an agent.
    pub ssh: Vec<String>,
    /// The host name in steps.
    pub hostname: String,
    /// Nobody wants to build: secrets and rights that steps ask for need not be given.
    pub nothing_runs: bool,
    /// `--add-host`, `--shm-size`, `--ulimit`.
    pub surroundings: Surroundings,
}

impl PlanOptions {
    /// The options of `galley build` without flags.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        dockerfile: impl Into<Vec<u8>>,
        context: ContextSource,
        build_platform: Platform,
    ) -> Self {
        Self {
            dockerfile_name: name.into(),
            dockerfile: dockerfile.into(),
            target: None,
            build_args: Vec::new(),
            context,
            build_contexts: Vec::new(),
            locked: BTreeSet::new(),
            build_platform,
            platforms: Vec::new(),
            labels: Vec::new(),
            no_cache: NoCache::None,
            network: Network::Default,
            allow: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
            hostname: DEFAULT_HOSTNAME.to_owned(),
            nothing_runs: false,
            surroundings: Surroundings::default(),
        }
    }

    /// What to build for, each once.
    pub(super) fn targets(&self) -> Vec<Platform> {
        let mut targets: Vec<Platform> = Vec::new();
        for platform in self.platforms.iter().map(Platform::normalised) {
            if !targets.contains(&platform) {
                targets.push(platform);
            }
        }
        if targets.is_empty() { vec![self.build_platform.clone()] } else { targets }
    }

    /// Whether steps may have a right.
    pub(super) fn allows(&self, right: Entitlement) -> bool {
        self.nothing_runs || self.allow.contains(&right)
    }

    /// The value given with `--build-arg`. Without a value `SOURCE_DATE_EPOCH` is not given.
    pub(super) fn build_arg(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| name != EPOCH || !value.is_empty())
    }

    /// The value given with `--build-arg`, also when it stands for none.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.build_args.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Puts times in the place of names of contexts, in a `SOURCE_DATE_EPOCH` of the command line.
    pub fn settle_epoch(&mut self) {
        for index in 0..self.build_args.len() {
            let (name, value) = &self.build_args[index];
            if name == EPOCH
                && let Some(time) = self.epoch_of(value)
            {
                self.build_args[index].1 = time;
            }
        }
    }

    /// The value that `SOURCE_DATE_EPOCH` has as the name of a context: the time of the commit or of the file that was
    /// fetched. It is empty for what has no time, a folder or an image. None where no context has this name, or where
    /// the time is not known.
    pub(super) fn epoch_of(&self, value: &str) -> Option<String> {
        let found = self.build_contexts.iter().rev().find(|(name, _)| name == value);
        let source = match (value, found) {
            ("context", _) => &self.context,
            (_, Some((_, BuildContext::Directory(source)))) => source,
            (_, Some(_)) => return Some(String::new()),
            (_, None) => return None,
        };
        let Some(kept) = source.kept.as_ref().filter(|kept| kept.files.is_some()) else {
            return Some(String::new());
        };
        kept.time.map(|time| time.seconds.to_string())
    }
}

/// A context that has a name.
#[derive(Clone, Debug)]
pub enum BuildContext {
    /// `oci-layout://PATH[:TAG][@DIGEST]`
    Layout(LayoutReference),
    /// `docker-image://REFERENCE`
    Image(String),
    /// A directory of this machine, with its own ignore file.
    Directory(ContextSource),
    /// A repository, or a file at a URL, which is in a directory alone and is not unpacked.
    Fetched(Address),
}

/// Which steps ignore records of earlier builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// No step does.
    #[default]
    None,
    /// All do: `--no-cache`.
    All,
    /// Those of these stages: `--no-cache-filter`.
    Stages(Vec<String>),
}

impl NoCache {
    /// Whether the stage of this name (none for one without) is meant.
    pub(super) fn covers(&self, stage: Option<&str>) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Stages(names) => {
                stage.is_some_and(|stage| names.iter().any(|name| name.eq_ignore_ascii_case(stage)))
            }
        }
    }
}

/// A right that steps get only when the person says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// `network.host`: RUN may ask for the machine's own network.
    NetworkHost,
    /// `security.insecure`: RUN may ask for all privileges.
    SecurityInsecure,
}
