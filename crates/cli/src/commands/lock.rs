use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
};

use galley_engine::{
    Error, ErrorKind, context as contexts,
    plan::{self, PlanOptions},
    ports::Remotes,
    remote::{Address, Remote},
};
use galley_oci::{Platform, Reference};

use crate::{
    commands::build::options::{build_args, build_contexts, platforms, secrets},
    context::Context,
    failure::{self, Outcome},
    lock::{Addresses, Lock, Locked, Locker, Update},
    ports::StoreImages,
    registry::{Ask, Web, git_settings},
    signals,
};

/// Write galley.lock: what every image, URL and git reference of a Dockerfile is now, for `build --locked`
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
    /// A token for a URL or a git repository, as for `build`
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
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
    if directory == Path::new("-") || arguments.file.as_deref() == Some(Path::new("-")) {
        let message = "a Dockerfile on standard input has no folder for its galley.lock";
        return Err(Error::new(ErrorKind::Usage, message).help("name a directory, or -f FILE").into());
    }
    let dockerfile = contexts::read_dockerfile(&directory, arguments.file.as_deref())?;
    let main = contexts::main_context(&directory, Some(&dockerfile.path))?;
    let here = Platform::of_this_machine();
    let mut options = PlanOptions::new(dockerfile.name, dockerfile.text, main, here);
    options.platforms = platforms(&arguments.platform, &context.environment)?;
    options.build_args = build_args(&arguments.build_arg, &context.environment);
    options.build_contexts = build_contexts(&arguments.build_context)?;
    let path = Lock::path(&dockerfile.path);
    let old = Lock::read(&path)?.unwrap_or_default();
    let (store, cancel) = (context.store()?, signals::listen()?);
    let images = StoreImages::new(&store, context, Ask::Missing, &cancel);
    let locker = Locker::new(&images, old.clone(), update.clone());
    let secrets = secrets(&arguments.secret, &context.environment)?;
    let (web, git) = (Web(images.registries().clone()), git_settings(&context.environment));
    let remotes = Remotes { web: &web, git: &git, offline: false, since: context.started, pins: None };
    let remote = Remote { store: &store, remotes, secrets: &secrets, stop: &cancel, began: &|| () };
    let mut addresses = Addresses { remote, old: &old, update: &update, seen: BTreeSet::new() };
    let mut fetched = Lock::default();
    // A build needs some of the stages, and another one others.
    for stage in 0..plan::stages(&options)? {
        options.target = Some(stage.to_string());
        addresses.lock(&plan::plan(&options, &locker)?, &mut fetched)?;
    }
    let lock = Lock { images: locker.into_lock().images, ..fetched };
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
        Some(name) if !matches!(Address::parse(name), Ok(None)) => {
            Ok((Update::Address(name.to_owned()), here()))
        }
        Some(name) => match name.parse::<Reference>() {
            Ok(reference) => Ok((Update::Name(reference.with_default_tag()), here())),
            Err(_) if arguments.context.is_none() && Path::new(name).is_dir() => {
                Ok((Update::All, PathBuf::from(name)))
            }
            Err(error) => {
                let message = format!("--update {name} names neither an image nor an address");
                Err(Error::new(ErrorKind::Usage, message).because(error))
            }
        },
    }
}

fn check_update(update: &Update, lock: &Lock, path: &Path) -> Result<(), Error> {
    let (name, shown) = match update {
        Update::Nothing | Update::All => return Ok(()),
        Update::Name(name) => (name.canonical(), name.familiar()),
        Update::Address(name) => (name.clone(), name.clone()),
    };
    let known = lock.names();
    if known.contains(&name.as_str()) {
        return Ok(());
    }
    let message = format!("the Dockerfile does not name {shown}, so {} stays as it is", path.display());
    Err(Error::new(ErrorKind::NotFound, message).help(format!("it names {}", known.join(", "))))
}

/// A line for each name: `+` is new, `~` has moved, `-` is gone.
fn tell(old: &Lock, new: &Lock, path: &Path, changed: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (before, now) = (lines(old), lines(new));
    for (name, says) in &now {
        let sign = match before.get(name) {
            None => '+',
            Some(known) if known != says => '~',
            Some(_) => ' ',
        };
        writeln!(out, "{sign} {name} {says}")?;
    }
    for name in before.keys().filter(|name| !now.contains_key(*name)) {
        writeln!(out, "- {name}")?;
    }
    let what = if changed { "wrote" } else { "nothing changed in" };
    writeln!(out, "{what} {}", path.display())
}

/// What a lock says of each name.
fn lines(lock: &Lock) -> BTreeMap<&str, String> {
    let image = |locked: &Locked| match locked {
        Locked::Digest(digest) => digest.to_string(),
        Locked::Id(id) => format!("{id} (an image of the local store)"),
    };
    let images = lock.images.iter().map(|(name, locked)| (name.as_str(), image(locked)));
    let files = lock.files.iter().map(|(name, digest)| (name.as_str(), digest.to_string()));
    let commits = lock.commits.iter().map(|(name, commit)| (name.as_str(), commit.clone()));
    images.chain(files).chain(commits).collect()
}
