//! What a stage looks like after some of its instructions.

use std::sync::Arc;

use galley_oci::{ImageConfig, Platform, RootFs};

use super::{
    HistoryItem, StepId,
    arguments::Arguments,
    environment::{Environment, assign_in_config},
};
use crate::ports::BaseImage;

/// The PATH of images that set none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What BuildKit's front end writes beside each line of the history.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Files, variables and config at one point of a stage.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The last step that made files; none while there are no files.
    pub(super) step: Option<StepId>,
    /// Variables of ENV and ARG.
    pub(super) environment: Environment,
    /// ARGs.
    pub(super) args: Arguments,
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
        self.args.variables_changed();
        self.environment.assign_all(&run.env);
        if !run.working_dir.is_empty() {
            self.directory = super::path::normal_directory("/", &run.working_dir);
            run.working_dir.clone_from(&self.directory);
        }
    }

    /// Sets a variable of ENV or ARG.
    pub(super) fn assign(&mut self, name: &str, value: &str) {
        self.args.variable_changed(name);
        self.environment.set(name, value);
    }

    /// Sets a variable that the image keeps.
    pub(super) fn assign_in_image(&mut self, name: &str, value: &str) {
        let entries = &mut self.config.config.env;
        if self.environment.get(name).is_some() {
            assign_in_config(entries, name, value);
        } else {
            // The environment has all that the config has, so that nothing needs to be looked for.
            entries.push(format!("{name}={value}"));
        }
        self.assign(name, value);
    }

    /// A line of the image's history.
    pub(super) fn record(&mut self, step: Option<StepId>, created_by: String) {
        self.history.push(HistoryItem { step, created_by, comment: COMMENT.to_owned() });
    }

    /// What the history says of a RUN with these arguments.
    pub(super) fn run_history(&mut self, arguments: &[String]) -> String {
        let mut text = "RUN ".to_owned();
        self.args.tell(&self.environment, &mut text);
        text + &arguments.join(" ") + " # buildkit"
    }
}
