//! `galley report`: a page about a build that was, or about one that somebody else has logged.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use galley_engine::{Error, ErrorKind};
use galley_oci::Time;
use galley_store::{BuildEntry, Store};

use crate::{
    args::path,
    commands::build::cannot_write,
    context::Context,
    display::text,
    failure::{Failure, Outcome, file, output, store_error},
    human, page,
    story::{self, Head, Model, Story},
    table,
};

/// Where the page goes when nobody says.
const PAGE: &str = "galley-report.html";

/// The largest log that is read.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// Write a page about a build: what took how long and why, what its layers are, what its steps wrote
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Builds in which something was executed are remembered, the last 32 of them. One that found everything leaves nothing behind; `build --report FILE` writes a page about it too."
)]
pub(crate) struct ReportArgs {
    /// Write the page to this file; - is standard output
    #[arg(short, long, value_name = "FILE", value_parser = path())]
    output: Option<PathBuf>,
    /// Write a trace instead, for chrome://tracing and ui.perfetto.dev; - is standard output
    #[arg(long, value_name = "FILE", value_parser = path(), conflicts_with = "output")]
    trace: Option<PathBuf>,
    /// Read what `build --progress=rawjson` wrote, instead of what the store remembers; - is standard input
    #[arg(long, value_name = "FILE", value_parser = path(), conflicts_with = "build")]
    from: Option<PathBuf>,
    /// List the builds that are remembered
    #[arg(long, conflicts_with_all = ["build", "from", "output", "trace"])]
    list: bool,
    /// The build, by the beginning of its id; the last one without it
    #[arg(value_name = "BUILD")]
    build: Option<String>,
}

/// Lists, or writes.
pub(crate) fn execute(arguments: &ReportArgs, context: &Context) -> Outcome {
    let store = context.store()?;
    if arguments.list {
        return list(&store);
    }
    let (head, story) = match &arguments.from {
        Some(path) => logged(path)?,
        None => remembered(&store, arguments.build.as_deref())?,
    };
    let model = Model::new(&story);
    if let Some(path) = &arguments.trace {
        return write(path, &story::trace(&head, &model));
    }
    let path = arguments.output.as_deref().unwrap_or(Path::new(PAGE));
    write(path, &page::page(&head, &model, Some(&store)))
}

fn write(path: &Path, text: &str) -> Outcome {
    if path.as_os_str() == "-" {
        return io::stdout().lock().write_all(text.as_bytes()).map_err(output);
    }
    fs::write(path, text).map_err(|error| cannot_write(path, error))?;
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    writeln!(io::stdout().lock(), "{}", shown.display()).map_err(output)
}

fn logged(path: &Path) -> Result<(Head, Story), Failure> {
    let unreadable = |error| file(&format!("cannot read {}", path.display()), error);
    let mut text = Vec::new();
    let reader: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(fs::File::open(path).map_err(unreadable)?),
    };
    reader.take(LOG_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LOG_BYTES_MAX {
        return Err(Failure::usage(format!("{} has more than {LOG_BYTES_MAX} bytes", path.display())));
    }
    let nothing = || {
        let message = format!("{} tells of no build", path.display());
        Error::new(ErrorKind::NotFound, message).help("write one with `build --progress=rawjson … 2>FILE`")
    };
    Ok(story::read(&text).ok_or_else(nothing)?)
}

fn remembered(store: &Store, wanted: Option<&str>) -> Result<(Head, Story), Error> {
    let builds = store.builds().map_err(store_error)?;
    let build = find(&builds, wanted)?;
    let text = store.build_text(build).map_err(store_error)?;
    let damaged = || {
        let message = format!("what is remembered of the build {} cannot be read", build.id);
        Error::new(ErrorKind::Store, message)
    };
    text.and_then(|text| story::read(&text)).ok_or_else(damaged)
}

fn find<'a>(builds: &'a [BuildEntry], wanted: Option<&str>) -> Result<&'a BuildEntry, Error> {
    let Some(wanted) = wanted else {
        let help = "builds in which something is executed are remembered; `build --report FILE` writes a page at once";
        let nothing = || Error::new(ErrorKind::NotFound, "no build is remembered").help(help);
        return builds.first().ok_or_else(nothing);
    };
    let mut found = builds.iter().filter(|build| build.id.starts_with(wanted));
    match (found.next(), found.next()) {
        (Some(build), None) => Ok(build),
        (Some(_), Some(_)) => {
            Err(Error::new(ErrorKind::Usage, format!("several builds have ids that begin with {wanted}")))
        }
        (None, _) => Err(Error::new(ErrorKind::NotFound, format!("no build {wanted} is remembered"))
            .help("`galley report --list` shows those that are")),
    }
}

fn list(store: &Store) -> Outcome {
    let mut rows = vec!["BUILD\tBEGAN\tTOOK\tRESULT\tEXECUTED\tFOUND\tNAME".to_owned()];
    for build in store.builds().map_err(store_error)? {
        let head = store.build_head(&build).map_err(store_error)?;
        rows.extend(head.and_then(|line| story::read_head(&line)).map(|head| row(&build.id, &head)));
    }
    write!(io::stdout().lock(), "{}", table::align(&rows)).map_err(output)
}

fn row(id: &str, head: &Head) -> String {
    let began = human::since(Time { seconds: head.began.0, nanoseconds: head.began.1 });
    let name = head.names.first().cloned();
    let name = name.unwrap_or_else(|| format!("{} in {}", head.dockerfile, head.context));
    let result = if head.error.is_some() { "failed" } else { "built" };
    let (took, name) = (human::seconds(head.duration()), text::clean(&name));
    format!("{id}\t{began}\t{took}\t{result}\t{}\t{}\t{name}", head.executed, head.cached)
}
