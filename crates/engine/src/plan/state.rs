//! What a stage looks like after some of its instructions.

use std::sync::Arc;

use galley_oci::{ImageConfig, Platform, RootFs};

use super::{HistoryItem, StepId, environment::Environment};
use crate::ports::BaseImage;

/// The PATH of images that set none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Files, variables and config at one point of a stage.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The last step that made files; none while there are no files.
    pub(super) step: Option<StepId>,
    /// Variables of ENV and ARG.
    pub(super) environment: Environment,
    /// ARGs in the order of their first declaration, with their last value.
    pub(super) args: Vec<(String, Option<String>)>,
    /// What the image will say, without rootfs, history and time.
    pub(super) config: ImageConfig,
    /// The machine that its programs are for.
    pub(super) platform: Platform,
    /// The image below everything.
    pub(super) base: Option<Arc<BaseImage>>,
    /// Where relative paths begin; empty means the root.
    pub(super) directory: String,
    /// A WORKDIR of this file decided the directory.
    pub(super) workdir_written: bool,
    /// The stage this one began with.
    pub(super) inherited: Option<usize>,
    /// What this stage adds to the history.
    pub(super) history: Vec<HistoryItem>,
}

impl State {
    /// `FROM scratch`.
    pub(super) fn scratch(platform: &Platform) -> Self {
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone().unwrap_or_default(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        config.config.working_dir = "/".to_owned();
        config.config.env = vec![format!("PATH={DEFAULT_PATH}")];
        Self { config, platform: platform.clone(), ..Self::default() }
    }

    /// `FROM image`.
    pub(super) fn image(base: Arc<BaseImage>, step: StepId, platform: Platform) -> Self {
        let mut config = base.config.clone();
        config.created = None;
        config.history = Vec::new();
        config.rootfs = RootFs::default();
        config.config.on_build = Vec::new();
        Self { step: Some(step), config, platform, base: Some(base), ..Self::default() }
    }

    /// `FROM stage`: files, config, variables and ARGs; neither its triggers nor its history twice.
    pub(super) fn stage(base: &Self, index: usize) -> Self {
        let mut state = Self { history: Vec::new(), inherited: Some(index), ..base.clone() };
        state.config.config.on_build = Vec::new();
        state
    }

    /// What every stage begins with: a PATH, and the config's variables and directory.
    pub(super) fn begin(&mut self) {
        let run = &mut self.config.config;
        if !run.env.iter().any(|entry| entry.split('=').next() == Some("PATH")) {
            run.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        // The config's values win again over ARGs of the stage below.
        self.environment.assign_all(&run.env);
        if !run.working_dir.is_empty() {
            self.directory = super::path::normal_directory("/", &run.working_dir);
            run.working_dir.clone_from(&self.directory);
        }
    }

    /// Remembers an ARG.
    pub(super) fn declare(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(ToOwned::to_owned);
        match self.args.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.args.push((name.to_owned(), value)),
        }
    }

    /// `|2 A=1 B=2`, as the history of RUN shows the ARGs that are in force.
    pub(super) fn args_for_history(&self) -> Option<String> {
        if self.args.is_empty() {
            return None;
        }
        let pairs = self.args.iter().map(|(name, value)| {
            let value = self.environment.get(name).or(value.as_deref()).unwrap_or_default();
            format!(" {name}={value}")
        });
        Some(format!("|{}{}", self.args.len(), pairs.collect::<String>()))
    }
}
