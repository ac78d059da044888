use std::io::{self, Write};

use galley_engine::{Cancel, Error, ErrorKind, Fetcher, images, import};
use galley_oci::{Digest, Platform, Reference};
use galley_store::Store;

use crate::{
    args::platform::{self, PlatformArg},
    commands::transfer::ShowArgs,
    context::Context,
    failure::{Outcome, output, store_error},
    message, namespace,
    registry::{Found, Registries, RemoteImages},
    signals,
};

/// Fetch images from registries
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    show: ShowArgs,
    /// The image for another machine than this one: linux/arm64, …
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<PlatformArg>,
    /// What to fetch; `latest` without a tag
    #[arg(value_name = "NAME[:TAG|@DIGEST]", required = true)]
    images: Vec<String>,
}

/// Fetches one after the other. For an ordinary user this is tried outside of the user namespace first: nothing has to
/// be written when all is there.
pub(crate) fn execute(arguments: &PullArgs, context: &Context) -> Outcome {
    let wanted: Vec<Wanted> =
        arguments.images.iter().map(|name| Wanted::new(name)).collect::<Result<_, _>>()?;
    if !context.environment.is_root {
        // Afterwards signals are passed on to the process inside.
        let all_here =
            signals::while_listening(|stop| Pull::new(arguments, context, stop)?.is_done(&wanted))?;
        return if all_here { Ok(()) } else { namespace::enter(context) };
    }
    let pull = Pull::new(arguments, context, signals::listen()?)?;
    for wanted in &wanted {
        pull.begin(wanted)?;
        let pulled = pull.fetch(wanted)?;
        pull.end(wanted, &pulled)?;
    }
    crate::collect::afterwards(context, &pull.store);
    Ok(())
}

/// When `run` and `create` fetch their image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PullPolicy {
    /// Ask the registry every time.
    Always,
    /// When the store does not have it.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

/// The image that a container is made of.
pub(super) struct Needed<'a> {
    pub(super) name: &'a str,
    pub(super) platform: Option<Platform>,
    /// Nothing is said about fetching.
    pub(super) quiet: bool,
}

/// Sees to it that `run` and `create` have their image. Everything is said on standard error, for standard output belongs
/// to the container.
pub(super) fn ensure(context: &Context, store: &Store, needed: &Needed<'_>, policy: PullPolicy) -> Outcome {
    let Needed { name, platform, quiet } = needed;
    let (platform, quiet) = (platform.clone(), *quiet);
    let is_here = || match images::lookup_for(store, name, platform.as_ref()) {
        // It is here for others.
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        found => found.map(|found| found.is_some()),
    };
    if policy == PullPolicy::Never || (policy == PullPolicy::Missing && is_here()?) {
        return Ok(());
    }
    // What is no name is an id, or nothing at all: who looks it up says so.
    let Ok(wanted) = Wanted::new(name) else { return Ok(()) };
    let arguments = PullArgs {
        show: ShowArgs::new(quiet),
        platform: platform.clone().map(|platform| PlatformArg(Some(platform))),
        images: Vec::new(),
    };
    // Later signals are the container's.
    signals::while_listening(|stop| {
        let pull = Pull { aside: true, ..Pull::new(&arguments, context, stop)? };
        if policy == PullPolicy::Missing && !quiet {
            pull.say(&format!("Unable to find image '{}' locally", wanted.reference.familiar()))?;
        }
        pull.begin(&wanted)?;
        let pulled = pull.fetch(&wanted)?;
        pull.end(&wanted, &pulled)
    })
}

/// One image to fetch.
struct Wanted {
    reference: Reference,
    /// The tag was not written.
    defaulted: bool,
}

impl Wanted {
    fn new(name: &str) -> Result<Self, Error> {
        let reference: Reference = name.parse().map_err(|error| {
            Error::new(ErrorKind::Usage, format!("{name:?} cannot be the name of an image")).because(error)
        })?;
        let defaulted = reference.tag.is_none() && reference.digest.is_none();
        Ok(Self { reference: reference.with_default_tag(), defaulted })
    }
}

/// What came of one.
struct Pulled {
    /// What the registry has under the name.
    digest: Digest,
    /// The store had it, under this name.
    up_to_date: bool,
}

struct Pull<'a> {
    arguments: &'a PullArgs,
    context: &'a Context,
    store: Store,
    stop: Cancel,
    registries: Registries,
    platform: Platform,
    /// What is said goes to standard error.
    aside: bool,
}

impl<'a> Pull<'a> {
    fn new(arguments: &'a PullArgs, context: &'a Context, stop: Cancel) -> Outcome<Self> {
        let registries = Registries::new(context, &stop);
        let platform = platform::chosen(arguments.platform.as_ref(), &context.environment)?
            .unwrap_or_else(Platform::of_this_machine);
        Ok(Self { arguments, context, store: context.store()?, stop, registries, platform, aside: false })
    }

