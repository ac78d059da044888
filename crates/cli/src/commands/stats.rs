use std::{
    collections::HashMap,
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use galley_engine::container::{self, Container, Usage};
use galley_store::Store;
use serde_json::{Value, json};

use crate::{
    commands::listing::{ListArgs, Listing},
    context::Context,
    failure::{Outcome, output},
    human,
};

/// Show what containers use, again and again
#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Once, after a second
    #[arg(long)]
    no_stream: bool,
    /// `table`, `table TEMPLATE`, `json`, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Names, ids or the start of ids; all that run without any
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const HEADINGS: [(&str, &str); 9] = [
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Empties a terminal.
const CLEAR: &[u8] = b"\x1b[2J\x1b[H";

/// What was seen of a container, and when.
type Seen = HashMap<String, (Instant, Usage)>;

/// Prints a table each second until it is ended, or one.
pub(crate) fn execute(arguments: &StatsArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let list = ListArgs { format: arguments.format.clone(), no_trunc: arguments.no_trunc, quiet: false };
    let memory = memory_of_machine();
    let (_, mut before) = look(&store, arguments)?;
    loop {
        thread::sleep(PERIOD);
        let (containers, now) = look(&store, arguments)?;
        let rows = containers.iter().map(|(typed, found)| {
            let id = found.folder.id();
            let shown = if arguments.no_trunc { id } else { found.short_id() };
            row((typed, shown, &found.name), now.get(id), before.get(id), memory)
        });
        let listing = Listing { headings: &HEADINGS, table: TABLE, rows: rows.collect() };
        if !arguments.no_stream {
            io::stdout().lock().write_all(CLEAR).map_err(output)?;
        }
        listing.print(&list)?;
        if arguments.no_stream {
            return Ok(());
        }
        before = now;
    }
}

/// The containers by what was typed, and what they have used.
fn look(store: &Store, arguments: &StatsArgs) -> Outcome<(Vec<(String, Container)>, Seen)> {
    let containers: Vec<(String, Container)> = if arguments.containers.is_empty() {
        let shown = container::list(store)?.into_iter();
        let shown = shown.filter(|found| arguments.all || found.is_running());
        shown.map(|found| (found.short_id().to_owned(), found)).collect()
    } else {
        let named = arguments.containers.iter();
        named.map(|name| Ok((name.clone(), container::find(store, name)?))).collect::<Outcome<_>>()?
    };
    let seen = containers.iter().filter_map(|(_, found)| {
        Some((found.folder.id().to_owned(), (Instant::now(), container::usage(found)?)))
    });
    let seen = seen.collect();
    Ok((containers, seen))
}

fn row(
    (typed, id, name): (&str, &str, &str),
    now: Option<&(Instant, Usage)>,
    before: Option<&(Instant, Usage)>,
    machine: u64,
) -> Value {
    let (usage, limit) = match now {
        Some((_, usage)) => (*usage, usage.memory_limit.unwrap_or(machine)),
        None => (Usage::default(), 0),
    };
    let busy = match (now, before) {
        (Some((end, now)), Some((start, before))) => {
            let spent = now.cpu_milliseconds.saturating_sub(before.cpu_milliseconds) as f64;
            spent / 10.0 / end.duration_since(*start).as_secs_f64().max(0.001)
        }
        _ => 0.0,
    };
    let part = if limit == 0 { 0.0 } else { usage.memory as f64 * 100.0 / limit as f64 };
    let both = |(one, other)| format!("{} / {}", human::size(one), human::size(other));
    json!({
        "BlockIO": both(usage.disk),
        "CPUPerc": format!("{busy:.2}%"),
        "Container": typed,
        "ID": id,
        "MemPerc": format!("{part:.2}%"),
        "MemUsage": format!("{} / {}", human::binary_size(usage.memory), human::binary_size(limit)),
        "Name": name,
        "NetIO": both(usage.network),
        "PIDs": usage.tasks.to_string(),
    })
}

fn memory_of_machine() -> u64 {
    let text = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let row = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = row.and_then(|row| row.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default().saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_one_processor_is_a_hundred() {
        let start = Instant::now();
        let seen = |milliseconds, memory| Usage {
            cpu_milliseconds: milliseconds,
            memory,
            memory_limit: Some(4 << 20),
            tasks: 3,
            ..Usage::default()
        };
        let (before, now) = ((start, seen(1000, 0)), (start + Duration::from_secs(2), seen(3000, 1 << 20)));
        let row = row(("web", "1", "web"), Some(&now), Some(&before), 1 << 30);
        assert_eq!((&row["CPUPerc"], &row["MemPerc"]), (&json!("100.00%"), &json!("25.00%")));
        assert_eq!((&row["MemUsage"], &row["PIDs"]), (&json!("1MiB / 4MiB"), &json!("3")));
    }

    #[test]
    fn what_does_not_run_uses_nothing() {
        let row = row(("web", "1", "web"), None, None, 1 << 30);
        assert_eq!((&row["MemUsage"], &row["NetIO"]), (&json!("0B / 0B"), &json!("0B / 0B")));
    }
}
