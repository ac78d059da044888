//! Dockerfiles of some kilobytes that ask for gigabytes: each ends at a limit with a name, before the memory is used.

use super::{FakeSource, options, shown};
use crate::plan::plan;

/// Ten lines that make a megabyte.
fn megabyte() -> String {
    format!("ARG A={}\n{}", "x".repeat(1000), "ARG A=$A$A\n".repeat(10))
}

#[track_caller]
fn refused(dockerfile: &str, wanted: &str) {
    let sources = FakeSource::with(&["busybox"]);
    let error = plan(&options(dockerfile), &sources).expect_err("it unfolds to gigabytes");
    let said = shown(&error);
    assert!(said.starts_with(wanted), "{said}");
}

const UNFOLDS: &str = "the Dockerfile unfolds to more than 67108864 bytes at Dockerfile:";

#[test]
fn what_is_filled_in_counts_for_the_whole_file() {
    let lines = |line: &dyn Fn(usize) -> String| (0..1000).map(line).collect::<String>();
    let stage = |text: String| format!("FROM busybox\n{}{text}", megabyte());
    for text in [
        lines(&|number| format!("LABEL l{number}=$A\n")),
        lines(&|number| format!("COPY <<E /f{number}\n$A\nE\n")),
        // None of these fills anything in, but the history of each tells the ARG.
        lines(&|number| format!("RUN true {number}\n")),
    ] {
        refused(&stage(text), UNFOLDS);
    }
    let globals = format!("{}{}FROM busybox\n", megabyte(), lines(&|number| format!("ARG G{number}=$A\n")));
    refused(&globals, UNFOLDS);
}

#[test]
fn what_stages_inherit_counts() {
    let variables = format!("FROM busybox AS s0\n{}ENV B=$A\n", megabyte());
    let stages = (0..1000).map(|number| format!("FROM s{number} AS s{}\n", number + 1));
    refused(&format!("{variables}{}", stages.collect::<String>()), UNFOLDS);
}

#[test]
fn instructions_and_triggers_are_counted() {
    let many = format!("FROM busybox\n{}", "LABEL a=b\n".repeat(100_000));
    refused(&many, "more than 100000 instructions at Dockerfile:100001:1");
    let triggers = format!("FROM busybox AS s0\n{}", "ONBUILD LABEL a=b\n".repeat(2000));
    let stages = (1..100).map(|number| format!("FROM s0 AS s{number}\nCOPY --from=s{} / /\n", number - 1));
    let stages: String = stages.collect();
    refused(&format!("{triggers}{stages}"), "the bases bring more than 100000 triggers at Dockerfile:");
}