    /// Whether nothing has to be written, which is then said.
    fn is_done(&self, wanted: &[Wanted]) -> Outcome<bool> {
        let known: Result<Vec<Pulled>, Error> = wanted.iter().map(|wanted| self.known(wanted)).collect();
        match known {
            Err(error) if error.kind == ErrorKind::NeedsExecution => return Ok(false),
            known => wanted.iter().zip(&known?).try_for_each(|(wanted, pulled)| {
                self.begin(wanted)?;
                self.end(wanted, pulled)
            })?,
        }
        Ok(true)
    }

    fn find(&self, wanted: &Wanted) -> Result<Found, Error> {
        let remote = RemoteImages {
            store: &self.store,
            registries: self.registries.clone(),
            since: self.context.started,
        };
        remote.find(&wanted.reference, &self.platform)?.ok_or_else(|| {
            let reference = &wanted.reference;
            let message =
                format!("the registry {} has no image {}", reference.registry, reference.familiar());
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// The image, when nothing has to be written for it.
    fn known(&self, wanted: &Wanted) -> Result<Pulled, Error> {
        let found = self.find(wanted)?;
        self.arguments.show.show(self.context, (&self.store, false), &self.stop, |fetcher| {
            if !self.is_named(wanted, &found)? {
                return Err(Error::new(ErrorKind::NeedsExecution, "the image has no such name yet"));
            }
            import::bring(fetcher, &found.base)?;
            Ok(Pulled { digest: found.digest, up_to_date: true })
        })
    }

    fn fetch(&self, wanted: &Wanted) -> Result<Pulled, Error> {
        let found = self.find(wanted)?;
        let pulled = self.arguments.show.show(self.context, (&self.store, true), &self.stop, |fetcher| {
            let up_to_date = self.is_named(wanted, &found)?;
            self.keep(fetcher, wanted, &found)?;
            Ok(Pulled { digest: found.digest, up_to_date })
        })?;
        self.warn_platform(wanted, &found);
        Ok(pulled)
    }

    /// A registry that has one image of that name gives it to everybody.
    fn warn_platform(&self, wanted: &Wanted, found: &Found) {
        let own = found.base.config.platform();
        let is_known = !own.os.is_empty() && !own.architecture.is_empty();
        if is_known && self.platform.rank(&own).is_none() {
            let name = wanted.reference.familiar();
            let message = format!("the image {name} is for {own}, not for {}", self.platform);
            message::warn(&message, Some("its programs will not run here"));
        }
    }

    /// Whether the name means that image already. One asked for by its digest needs no name.
    fn is_named(&self, wanted: &Wanted, found: &Found) -> Result<bool, Error> {
        if wanted.reference.digest.is_some() {
            return Ok(self.store.image(&found.base.id).map_err(store_error)?.is_some());
        }
        Ok(self.store.resolve(&wanted.reference).map_err(store_error)? == Some(found.base.id))
    }

    fn keep(&self, fetcher: &Fetcher<'_>, wanted: &Wanted, found: &Found) -> Result<(), Error> {
        let image = import::bring(fetcher, &found.base)?;
        self.store.barrier().map_err(store_error)?;
        if wanted.reference.digest.is_none() {
            self.store.tag(&wanted.reference, &image.id).map_err(store_error)?;
        }
        Ok(())
    }

    fn say(&self, line: &str) -> Outcome {
        if self.aside {
            return writeln!(anstream::stderr(), "{line}").map_err(output);
        }
        writeln!(io::stdout().lock(), "{line}").map_err(output)
    }

    fn begin(&self, wanted: &Wanted) -> Outcome {
        if self.arguments.show.quiet {
            return Ok(());
        }
        let reference = &wanted.reference;
        if wanted.defaulted && !self.aside {
            self.say("Using default tag: latest")?;
        }
        let which = match (&reference.digest, &reference.tag) {
            (None, Some(tag)) => tag.clone(),
            _ => reference.canonical(),
        };
        self.say(&format!("{which}: Pulling from {}", reference.repository))
    }

    fn end(&self, wanted: &Wanted, pulled: &Pulled) -> Outcome {
        let reference = &wanted.reference;
        if !self.arguments.show.quiet {
            self.say(&format!("Digest: {}", pulled.digest))?;
            let status =
                if pulled.up_to_date { "Image is up to date for" } else { "Downloaded newer image for" };
            self.say(&format!("Status: {status} {}", reference.familiar()))?;
        }
        if self.aside { Ok(()) } else { self.say(&reference.canonical()) }
    }
}
