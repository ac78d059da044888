//! What is told but does not stop the build.

use super::{FakeSource, options, planned};
use crate::plan::{PlanOptions, check, plan};

/// `line: rule: message`.
fn warnings(dockerfile: &str) -> Vec<String> {
    let plan = planned(dockerfile);
    let line = |warning: &crate::plan::PlanWarning| {
        let place = warning.place.as_ref().map(crate::Place::line).unwrap_or_default();
        format!("{place}: {}: {}", warning.rule.map_or("-", |rule| rule.name), warning.message)
    };
    plan.warnings.iter().map(line).collect()
}

#[test]
fn rules_of_docker() {
    let found = warnings(
        "FROM busybox AS one\nARG API_KEY PUBLIC_KEY\nENV A=$UNKNOWN B=$API_KEY\nENV old form\nWORKDIR rel\nCMD a\n\
         CMD [\"b\"]\nFROM one AS one\nMAINTAINER me\nFROM one AS scratch\nRUN echo $free\n",
    );
    assert_eq!(
        found,
        [
            "9: MaintainerDeprecated: MAINTAINER is deprecated",
            "8: DuplicateStageName: more than one stage is called `one`: the last one above counts",
            "10: ReservedStageName: `scratch` is a reserved name",
            "2: SecretsUsedInArgOrEnv: ARG `API_KEY` looks like a secret: it stays readable in the image",
            "3: UndefinedVar: the variable `UNKNOWN` is not defined, so it is empty",
            "4: LegacyKeyValueFormat: `ENV key value` is the old form",
            "5: WorkdirRelativePath: the relative WORKDIR `rel` depends on the base image",
            "6: JSONArgsRecommended: CMD in shell form: signals reach the shell, not the program",
            "6: MultipleInstructionsDisallowed: this CMD has no effect: a later CMD of the stage replaces it",
        ]
    );
}

#[test]
fn undeclared_arguments_of_from() {
    let found = warnings("ARG KNOWN\nFROM busybox$KNOWN$UNKNOWN\n");
    assert_eq!(found, ["2: UndefinedArgInFrom: FROM uses the undeclared argument `UNKNOWN`"]);
}

#[test]
fn rules_can_be_turned_off_or_made_fatal() {
    let text = |check: &str| format!("# check={check}\nFROM busybox\nENV A=$B TOKEN=x\n");
    assert_eq!(warnings(&text("skip=all")).len(), 0);
    assert_eq!(warnings(&text("skip=UndefinedVar")).len(), 1);
    let sources = FakeSource::with(&["busybox"]);
    let error = plan(&options(text("error=true")), &sources).expect_err("a finding is fatal");
    assert_eq!(error.message, "the variable `B` is not defined, so it is empty (UndefinedVar)");
    let build_args = vec![("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skip=all;error=true".to_owned())];
    assert!(
        plan(&PlanOptions { build_args, ..options(text("error=true")) }, &sources)
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn arguments_that_nothing_declares() {
    let names = ["GLOBAL", "STAGE", "TRIGGER", "TARGETARCH", "NO_PROXY", "BUILDKIT_INLINE_CACHE", "NOWHERE"];
    let build_args = names.iter().map(|name| ((*name).to_owned(), "linux".to_owned())).collect();
    let text = "ARG GLOBAL\nFROM busybox AS unused\nARG STAGE\nONBUILD ARG TRIGGER\nFROM scratch\nENV A=1\n";
    let plan = plan(&PlanOptions { build_args, ..options(text) }, &FakeSource::with(&["busybox"])).unwrap();
    let messages: Vec<&str> = plan.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages, ["build argument `NOWHERE` was not consumed: no ARG declares it"]);
}

#[test]
fn comments_behind_users() {
    let found = warnings("FROM busybox\nUSER 65534:65534 # nobody:nobody\n");
    assert_eq!(found.len(), 1);
    assert_eq!(
        planned("FROM busybox\nUSER 65534:65534 # nobody\n").targets[0].config.config.user,
        "65534:65534"
    );
}

#[test]
fn sources_that_the_ignore_file_keeps_out() {
    let mut with =
        options("FROM busybox\nCOPY a.log b.txt *.log /\nCOPY --from=busybox /a.log /\nADD x/../a.log .\n");
    with.context.ignore = Some((".dockerignore".to_owned(), b"*.log\n".to_vec()));
    let sources = FakeSource::with(&["busybox"]);
    let messages = |options: &PlanOptions| -> Vec<String> {
        plan(options, &sources).unwrap().warnings.into_iter().map(|warning| warning.message).collect()
    };
    let wanted = [
        "COPY of `a.log`, which .dockerignore keeps out of the build context",
        "COPY of `*.log`, which .dockerignore keeps out of the build context",
        "ADD of `a.log`, which .dockerignore keeps out of the build context",
    ];
    assert_eq!(messages(&with), wanted);
    with.context.ignore = Some((".dockerignore".to_owned(), b"*.log\n!keep\n".to_vec()));
    assert!(messages(&with).is_empty());
}

#[test]
fn foreign_front_ends_and_platforms() {
    assert_eq!(warnings("# syntax=docker/dockerfile:1-labs\nFROM busybox\n").len(), 0);
    assert_eq!(
        warnings("# syntax=example.com/mine\nFROM busybox\n"),
        ["1: -: the front end `example.com/mine` is not loaded: galley reads Docker's own language"]
    );
    let config =
        galley_oci::ImageConfig { os: "linux".into(), architecture: "s390x".into(), ..Default::default() };
    let sources = FakeSource::default().image("big", config);
    let warnings = plan(&options("FROM big\n"), &sources).unwrap().warnings;
    assert_eq!(warnings[0].message, "the base image `big` is for linux/s390x, not for linux/amd64");
}

#[test]
fn own_rules_are_told_by_a_check_alone() {
    let text = "FROM golang\n# check=skip=UnpinnedBase\nFROM busybox\nCMD [\"x\"]\n";
    let rules = |options: &PlanOptions| -> Vec<(String, usize)> {
        let checked = check(options, &FakeSource::with(&["busybox", "golang"]));
        assert!(checked.error.is_none(), "{:?}", checked.error);
        let told = checked.warnings.into_iter();
        told.filter_map(|warning| Some((warning.rule?.name.to_owned(), warning.lines?.0))).collect()
    };
    let found = |name: &str, line| (name.to_owned(), line);
    assert_eq!(rules(&options(text)), [found("UnpinnedBase", 1), found("LastUserRoot", 3)]);
    let mut locked = options(text);
    locked.locked.insert("docker.io/library/golang:latest".to_owned());
    assert_eq!(rules(&locked), [found("LastUserRoot", 3)]);
    assert_eq!(rules(&options(format!("# check=skip=UnpinnedBase,LastUserRoot\n{text}"))), []);
    assert!(plan(&options(text), &FakeSource::with(&["busybox", "golang"])).unwrap().warnings.is_empty());
}
