use std::{
    io::Write,
    path::{Path, PathBuf},
};

use galley_engine::{
    Error, ErrorKind, context as contexts,
    plan::{self, PlanOptions},
};
use galley_oci::{Platform, Reference};

use crate::{
    commands::build::options::{build_args, platforms},
    context::Context,
    failure::{self, Outcome},
    lock::{Lock, Locked, Locker, Update},
    ports::StoreImages,
    registry::Ask,
    signals,
};

/// Write galley.lock: the digest of every image that a Dockerfile names, for `build --locked`
#[derive(Debug, clap::Args)]
pub(crate) struct LockArgs {
    /// The Dockerfile; PATH/Dockerfile without it
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask again what NAME means, or every name
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    update: Option<String>,
    /// Set an ARG, NAME=VALUE; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// A further context, as for `build`
    #[arg(long, value_name = "NAME=CONTEXT")]
    build_context: Vec<String>,
    /// What will be built for, as for `build`
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<String>,
    /// The context, a directory
    #[arg(value_name = "PATH")]
    context: Option<PathBuf>,
}

/// Locks.
pub(crate) fn execute(arguments: &LockArgs, context: &Context) -> Outcome {
    let (update, directory) = update(arguments)?;
    let dockerfile = contexts::read_dockerfile(&directory, arguments.file.as_deref())?;
    let main = contexts::main_context(&directory, Some(&dockerfile.path))?;
    let here = Platform::of_this_machine();
    let mut options = PlanOptions::new(dockerfile.name, dockerfile.text, main, here);
    options.platforms = platforms(&arguments.platform)?;
    options.build_args = build_args(&arguments.build_arg, &context.environment);
    let named = arguments.build_context.iter().map(|text| contexts::build_context(text));
    options.build_contexts = named.collect::<Result<_, _>>()?;
    let path = Lock::path(&dockerfile.path);
    let old = Lock::read(&path)?.unwrap_or_default();
    let (store, cancel) = (context.store()?, signals::listen()?);
    let images = StoreImages::new(&store, context, Ask::Missing, &cancel);
    let locker = Locker::new(&images, old.clone(), update.clone());
    // A build needs some of the stages, and another one others.
    for stage in 0..plan::stages(&options)? {
        options.target = Some(stage.to_string());
        plan::plan(&options, &locker)?;
    }
    let lock = locker.into_lock();
    check_update(&update, &lock, &path)?;
    let changed = lock.write(&path)?;
    tell(&old, &lock, &path, changed).map_err(failure::output)
}

/// What is to be asked for again, and the context. `--update .` means the context, for `.` names no image.
fn update(arguments: &LockArgs) -> Result<(Update, PathBuf), Error> {
    let here = || arguments.context.clone().unwrap_or_else(|| PathBuf::from("."));
    match arguments.update.as_deref() {
        None => Ok((Update::Nothing, here())),
        Some("") => Ok((Update::All, here())),
        Some(name) => match name.parse::<Reference>() {
            Ok(reference) => Ok((Update::Name(reference.with_default_tag()), here())),
            Err(_) if arguments.context.is_none() && Path::new(name).is_dir() => {
                Ok((Update::All, PathBuf::from(name)))
            }
            Err(error) => {
                let message = format!("--update {name} does not name an image");
                Err(Error::new(ErrorKind::Usage, message).because(error))
            }
        },
    }
}

fn check_update(update: &Update, lock: &Lock, path: &Path) -> Result<(), Error> {
    let Update::Name(name) = update else { return Ok(()) };
    if lock.images.contains_key(&name.canonical()) {
        return Ok(());
    }
    let message =
        format!("the Dockerfile does not name {}, so {} stays as it is", name.familiar(), path.display());
    let known: Vec<&str> = lock.images.keys().map(String::as_str).collect();
    Err(Error::new(ErrorKind::NotFound, message).help(format!("it names {}", known.join(", "))))
}

/// A line for each name: `+` is new, `~` has moved, `-` is gone.
fn tell(old: &Lock, new: &Lock, path: &Path, changed: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, locked) in &new.images {
        let sign = match old.images.get(name) {
            None => '+',
            Some(known) if known != locked => '~',
            Some(_) => ' ',
        };
        match locked {
            Locked::Digest(digest) => writeln!(out, "{sign} {name} {digest}")?,
            Locked::Id(id) => writeln!(out, "{sign} {name} {id} (an image of the local store)")?,
        }
    }
    for name in old.images.keys().filter(|name| !new.images.contains_key(*name)) {
        writeln!(out, "- {name}")?;
    }
    let what = if changed { "wrote" } else { "nothing changed in" };
    writeln!(out, "{what} {}", path.display())
}
