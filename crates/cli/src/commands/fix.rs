use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal, Read, Write},
    os::unix::fs::{MetadataExt, fchown},
    path::{Path, PathBuf},
};

use anstyle::{AnsiColor, Style};
use fs_err as fs;
use galley_engine::{
    Error, ErrorKind, context as contexts,
    plan::{self, Choice, Fixed, Rule},
};

use crate::{
    commands::build::options::{read_limited, read_standard_input},
    diff::{self, Kind},
    display::text::clean,
    failure::{Failure, Outcome, output},
    message,
};

/// The longest answer that is read.
const ANSWER_MAX: u64 = 100;

/// Cure what the rules of `build --check` find in a Dockerfile; shows what changes first
#[derive(Debug, clap::Args)]
pub(crate) struct FixArgs {
    /// The Dockerfile; PATH/Dockerfile without it, - for standard input, which is then written to standard output
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Make the fixes of this rule and of no other, also those that change the image (may be repeated)
    #[arg(long = "rule", value_name = "NAME", conflicts_with = "all")]
    rules: Vec<String>,
    /// Make every fix there is, also those that change the image
    #[arg(long)]
    all: bool,
    /// Show what would change and write nothing; end with 1 if something would
    #[arg(long, visible_alias = "diff")]
    dry_run: bool,
    /// Write without asking
    #[arg(short, long)]
    yes: bool,
    /// The directory of the Dockerfile, or the Dockerfile; - is standard input
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
}

/// A Dockerfile and where it came from.
struct Original {
    name: String,
    /// None for standard input.
    path: Option<PathBuf>,
    text: Vec<u8>,
}

/// Fixes.
pub(crate) fn execute(arguments: &FixArgs) -> Outcome {
    let choice = choice(arguments)?;
    let original = read(arguments)?;
    let fixed = plan::fix(&original.name, &original.text, &choice)?;
    tell_of_error(&fixed);
    match &original.path {
        None if !arguments.dry_run => io::stdout().lock().write_all(fixed.text.as_bytes()).map_err(output)?,
        _ => show(&original, &fixed).map_err(output)?,
    }
    tell(&original, &fixed).map_err(output)?;
    if fixed.made.is_empty() {
        return Ok(());
    }
    if arguments.dry_run {
        return Err(Failure::Code(1));
    }
    match &original.path {
        Some(path) if arguments.yes || agreed(&original.name)? => write(path, &original.text, &fixed.text),
        _ => Ok(()),
    }
}

fn choice(arguments: &FixArgs) -> Result<Choice, Error> {
    let rule = |name: &String| -> Result<&'static Rule, Error> {
        plan::rules().find(|rule| rule.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known: Vec<&str> = plan::rules().map(|rule| rule.name).collect();
            Error::new(ErrorKind::Usage, format!("there is no rule {name}"))
                .help(format!("rules are {}", known.join(", ")))
        })
    };
    if arguments.all {
        return Ok(Choice::All);
    }
    let rules: Vec<&'static Rule> = arguments.rules.iter().map(rule).collect::<Result<_, _>>()?;
    Ok(if rules.is_empty() { Choice::Safe } else { Choice::Rules(rules) })
}

fn read(arguments: &FixArgs) -> Result<Original, Error> {
    let file = arguments.file.as_deref();
    if file.unwrap_or(&arguments.path) == Path::new("-") {
        return Ok(Original { name: "Dockerfile".to_owned(), path: None, text: read_standard_input()? });
    }
    let (directory, file) = match file {
        None if arguments.path.is_file() => (Path::new("."), Some(arguments.path.as_path())),
        file => (arguments.path.as_path(), file),
    };
    let dockerfile = contexts::read_dockerfile(directory, file)?;
    Ok(Original { name: dockerfile.name, path: Some(dockerfile.path), text: dockerfile.text })
}

