//! The style of the tree as a test: who may depend on whom, sizes, banned words, forgotten files.
//!
//! Exceptions are listed here with a date and a reason, nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use fs_err as fs;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_BYTES_MAX: u64 = 1 << 20;
/// TLS and TOML brought twenty; a handful of the packages in the lock file are for other systems than Linux and never built.
const PACKAGES_MAX: usize = 155;

/// Which of our crates each of them may use in the product.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("galley", &["galley-engine", "galley-oci", "galley-registry", "galley-sandbox", "galley-store"]),
    ("galley-engine", &["galley-dockerfile", "galley-oci", "galley-sandbox", "galley-store"]),
    ("galley-store", &["galley-oci"]),
    ("galley-registry", &["galley-oci"]),
    ("galley-dockerfile", &[]),
    ("galley-oci", &[]),
    ("galley-sandbox", &[]),
    ("galley-testkit", &["galley-oci", "galley-store"]),
];

/// Words that must not be in product code, and what to write instead. Split, so that this file does not hold them.
const BANNED: [(&str, &str); 7] = [
    (concat!("FIX", "ME"), "fix it, or refuse by name what does not work"),
    (concat!("TO", "DO"), "do it, or refuse by name what does not work"),
    (concat!("db", "g!("), "events and errors say what happens"),
    (concat!("todo", "!("), "refuse by name what does not work"),
    (concat!("unimplemented", "!("), "refuse by name what does not work"),
    (concat!("#[al", "low("), "#[expect(…, reason = …)]"),
    (concat!("use std::", "fs;"), "fs_err, which names the path in its errors"),
];

/// Paths of the machines this is written on have no meaning anywhere else.
const PLACES: [&str; 4] = [
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/target"),
    concat!("/root", "/.cargo"),
];

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap()
}

/// Every tracked file, relative to the root.
fn tracked() -> Vec<PathBuf> {
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "ls-files", "-z"]).current_dir(root());
    let output = git.output().expect("git, which lists the files of the tree");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // A file that was just removed is still listed.
    files.filter(|file| root().join(file).is_file()).collect()
}

fn rust_files() -> Vec<PathBuf> {
    let in_crates =
        |file: &PathBuf| file.starts_with("crates") && file.extension().is_some_and(|end| end == "rs");
    tracked().into_iter().filter(in_crates).collect()
}

fn is_test(file: &Path) -> bool {
    let places = ["tests", "testkit", "benches"];
    let in_tests = file.components().any(|part| places.iter().any(|place| part.as_os_str() == *place));
    in_tests || file.file_stem().is_some_and(|stem| stem == "tests")
}

/// What is compiled into the product: no test files, and files up to their inline tests.
fn product() -> Vec<(PathBuf, String)> {
    let files = rust_files().into_iter().filter(|file| !is_test(file));
    files
        .map(|file| {
            let text = fs::read_to_string(root().join(&file)).unwrap();
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            (file, text[..end].to_owned())
        })
        .collect()
}

fn check(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn metadata() -> serde_json::Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_use_only_what_they_may() {
    let metadata = metadata();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        seen.insert(name.to_owned());
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            faults.push(format!("{name} is a new crate: a design note first, then a row in MAY_USE"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let in_tests = dependency["kind"] == "dev";
            if used == "galley-testkit" && !in_tests {
                faults.push(format!("{name} uses galley-testkit outside of tests"));
            }
            if used.starts_with("galley") && !in_tests && !allowed.contains(&used) {
                faults.push(format!("{name} must not use {used}"));
            }
            if used == "clap" && name != "galley" {
                faults.push(format!("{name} uses clap, which only the command may"));
            }
        }
    }
    for (name, _) in MAY_USE.iter().filter(|(name, _)| !seen.contains(*name)) {
        faults.push(format!("{name} is in MAY_USE and not in the workspace"));
    }
    check(faults);
}

#[test]
fn unsafe_code_is_in_the_sandbox_alone() {
    let roots = product()
        .into_iter()
        .filter(|(file, _)| file.ends_with("src/lib.rs") || file.ends_with("src/main.rs"));
    let elsewhere = roots.filter(|(file, _)| !file.starts_with("crates/sandbox"));
    let faults = elsewhere.filter(|(_, text)| !text.contains("#![forbid(unsafe_code)]"));
    check(
        faults.map(|(file, _)| format!("{}: #![forbid(unsafe_code)] is missing", file.display())).collect(),
    );
}

#[test]
fn files_and_functions_are_short() {
    let mut faults = Vec::new();
    for (file, text) in product() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.display()));
        }
        for (name, line, length) in functions(&text) {
            if length > FUNCTION_LINES_MAX {
                let place = format!("{}:{line}", file.display());
                faults.push(format!("{place}: {name} has {length} lines, at most {FUNCTION_LINES_MAX}"));
            }
        }
    }
    check(faults);
}

