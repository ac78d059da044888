//! What fixes change, and what they do not.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{AnyImage, Choice, Fixed, ROUNDS_MAX, fix};
use crate::plan::{ContextSource, Plan, PlanOptions, check, plan, rules};
use galley_oci::Platform;

fn fixed(text: &str, choice: &Choice) -> Fixed {
    fix("Dockerfile", text.as_bytes(), choice).unwrap()
}

#[track_caller]
fn safely(text: &str, expected: &str) {
    let fixed = fixed(text, &Choice::Safe);
    assert!(fixed.error.is_none(), "{:?}", fixed.error);
    assert_eq!(fixed.text, expected);
}

fn options(text: &str, target: Option<usize>) -> PlanOptions {
    let context = ContextSource { name: ".".to_owned(), path: "/context".into(), ignore: None, kept: None };
    let mut options = PlanOptions::new("Dockerfile", text, context, Platform::new("linux", "amd64"));
    options.target = target.map(|target| target.to_string());
    // With error=true a finding is an error, and it is gone when it is fixed.
    options.build_args.push(("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skip=all".to_owned()));
    options
}

/// What a plan makes; neither names for the display nor places.
fn made(plan: &Plan) -> String {
    let steps =
        plan.steps.iter().map(|step| (step.id, step.parent, &step.operation, &step.stage, step.no_cache));
    let targets = plan.targets.iter().map(|target| (target.step, &target.config, &target.history));
    format!("{:?}{:?}{:?}", steps.collect::<Vec<_>>(), targets.collect::<Vec<_>>(), plan.epoch)
}

/// Whatever stage is built, it is the same; and nothing is left to fix.
fn keeps_its_meaning(text: &str) {
    let Ok(Fixed { text: new, .. }) = fix("Dockerfile", text.as_bytes(), &Choice::Safe) else { return };
    for target in 0..text.matches('\n').count() + 1 {
        let before = plan(&options(text, Some(target)), &AnyImage);
        let after = plan(&options(&new, Some(target)), &AnyImage);
        match (before, after) {
            (Ok(before), Ok(after)) => assert_eq!(made(&before), made(&after), "{text}\n---\n{new}"),
            (Err(before), Err(after)) => {
                assert_eq!(
                    before.to_string().to_lowercase(),
                    after.to_string().to_lowercase(),
                    "{text}\n---\n{new}"
                );
                break;
            }
            (before, after) => panic!("{before:?} became {after:?}:\n{text}\n---\n{new}"),
        }
    }
    is_done(&new, &Choice::Safe);
    let all = fixed(text, &Choice::All);
    is_done(&all.text, &Choice::All);
}

fn is_done(text: &str, choice: &Choice) {
    let again = fixed(text, choice);
    assert_eq!(again.text, text);
    assert!(again.made.is_empty());
}

#[test]
fn words_get_one_case() {
    safely(
        "from a as B\nrun x\nfrom B\ncopy --from=B /x /\n",
        "from a as b\nrun x\nfrom B\ncopy --from=B /x /\n",
    );
    safely("FROM a as b\nrun x\nCOPY x /\n", "FROM a AS b\nRUN x\nCOPY x /\n");
    // The case of AS follows FROM, which follows the others.
    safely("from a as b\nRUN x\nCOPY x /\n", "FROM a AS b\nRUN x\nCOPY x /\n");
}

#[test]
fn old_pairs_get_an_equals_sign() {
    let cases = [
        ("ENV A b", "ENV A=b"),
        ("ENV A\t  b c", "ENV A=\"b c\""),
        ("ENV A $B ${C}/d", "ENV A=\"$B ${C}/d\""),
        ("LABEL a.b/c d=e", "LABEL a.b/c=d=e"),
        ("ENV A \"b c\"", "ENV A=\"b c\""),
        ("ENV A 'b c'd", "ENV A='b c'd"),
        ("ENV A b\\ c", "ENV A=b\\ c"),
    ];
    for (old, new) in cases {
        safely(&format!("FROM a\n{old}\n"), &format!("FROM a\n{new}\n"));
    }
    // Left to people: mixed quotes, values over several lines, words with blanks in braces.
    for old in ["ENV A \"b c\" d", "ENV A b \\\n c", "ENV A b ${B:-c}", "ENV A b\\n c"] {
        safely(&format!("FROM a\n{old}\n"), &format!("FROM a\n{old}\n"));
    }
}

#[test]
fn blank_lines_inside_instructions_go() {
    safely("FROM a\nRUN b \\\n\n  # c\n \t\n  d \\\n\n\nRUN e\n", "FROM a\nRUN b \\\n  # c\n  d \\\nRUN e\n");
    safely("FROM a\nRUN <<E\nx\n\ny\nE\n", "FROM a\nRUN <<E\nx\n\ny\nE\n");
}

#[test]
fn small_things() {
    safely("FROM --platform=$TARGETPLATFORM a\n", "FROM a\n");
    safely("FROM a\nEXPOSE 80/TCP 53/udp\n", "FROM a\nEXPOSE 80/tcp 53/udp\n");
    safely("FROM scratch\nWORKDIR app\nCOPY x .\n", "FROM scratch\nWORKDIR /app\nCOPY x .\n");
    // A base may have a working directory.
    safely("FROM a\nWORKDIR app\n", "FROM a\nWORKDIR app\n");
}

