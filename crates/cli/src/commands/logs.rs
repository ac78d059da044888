use std::{
    collections::VecDeque,
    io::{self, BufReader, Write},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fs_err as fs;
use galley_engine::container::{self, Container, LogLine};
use galley_oci::Time;

use crate::{
    args::or_nothing,
    context::Context,
    failure::{self, Failure, Outcome, output},
};

/// Print what a container wrote
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only that many lines from the end
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Only what was written then or later: 2026-01-31T12:00:00, seconds of Unix, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME", value_parser = or_nothing(moment))]
    since: Option<OrNothing<Time>>,
    /// Only what was written before
    #[arg(long, value_name = "TIME", value_parser = or_nothing(moment))]
    until: Option<OrNothing<Time>>,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// A value that may be empty, as scripts give it. Under a name of its own, because the parser takes two options in a row for a
/// flag with an optional value.
type OrNothing<T> = Option<T>;

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Prints what was written, each line to the stream it was written to.
pub(crate) fn execute(arguments: &LogsArgs, context: &Context) -> Outcome {
    let lines = lines(&arguments.tail)?;
    let store = context.store()?;
    let container = container::find(&store, &arguments.container)?;
    let file = match fs::File::open(container.folder.log()) {
        Ok(log) => log,
        // A container that never ran has written nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failure::file("cannot read the log", error)),
    };
    let mut log = Log {
        reader: BufReader::new(file),
        partial: Vec::new(),
        since: arguments.since.flatten(),
        until: arguments.until.flatten(),
    };
    let mut last = VecDeque::new();
    while let Some(line) = log.next()? {
        last.push_back(line);
        if lines.is_some_and(|lines| last.len() > lines) {
            last.pop_front();
        }
    }
    last.iter().try_for_each(|line| print(line, arguments.timestamps))?;
    if arguments.follow { follow(&mut log, &container, arguments.timestamps) } else { Ok(()) }
}

/// `all`, or how many lines.
fn lines(tail: &str) -> Outcome<Option<usize>> {
    if tail == "all" {
        return Ok(None);
    }
    let wrong = || Failure::usage(format!("--tail {tail} is neither a number of lines nor all"));
    // Docker takes a negative number for all.
    let number: i64 = tail.parse().map_err(|_| wrong())?;
    Ok(usize::try_from(number).ok())
}

fn follow(log: &mut Log, container: &Container, timestamps: bool) -> Outcome {
    loop {
        // Asked before reading: what was written before the end is then read after it.
        let ended = has_ended(container);
        while let Some(line) = log.next()? {
            print(&line, timestamps)?;
        }
        if ended || log.is_over() {
            return Ok(());
        }
        thread::sleep(POLL);
    }
}

fn has_ended(container: &Container) -> bool {
    container.folder.is_held().is_ok_and(|held| !held)
}

struct Log {
    reader: BufReader<fs::File>,
    partial: Vec<u8>,
    since: Option<Time>,
    until: Option<Time>,
}

impl Log {
    /// The next line of the time that is wanted.
    fn next(&mut self) -> Outcome<Option<LogLine>> {
        loop {
            let line = container::read_line(&mut self.reader, &mut self.partial)
                .map_err(|error| failure::file("cannot read the log", error))?;
            let Some(line) = line else { return Ok(None) };
            let written = line.written();
            let early = self.since.is_some_and(|since| written < Some(since));
            let late = self.until.is_some_and(|until| written > Some(until));
            if !early && !late {
                return Ok(Some(line));
            }
        }
    }

    /// Whether nothing more can come.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until < now())
    }
}

fn now() -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanoseconds: now.subsec_nanos() }
}

/// Docker's forms of a time; without a zone it is UTC.
fn moment(text: &str) -> Result<Time, String> {
    let wrong = || {
        format!(
            "{text:?} is no time: write 2026-01-31T12:00:00Z, 2026-01-31, seconds of Unix, or 1h30m for so long ago"
        )
    };
    if let Ok(ago) = container::parse_duration(text) {
        let ago = Duration::from_nanos(u64::try_from(ago).map_err(|_| wrong())?);
        let now = now();
        let before = SystemTime::now().checked_sub(ago).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let seconds = before.map_or(0, |time| time.as_secs());
        return Ok(Time { seconds: i64::try_from(seconds).map_err(|_| wrong())?, ..now });
    }
    if let Some(time) = unix(text) {
        return Ok(time);
    }
    let tails = ["", "Z", ":00Z", ":00:00Z", "T00:00:00Z"];
    tails.iter().find_map(|tail| Time::parse_rfc3339(&format!("{text}{tail}"))).ok_or_else(wrong)
}

/// `1700000000` or `1700000000.5`.
fn unix(text: &str) -> Option<Time> {
    let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 9 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Time { seconds: seconds.parse().ok()?, nanoseconds: format!("{part:0<9}").parse().ok()? })
}

fn print(line: &LogLine, timestamps: bool) -> Outcome {
    let time = if timestamps { stamp(line) } else { String::new() };
    let text = format!("{time}{}", line.log);
    let written = if line.stream == "stderr" {
        io::stderr().lock().write_all(text.as_bytes())
    } else {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    written.map_err(output)
}

/// `2026-01-31T12:00:00.000000000Z `, always as wide.
fn stamp(line: &LogLine) -> String {
    let time = line.written().unwrap_or_default();
    let whole = jiff::Timestamp::from_second(time.seconds).unwrap_or_default();
    format!("{}.{:09}Z ", whole.strftime("%Y-%m-%dT%H:%M:%S"), time.nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_docker_reads_them() {
        let at = |text: &str| moment(text).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(at("1722686400"), Ok((1_722_686_400, 0)));
        assert_eq!(at("1722686400.25"), Ok((1_722_686_400, 250_000_000)));
        for text in
            ["2024-08-03T12:00:00Z", "2024-08-03T12:00:00", "2024-08-03T12:00", "2024-08-03T14:00:00+02:00"]
        {
            assert_eq!(at(text), Ok((1_722_686_400, 0)), "{text}");
        }
        assert_eq!(at("2024-08-03"), Ok((1_722_643_200, 0)));
        let hour = at("1h").unwrap().0;
        assert!((now().seconds - hour - 3600).abs() < 60);
        for wrong in ["yesterday", "1.x", "-5m", "2024-13-01"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stamps_are_all_as_wide() {
        let line = |time: &str| LogLine { log: "x\n".into(), stream: "stdout".into(), time: time.into() };
        assert_eq!(stamp(&line("2024-08-03T12:00:00Z")), "2024-08-03T12:00:00.000000000Z ");
        assert_eq!(stamp(&line("2024-08-03T12:00:00.05Z")), "2024-08-03T12:00:00.050000000Z ");
    }
}
