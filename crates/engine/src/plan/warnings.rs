//! What is told but does not stop the build.

use galley_dockerfile::{Warning, WarningKind, directive::Check};

use super::{PlanWarning, text::Text};
use crate::{Error, ErrorKind, Place};

/// Warnings so far, without those that `# check=` turns off.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    list: Vec<PlanWarning>,
    check: Check,
}

impl Warnings {
    pub(super) fn new(check: Check) -> Self {
        Self { list: Vec::new(), check }
    }

    /// A finding of a rule that has a name in Docker.
    pub(super) fn rule(&mut self, rule: &'static str, message: String, place: Place, help: &str) {
        let skipped =
            self.check.skip_all || self.check.skip.iter().any(|skip| skip.eq_ignore_ascii_case(rule));
        if !skipped {
            self.add(Some(rule), message, Some(place), help);
        }
    }

    /// A finding of the parser.
    pub(super) fn parser(&mut self, warning: &Warning, text: &Text) {
        let (message, place) = (warning.message(), text.place(warning.span()));
        match warning.kind() {
            WarningKind::EmptyContinuation => {
                self.rule("NoEmptyContinuation", message, place, warning.help())
            }
            WarningKind::MaintainerDeprecated => {
                self.rule("MaintainerDeprecated", message, place, warning.help())
            }
            _ => self.add(None, message, Some(place), warning.help()),
        }
    }

    /// Something of no rule.
    pub(super) fn add(
        &mut self,
        rule: Option<&'static str>,
        message: String,
        place: Option<Place>,
        help: &str,
    ) {
        let warning = PlanWarning { rule, message, place, help: Some(help.to_owned()) };
        let line = |warning: &PlanWarning| warning.place.as_ref().map(Place::line);
        let known =
            self.list.iter().any(|known| known.message == warning.message && line(known) == line(&warning));
        if !known {
            self.list.push(warning);
        }
    }

    /// All of them; an error when `# check=error=true` makes findings fatal.
    pub(super) fn finish(self) -> Result<Vec<PlanWarning>, Error> {
        match self.list.iter().find(|warning| warning.rule.is_some()) {
            Some(first) if self.check.error => Err(fatal(first)),
            _ => Ok(self.list),
        }
    }
}

fn fatal(warning: &PlanWarning) -> Error {
    let rule = warning.rule.unwrap_or_default();
    let error = Error::new(ErrorKind::Input, format!("{} ({rule})", warning.message))
        .help("the check option error=true makes this an error")
        .help(warning.help.clone().unwrap_or_default());
    match &warning.place {
        Some(place) => error.at(place),
        None => error,
    }
}