#[test]
fn everything_else_stays_byte_for_byte() {
    safely(
        "\u{feff}# escape=`\r\n\r\n# ü\r\nFROM a as b\r\nENV A b`\r\nRUN x   `\r\n\r\n  y\t\r\n",
        "\u{feff}# escape=`\r\n\r\n# ü\r\nFROM a AS b\r\nENV A b`\r\nRUN x   `\r\n  y\t\r\n",
    );
    safely("FROM a as b", "FROM a AS b");
}

#[test]
fn what_is_turned_off_is_not_fixed() {
    safely("# check=skip=FromAsCasing\nFROM a as b\n", "# check=skip=FromAsCasing\nFROM a as b\n");
    safely("FROM a\n# check=skip=all\nENV A b\n", "FROM a\n# check=skip=all\nENV A b\n");
}

#[test]
fn other_images_are_made_on_request_only() {
    let text = "FROM golang:1.22 as build\nRUN go build -o /app\nFROM scratch\nCOPY --from=build /app /\nENTRYPOINT [\"/app\"]\n";
    let safe = fixed(text, &Choice::Safe);
    assert_eq!(safe.text, text.replace(" as ", " AS "));
    let offers: Vec<_> = safe.offers.iter().map(|offer| (offer.rule.name, offer.line)).collect();
    assert_eq!(offers, [("CacheMountRecommended", 2), ("CgoLeftOn", 2), ("UnstrippedBinary", 2)]);
    let rule = rules().find(|rule| rule.name == "CgoLeftOn").unwrap();
    let one = fixed(text, &Choice::Rules(vec![rule]));
    assert_eq!(one.text, text.replace("go build", "CGO_ENABLED=0 go build"));
    let all = fixed(text, &Choice::All).text;
    let line = "RUN --mount=type=cache,target=/root/.cache/go-build CGO_ENABLED=0 go build -ldflags=\"-s -w\" -o /app";
    assert_eq!(all.lines().nth(1), Some(line));
    let author = "FROM a\nMAINTAINER me <me@x>\n";
    assert_eq!(fixed(author, &Choice::Safe).text, author);
    assert!(
        fixed(author, &Choice::All).text.contains("LABEL org.opencontainers.image.authors=\"me <me@x>\"")
    );
}

#[test]
fn what_is_no_dockerfile_is_an_error() {
    assert!(fix("Dockerfile", b"FRM a\n", &Choice::Safe).is_err());
    // What only a build would find is told beside what could be done.
    let fixed = fixed("FROM a as b\nCOPY --from=5 x /\n", &Choice::Safe);
    assert!(fixed.text.contains("AS b") && fixed.error.is_some());
}

/// Every Dockerfile of this repository.
fn dockerfiles() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent).unwrap();
    let mut folders = vec![root.join("crates"), root.join("examples"), root.join("demo")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if name == "Dockerfile" || name.ends_with(".Dockerfile") {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn known_dockerfiles_keep_their_meaning() {
    let files = dockerfiles();
    assert!(files.len() > 300, "only {} found", files.len());
    for file in files {
        if let Ok(text) = String::from_utf8(fs_err::read(&file).unwrap()) {
            keeps_its_meaning(&text);
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    let keyword = prop::sample::select(vec![
        "FROM",
        "from",
        "From a as",
        "FROM scratch AS",
        "ENV",
        "env A",
        "LABEL",
        "ENV A",
        "RUN",
        "run",
        "COPY x",
        "COPY --from=b",
        "WORKDIR",
        "EXPOSE",
        "CMD",
        "ARG",
        "USER",
        "MAINTAINER",
        "ONBUILD ENV A",
        "RUN <<E\n",
        "# check=skip=",
        "# note",
        "",
    ]);
    let word = prop::sample::select(vec![
        "a",
        "B",
        "b",
        "$A",
        "${A:-x y}",
        "\"q r\"",
        "'s t'",
        "A=1",
        "80/TCP",
        "1:2",
        "\\",
        "\\\n",
        "\\\n\n",
        "\\\r\n\r\n\n# c\n\n",
        "\u{a0}",
        "é",
        "E\n",
        "go build -o /x",
        "apk add c",
        "--platform=$TARGETPLATFORM a",
        "/x",
        "#",
    ]);
    (keyword, prop::collection::vec(word, 0..4), prop::sample::select(vec![" ", "  ", "\t"]))
        .prop_map(|(keyword, words, blank)| format!("{keyword}{blank}{}", words.join(blank)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_dockerfile_keeps_its_meaning(
        lines in prop::collection::vec(line(), 0..10),
        escape in prop::sample::select(vec!["", "# escape=`\n", "\u{feff}"]),
    ) {
        keeps_its_meaning(&format!("{escape}FROM busybox AS a\n{}\n", lines.join("\n")));
    }
}

#[test]
fn rounds_are_few() {
    let text = "from alpine as B\nenv A b\nRUN x \\\n\n y\nRUN z\n";
    assert!(fixed(text, &Choice::All).made.len() < ROUNDS_MAX);
    // What `check` finds afterwards has no safe fix any more.
    let mut options = options(&fixed(text, &Choice::Safe).text, None);
    options.build_args.clear();
    let left = check(&options, &AnyImage);
    assert!(!left.warnings.is_empty(), "the base has no tag");
    assert!(left.warnings.iter().all(|warning| warning.fix.as_ref().is_none_or(|fix| !fix.safe)));
}
