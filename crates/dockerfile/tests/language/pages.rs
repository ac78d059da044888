//! Every rule has a page in docs/rules, which the index there lists. `GALLEY_BLESS=1` writes the index.

use std::path::{Path, PathBuf};

use galley_dockerfile::lint::{Rule, rules};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules")
}

fn table(is_wanted: impl Fn(&Rule) -> bool) -> String {
    let row = |rule: &'static Rule| {
        let note = if rule.experimental { " (experimental)" } else { "" };
        format!("| [{0}]({0}.md) | {1}{note} |\n", rule.name, rule.description)
    };
    let rows: String = rules().filter(|rule| is_wanted(rule)).map(row).collect();
    format!("| rule | what it wants |\n|---|---|\n{rows}")
}

fn index() -> String {
    format!(
        "# Rules of `galley build --check`\n\n\
         This page is written by `GALLEY_BLESS=1 cargo test -p galley-dockerfile pages`. How rules are turned off, and what else can\n\
         be asked of a Dockerfile: [check.md](../check.md).\n\n\
         ## Docker's rules\n\
         These have the names and the findings of BuildKit's. Every build tells them; `--check` looks at all stages.\n\n{}\n\
         ## Own rules\n\
         These are told by `--check` alone.\n\n{}",
        table(|rule| rule.docker),
        table(|rule| !rule.docker)
    )
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the panic of the test names the path")]
fn every_rule_has_a_page_and_is_in_the_index() {
    for rule in rules() {
        let page = std::fs::read_to_string(folder().join(format!("{}.md", rule.name))).unwrap();
        assert!(page.starts_with(&format!("# {}\n", rule.name)), "{}", rule.page());
        for part in ["## Why\n", "## Example\n", "## Cure\n", "## When to skip it\n"] {
            assert!(page.contains(part), "{} has no {part}", rule.page());
        }
    }
    let path = folder().join("README.md");
    if std::env::var_os("GALLEY_BLESS").is_some() {
        std::fs::write(&path, index()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), index());
    let pages = std::fs::read_dir(folder()).unwrap().count();
    assert_eq!(pages, rules().count() + 1, "a page of no rule");
}
