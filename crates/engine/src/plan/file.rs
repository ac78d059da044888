//! A Dockerfile that was read, before anything is planned.

use galley_dockerfile::{
    Directives, Source, Stages, Warning,
    directive::{Check, OPTIONS_HELP},
    parse,
};

use super::{PlanOptions, text::Text};
use crate::{Error, ErrorKind};

/// The text and what it says.
pub(super) struct File {
    pub(super) source: Source,
    pub(super) text: Text,
    pub(super) directives: Directives,
    pub(super) stages: Stages,
    /// What the parser noticed.
    pub(super) warnings: Vec<Warning>,
}

impl File {
    pub(super) fn read(options: &PlanOptions) -> Result<Self, Error> {
        let source = source(&options.dockerfile_name, &options.dockerfile)?;
        let plain = Text::new(source.name(), source.text(), '\\');
        let mut dockerfile = parse(&source).map_err(|error| plain.error(&error))?;
        let text = plain.with_escape(dockerfile.escape);
        let directives = std::mem::take(&mut dockerfile.directives);
        let warnings = std::mem::take(&mut dockerfile.warnings);
        let stages = dockerfile.into_stages().map_err(|error| text.error(&error))?;
        Ok(Self { source, text, directives, stages, warnings })
    }

    /// `# check=`, unless a build argument says otherwise.
    pub(super) fn check(&self, options: &PlanOptions) -> Result<Check, Error> {
        check(options, &self.directives)
    }
}

/// `# check=`, unless a build argument says otherwise.
pub(super) fn check(options: &PlanOptions, directives: &Directives) -> Result<Check, Error> {
    let name = "BUILDKIT_DOCKERFILE_CHECK";
    match options.build_arg(name) {
        Some(value) => Check::parse(value).map_err(|option| {
            let message = format!("build argument {name} has an unknown option `{option}`");
            Error::new(ErrorKind::Usage, message).help(OPTIONS_HELP)
        }),
        None => Ok(directives.check.clone().unwrap_or_default()),
    }
}

/// The text alone.
pub(super) fn source(name: &str, dockerfile: &[u8]) -> Result<Source, Error> {
    Source::new(name, dockerfile).map_err(|error| {
        let lossy = Source::lossy(name, dockerfile);
        Text::new(name, lossy.text(), '\\').error(&error)
    })
}
