//! `tests/rules/NAME` holds Dockerfiles for the own rule NAME and what the rule says of each:
//!
//! ```text
//! === what the case is about
//! ignore: .git                                  (facts, one a line, if any)
//! FROM a
//! >>>
//! 1:6 `a`: detail                               (line, column, what is marked; or nothing: the rule is silent)
//!   help: what to do
//! - the lines that the fix changes
//! + and what it makes of them
//! ```
//!
//! `GALLEY_BLESS=1 cargo test -p galley-dockerfile rules` writes what is behind `>>>` anew; read the difference before you
//! commit it.

use galley_dockerfile::lint::{BaseFacts, Facts, Finding, Input, own, rules};
use galley_dockerfile::{Source, parse};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

/// Takes the lines that begin with the name of a fact away from the top of a case.
fn facts(text: &str) -> (Facts, &str) {
    let (mut facts, mut rest) = (Facts::default(), text);
    while let Some((line, behind)) = rest.split_once('\n') {
        let Some((key, value)) = line.split_once(": ") else { break };
        let list = || value.split_whitespace().map(str::to_owned);
        match key {
            "ignore" => facts.ignore = Some(list().collect::<Vec<_>>().join("\n").into_bytes()),
            "entries" => facts.entries = Some(list().collect()),
            "target" => facts.target = Some(value.to_owned()),
            "contexts" => facts.contexts = list().collect(),
            "locked" => facts.locked = list().collect(),
            "base-user" => {
                facts.bases.insert(0, BaseFacts { user: value.trim().to_owned(), ..BaseFacts::default() });
            }
            "base-env" => {
                facts.bases.insert(0, BaseFacts { environment: list().collect(), ..BaseFacts::default() });
            }
            _ => break,
        }
        rest = behind;
    }
    (facts, rest)
}

fn findings(source: &Source, facts: &Facts) -> Vec<Finding> {
    let dockerfile = parse(source).expect("parses");
    let escape = dockerfile.escape;
    let stages = dockerfile.into_stages().expect("stages");
    own(&Input { source, escape, stages: &stages, facts })
}

fn shown(source: &Source, finding: &Finding) -> String {
    let at = source.location(finding.span.start);
    let marked = source.slice(finding.span).lines().next().unwrap_or_default();
    let mut text =
        format!("{}:{} `{marked}`: {}\n  help: {}\n", at.line, at.column, finding.detail, finding.help);
    if let Some(fix) = &finding.fix {
        let fixed = fix.apply(source.text()).expect("the edits fit");
        parse(&Source::new("fixed", fixed.clone()).expect("UTF-8")).expect("the fixed text parses");
        changes(source.text(), &fixed, &mut text);
    }
    text
}

/// The lines between the equal ones at the start and at the end.
fn changes(old: &str, new: &str, text: &mut String) {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let front = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[front..], &new[front..]);
    let back = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    old[..old.len() - back].iter().for_each(|line| writeln!(text, "- {line}").expect("a String"));
    new[..new.len() - back].iter().for_each(|line| writeln!(text, "+ {line}").expect("a String"));
}

/// The file with what the rule says now.
fn blessed(rule: &str, file: &str) -> String {
    let mut text = String::new();
    for case in file.split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (input, _) = rest.split_once(">>>\n").unwrap_or_else(|| panic!("{rule}: {title} has no >>>"));
        let (facts, dockerfile) = facts(input);
        let source = Source::new("Dockerfile", dockerfile).expect("UTF-8");
        let found = findings(&source, &facts);
        let said =
            found.iter().filter(|finding| finding.rule.name == rule).map(|finding| shown(&source, finding));
        let _ = write!(text, "=== {title}\n{input}>>>\n{}\n", said.collect::<String>());
    }
    text
}

/// Every finding in the Dockerfiles of the documents that the project started from, written down: each of them is true.
#[test]
#[expect(clippy::disallowed_methods, reason = "the panic of the test names the path")]
fn the_documents_break_these_rules() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut documents: Vec<PathBuf> = std::fs::read_dir(tests.join("corpus"))
        .expect("corpus")
        .map(|entry| entry.expect("entry").path())
        .collect();
    documents.sort();
    let mut now = String::new();
    for document in documents {
        let name = document.file_name().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(document.join("Dockerfile")).unwrap_or_default();
        let is_whole =
            |source: &Source| parse(source).is_ok_and(|dockerfile| dockerfile.into_stages().is_ok());
        let source = Source::new("Dockerfile", bytes).ok().filter(is_whole);
        let Some(source) = source.filter(|_| name.starts_with("document-")) else { continue };
        let _ = writeln!(now, "{name}");
        for finding in findings(&source, &Facts::default()) {
            let line = source.location(finding.span.start).line;
            let _ = writeln!(now, "  {line}: {}: {}", finding.rule.name, finding.detail);
        }
    }
    let file = tests.join("documents.findings");
    if std::env::var_os("GALLEY_BLESS").is_some() {
        std::fs::write(&file, &now).expect("findings");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), now);
}

#[test]
fn every_own_rule_has_cases() {
    let own = rules().filter(|rule| !rule.docker);
    let without: Vec<&str> = own.map(|rule| rule.name).filter(|name| !folder().join(name).exists()).collect();
    assert!(without.is_empty(), "tests/rules has no cases of {without:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the panic of the test names the path")]
fn rules_find_what_they_should() {
    let bless = std::env::var_os("GALLEY_BLESS").is_some();
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("folder") {
        let path = entry.expect("entry").path();
        let rule = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(rules().any(|known| known.name == rule), "{rule} is no rule");
        let file = std::fs::read_to_string(&path).expect("cases");
        let now = blessed(&rule, &file);
        if bless {
            std::fs::write(&path, &now).expect("cases");
        } else if now != file {
            wrong.push(format!("{rule} should be:\n{file}\nbut is:\n{now}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n----\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written: no panic, every place is in the text, and every fix fits it and leaves a Dockerfile.
    #[test]
    fn findings_fit_any_dockerfile(
        lines in prop::collection::vec(
            "(RUN|run|COPY|FROM golang|FROM scratch|ENV|USER|WORKDIR|CMD|SHELL|RUN <<E\n)\
             ( |go build|apt-get update|chown -R a /x|apk add|&&|;|\\\\\n|\n|#|[$\"'`{(]|/x|\\.|--from=0|npm ci|E\n|[a-b\u{fc}])*",
            0..12,
        ),
    ) {
        let source = Source::new("Dockerfile", format!("FROM golang:1.22 AS a\n{}\n", lines.join("\n"))).expect("UTF-8");
        let is_whole = parse(&source).is_ok_and(|dockerfile| dockerfile.into_stages().is_ok());
        for finding in is_whole.then(|| findings(&source, &Facts::default())).into_iter().flatten() {
            prop_assert!(source.text().get(finding.span.range()).is_some());
            if let Some(fix) = finding.fix {
                let fixed = fix.apply(source.text());
                prop_assert!(fixed.is_some());
                let fixed = Source::new("fixed", fixed.unwrap_or_default()).expect("UTF-8");
                prop_assert!(parse(&fixed).is_ok(), "{}\nbecame\n{}", source.text(), fixed.text());
            }
        }
    }
}
