//! What is wrong with Dockerfiles, beside BuildKit: each file of `tests/golden-errors` holds cases of one kind.
//!
//! ```text
//! ==== name
//! ---- options              one flag of `galley build` on each line
//! ---- context              a shell script that makes the build context, or a Dockerfile with odd bytes
//! ---- Dockerfile
//! ---- different            why galley decides otherwise, when it does
//! ---- BuildKit, lines 3-4  the lines that BuildKit marks, `no line`, or `no error`
//! ---- galley, line 3       where galley points, and all that it says
//! ```
//!
//! The test asks that galley says just this, and that its line is one of those that BuildKit marks. `GALLEY_BUILDKITD=…`
//! asks BuildKit again, as for the images, and `GALLEY_PIN=1` writes down what galley says now: read it before you commit
//! it. `README.md` there says what was left out, and why.

use std::{fmt::Write as _, ops::RangeInclusive, path::Path};

use fs_err as fs;

use super::{super::Kitchen, Case, bases::Bases, peers};

/// Sections in the order in which they are written.
const SECTIONS: [&str; 6] = ["options", "context", "Dockerfile", "different", "BuildKit", "galley"];

/// One case as it stands in the file.
#[derive(Clone, Default)]
struct Entry {
    name: String,
    /// Title and text of each section.
    sections: Vec<(String, String)>,
}

impl Entry {
    fn section(&self, kind: &str) -> Option<&(String, String)> {
        self.sections.iter().find(|(title, _)| is_of(title, kind))
    }

    fn text(&self, kind: &str) -> &str {
        self.section(kind).map_or("", |(_, text)| text)
    }

    fn replace(&mut self, kind: &str, title: String, text: String) {
        self.sections.retain(|(title, _)| !is_of(title, kind));
        self.sections.push((title, text));
        self.sections.sort_by_key(|(title, _)| SECTIONS.iter().position(|kind| is_of(title, kind)));
    }
}

fn is_of(title: &str, kind: &str) -> bool {
    title.split(',').next() == Some(kind)
}

fn read(file: &Path) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in fs::read_to_string(file).unwrap().lines() {
        if let Some(name) = line.strip_prefix("==== ") {
            entries.push(Entry { name: name.to_owned(), ..Entry::default() });
        } else if let Some(title) = line.strip_prefix("---- ") {
            assert!(SECTIONS.iter().any(|kind| is_of(title, kind)), "{}: {line}", file.display());
            entries.last_mut().unwrap().sections.push((title.to_owned(), String::new()));
        } else {
            let (_, text) = entries.last_mut().unwrap().sections.last_mut().unwrap();
            text.push_str(line);
            text.push('\n');
        }
    }
    entries
}

fn write(file: &Path, entries: &[Entry]) {
    let mut text = String::new();
    for entry in entries {
        writeln!(text, "==== {}", entry.name).unwrap();
        for (title, section) in &entry.sections {
            write!(text, "---- {title}\n{section}").unwrap();
        }
    }
    fs::write(file, text).unwrap();
}

/// The case as a folder, as for the images.
fn case(kitchen: &Kitchen, file: &Path, entry: &Entry) -> Case {
    let name = format!("{}-{}", file.file_stem().unwrap().to_string_lossy(), entry.name);
    let folder = kitchen.path("errors").join(&name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), entry.text("Dockerfile")).unwrap();
    if !entry.text("context").is_empty() {
        fs::write(folder.join("context"), entry.text("context")).unwrap();
    }
    Case { name, folder, options: entry.text("options").lines().map(str::to_owned).collect() }
}

/// The lines that BuildKit marks with `>>>`, if it fails.
fn of_buildkit(said: &str) -> String {
    if !said.contains("\nerror: ") {
        return "BuildKit, no error".to_owned();
    }
    let marked = |line: &str| line.split_once(" | >>>").and_then(|(number, _)| number.trim().parse().ok());
    let lines: Vec<usize> = said.lines().filter_map(marked).collect();
    match (lines.iter().min(), lines.iter().max()) {
        (Some(first), Some(last)) if first == last => format!("BuildKit, line {first}"),
        (Some(first), Some(last)) => format!("BuildKit, lines {first}-{last}"),
        _ => "BuildKit, no line".to_owned(),
    }
}

/// What galley says of the error, and the line it points at.
fn of_galley(said: &str) -> (String, String) {
    let Some(at) = said.find("error: ") else { return ("galley, no error".to_owned(), String::new()) };
    let error = said.get(at..).unwrap_or_default();
    let arrow = error.lines().find_map(|line| line.trim_start().strip_prefix("--> "));
    let line = arrow.and_then(|place| place.rsplit(':').nth(1));
    let line = line.map_or("no line".to_owned(), |line| format!("line {line}"));
    (format!("galley, {line}"), error.to_owned())
}

/// `line 3`, `lines 3-4`, or nothing.
fn range(title: &str) -> Option<RangeInclusive<usize>> {
    let lines = title.rsplit(' ').next()?;
    let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn fault(entry: &Entry, title: &str, said: &str) -> Option<String> {
    let (pinned, text) = entry.section("galley").cloned().unwrap_or_default();
    if (pinned.as_str(), text.as_str()) != (title, said) {
        return Some(format!("pinned: {pinned}\n{text}now: {title}\n{said}"));
    }
    let buildkit = entry.section("BuildKit").map_or("", |(title, _)| title);
    let same = match (range(buildkit), range(title)) {
        (Some(theirs), Some(ours)) => theirs.contains(ours.start()),
        (Some(_), None) => false,
        // BuildKit has no place, so that any place is better.
        (None, _) => buildkit.ends_with("no error") == title.ends_with("no error"),
    };
    match (same, entry.section("different").is_some()) {
        (false, false) => Some(format!("{buildkit}, but {title}")),
        (true, true) => Some("is not different now".to_owned()),
        _ => None,
    }
}

#[test]
fn errors_are_where_buildkits_are() {
    let Some(kitchen) = Kitchen::new() else { return };
    let bases = Bases::new(&kitchen);
    let wanted = std::env::var("GALLEY_CASES").unwrap_or_default();
    let mut faults = Vec::new();
    for file in fs::read_dir(super::golden().with_file_name("golden-errors")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_none_or(|end| end != "txt") {
            continue;
        }
        let mut entries = read(&file);
        for entry in &mut entries {
            let case = case(&kitchen, &file, entry);
            if !case.name.contains(&wanted) {
                continue;
            }
            if let Ok(address) = std::env::var("GALLEY_BUILDKITD") {
                let title = of_buildkit(&peers::buildkit_says(&kitchen, &bases, &case, &address));
                entry.replace("BuildKit", title, String::new());
                continue;
            }
            let (title, text) = of_galley(&peers::galley_says(&kitchen, &bases, &case));
            if std::env::var_os("GALLEY_PIN").is_some() {
                entry.replace("galley", title.clone(), text.clone());
            }
            faults.extend(fault(entry, &title, &text).map(|fault| format!("== {}\n{fault}", case.name)));
        }
        if std::env::var_os("GALLEY_BUILDKITD").or_else(|| std::env::var_os("GALLEY_PIN")).is_some() {
            write(&file, &entries);
        }
    }
    assert!(faults.is_empty(), "{} cases differ:\n{}", faults.len(), faults.join("\n"));
}
