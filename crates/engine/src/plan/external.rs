//! What is not made by this Dockerfile: base images and named contexts.

use std::{collections::HashMap, sync::Arc, thread};

use galley_oci::{Digest, ImageConfig, Platform, Reference};

use super::{BuildContext, ContextId, ContextSource, PlanOptions};
use crate::{
    Error, ErrorKind,
    ports::{BaseImage, ImageSource, LayoutReference},
    remote::Address,
};

/// What a name leads to.
#[derive(Clone, Debug)]
pub(super) enum External {
    /// `scratch`.
    Empty,
    /// An image, from a named context or an image source.
    Image(Arc<BaseImage>),
    /// A directory with a name.
    Directory(ContextId),
    /// What has to be fetched.
    Fetched(Box<Address>),
}

/// Finds names, each once.
pub(super) struct Externals<'a> {
    options: &'a PlanOptions,
    sources: &'a dyn ImageSource,
    contexts: Vec<ContextSource>,
    known: HashMap<(String, String), External>,
    /// What was asked for before its turn.
    asked: HashMap<(String, String), Result<Option<BaseImage>, Error>>,
}

/// How many images are asked for at once.
const ASKED_AT_ONCE_MAX: usize = 8;

impl<'a> Externals<'a> {
    pub(super) fn new(options: &'a PlanOptions, sources: &'a dyn ImageSource) -> Self {
        Self {
            options,
            sources,
            contexts: vec![options.context.clone()],
            known: HashMap::new(),
            asked: HashMap::new(),
        }
    }

    /// All directories that steps copy from.
    pub(super) fn into_contexts(self) -> Vec<ContextSource> {
        self.contexts
    }

    /// Whether --build-context gives something that takes the place of the stage of this name.
    pub(super) fn replaces(&self, stage: &str, platform: &Platform) -> bool {
        !is_reserved(stage) && self.context(stage, platform).is_some()
    }

    /// Asks for several images at once, where that takes its time. What comes of it is told when their turn comes.
    pub(super) fn ask(&mut self, names: &[(String, Platform)]) {
        let wanted = names.iter().filter_map(|(name, platform)| {
            let known = self.known.contains_key(&(name.clone(), platform.to_string()));
            if known || name == "scratch" || self.context(name, platform).is_some() {
                return None;
            }
            let reference = name.parse::<Reference>().ok()?.with_default_tag();
            self.sources.is_slow(&reference).then_some((reference, platform))
        });
        let wanted: Vec<_> = wanted.take(ASKED_AT_ONCE_MAX).collect();
        if wanted.len() < 2 {
            return;
        }
        let sources = self.sources;
        self.asked = thread::scope(|scope| {
            let asked = wanted.iter().map(|(reference, platform)| {
                let asking = scope.spawn(move || sources.resolve(reference, platform));
                ((reference.canonical(), platform.to_string()), asking)
            });
            let asked: Vec<_> = asked.collect();
            asked.into_iter().filter_map(|(key, asking)| Some((key, asking.join().ok()?))).collect()
        });
    }

    /// What `name` means when no stage is called so. Errors have no place yet.
    pub(super) fn find(&mut self, name: &str, platform: &Platform) -> Result<External, Error> {
        let key = (name.to_owned(), platform.to_string());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let found = self.look_up(name, platform)?;
        self.known.insert(key, found.clone());
        Ok(found)
    }

    /// The context that takes a stage's place because it has the stage's name.
    pub(super) fn replacing(&mut self, stage: &str, platform: &Platform) -> Result<Option<External>, Error> {
        match self.context(stage, platform).filter(|_| !is_reserved(stage)) {
            Some(context) => self.load(stage, &context, platform).map(Some),
            None => Ok(None),
        }
    }

    fn look_up(&mut self, name: &str, platform: &Platform) -> Result<External, Error> {
        if name == "scratch" {
            return Ok(External::Empty);
        }
        if let Some(context) = self.context(name, platform) {
            return self.load(name, &context, platform);
        }
        let reference: Reference = name.parse().map_err(|error| {
            let message = format!("`{name}` is neither a stage above nor the name of an image");
            Error::new(ErrorKind::Input, message).because(error)
        })?;
        self.image(name, &reference, platform)
    }

