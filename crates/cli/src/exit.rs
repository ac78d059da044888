//! Exit codes: one table, which docs/exit-codes.md repeats and a test compares.

use galley_engine::ErrorKind;

/// The Dockerfile or the context is wrong, or a step failed.
pub(crate) const FAILED: u8 = 1;
/// This machine does not allow what is needed.
pub(crate) const MACHINE: u8 = 3;
/// The disk or the store.
pub(crate) const STORE: u8 = 4;
/// Something named on the command line or in the Dockerfile is nowhere to be found.
pub(crate) const NOT_FOUND: u8 = 5;
/// A registry.
pub(crate) const REGISTRY: u8 = 6;
/// A bug of galley.
pub(crate) const INTERNAL: u8 = 70;
/// Wrong arguments; for `run` whatever galley itself could not do.
pub(crate) const USAGE: u8 = 125;
/// Ctrl-C: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Ends this process at once, while other threads of it still work, whose work may be left.
#[expect(clippy::exit, reason = "a read of a terminal cannot be called off, nor what the kernel does for us")]
pub(crate) fn leave() -> ! {
    std::process::exit(0)
}

/// Code and meaning, in the order in which docs/exit-codes.md lists them.
#[cfg(test)]
pub(crate) const TABLE: [(&str, &str); 12] = [
    ("0", "done; also when the reader of our output closed its end (`galley images \\| head -1`)"),
    (
        "1",
        "the Dockerfile, the build context, an image or an archive is wrong, a source is missing, or a `RUN` ended with a failure",
    ),
    ("3", "this machine does not allow what is needed; `galley doctor` names the setting to change"),
    ("4", "the disk or the store: full, not writable, damaged, or made by a newer galley"),
    ("5", "an image, tag, stage or container is nowhere to be found"),
    (
        "6",
        "a registry: it cannot be reached, does not let us in, does not answer as it should, or its settings here are wrong",
    ),
    ("70", "a bug of galley"),
    (
        "125",
        "wrong or unsupported arguments; for `run` and `create`, everything that galley itself could not do, as in docker",
    ),
    ("126", "`run`, `start -a`, `exec`: the command was found and could not be executed"),
    ("127", "`run`, `start -a`, `exec`: the command was not found"),
    ("128+n", "`run`, `start -a`, `exec`: the command was ended by signal n"),
    ("130", "Ctrl-C or SIGTERM ended a build"),
];

/// The code for an error of `kind` outside of `run`.
pub(crate) const fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => USAGE,
        ErrorKind::Input | ErrorKind::Step => FAILED,
        ErrorKind::NotFound => NOT_FOUND,
        ErrorKind::Machine => MACHINE,
        ErrorKind::Store => STORE,
        ErrorKind::Cancelled => INTERRUPTED,
        ErrorKind::Registry => REGISTRY,
        ErrorKind::NeedsExecution | ErrorKind::CacheLost | ErrorKind::Internal => INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_this_one() {
        let document =
            fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/exit-codes.md")).unwrap();
        let rows: String = TABLE.iter().map(|(code, meaning)| format!("| {code} | {meaning} |\n")).collect();
        assert!(document.contains(&rows), "docs/exit-codes.md should hold these rows:\n{rows}");
    }

    #[test]
    fn every_kind_has_a_documented_code() {
        use ErrorKind::*;
        let kinds = [
            Usage,
            Input,
            Step,
            NotFound,
            Machine,
            Store,
            Cancelled,
            NeedsExecution,
            CacheLost,
            Registry,
            Internal,
        ];
        for kind in kinds {
            let code = code(kind).to_string();
            assert!(
                TABLE.iter().any(|(known, _)| *known == code),
                "{kind:?} ends with the undocumented {code}"
            );
        }
    }
}
