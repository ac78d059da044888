//! Configs, histories and names of steps against what BuildKit wrote for the same Dockerfiles.
//!
//! `tests/golden/plan/CASE/` holds a Dockerfile, options (`build-arg NAME=VALUE`, `target`, `label`, `secret`, `context`),
//! `image.json` (config and history; `+` has a layer, `-` has none) and `steps` (sorted), made by buildkitd with the
//! images of `bases/` in a registry. Steps that bring a base image are left out: BuildKit names them in several ways and
//! counts them twice, or not at all when they come from a named context; two cases have their numbers set right by hand.

use std::path::{Path, PathBuf};

use galley_oci::ImageConfig;
use serde_json::{Value, json};

use super::{FakeSource, names, options};
use crate::plan::{BuildContext, Plan, PlanOptions, plan};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan")
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).unwrap()
}

fn source() -> FakeSource {
    ["busybox", "rich", "onbuild"].into_iter().fold(FakeSource::default(), |source, name| {
        let text = read(&folder().join("bases").join(format!("{name}.json")));
        source.image(name, ImageConfig::parse(text.as_bytes()).unwrap())
    })
}

fn options_of(case: &Path) -> PlanOptions {
    let mut options = options(read(&case.join("Dockerfile")));
    let file = case.join("options");
    let text = if file.exists() { read(&file) } else { String::new() };
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap();
        let pair = || value.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
        match key {
            "build-arg" => options.build_args.push(pair()),
            "label" => options.labels.push(pair()),
            "target" => options.target = Some(value.to_owned()),
            "secret" => options.secrets.push(value.to_owned()),
            "context" => {
                let (name, image) = pair();
                let image = image.trim_start_matches("docker-image://").to_owned();
                options.build_contexts.push((name, BuildContext::Image(image)));
            }
            other => panic!("unknown option {other}"),
        }
    }
    options
}

/// The planned image in the form of `image.json`.
fn image(plan: &Plan) -> Value {
    let target = &plan.targets[0];
    let line = |empty, text: &str| format!("{}{text}", if empty { "- " } else { "+ " });
    let base = target.base.iter().flat_map(|base| &base.config.history);
    let base = base.map(|item| line(item.empty_layer, &item.created_by));
    let own = target.history.iter().map(|item| line(item.step.is_none(), &item.created_by));
    let config: Value = serde_json::from_slice(&target.config.to_bytes()).unwrap();
    let mut image =
        json!({ "architecture": config["architecture"], "os": config["os"], "config": config["config"] });
    if let Some(author) = config.get("author") {
        image["author"] = author.clone();
    }
    image["history"] = base.chain(own).collect();
    image
}

fn is_base(step: &str) -> bool {
    step.starts_with("FROM ") || step.contains("] FROM ")
}

#[test]
fn as_buildkit_does_it() {
    let mut cases: Vec<PathBuf> =
        fs_err::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("Dockerfile").exists());
    cases.sort();
    assert!(cases.len() > 30, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let plan = match plan(&options_of(case), &source()) {
            Ok(plan) => plan,
            Err(error) => {
                wrong.push(format!("{name}: {}", super::shown(&error)));
                continue;
            }
        };
        let wanted: Value = serde_json::from_str(&read(&case.join("image.json"))).unwrap();
        let found = image(&plan);
        if found != wanted {
            wrong.push(format!("{name}: image\n{found:#}\nbut BuildKit makes\n{wanted:#}"));
        }
        let mut steps = names(&plan);
        steps.retain(|step| !is_base(step));
        steps.sort_unstable();
        let file = read(&case.join("steps"));
        let mut wanted: Vec<&str> = file.lines().filter(|step| !is_base(step)).collect();
        wanted.sort_unstable();
        if steps != wanted {
            wrong.push(format!("{name}: steps\n{steps:#?}\nbut BuildKit shows\n{wanted:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