    fn image(&mut self, name: &str, reference: &Reference, platform: &Platform) -> Result<External, Error> {
        let reference = reference.clone().with_default_tag();
        let asked = self.asked.remove(&(reference.canonical(), platform.to_string()));
        match asked.unwrap_or_else(|| self.sources.resolve(&reference, platform))? {
            Some(image) => Ok(External::Image(named(image, &reference.canonical()))),
            None => Err(self.not_found(name, &reference, platform)),
        }
    }

    fn context(&self, name: &str, platform: &Platform) -> Option<BuildContext> {
        let wanted = context_key(name);
        let with_platform = format!("{wanted}::{platform}");
        let contexts = || self.options.build_contexts.iter().rev();
        let exact = contexts().find(|(known, _)| *known == with_platform);
        let found = exact.or_else(|| contexts().find(|(known, _)| context_key(known) == wanted))?;
        Some(found.1.clone())
    }

    fn load(&mut self, name: &str, context: &BuildContext, platform: &Platform) -> Result<External, Error> {
        match context {
            BuildContext::Directory(directory) => Ok(External::Directory(self.directory(directory))),
            BuildContext::Fetched(address) => Ok(External::Fetched(Box::new(address.clone()))),
            BuildContext::Image(image) if image == "scratch" => Ok(External::Empty),
            BuildContext::Image(image) => {
                let reference: Reference = image.parse().map_err(|error| {
                    let message =
                        format!("--build-context {name}=docker-image://{image} does not name an image");
                    Error::new(ErrorKind::Usage, message).because(error)
                })?;
                self.image(image, &reference, platform)
            }
            BuildContext::Layout(layout) => self.layout(name, layout, platform),
        }
    }

    fn layout(&self, name: &str, layout: &LayoutReference, platform: &Platform) -> Result<External, Error> {
        let display = name
            .parse::<Reference>()
            .map_or_else(|_| name.to_owned(), |name| name.with_default_tag().canonical());
        match self.sources.layout(layout, platform)? {
            Some(image) => Ok(External::Image(named(image, &display))),
            None => {
                let message = format!("--build-context {name}={layout} holds no such image for {platform}");
                Err(Error::new(ErrorKind::NotFound, message)
                    .help(format!("{} lists what it holds", layout.path.join("index.json").display())))
            }
        }
    }

    fn directory(&mut self, directory: &ContextSource) -> ContextId {
        let known = self.contexts.iter().skip(1).position(|known| known.name == directory.name);
        ContextId(known.map_or_else(
            || {
                self.contexts.push(directory.clone());
                self.contexts.len() - 1
            },
            |index| index + 1,
        ))
    }

    fn not_found(&self, name: &str, reference: &Reference, platform: &Platform) -> Error {
        let names: Vec<&str> = self.options.build_contexts.iter().map(|(name, _)| name.as_str()).collect();
        let contexts = if names.is_empty() {
            "no --build-context was given".to_owned()
        } else {
            format!("--build-context gives {}", names.join(", "))
        };
        let error = Error::new(ErrorKind::NotFound, format!("image `{name}` is nowhere to be found"))
            .label("this image")
            .help(format!(
                "looked for {reference} ({platform}) {}; {contexts}; no stage above has this name",
                self.sources.looked_in(reference)
            ))
            .help(format!(
                "pass --build-context {name}=oci-layout://DIRECTORY, or make it with `galley build -t {name}`"
            ));
        match self.sources.suggest(name) {
            similar if similar.is_empty() => error,
            similar => error.help(format!("the local store has {}", similar.join(", "))),
        }
    }
}

fn named(image: BaseImage, name: &str) -> Arc<BaseImage> {
    Arc::new(BaseImage { name: name.to_owned(), ..image })
}

/// A stage of such a name is never replaced, as in Docker.
fn is_reserved(stage: &str) -> bool {
    stage.eq_ignore_ascii_case("scratch") || stage.eq_ignore_ascii_case("context")
}

/// `alpine`, `alpine:latest` and `docker.io/library/alpine` are one context.
fn context_key(name: &str) -> String {
    let familiar = name.parse::<Reference>().map(|reference| reference.familiar());
    let familiar = familiar.unwrap_or_else(|_| name.to_lowercase());
    familiar.strip_suffix(":latest").map(ToOwned::to_owned).unwrap_or(familiar)
}

/// An image without layers, for the places that need a snapshot where there is none.
pub(super) fn empty_image() -> BaseImage {
    BaseImage {
        name: "scratch".to_owned(),
        id: Digest::sha256(b""),
        config: ImageConfig::default(),
        document: Vec::new(),
        layers: Vec::new(),
        manifest: None,
    }
}
