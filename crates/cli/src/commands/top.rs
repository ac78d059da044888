use std::{
    collections::HashSet,
    io::{self, Write},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use galley_engine::{
    Error, ErrorKind,
    container::{self, Process},
};

use crate::{
    context::Context,
    failure::{Failure, Outcome, output},
    table,
};

/// List the processes of a container, as this machine sees them
#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Options of `ps`, which has to be on this machine then
    #[arg(value_name = "PS_OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// As wide as docker has the columns.
const WIDTH_MIN: usize = 20;
const HEADING: &str = "UID\tPID\tPPID\tC\tSTIME\tTTY\tTIME\tCMD";
const DAY: u64 = 24 * 60 * 60;
/// Major numbers of terminals, from /proc/devices.
const TERMINALS: u32 = 4;
const PSEUDO_TERMINALS: std::ops::RangeInclusive<u32> = 136..=143;

/// Prints a table of them.
pub(crate) fn execute(arguments: &TopArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    let processes = container::processes(&container::find(&store, &arguments.container)?)?;
    let rows = match arguments.options.as_slice() {
        [] => listed(&processes),
        options => asked(options, &processes)?,
    };
    io::stdout().lock().write_all(table::aligned(&rows, WIDTH_MIN).as_bytes()).map_err(output)
}

/// What `ps -ef` would say, which need not be there.
fn listed(processes: &[Process]) -> Vec<String> {
    let accounts = fs_err::read_to_string("/etc/passwd").unwrap_or_default();
    let uptime = fs_err::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime = uptime.split('.').next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let rows = processes.iter().map(|one| row(one, &accounts, now, uptime));
    std::iter::once(HEADING.to_owned()).chain(rows).collect()
}

/// Seconds of now, and since the machine's start.
fn row(one: &Process, accounts: &str, now: u64, uptime: u64) -> String {
    let age = uptime.saturating_sub(one.started);
    let spent = one.own_milliseconds / 1000;
    let busy = spent.saturating_mul(100).checked_div(age).unwrap_or_default();
    let (hours, minutes, seconds) = (spent / 3600, spent / 60 % 60, spent % 60);
    // What a process calls itself may hold anything.
    let command: String = one.command.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let (user, terminal) = (user(one.uid, accounts), terminal(one.terminal));
    let start = start(now, now.saturating_sub(age));
    format!(
        "{user}\t{}\t{}\t{busy}\t{start}\t{terminal}\t{hours:02}:{minutes:02}:{seconds:02}\t{command}",
        one.pid, one.parent
    )
}

/// The time for one of today, else the day.
fn start(now: u64, started: u64) -> String {
    let format = if now / DAY == started / DAY { "%H:%M" } else { "%b%d" };
    let time = i64::try_from(started).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.unwrap_or_default().strftime(format).to_string()
}

fn user(uid: u32, accounts: &str) -> String {
    let named = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_string())
}

fn terminal(number: u32) -> String {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    match major {
        TERMINALS => format!("tty{minor}"),
        _ if PSEUDO_TERMINALS.contains(&major) => format!("pts/{}", (major - 136) * 256 + minor),
        _ => "?".to_owned(),
    }
}

/// What the machine's `ps` says of them.
fn asked(options: &[String], processes: &[Process]) -> Result<Vec<String>, Failure> {
    let failed = |error| {
        Error::new(ErrorKind::Machine, "cannot run `ps`, which these options are for")
            .because(error)
            .help("leave the options out, or install it")
    };
    let said = Command::new("ps").args(options).output().map_err(failed)?;
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
        return Err(Failure::usage(format!("`ps {}` failed: {why}", options.join(" "))));
    }
    let wanted = processes.iter().map(|one| one.pid.to_string()).collect();
    let rows = filtered(&String::from_utf8_lossy(&said.stdout), &wanted);
    rows.ok_or_else(|| {
        let error = Error::new(ErrorKind::Usage, "the list of `ps` has no column PID");
        error.help("with -o name it too: -o pid,args").into()
    })
}

/// The rows with these in the column PID, and the heading; the last column has the rest of each line.
fn filtered(text: &str, wanted: &HashSet<String>) -> Option<Vec<String>> {
    let mut lines = text.lines();
    let heading: Vec<&str> = lines.next()?.split_whitespace().collect();
    let column = heading.iter().position(|name| *name == "PID")?;
    let mut rows = vec![heading.join("\t")];
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(column).is_some_and(|pid| wanted.contains(*pid)) {
            let split = fields.len().min(heading.len()).saturating_sub(1);
            let (first, last) = fields.split_at(split);
            rows.push([first, &[last.join(" ").as_str()]].concat().join("\t"));
        }
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_look_like_those_of_ps() {
        let one = Process {
            pid: 7,
            parent: 1,
            uid: 1000,
            terminal: 136 << 8 | 3,
            own_milliseconds: 65_000,
            started: 900,
            command: "sh -c\tx".to_owned(),
            ..Process::default()
        };
        let accounts = "root:x:0:0::/:/bin/sh\nme:x:1000:1000::/:/bin/sh\n";
        assert_eq!(
            row(&one, accounts, 10 * DAY + 3700, 1000),
            "me\t7\t1\t65\t01:00\tpts/3\t00:01:05\tsh -c?x"
        );
        assert_eq!((user(5, accounts), terminal(0)), ("5".to_owned(), "?".to_owned()));
        assert_eq!(start(10 * DAY, 9 * DAY + 5), "Jan10");
    }

    #[test]
    fn other_processes_of_the_machine_are_left_out() {
        let text = "  PID COMMAND\n    1 init\n   42 sh -c  true\n";
        let wanted = HashSet::from(["42".to_owned()]);
        assert_eq!(filtered(text, &wanted).unwrap(), ["PID\tCOMMAND", "42\tsh -c true"]);
        assert_eq!(filtered("COMMAND\nsh\n", &wanted), None);
        assert_eq!(filtered("", &wanted), None);
    }
}
