//! The Dockerfiles of the documents that the project started from: whole plans, written down.
//!
//! `tests/golden/documents/NAME.Dockerfile` plans to `NAME.plan`. `GALLEY_GOLDEN=write` writes the plans anew.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{FakeSource, options, shown};
use crate::plan::{MountKind, Operation, Plan, Source, Step, plan};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn from(source: &Source) -> String {
    match source {
        Source::Context(context) => format!("context {}", context.0),
        Source::Step(step) => format!("step {}", step.0),
    }
}

fn operation(step: &Step, out: &mut String) -> std::fmt::Result {
    match &step.operation {
        Operation::Base(base) => writeln!(out, "    base {}", base.name),
        Operation::Workdir(workdir) => {
            writeln!(out, "    workdir {} of {:?}", text(&workdir.path), workdir.user)
        }
        Operation::Fetch(address) => writeln!(out, "    fetch {address}"),
        Operation::Copy(copy) => {
            let sources: Vec<String> = copy.sources.iter().map(|source| text(source)).collect();
            writeln!(
                out,
                "    copy {} of {} to {}",
                sources.join(" "),
                from(&copy.from),
                text(&copy.destination)
            )
        }
        Operation::Run(run) => {
            for argument in &run.arguments {
                writeln!(out, "    argument {}", text(argument))?;
            }
            for (name, value) in run.environment.iter() {
                writeln!(out, "    variable {name}={value}")?;
            }
            writeln!(
                out,
                "    in {} as {:?}, network {:?}",
                text(&run.working_directory),
                run.user,
                run.network
            )?;
            for mount in &run.mounts {
                let MountKind::Cache { id, sharing, .. } = &mount.kind else { panic!("another mount") };
                writeln!(out, "    cache {id} ({sharing:?}) at {}", text(&mount.target))?;
            }
            Ok(())
        }
    }
}

fn dump(plan: &Plan) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for step in &plan.steps {
        let parent = step.parent.map(|parent| format!(" on {}", parent.0)).unwrap_or_default();
        let place = step.place.as_ref().unwrap();
        writeln!(out, "{}{parent} {} ({place})", step.id.0, step.name)?;
        operation(step, &mut out)?;
    }
    let target = &plan.targets[0];
    writeln!(out, "target {:?} {}", target.step.map(|step| step.0), target.platform)?;
    writeln!(out, "    {}", serde_json::to_string(&target.config.config).unwrap())?;
    for item in &target.history {
        writeln!(out, "    {:?} {}", item.step.map(|step| step.0), item.created_by)?;
    }
    for warning in &plan.warnings {
        let place = warning.place.as_ref().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "warning {} {place}", warning.message)?;
    }
    Ok(out)
}

fn source() -> FakeSource {
    FakeSource::with(&[
        "golang:1.22",
        "golang:1.22-alpine",
        "golang:alpine",
        "alpine",
        "gcr.io/distroless/static-debian11",
    ])
}

#[test]
fn plans_of_the_documents() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/documents");
    let mut files: Vec<PathBuf> =
        fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "Dockerfile"));
    files.sort();
    assert_eq!(files.len(), 8);
    for file in &files {
        let found = match plan(&options(fs_err::read(file).unwrap()), &source()) {
            Ok(plan) => dump(&plan).unwrap(),
            Err(error) => shown(&error) + "\n",
        };
        let golden = file.with_extension("plan");
        if std::env::var_os("GALLEY_GOLDEN").is_some() {
            fs_err::write(&golden, &found).unwrap();
        }
        assert_eq!(found, fs_err::read_to_string(&golden).unwrap_or_default(), "{}", file.display());
    }
}
