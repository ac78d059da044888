//! A test runner for a binary that cannot have libtest's `main`.

use std::panic::catch_unwind;
use std::process::ExitCode;

/// A test by name.
pub(crate) type Test = (&'static str, fn());

/// Lists the functions of a module as tests.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::runner::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}

/// Runs the tests whose names contain one of the arguments (all without arguments) and none that follows a `--skip`, one
/// after the other.
pub(crate) fn run(modules: &[&[Test]]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let follows_skip = |place: usize| place > 0 && arguments[place - 1] == "--skip";
    let words = arguments.iter().enumerate().filter(|(_, argument)| !argument.starts_with('-'));
    let (skips, filters): (Vec<_>, Vec<_>) = words.partition(|(place, _)| follows_skip(*place));
    let is_in =
        |test: &Test, parts: &[(usize, &String)]| parts.iter().any(|(_, part)| test.0.contains(*part));
    let all = modules.iter().flat_map(|tests| tests.iter());
    let wanted: Vec<&Test> =
        all.filter(|test| (filters.is_empty() || is_in(test, &filters)) && !is_in(test, &skips)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        wanted.iter().for_each(|test| println!("{}: test", test.0));
        return ExitCode::SUCCESS;
    }
    let root = rustix::process::geteuid().is_root();
    let (skipped, wanted): (Vec<&Test>, Vec<&Test>) =
        wanted.into_iter().partition(|test| test.0.contains("privileged_") && !root);
    skipped.iter().for_each(|test| println!("test {} ... SKIPPED: needs root", test.0));
    let failed: Vec<&str> = wanted.iter().filter(|test| !passes(test)).map(|test| test.0).collect();
    let passed = wanted.len() - failed.len();
    println!("{passed} passed, {} failed, {} skipped {failed:?}", failed.len(), skipped.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passes((name, test): &Test) -> bool {
    let passed = catch_unwind(test).is_ok();
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    passed
}
