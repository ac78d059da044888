//! Docker's rules about FROM. Every FROM of the file is looked at, whether the target needs it or not.

use std::collections::BTreeSet;

use galley_dockerfile::{
    Expanded, Expander, Span, Stage, Word,
    lint::{Finding, Fix, Rule, docker},
    suggest,
};
use galley_oci::{Platform, Reference};

use super::{environment::Environment, globals, graph::Graph, warnings::Warnings};

/// `defaults` is the global scope as it is when no build argument sets an ARG.
pub(super) fn check(graph: &Graph<'_>, defaults: Option<&Environment>, warnings: &mut Warnings) {
    let rules = FromRules { graph };
    for stage in defaults.iter().flat_map(|defaults| rules.images_by_default(defaults)) {
        warnings.find(FromRules::invalid_default(stage));
    }
    for stage in &graph.stages.stages {
        warnings.enter(&stage.instruction.comments);
        for finding in rules.stage(stage) {
            warnings.find(finding);
        }
    }
    warnings.enter(&[]);
}

struct FromRules<'g, 'a> {
    graph: &'g Graph<'a>,
}

impl FromRules<'_, '_> {
    /// The stages whose FROM names no image by default. What cannot be expanded ends the search: it is an error later.
    fn images_by_default<'s>(&'s self, defaults: &'s Environment) -> Vec<&'s Stage> {
        let stages = self.graph.stages.stages.iter();
        let named = stages.map_while(|stage| Some((stage, self.expand(&stage.from.image, defaults)?.text)));
        named.filter(|(_, name)| name.parse::<Reference>().is_err()).map(|(stage, _)| stage).collect()
    }

    fn invalid_default(stage: &Stage) -> Finding {
        let image = &stage.from.image;
        let detail = format!("without build arguments `{}` does not name an image", image.text);
        let help = "give the ARG above the first FROM a default that makes it one";
        finding(&docker::INVALID_DEFAULT_ARG_IN_FROM, stage, image, detail, help)
    }

    fn stage(&self, stage: &Stage) -> Vec<Finding> {
        let mut findings = Vec::new();
        let Some(image) = self.expand(&stage.from.image, self.graph.globals) else { return findings };
        findings.extend(self.undefined(stage, &stage.from.image, &image.undefined));
        let Some(word) = &stage.from.platform else { return findings };
        let Some(platform) = self.expand(word, self.graph.globals) else { return findings };
        findings.extend(self.undefined(stage, word, &platform.undefined));
        findings.extend(self.redundant(stage, word, &platform));
        findings.extend(Self::constant(stage, word, &platform));
        findings
    }

    fn expand(&self, word: &Word, environment: &Environment) -> Option<Expanded> {
        let lookup = |name: &str| environment.get(name).map(ToOwned::to_owned);
        Expander::new(self.graph.text.escape, &lookup).word(word).ok()
    }

    fn undefined<'s>(
        &'s self,
        stage: &'s Stage,
        word: &'s Word,
        undefined: &'s BTreeSet<String>,
    ) -> impl Iterator<Item = Finding> + 's {
        let declared = || self.graph.stages.global_args.iter().flat_map(globals::names_of);
        let unknown = undefined.iter().filter(move |name| !declared().any(|known| known == *name));
        unknown.map(move |name| {
            let known: Vec<&str> = declared().chain(self.graph.globals.names()).collect();
            let help = match suggest::closest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add `ARG {name}` above the first FROM"),
            };
            let detail = format!("FROM uses the undeclared argument `{name}`");
            finding(&docker::UNDEFINED_ARG_IN_FROM, stage, word, detail, help)
        })
    }

    /// `--platform=$TARGETPLATFORM` and nothing else.
    fn redundant(&self, stage: &Stage, word: &Word, platform: &Expanded) -> Option<Finding> {
        let target = "TARGETPLATFORM";
        let only =
            platform.used.len() == 1 && platform.used.contains(target) && platform.undefined.is_empty();
        if !only || self.graph.globals.get(target) != Some(platform.text.as_str()) {
            return None;
        }
        let detail = format!("`--platform={}` asks for what FROM takes anyway", word.text);
        let finding = finding(&docker::REDUNDANT_TARGET_PLATFORM, stage, word, detail, "leave the flag out");
        let fix = Fix::replace(Self::flag_and_blank(stage)?, "", "leave --platform out");
        Some(finding.with_fix(fix))
    }

    /// The flag with the blanks behind it.
    fn flag_and_blank(stage: &Stage) -> Option<Span> {
        let flag = stage.instruction.flags.first()?;
        Some(Span::new(flag.span.start, stage.from.image.span.start))
    }

    /// A platform that no variable decides, unless the stage is named after it.
    fn constant(stage: &Stage, word: &Word, platform: &Expanded) -> Option<Finding> {
        if !platform.used.is_empty() || !platform.undefined.is_empty() {
            return None;
        }
        let parsed: Platform = platform.text.parse().ok()?;
        let parsed = parsed.normalised();
        let name = stage.name.as_deref().unwrap_or_default();
        if name.contains(&parsed.os) || name.contains(&parsed.architecture) {
            return None;
        }
        let detail = format!("FROM has the constant platform `{}`", platform.text);
        let help = "use $BUILDPLATFORM, leave the flag out, or name the stage after the platform";
        let rule = &docker::FROM_PLATFORM_FLAG_CONST_DISALLOWED;
        Some(finding(rule, stage, word, detail, help))
    }
}

fn finding(
    rule: &'static Rule,
    stage: &Stage,
    word: &Word,
    detail: String,
    help: impl Into<String>,
) -> Finding {
    Finding::new(rule, &stage.instruction, word.span, detail, help)
}
