//! `tests/corpus/<case>/Dockerfile` with `ast` (what it means) or `stderr` (what is wrong with it).
//! `GALLEY_BLESS=1 cargo test -p galley-dockerfile golden` writes them anew; read the difference before you commit it.

use super::dump;
use galley_dockerfile::{Error, Source, parse};
use std::fmt::Write as _;
use std::fs::read_dir;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = read_dir(corpus).expect("corpus").map(|entry| entry.expect("entry").path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

/// `Ok` is the content of `ast`, `Err` that of `stderr`.
fn render(bytes: &[u8]) -> Result<String, String> {
    let source = Source::new("Dockerfile", bytes)
        .map_err(|error| draw(&Source::lossy("Dockerfile", bytes), &error))?;
    let dockerfile = parse(&source).map_err(|error| draw(&source, &error))?;
    let text = dump::dockerfile(&source, &dockerfile);
    let stages = dockerfile.into_stages().map_err(|error| draw(&source, &error))?;
    Ok(text + &dump::stages(&stages))
}

/// A plain drawing of the first line of the span.
fn draw(source: &Source, error: &Error) -> String {
    let at = source.location(error.span().start);
    let line = source.line(at.line);
    let blank = |character| if character == '\t' { '\t' } else { ' ' };
    let before: String = line.chars().take(at.column - 1).map(blank).collect();
    let marked = source.slice(error.span()).lines().next().unwrap_or_default().chars().count().max(1);
    let mut text = format!("error: {}\n --> {}:{}:{}\n", error.message(), source.name(), at.line, at.column);
    let _ = writeln!(text, "  | {line}\n  | {before}{} {}", "^".repeat(marked), error.label());
    if let Some(help) = error.help() {
        let _ = writeln!(text, "help: {help}");
    }
    text
}

#[test]
fn golden_folders() {
    let bless = std::env::var_os("GALLEY_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let bytes = read(&case.join("Dockerfile")).expect("Dockerfile");
        let (name, other, text) = match render(&bytes) {
            Ok(text) => ("ast", "stderr", text),
            Err(text) => ("stderr", "ast", text),
        };
        if bless {
            bless_file(&case.join(name), &case.join(other), &text);
        }
        let expected = read(&case.join(name)).unwrap_or_default();
        if expected != text.as_bytes() || case.join(other).exists() {
            let expected = String::from_utf8_lossy(&expected);
            wrong.push(format!("{}/{name} should be:\n{expected}\nbut is:\n{text}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n----\n"));
}

#[expect(clippy::disallowed_methods, reason = "the panic of the test names the path")]
fn read(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

#[expect(clippy::disallowed_methods, reason = "the panic of the test names the path")]
fn bless_file(path: &Path, other: &Path, text: &str) {
    std::fs::write(path, text).expect("golden file");
    let _ = std::fs::remove_file(other);
}
