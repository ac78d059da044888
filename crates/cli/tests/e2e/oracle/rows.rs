//! The rules of the language, each with the cases that show it: `tests/golden-rows.toml`, and the table made from it.
//!
//! `GALLEY_BLESS=1 cargo test -p galley e2e::oracle::rows` writes the table of docs/compatibility.md anew.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use fs_err as fs;
use serde::Deserialize;
use serde_json::Value;

use super::{DIFFERENT, golden};

/// The table is between these lines.
const MARKS: [&str; 2] = ["<!-- made from golden-rows.toml -->\n", "<!-- end of what is made -->\n"];

/// One rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(skip)]
    id: String,
    what: String,
    #[serde(default)]
    builds: String,
    #[serde(default)]
    fails: String,
    #[serde(default)]
    never_builds: String,
    #[serde(default)]
    never_fails: String,
    #[serde(default)]
    pinned: String,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(golden().with_file_name("golden-rows.toml")).unwrap();
    let table: toml::Table = toml::from_str(&text).expect("golden-rows.toml is TOML");
    let row = |(id, value): (String, toml::Value)| {
        let row: Row = value.try_into().unwrap_or_else(|error| panic!("{id}: {error}"));
        Row { id, ..row }
    };
    table.into_iter().map(row).collect()
}

/// What BuildKit did with a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Builds,
    Fails,
    /// There is no such case.
    Unknown,
}

/// A case of `tests/golden`, or one of `tests/golden-check`, which fails when there is a finding or an error.
fn answer(case: &str) -> Answer {
    let (folder, name) = case.split_once('/').map_or(("golden", case), |(_, name)| ("golden-check", name));
    let file = golden().with_file_name(folder).join(name).join("expected.json");
    let Ok(bytes) = fs::read(file) else { return Answer::Unknown };
    let expected: Value = serde_json::from_slice(&bytes).unwrap();
    let found = expected["findings"].as_array().is_some_and(|findings| !findings.is_empty());
    if expected["fails"] == true || found || !expected["error"].is_null() {
        Answer::Fails
    } else {
        Answer::Builds
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// What is wrong with a row.
fn faults(row: &Row) -> Vec<String> {
    let mut faults = Vec::new();
    let lists = [
        (&row.builds, &row.never_builds, Answer::Builds, "builds"),
        (&row.fails, &row.never_fails, Answer::Fails, "fails"),
    ];
    for (cases, reason, wanted, word) in lists {
        if cases.is_empty() == reason.is_empty() {
            faults.push(format!("{}: either cases or a reason why nothing {word}", row.id));
        }
        for case in words(cases) {
            match answer(case) {
                found if found == wanted => {}
                Answer::Unknown => faults.push(format!("{}: there is no case {case}", row.id)),
                _ => faults.push(format!("{}: {case} is no case that {word}", row.id)),
            }
        }
    }
    if (row.builds.is_empty() && row.fails.is_empty()) && row.pinned.is_empty() {
        faults.push(format!("{}: neither a case nor what pins it", row.id));
    }
    faults
}

/// A row of the table.
fn line(row: &Row) -> String {
    let cases = [words(&row.builds), words(&row.fails)];
    let count = |cases: &[&str], none: &str| match cases.len() {
        0 => format!("none: {none}"),
        count => count.to_string(),
    };
    let buildkit = format!(
        "builds {}; refuses {}",
        count(&cases[0], &row.never_builds),
        count(&cases[1], &row.never_fails)
    );
    let different = |case: &&str| DIFFERENT.iter().find(|(name, _)| name == case);
    let different: Vec<_> = cases.iter().flatten().filter_map(different).collect();
    let galley = match different.as_slice() {
        [] => "the same".to_owned(),
        some => {
            let some: Vec<_> = some.iter().map(|(name, why)| format!("`{name}`: {why}")).collect();
            format!("the same, but for {}", some.join("; "))
        }
    };
    let how = match (cases.iter().all(Vec::is_empty), row.pinned.as_str()) {
        (_, "") => "oracle ran".to_owned(),
        (true, pinned) => format!("pinned by hand, because {pinned}"),
        (false, pinned) => format!("oracle ran; more pinned by hand, because {pinned}"),
    };
    format!("| `{}` | {} | {galley} | {buildkit} | {how} |", row.id, row.what.replace('|', "\\|"))
}

fn table(rows: &[Row]) -> String {
    let mut table =
        String::from("| id | what | galley | BuildKit | how it is known |\n|---|---|---|---|---|\n");
    for row in rows {
        writeln!(table, "{}", line(row)).unwrap();
    }
    table
}

#[test]
fn each_row_has_cases() {
    let rows = rows();
    let faults: Vec<_> = rows.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_case_is_in_a_row() {
    let rows = rows();
    let known: BTreeSet<&str> =
        rows.iter().flat_map(|row| words(&row.builds).into_iter().chain(words(&row.fails))).collect();
    let cases = super::cases();
    let missing: Vec<_> =
        cases.iter().map(|case| &case.name).filter(|name| !known.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "golden-rows.toml does not say what these cases show: {missing:?}");
}

#[test]
fn the_table_is_made_from_the_rows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).expect("the table begins");
    let (found, after) = rest.split_once(MARKS[1]).expect("the table ends");
    let made = format!("\n{}\n", table(&rows()));
    if std::env::var_os("GALLEY_BLESS").is_some() {
        fs::write(&page, [before, MARKS[0], &made, MARKS[1], after].concat()).unwrap();
    } else {
        assert!(
            found == made,
            "docs/compatibility.md is old: GALLEY_BLESS=1 cargo test -p galley e2e::oracle::rows"
        );
    }
}
