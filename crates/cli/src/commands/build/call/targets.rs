//! `--call=targets`: the stages that can be built.

use galley_engine::plan::{self, PlanOptions, TargetInfo};
use serde::Serialize;

use super::{
    json::{Location, source},
    print, print_json,
};
use crate::{args::call::Call, display::text::clean, failure::Outcome, table};

pub(super) fn execute(call: Call, options: &PlanOptions) -> Outcome {
    let targets = plan::targets(options)?;
    if call.json {
        let sources = [source(options)];
        return print_json(&Answer { targets: targets.iter().map(Target::new).collect(), sources });
    }
    let rows: Vec<String> =
        std::iter::once("TARGET\tDESCRIPTION".to_owned()).chain(targets.iter().map(row)).collect();
    let aligned = table::align(&rows);
    print(&aligned.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>())
}

fn row(target: &TargetInfo) -> String {
    let default = if target.is_default { "(default)" } else { "" };
    let name = target.name.as_deref().unwrap_or_default();
    let blank = if name.is_empty() || default.is_empty() { "" } else { " " };
    format!("{name}{blank}{default}\t{}", clean(target.description.as_deref().unwrap_or_default()))
}

/// As BuildKit's `result.json`.
#[derive(Serialize)]
struct Answer<'a> {
    targets: Vec<Target<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    base: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    location: Location,
}

impl<'a> Target<'a> {
    fn new(target: &'a TargetInfo) -> Self {
        Self {
            name: target.name.as_deref(),
            default: target.is_default,
            description: target.description.as_deref(),
            base: &target.base,
            platform: target.platform.as_deref(),
            location: Location::lines(target.lines),
        }
    }
}