/// Name, first line and length of each function, by the indentation that rustfmt gives.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = lines[index..].iter().position(|line| *line == format!("{indent}}}"));
        let body_is_elsewhere = line.ends_with(';') || line.ends_with('}');
        if let Some(length) = end.filter(|_| !body_is_elsewhere) {
            found.push((name.to_owned(), index + 1, length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    for prefix in ["pub ", "pub(crate) ", "pub(super) ", "const ", "unsafe ", "extern \"C\" "] {
        words = words.strip_prefix(prefix).unwrap_or(words);
    }
    words.strip_prefix("fn ")?.split(['(', '<']).next()
}

#[test]
fn banned_words_are_not_used() {
    let mut faults = Vec::new();
    for (file, text) in product() {
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in BANNED.iter().filter(|(word, _)| line.contains(word)) {
                faults.push(format!("{}:{}: {word}: {instead}", file.display(), number + 1));
            }
            let asks = ["env::var", "env::args", "process::exit("].iter().any(|word| line.contains(word));
            let may_ask = ["crates/cli", "crates/sandbox"].iter().any(|place| file.starts_with(place));
            if asks && !may_ask {
                faults.push(format!(
                    "{}:{}: libraries neither ask the environment nor exit",
                    file.display(),
                    number + 1
                ));
            }
            let prints =
                ["println!(", "print!(", "eprint!("].iter().any(|word| line.trim_start().starts_with(word));
            if prints && !file.starts_with("crates/cli") {
                faults.push(format!("{}:{}: only the command prints", file.display(), number + 1));
            }
        }
    }
    check(faults);
}

#[test]
fn no_file_is_forgotten() {
    let files: BTreeSet<PathBuf> = rust_files().into_iter().collect();
    let mut faults = Vec::new();
    for file in &files {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let folder = file.parent().unwrap();
        let is_root =
            |name: &str| folder.join(name) == *file && (folder.ends_with("src") || folder.ends_with("tests"));
        if is_root("main.rs")
            || is_root("lib.rs")
            || folder.ends_with("benches")
            || folder.ends_with("examples")
        {
            continue;
        }
        let (folder, stem) = if stem == "mod" {
            (folder.parent().unwrap(), folder.file_name().unwrap().to_str().unwrap())
        } else {
            (folder, stem)
        };
        let parents = ["lib.rs", "main.rs", "mod.rs"].map(|name| folder.join(name));
        let parents =
            parents.into_iter().chain([folder.with_extension("rs")]).filter(|parent| files.contains(parent));
        // Each bench is a program of its own, and may have modules.
        let benches =
            files.iter().filter(|other| folder.ends_with("benches") && other.parent() == Some(folder));
        let declares = |parent: PathBuf| {
            let text = fs::read_to_string(root().join(parent)).unwrap();
            text.lines().any(|line| line.trim_start().ends_with(&format!("mod {stem};")))
        };
        if !parents.chain(benches.cloned()).any(declares) {
            faults.push(format!("{}: no module declares it", file.display()));
        }
    }
    check(faults);
}

#[test]
fn integration_tests_are_one_binary_for_each_crate() {
    let files = rust_files();
    let direct = |file: &&PathBuf| {
        file.parent().is_some_and(|folder| folder.ends_with("tests") && folder.components().count() == 3)
    };
    let roots = files.iter().filter(direct).filter(|file| !file.ends_with("main.rs"));
    let folder_of_main = |file: &&PathBuf| !files.contains(&file.with_file_name("main.rs"));
    check(
        roots
            .filter(folder_of_main)
            .map(|file| format!("{}: belongs below tests/main.rs", file.display()))
            .collect(),
    );
}

#[test]
fn no_tracked_file_is_large_or_names_a_machine() {
    let mut faults = Vec::new();
    for file in tracked() {
        let path = root().join(&file);
        if fs::metadata(&path).unwrap().len() > FILE_BYTES_MAX {
            faults.push(format!("{}: larger than 1 MiB", file.display()));
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for place in PLACES.iter().filter(|place| text.contains(**place)) {
            faults.push(format!("{}: names {place}", file.display()));
        }
    }
    check(faults);
}

#[test]
fn the_lock_file_stays_within_its_budget() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    assert!(packages <= PACKAGES_MAX, "{packages} packages in Cargo.lock, at most {PACKAGES_MAX}");
}

#[test]
fn every_dependency_is_explained() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let document = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let foreign = names.filter(|name| !name.starts_with("galley-"));
    let missing = foreign.filter(|name| !document.contains(&format!("| {name} |")));
    check(missing.map(|name| format!("docs/dependencies.md has no row for {name}")).collect());
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for file in tracked().into_iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            let local = !path.is_empty() && !path.contains("://") && !path.contains(' ');
            if local && !root().join(&file).with_file_name("").join(path).exists() {
                faults.push(format!("{}: {target} is not there", file.display()));
            }
        }
    }
    check(faults);
}

#[test]
fn the_scanner_finds_functions() {
    let text = "impl A {\n    pub(crate) const fn a(\n        x: u8,\n    ) -> u8 {\n        x\n    }\n    fn b();\n}\nfn c() {\n}\n";
    let found: BTreeMap<String, usize> =
        functions(text).into_iter().map(|(name, _, length)| (name, length)).collect();
    assert_eq!(found, BTreeMap::from([("a".to_owned(), 5), ("c".to_owned(), 2)]));
}
