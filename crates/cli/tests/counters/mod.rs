//! Counters of the hot paths: what a command asks of the kernel and of the processor, pinned in `pins.txt`.
//!
//! Wall times say nothing on a busy machine; these do. A scenario is a test that prepares a kitchen and calls [`check`]
//! with its name and the command to be counted. The command runs under `strace` (system calls, processes, bytes), under
//! `valgrind --tool=callgrind` (instructions), and alone (memory). A counter fails when it is above its ceiling, or so far
//! below the pin that the pin has to follow. After a change on purpose, and for a new scenario:
//!
//! ```text
//! GALLEY_BLESS=1 cargo test -p galley counters        writes pins.txt anew; read the difference before you commit it
//! cargo test -p galley counters -- --nocapture        shows all that was counted
//! GALLEY_COUNTERS=/tmp/x cargo test -p galley counters   keeps trace and profile of each scenario in that folder
//! ```
//!
//! The command runs once for each tool, and again when something is too much, so it must do the same each time: a no-op does; a cold build gets a fresh store from
//! [`check_each`]. Only counters that have a line are compared; a line whose counter is of no use is taken out by hand.
//! What the store can do depends on its file system: bless with `TMPDIR` on a disk, as in CI, and not on a tmpfs.
//! Keep a scenario below five seconds: sizes ten times smaller than in `make bench` show the same growth.

mod copy;
mod measure;
mod noop;
mod pins;
mod steps;

use std::process::Command;

use crate::e2e::Kitchen;
use measure::{Figures, Tools};

/// How often is counted before something is too much. What goes by the clock, such as what is told of progress, is more on a
/// busy machine and never less.
const TRIES: usize = 3;

/// Counts what `command` does and compares with the pins of `scenario`. For commands that only look.
fn check(scenario: &str, command: &Command) {
    let tools = Tools::of(scenario);
    compare(scenario, &mut |figures| {
        tools.calls(command, figures);
        tools.instructions(command, figures);
        tools.memory(command, figures);
    });
}

/// The same without instructions, for commands that write: Debian's valgrind does not know `openat2`, and the store opens
/// with nothing else. `prepare` is called once for each tool.
fn check_each(scenario: &str, prepare: &mut dyn FnMut() -> Command) {
    let tools = Tools::of(scenario);
    compare(scenario, &mut |figures| {
        tools.calls(&prepare(), figures);
        tools.memory(&prepare(), figures);
    });
}

fn compare(scenario: &str, count: &mut dyn FnMut(&mut Figures)) {
    let mut least = Figures::new();
    for _ in 0..TRIES {
        let mut figures = Figures::new();
        count(&mut figures);
        for (counter, value) in figures {
            eprintln!("{scenario:<28}{counter:<20}{value:>14}");
            least.entry(counter).and_modify(|least| *least = value.min(*least)).or_insert(value);
        }
        if pins::fits(scenario, &least) {
            break;
        }
    }
    pins::compare(scenario, &least);
}

/// A kitchen, where counting is possible: pins are of root, who needs no user namespace.
fn kitchen() -> Option<Kitchen> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: the pinned counters are of root");
        return None;
    }
    if !measure::are_installed() {
        eprintln!("SKIPPED: strace, valgrind or python3 is not installed; `make test` installs them");
        return None;
    }
    Kitchen::new()
}

/// `command` as the arguments of another. The test kit clears the environment, so that what is set is all of it.
fn below(tool: &[&str], command: &Command) -> Command {
    let mut new = Command::new(tool[0]);
    new.args(&tool[1..]).arg(command.get_program()).args(command.get_args()).env_clear();
    new.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    new.current_dir(command.get_current_dir().unwrap());
    new
}
