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
    ports::{BaseImage, ImageSource, LayoutReference},
    survey::{self, Survey},
};
use galley_oci::{Digest, ImageConfig, Platform, Reference};

use crate::{
    commands::build::options::{build_args, platforms, read_standard_input},
    context::Context,
    failure::{Outcome, output},
    ports::StoreImages,
    registry::Ask,
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
    /// The context, a directory
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
    refuse_remote(&arguments.context)?;
    let survey = survey(arguments, context)?;
    let name = arguments.context.display().to_string();
    let shown = match (arguments.format, arguments.all) {
        (Format::Json, _) => json::shown(&survey, &name)?,
        (Format::Text, true) => text::list(&survey),
        (Format::Text, false) => text::summary(&survey, &name),
    };
    io::stdout().lock().write_all(shown.as_bytes()).map_err(output)
}

fn refuse_remote(context: &Path) -> Result<(), Error> {
    let text = context.to_string_lossy();
    if text == "-" || text.contains("://") || text.starts_with("git@") {
        let message = format!("`context` looks at directories, and {text} is none");
        return Err(Error::new(ErrorKind::Usage, message).help("unpack or clone it first"));
    }
    Ok(())
}

fn survey(arguments: &ContextArgs, context: &Context) -> Result<Survey, Error> {
    let directory = arguments.context.as_path();
    let from_input = arguments.file.as_deref() == Some(Path::new("-"));
    let found =
        if from_input { None } else { Some(contexts::read_dockerfile(directory, arguments.file.as_deref())) };
    let path = found.as_ref().and_then(|found| found.as_ref().ok()).map(|found| found.path.clone());
    let main = contexts::main_context(directory, path.as_deref())?;
    let store = context.root().unwrap_or_default();
    let mut survey = survey::survey(&main, path.as_deref(), &store)?;
    let dockerfile = match found {
        None => Ok(("Dockerfile".to_owned(), read_standard_input()?)),
        Some(found) => found.map(|found| (found.name, found.text)),
    };
    let (name, text) = match dockerfile {
        Ok(found) => found,
        // Someone named it: then it is to be there.
        Err(error) if arguments.file.is_some() => return Err(error),
        Err(error) => {
            survey.notes.push(format!("cannot tell what is used: {error}"));
            return Ok(survey);
        }
    };
    let mut options = PlanOptions::new(name, text, main, Platform::of_this_machine());
    options.platforms = platforms(&arguments.platform)?;
    options.target = arguments.target.clone().filter(|target| !target.is_empty());
    options.build_args = build_args(&arguments.build_arg, &context.environment);
    let named = arguments.build_context.iter().map(|text| contexts::build_context(text));
    options.build_contexts = named.collect::<Result<_, _>>()?;
    let store = context.store().map_err(|_| Error::new(ErrorKind::Store, "cannot open the store"))?;
    let cancel = Cancel::new();
    let images = KnownImages {
        images: StoreImages::new(&store, context, Ask::Never, &cancel),
        unknown: Mutex::default(),
    };
    survey.find_use(&options, &images);
    survey.notes.extend(images.note());
    Ok(survey)
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
        let text = "not here, so that their ENV and ONBUILD do not count";
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