/// Something else is wrong with the Dockerfile, so not every finding is known.
fn tell_of_error(fixed: &Fixed) {
    let Some(error) = &fixed.error else { return };
    let place = error.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    let message = format!("{place}{}", error.message);
    message::warn(
        &message,
        Some("`galley build --check` tells more; what stands behind this may not be fixed"),
    );
}

/// The difference. On a terminal without its escape sequences, elsewhere byte for byte, for `patch`.
fn show(original: &Original, fixed: &Fixed) -> io::Result<()> {
    let old = String::from_utf8_lossy(&original.text);
    let lines = diff::unified(&original.name, &old, &fixed.text);
    if !io::stdout().is_terminal() {
        let mut out = io::stdout().lock();
        return lines.iter().try_for_each(|line| writeln!(out, "{}", line.text));
    }
    let mut out = anstream::stdout().lock();
    lines.iter().try_for_each(|line| {
        let style = style(line.kind);
        writeln!(out, "{style}{}{style:#}", clean(&line.text))
    })
}

fn style(kind: Kind) -> Style {
    match kind {
        Kind::Name => Style::new().bold(),
        Kind::Place => AnsiColor::Cyan.on_default(),
        Kind::Old => AnsiColor::Red.on_default(),
        Kind::New => AnsiColor::Green.on_default(),
        Kind::Same | Kind::Note => Style::new(),
    }
}

/// What was done, and what more could be.
fn tell(original: &Original, fixed: &Fixed) -> io::Result<()> {
    let mut out = io::stderr().lock();
    let mut made: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for fix in &fixed.made {
        *made.entry((fix.rule.name, fix.note.as_str())).or_default() += 1;
    }
    for ((rule, note), count) in made {
        let times = if count == 1 { String::new() } else { format!(" ({count} times)") };
        writeln!(out, "{rule}: {note}{times}")?;
    }
    if fixed.made.is_empty() {
        writeln!(out, "nothing to fix in {}", clean(&original.name))?;
    }
    let mut offers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for offer in &fixed.offers {
        offers.entry(offer.rule.name).or_default().push(offer.line.to_string());
    }
    for (rule, lines) in offers {
        writeln!(out, "--rule {rule} has a fix too, for line {}", lines.join(", "))?;
    }
    Ok(())
}

/// Whether the person wants it.
fn agreed(name: &str) -> Outcome<bool> {
    if !io::stdin().is_terminal() {
        let error = Error::new(ErrorKind::Usage, "nothing is written, for nobody can be asked");
        return Err(error.help("--yes writes, --dry-run only shows").into());
    }
    let mut out = io::stderr().lock();
    write!(out, "write this to {}? [y/N] ", clean(name)).and_then(|()| out.flush()).map_err(output)?;
    let mut answer = String::new();
    let read = io::stdin().lock().take(ANSWER_MAX).read_line(&mut answer);
    read.map_err(|error| Error::new(ErrorKind::Usage, "cannot read the answer").because(error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Whole or not at all: beside the file (where a symbolic link leads to), with its mode and, where that is allowed, its
/// owner. Somebody else may have written it meanwhile.
fn write(path: &Path, old: &[u8], new: &str) -> Outcome {
    let failed = |error: io::Error| {
        Error::new(ErrorKind::Usage, format!("cannot write {}", path.display())).because(error)
    };
    let target = fs::canonicalize(path).map_err(failed)?;
    let metadata = fs::metadata(&target).map_err(failed)?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    let mut temp = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    temp.write_all(new.as_bytes()).map_err(failed)?;
    // Only root may give a file away; for others it stays their own.
    drop(fchown(temp.as_file(), Some(metadata.uid()), Some(metadata.gid())));
    temp.as_file().set_permissions(metadata.permissions()).map_err(failed)?;
    if fs::File::open(&target).and_then(read_limited).map_err(failed)? != old {
        let message = format!("{} has changed meanwhile, so nothing is written", path.display());
        return Err(Failure::usage(message));
    }
    temp.persist(&target).map_err(|error| failed(error.error))?;
    Ok(())
}
