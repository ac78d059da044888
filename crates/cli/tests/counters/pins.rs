//! The table of what was counted last, and what may be counted at most.

use std::{path::PathBuf, sync::Mutex};

use fs_err as fs;

use super::measure::Figures;

/// What chance may add to a small number, unless there is no chance in it.
const SLACK: u64 = 2;
const WITHOUT_CHANCE: [&str; 5] = ["flushes", "mounts", "processes", "programs", "threads"];
/// The ceiling of a new line, above what was counted.
const PER_CENT: u64 = 8;
/// A pin follows when less than this part of it is left.
const FOLLOW_PER_CENT: u64 = 75;

/// Scenarios are tests and run side by side.
static WRITING: Mutex<()> = Mutex::new(());

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pin {
    scenario: String,
    counter: String,
    seen: u64,
    ceiling: u64,
    /// Why the ceiling is not the usual one.
    reason: String,
}

impl Pin {
    fn read(line: &str) -> Self {
        let (data, reason) = line.split_once('#').unwrap_or((line, ""));
        let words: Vec<_> = data.split_whitespace().collect();
        let [scenario, counter, seen, ceiling] = words[..] else { panic!("no line of pins.txt: {line}") };
        Self {
            scenario: scenario.to_owned(),
            counter: counter.to_owned(),
            seen: seen.parse().unwrap(),
            ceiling: ceiling.parse().unwrap(),
            reason: reason.trim().to_owned(),
        }
    }

    fn new(scenario: &str, counter: &str, seen: u64) -> Self {
        let (scenario, counter) = (scenario.to_owned(), counter.to_owned());
        let ceiling = usual(&counter, seen);
        Self { scenario, counter, seen, ceiling, reason: String::new() }
    }

    fn line(&self) -> String {
        let Self { scenario, counter, seen, ceiling, reason } = self;
        let reason = if reason.is_empty() { String::new() } else { format!("   # {reason}") };
        format!("{scenario:<28}{counter:<20}{seen:>14}{ceiling:>14}{reason}\n")
    }

    /// What is wrong with the value that was counted now.
    fn complaint(&self, value: u64) -> Option<String> {
        let Self { counter, seen, ceiling, .. } = self;
        let least = (seen * FOLLOW_PER_CENT / 100).saturating_sub(SLACK);
        let change = if *seen == 0 { 0.0 } else { value as f64 / *seen as f64 };
        let figures = format!("{counter}: {value}, pinned {seen} (× {change:.2}), at most {ceiling}");
        match value {
            _ if value > *ceiling => Some(format!("MORE  {figures}")),
            _ if value < least => Some(format!("fewer {figures}: lower the pin with GALLEY_BLESS=1")),
            _ => None,
        }
    }

    /// After a change on purpose: a ceiling with a reason stays as far above as it was.
    fn follow(&mut self, value: u64) {
        let keep = !self.reason.is_empty() && self.seen > 0;
        self.ceiling = if keep { self.ceiling * value / self.seen } else { usual(&self.counter, value) };
        self.seen = value;
    }
}

fn usual(counter: &str, seen: u64) -> u64 {
    // Nothing stays nothing, too: not a byte.
    let slack = if seen == 0 || WITHOUT_CHANCE.contains(&counter) { 0 } else { SLACK };
    seen + (seen * PER_CENT / 100).max(slack)
}

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/counters/pins.txt"))
}

/// The comment at its head, and its lines.
fn read() -> (String, Vec<Pin>) {
    let text = fs::read_to_string(path()).unwrap();
    let (head, lines): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.is_empty() || line.starts_with('#'));
    let head = head.into_iter().filter(|line| !line.is_empty()).map(|line| format!("{line}\n"));
    (head.collect(), lines.into_iter().map(Pin::read).collect())
}

/// Whether nothing is above its ceiling. What is pinned anew is counted once.
pub(super) fn fits(scenario: &str, figures: &Figures) -> bool {
    let above = |pin: &Pin| figures.get(pin.counter.as_str()).is_some_and(|value| *value > pin.ceiling);
    blesses() || !read().1.iter().any(|pin| pin.scenario == scenario && above(pin))
}

fn blesses() -> bool {
    std::env::var_os("GALLEY_BLESS").is_some()
}

/// Compares, or with `GALLEY_BLESS=1` writes down what was counted.
pub(super) fn compare(scenario: &str, figures: &Figures) {
    let lock = WRITING.lock();
    let (head, mut pins) = read();
    let mut own: Vec<_> = pins.iter_mut().filter(|pin| pin.scenario == scenario).collect();
    if !blesses() {
        drop(lock);
        assert!(!own.is_empty(), "{scenario} has no pins yet: GALLEY_BLESS=1 cargo test -p galley counters");
        let told = own.iter().filter_map(|pin| pin.complaint(*figures.get(pin.counter.as_str())?));
        let told: Vec<_> = told.collect();
        assert!(told.is_empty(), "{scenario}: {}", told.join("\n    "));
        return;
    }
    if own.is_empty() {
        pins.extend(figures.iter().map(|(counter, value)| Pin::new(scenario, counter, *value)));
    } else {
        // Not what chance does, or each time would change every line.
        for pin in &mut own {
            let value = figures.get(pin.counter.as_str());
            let chance = if WITHOUT_CHANCE.contains(&&*pin.counter) { 0 } else { SLACK.max(pin.seen / 50) };
            let moved = |value: &&u64| pin.seen.abs_diff(**value) > chance;
            let follows = |value: &&u64| moved(value) || pin.complaint(**value).is_some();
            if let Some(value) = value.filter(follows) {
                pin.follow(*value);
            }
        }
    }
    pins.sort_by(|a, b| (&a.scenario, &a.counter).cmp(&(&b.scenario, &b.counter)));
    fs::write(path(), head + &written(&pins)).unwrap();
}

/// A blank line between scenarios.
fn written(pins: &[Pin]) -> String {
    let groups = pins.chunk_by(|a, b| a.scenario == b.scenario);
    groups.map(|group| format!("\n{}", group.iter().map(Pin::line).collect::<String>())).collect()
}

#[test]
fn a_pin_tells_more_and_far_fewer() {
    let pin = Pin::new("x", "calls", 100);
    assert_eq!(pin.ceiling, 108);
    let told = |value| pin.complaint(value).is_some();
    assert_eq!([72, 73, 108, 109].map(told), [true, false, false, true]);
    let nothing = Pin::new("x", "flushes", 0);
    assert!(nothing.complaint(0).is_none() && nothing.complaint(1).is_some());
}

#[test]
fn a_line_reads_as_it_is_written() {
    let mut pin =
        Pin { reason: "two threads take turns".to_owned(), ceiling: 150, ..Pin::new("x", "calls", 100) };
    assert_eq!(Pin::read(&pin.line()), pin);
    pin.follow(200);
    assert_eq!((pin.seen, pin.ceiling), (200, 300));
}
