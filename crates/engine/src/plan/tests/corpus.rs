//! Dockerfiles of well-known projects are read, planned and checked without an error: e2e/corpus.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use fs_err as fs;
use galley_oci::{Digest, ImageConfig, Platform, Reference};

use super::{options, shown};
use crate::{
    Error,
    plan::{PlanOptions, check, plan, stages},
    ports::{BaseImage, ImageSource, LayoutReference},
};

/// Every image there is.
struct AnyImage;

impl ImageSource for AnyImage {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            ..ImageConfig::default()
        };
        config.config.env = vec!["PATH=/bin".to_owned()];
        config.config.working_dir = "/".to_owned();
        let (name, document) = (reference.canonical(), config.to_bytes());
        let id = Digest::sha256(name.as_bytes());
        Ok(Some(BaseImage { name, id, config, document, layers: Vec::new(), manifest: None }))
    }

    fn layout(&self, _: &LayoutReference, _: &Platform) -> Result<Option<BaseImage>, Error> {
        Ok(None)
    }

    fn suggest(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
}

/// Stages, steps, and how often each rule finds something.
fn outcome(options: &PlanOptions) -> Result<String, Error> {
    let steps = plan(options, &AnyImage)?.steps.len();
    let checked = check(options, &AnyImage);
    if let Some(error) = checked.error {
        return Err(error);
    }
    let mut findings: BTreeMap<&str, usize> = BTreeMap::new();
    for warning in &checked.warnings {
        *findings.entry(warning.rule.map_or("other", |rule| rule.name)).or_default() += 1;
    }
    let mut text = format!("{}\t{steps}\t", stages(options)?);
    for (rule, count) in findings {
        write!(text, "{rule}={count} ").unwrap();
    }
    Ok(text.trim_end().to_owned())
}

#[test]
fn real_dockerfiles_have_no_errors() {
    let Some(folder) = std::env::var_os("GALLEY_CORPUS").map(PathBuf::from) else {
        eprintln!("SKIPPED: GALLEY_CORPUS is not set; `make corpus` gets the files and sets it");
        return;
    };
    let here = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/corpus"));
    let mut results = "# repository\tpath\tstages\tsteps\tfindings\n".to_owned();
    let mut faults = Vec::new();
    for line in fs::read_to_string(here.join("files.tsv")).unwrap().lines().skip(1) {
        let &[repository, _, path, sha256] = line.split('\t').collect::<Vec<_>>().as_slice() else {
            continue;
        };
        let Ok(dockerfile) = fs::read(folder.join(sha256)) else {
            faults.push(format!("{repository} {path}: {sha256} is not in {}", folder.display()));
            continue;
        };
        match outcome(&options(dockerfile)) {
            Ok(outcome) => writeln!(results, "{repository}\t{path}\t{outcome}").unwrap(),
            Err(error) => faults.push(format!("{repository} {path}: {}", shown(&error))),
        }
    }
    assert!(faults.is_empty(), "{} of them fail:\n{}", faults.len(), faults.join("\n"));
    let file = here.join("results.tsv");
    if std::env::var_os("GALLEY_PIN").is_some() {
        fs::write(&file, &results).unwrap();
    }
    let pinned = fs::read_to_string(file).unwrap();
    let changed: Vec<_> =
        results.lines().filter(|line| !pinned.lines().any(|known| known == *line)).collect();
    assert!(changed.is_empty(), "GALLEY_PIN=1 writes these down:\n{}", changed.join("\n"));
}
