use std::{
    collections::VecDeque,
    io::{self, BufReader, Write},
    thread,
    time::Duration,
};

use fs_err as fs;
use galley_engine::container::{self, Container, LogLine};

use crate::{
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
    /// Name, id or the start of one
    #[arg(value_name = "CONTAINER")]
    container: String,
}

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
    let mut log = Log { reader: BufReader::new(file), partial: Vec::new() };
    let mut last = VecDeque::new();
    while let Some(line) = log.next()? {
        last.push_back(line);
        if lines.is_some_and(|lines| last.len() > lines) {
            last.pop_front();
        }
    }
    last.iter().try_for_each(print)?;
    if arguments.follow { follow(&mut log, &container) } else { Ok(()) }
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

fn follow(log: &mut Log, container: &Container) -> Outcome {
    loop {
        // Asked before reading: what was written before the end is then read after it.
        let ended = has_ended(container);
        while let Some(line) = log.next()? {
            print(&line)?;
        }
        if ended {
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
}

impl Log {
    fn next(&mut self) -> Outcome<Option<LogLine>> {
        container::read_line(&mut self.reader, &mut self.partial)
            .map_err(|error| failure::file("cannot read the log", error))
    }
}

fn print(line: &LogLine) -> Outcome {
    let written = if line.stream == "stderr" {
        io::stderr().lock().write_all(line.log.as_bytes())
    } else {
        let mut out = io::stdout().lock();
        out.write_all(line.log.as_bytes()).and_then(|()| out.flush())
    };
    written.map_err(output)
}
