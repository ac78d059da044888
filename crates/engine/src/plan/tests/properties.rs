//! Whatever is written in a Dockerfile: an error is fine, a panic is not, and a plan keeps its promises.

use proptest::prelude::*;

use super::{FakeSource, options};
use crate::plan::{Operation, Source, plan};

/// Words that Dockerfiles are made of, valid and not.
fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "a",
        "b",
        "0",
        "1",
        "busybox",
        "scratch",
        "/x/../y",
        ".",
        "..",
        "$A",
        "${A:-b}",
        "${A",
        "A=1",
        "B=$A",
        "\"q",
        "'s'",
        "<<E",
        "--from=a",
        "--from=0",
        "--from=busybox",
        "--chown=1:2",
        "--chmod=755",
        "--link",
        "80/tcp",
        "--mount=type=cache,target=/c",
        "--mount=from=a,target=$A",
        "--mount=type=secret,id=x,env=A",
        "--mount=type=tmpfs,target=..",
        "[\"x\"]",
        "#",
        "\\",
        "é",
    ]);
    prop_oneof![9 => known.prop_map(ToOwned::to_owned), 1 => "\\PC{0,6}"]
}

fn line() -> impl Strategy<Value = String> {
    let keyword = prop::sample::select(vec![
        "FROM",
        "FROM busybox AS",
        "FROM a AS",
        "ARG",
        "ENV",
        "RUN",
        "COPY",
        "ADD",
        "WORKDIR",
        "USER",
        "LABEL",
        "EXPOSE",
        "VOLUME",
        "SHELL",
        "STOPSIGNAL",
        "HEALTHCHECK CMD",
        "ENTRYPOINT",
        "CMD",
        "ONBUILD RUN",
        "ONBUILD COPY",
        "E",
    ]);
    (keyword, prop::collection::vec(word(), 0..4))
        .prop_map(|(keyword, words)| format!("{keyword} {}", words.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn plans_hold_together(lines in prop::collection::vec(line(), 0..12)) {
        let text = format!("FROM busybox AS a\n{}\n", lines.join("\n"));
        let sources = FakeSource::with(&["busybox", "a", "b"]);
        if let Ok(plan) = plan(&options(text), &sources) {
            for step in &plan.steps {
                prop_assert!(step.parent.is_none_or(|parent| parent < step.id));
                if let Operation::Copy(copy) = &step.operation {
                    prop_assert!(copy.sources.iter().all(|source| source.starts_with(b"/")));
                    prop_assert!(copy.destination.starts_with(b"/"));
                    prop_assert!(!matches!(copy.from, Source::Step(from) if from >= step.id));
                }
            }
            let target = &plan.targets[0];
            let makes_files = |step: &Option<_>| step.is_some();
            prop_assert!(target.history.iter().filter(|item| makes_files(&item.step)).all(|item| item.step <= target.step));
        }
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = plan(&options(bytes), &FakeSource::default());
    }
}
