//! Questions: what is found, what a target takes.

use std::time::Duration;

use galley_oci::ImageConfig;
use proptest::prelude::*;

use super::{FakeSource, options, speed};
use crate::plan::{Checked, check, outline, targets};

/// `first-last rule` of Docker's rules.
fn found(checked: &Checked) -> Vec<String> {
    let line = |warning: &crate::plan::PlanWarning| {
        let (first, last) = warning.lines?;
        Some(format!("{first}-{last} {}", warning.rule.filter(|rule| rule.docker)?.name))
    };
    checked.warnings.iter().filter_map(line).collect()
}

fn checked(dockerfile: &str) -> Checked {
    check(&options(dockerfile), &FakeSource::with(&["busybox"]))
}

#[test]
fn every_stage_is_looked_at_without_a_target() {
    let text = "FROM busybox AS a\nENV A=$X\nFROM busybox AS b\nCMD x \\\n  y\n";
    assert_eq!(found(&checked(text)), ["2-2 UndefinedVar", "4-5 JSONArgsRecommended"]);
    let mut options = options(text);
    options.target = Some("a".to_owned());
    assert_eq!(found(&check(&options, &FakeSource::with(&["busybox"]))), ["2-2 UndefinedVar"]);
}

#[test]
fn what_stands_before_an_error_is_told() {
    let unknown_base = checked("FROM busybox AS A\nENV A=$X\nFROM nowhere\n");
    assert_eq!(found(&unknown_base), ["1-1 StageNameCasing"]);
    assert_eq!(unknown_base.error.unwrap().place.as_ref().unwrap().line(), 3);
    let unknown_flag = checked("FROM busybox AS A\nCOPY a \\\n\n  /\nRUN --x y\nMAINTAINER me\n");
    assert_eq!(found(&unknown_flag), ["4-4 NoEmptyContinuation", "1-1 StageNameCasing"]);
    assert_eq!(unknown_flag.error.unwrap().place.as_ref().unwrap().line(), 5);
}

#[test]
fn steps_may_ask_for_what_was_not_given() {
    let text = "FROM busybox\nRUN --mount=type=secret,id=s,required=true a\nRUN --network=host --security=insecure b\n";
    assert!(checked(text).error.is_none());
    let told = outline(&options(text), &FakeSource::with(&["busybox"])).unwrap();
    assert_eq!(
        (told.secrets[0].name.as_str(), told.secrets[0].required, told.secrets[0].lines),
        ("s", true, (2, 2))
    );
}

#[test]
fn bases_for_other_machines() {
    let config = |architecture: &str| ImageConfig {
        os: "linux".into(),
        architecture: architecture.into(),
        ..Default::default()
    };
    let sources = FakeSource::default()
        .image("own", config("amd64"))
        .image("foreign", config("s390x"))
        .image("silent", config(""));
    let of = |text: &str| found(&check(&options(text), &sources));
    assert_eq!(of("FROM own\nFROM foreign\nFROM silent\n"), ["2-2 InvalidBaseImagePlatform"]);
    assert_eq!(of("# check=skip=InvalidBaseImagePlatform\nFROM foreign\n"), [""; 0]);
    assert_eq!(of("FROM --platform=linux/s390x foreign AS s390x\n"), [""; 0]);
}

#[test]
fn a_target_takes_what_its_stages_take() {
    let text = "ARG A=1\nARG B=$A\nARG UNUSED\n# build makes it\nFROM busybox AS build\n# C is for speed\nARG C=x\nARG B\n\
                FROM busybox AS other\nARG OTHER\nFROM busybox\nCOPY --from=build / /\n";
    let told = outline(&options(text), &FakeSource::with(&["busybox"])).unwrap();
    let args: Vec<_> =
        told.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_str(), arg.lines.0)).collect();
    assert_eq!(args, [("A", "1", 1), ("B", "1", 2), ("C", "x", 7)]);
    assert_eq!(told.args[2].description.as_deref(), Some("is for speed"));
    let stages = targets(&options(text)).unwrap();
    let names: Vec<_> = stages.iter().map(|stage| (stage.name.as_deref(), stage.is_default)).collect();
    assert_eq!(names, [(Some("build"), false), (Some("other"), false), (None, true)]);
    assert_eq!(stages[0].description.as_deref(), Some("makes it"));
}

/// 1,000 lines are checked in less than 10 ms by a program that was optimised; this one may not be, and is not alone.
#[test]
fn a_long_dockerfile_is_checked_in_a_moment() {
    let mut text = "FROM busybox\n".to_owned();
    for number in 0..125 {
        text += &format!(
            "ENV E{number}=$PATH$X\nRUN a && \\\n  b\nCOPY f{number} /x/\nLABEL l{number} x\nARG G{number}=$E{number}\nWORKDIR w\nCMD x\n"
        );
    }
    let start = speed::now();
    let checked = checked(&text);
    let took = speed::now() - start;
    assert!(checked.error.is_none() && checked.warnings.len() > 400, "{:?}", checked.error);
    eprintln!("checked in {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

proptest! {
    #[test]
    fn questions_do_not_panic(lines in prop::collection::vec(
        prop::sample::select(vec![
            "FROM busybox AS a", "FROM a AS A", "FROM --platform=$X $A", "ARG A=busybox B", "ARG $A=${A", "# check=skip=all",
            "#", "# a b", "ENV A $B", "ENV A=$A B=\"$C\"", "EXPOSE $A 80/TCP 1:2:3", "CMD x", "CMD [\"x\"]", "ONBUILD CMD y",
            "ONBUILD ARG Z", "COPY --from=a $X /", "RUN --mount=type=secret,id=$X,target=é x", "RUN <<E \\", "", "x", "E",
            "MAINTAINER é", "WORKDIR é \\", "SHELL [\"é\"]", "HEALTHCHECK NONE", "entrypoint $x", "USER $1", "VOLUME $$",
        ]),
        0..12,
    )) {
        let options = options(lines.join("\n"));
        let sources = FakeSource::with(&["busybox"]);
        let checked = check(&options, &sources);
        prop_assert!(checked.warnings.iter().all(|warning| warning.lines.is_none_or(|(first, last)| first <= last)));
        drop((outline(&options, &sources), targets(&options)));
    }
}
