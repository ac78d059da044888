use std::path::{Path, PathBuf};

use galley_engine::{Error, ErrorKind, container};

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    namespace,
};

/// Copy files from a container, or into one that runs
#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {
    /// Copy what a symbolic link points to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Says nothing in any case
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, or a path of this machine
    #[arg(value_name = "SOURCE", allow_hyphen_values = true)]
    from: PathBuf,
    /// The other
    #[arg(value_name = "TARGET", allow_hyphen_values = true)]
    to: PathBuf,
}

/// Copies.
pub(crate) fn execute(arguments: &CpArgs, context: &Context) -> Outcome {
    let (from, to) = (of_container(&arguments.from)?, of_container(&arguments.to)?);
    let piped = |path: &Path| path.as_os_str() == "-";
    if piped(&arguments.from) || piped(&arguments.to) {
        let error =
            Error::new(ErrorKind::Usage, "archives on standard input and output are not supported here");
        return Err(error.help("`galley export CONTAINER | tar x PATH` takes files out").into());
    }
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    let follow = arguments.follow_link;
    match (from, to) {
        (Some((name, path)), None) => {
            let found = container::find(&store, &name)?;
            Ok(container::copy_out(&store, &found, &path, &arguments.to, follow)?)
        }
        (None, Some((name, path))) => {
            Ok(container::copy_in(&container::find(&store, &name)?, &arguments.from, &path, follow)?)
        }
        (Some(_), Some(_)) => Err(Failure::usage("copying between containers is not supported")),
        (None, None) => Err(Failure::usage("one of the two has to be CONTAINER:PATH")),
    }
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
