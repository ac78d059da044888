use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use galley_engine::{
    Error, ErrorKind,
    container::{self, CopyOptions},
};
use galley_store::Store;

use crate::{
    context::Context,
    failure::{Failure, Outcome, Stream, of_stream, output},
    namespace,
};

/// Copy files from a container, or into one
///
/// What is copied out is one's own, and what is copied in is root's, but with --archive. The container may run or not. `-` is an
/// archive: on standard input, to be unpacked in a directory of the container, or on standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {
    /// Keep owners: those of the files, in numbers
    #[arg(short, long)]
    archive: bool,
    /// Copy what a symbolic link points to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Says nothing in any case
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path of this machine, or `-`
    #[arg(value_name = "SOURCE", allow_hyphen_values = true)]
    from: PathBuf,
    /// The other
    #[arg(value_name = "TARGET", allow_hyphen_values = true)]
    to: PathBuf,
}

/// Copies.
pub(crate) fn execute(arguments: &CpArgs, context: &Context) -> Outcome {
    let (from, to) = (of_container(&arguments.from)?, of_container(&arguments.to)?);
    check(arguments)?;
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let options = CopyOptions { follow: arguments.follow_link, owners: arguments.archive };
    match (from, to) {
        (Some(from), None) if is_stream(&arguments.to) => archive_out(&store, &from, options),
        (Some((name, path)), None) => {
            let found = container::find(&store, &name)?;
            Ok(container::copy_out(&store, &found, &path, &arguments.to, options)?)
        }
        (None, Some((name, path))) => {
            let found = container::find(&store, &name)?;
            if is_stream(&arguments.from) {
                return Ok(container::copy_archive_in(&store, &found, Box::new(io::stdin()), &path)?);
            }
            Ok(container::copy_in(&store, &found, &arguments.from, &path, options)?)
        }
        (Some(_), Some(_)) => Err(Failure::usage("copying between containers is not supported")),
        (None, None) => Err(Failure::usage("one of the two has to be CONTAINER:PATH")),
    }
}

fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn check(arguments: &CpArgs) -> Result<(), Error> {
    let terminal = if is_stream(&arguments.from) && io::stdin().is_terminal() {
        Error::new(ErrorKind::Usage, "an archive is not read from a terminal")
            .help("redirect it, or name a file")
    } else if is_stream(&arguments.to) && io::stdout().is_terminal() {
        Error::new(ErrorKind::Usage, "an archive is not written to a terminal")
            .help("redirect it, or name a directory")
    } else {
        return Ok(());
    };
    Err(terminal)
}

fn archive_out(store: &Store, (name, path): &(String, String), options: CopyOptions) -> Outcome {
    let found = container::find(store, name)?;
    let mut out = BufWriter::with_capacity(1 << 20, Stream::new());
    container::copy_archive_out(store, &found, path, options.follow, &mut out).map_err(of_stream)?;
    out.flush().map_err(output)
}

/// `NAME:PATH`, with the path absolute; a name has no slash, and a path of this machine with a colon begins with one or with a dot.
fn of_container(typed: &Path) -> Outcome<Option<(String, String)>> {
    let bytes = typed.as_os_str().as_encoded_bytes();
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else { return Ok(None) };
    if bytes.starts_with(b"/") || bytes.starts_with(b".") || bytes[..colon].contains(&b'/') {
        return Ok(None);
    }
    let text = typed.to_str().ok_or_else(|| Failure::usage(format!("{} is no UTF-8", typed.display())))?;
    let (name, path) = text.split_once(':').unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Some((name.to_owned(), path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_from_paths() {
        let read = |text: &str| of_container(Path::new(text)).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(read("web:/etc"), Some(("web".to_owned(), "/etc".to_owned())));
        assert_eq!(read("web:etc/."), Some(("web".to_owned(), "/etc/.".to_owned())));
        for path in ["file", "./a:b", "/a:b", "a/b:c", "-"] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
