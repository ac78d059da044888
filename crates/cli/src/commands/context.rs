mod json;
mod text;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use galley_engine::{
    Cancel, Error, ErrorKind, context as contexts,
    plan::PlanOptions,
    ports::{BaseImage, ImageSource, LayoutReference, Remotes, Secrets},
    remote::{Address, Remote, redacted},
    survey::{self, Survey},
};
use galley_oci::{Digest, ImageConfig, Platform, Reference};

use crate::{
    commands::build::{
        options::{build_args, build_contexts, platforms, read_standard_input},
        sources::{Read, Sources},
    },
    context::Context,
    failure::{Outcome, output},
    namespace,
    ports::StoreImages,
    registry::{Ask, Web, git_settings},
    signals,
};

/// Show what is in a build context, what the ignore file leaves out, what nothing uses, and secrets that slipped in
#[derive(Debug, clap::Args)]
pub(crate) struct ContextArgs {
    /// The Dockerfile; PATH/Dockerfile without it, - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What this stage and those that it needs use; what any stage uses without it
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set an ARG, NAME=VALUE; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// A further context, as for `build`
    #[arg(long, value_name = "NAME=CONTEXT")]
    build_context: Vec<String>,
    /// For which platform, as for `build`
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<String>,
    /// List every file, with the rule that keeps or drops it and the instructions that use it
    #[arg(long)]
    all: bool,
    /// How to show it
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    format: Format,
    /// The context, as for `build`: a directory, a repository or URL, - for standard input
    #[arg(value_name = "PATH", default_value = ".")]
    context: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: docs/context.md
    Json,
}

/// Looks, and changes nothing.
pub(crate) fn execute(arguments: &ContextArgs, context: &Context) -> Outcome {
    if context.environment.as_docker {
        let message = "`context` of docker is not supported: there is no daemon to choose";
        return Err(Error::new(ErrorKind::Usage, message)
            .help("`galley context` shows what is in a build context")
            .into());
    }
    let survey = if arguments.is_directory() {
        of_directory(arguments, context)?
    } else {
        // Its files have owners of their own.
        namespace::enter_unless_root(context)?;
        of_other(arguments, context)?
    };
    let name = redacted(&arguments.context.to_string_lossy());
    let shown = match (arguments.format, arguments.all) {
        (Format::Json, _) => json::shown(&survey, &name)?,
        (Format::Text, true) => text::list(&survey),
        (Format::Text, false) => text::summary(&survey, &name),
    };
    io::stdout().lock().write_all(shown.as_bytes()).map_err(output)
}

impl ContextArgs {
    fn is_directory(&self) -> bool {
        let text = self.context.to_string_lossy();
        let other = text == "-" || matches!(Address::of_context(&text), Err(_) | Ok(Some(_)));
        self.context.is_dir() || !other
    }
}

fn of_directory(arguments: &ContextArgs, context: &Context) -> Outcome<Survey> {
    let directory = arguments.context.as_path();
    let from_input = arguments.file.as_deref() == Some(Path::new("-"));
    let found =
        if from_input { None } else { Some(contexts::read_dockerfile(directory, arguments.file.as_deref())) };
    let path = found.as_ref().and_then(|found| found.as_ref().ok()).map(|found| found.path.clone());
    let main = contexts::main_context(directory, path.as_deref())?;
    let mut survey = survey::survey(&main, path.as_deref(), &context.root().unwrap_or_default())?;
    let dockerfile = match found {
        None => Ok(("Dockerfile".to_owned(), read_standard_input()?)),
        Some(found) => found.map(|found| (found.name, found.text)),
    };
    match dockerfile {
        Ok((name, text)) => find_use(&mut survey, arguments, context, (name, text, main))?,
        // Someone named it: then it is to be there.
        Err(error) if arguments.file.is_some() => return Err(error.into()),
        Err(error) => survey.notes.push(format!("cannot tell what is used: {error}")),
    }
    Ok(survey)
}

/// An archive, a repository or a Dockerfile alone: as a build gets it.
fn of_other(arguments: &ContextArgs, context: &Context) -> Outcome<Survey> {
    let (store, stop) = (context.store()?, signals::listen()?);
    let images = StoreImages::new(&store, context, Ask::Missing, &stop);
    let (web, git) = (Web(images.registries().clone()), git_settings(&context.environment));
    let remotes = Remotes { web: &web, git: &git, offline: false, since: context.started, pins: None };
    let secrets = Secrets::new();
    let remote = Remote { store: &store, remotes, secrets: &secrets, stop: &stop, began: &|| () };
    let sources = Sources {
        context: arguments.context.as_os_str(),
        file: arguments.file.as_deref(),
        build_args: &build_args(&arguments.build_arg, &context.environment),
        remote: &remote,
        may_write: true,
    };
    let (name, text, main) = sources.read()?;
    let mut survey = survey::survey(&main, Some(&main.path.join(&name)), store.root())?;
    find_use(&mut survey, arguments, context, (name, text, main))?;
    Ok(survey)
}

fn find_use(
    survey: &mut Survey,
    arguments: &ContextArgs,
    context: &Context,
    (name, text, main): Read,
) -> Outcome {
    let mut options = PlanOptions::new(name, text, main, Platform::of_this_machine());
    options.platforms = platforms(&arguments.platform, &context.environment)?;
    options.target = arguments.target.clone().filter(|target| !target.is_empty());
    options.build_args = build_args(&arguments.build_arg, &context.environment);
    options.build_contexts = build_contexts(&arguments.build_context)?;
    // What steps may do is no matter here.
    options.nothing_runs = true;
    let (store, cancel) = (context.store()?, Cancel::new());
    let images = KnownImages {
        images: StoreImages::new(&store, context, Ask::Never, &cancel),
        unknown: Mutex::default(),
    };
    survey.find_use(&options, &images);
    survey.notes.extend(images.note());
    Ok(())
}

/// The images that are here; of any other nothing is known, and nobody is asked.
struct KnownImages<'a> {
    images: StoreImages<'a>,
    unknown: Mutex<Vec<String>>,
}

impl KnownImages<'_> {
    fn note(self) -> Option<String> {
        let mut names = self.unknown.into_inner().unwrap_or_else(PoisonError::into_inner);
        names.sort();
        names.dedup();
        let text = "bases that are not in the store, whose ENV and ONBUILD do not count";
        (!names.is_empty()).then(|| format!("{text}: {}", names.join(", ")))
    }
}

impl ImageSource for KnownImages<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        if let Ok(Some(image)) = self.images.resolve(reference, platform) {
            return Ok(Some(image));
        }
        let name = reference.familiar();
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        Ok(Some(BaseImage {
            name,
            id: Digest::sha256(b""),
            config: ImageConfig::default(),
            document: Vec::new(),
            layers: Vec::new(),
            manifest: None,
        }))
    }

    fn layout(&self, layout: &LayoutReference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        self.images.layout(layout, platform)
    }
}
