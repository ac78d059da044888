use std::{
    io::{self, Write},
    time::Instant,
};

use galley_engine::{
    Cancel, Error, ErrorKind, Event,
    export::{PackOptions, Packed, save},
    images,
};
use galley_oci::{Platform, Reference};
use galley_store::Store;

use crate::{
    commands::transfer::ShowArgs,
    context::Context,
    failure::{Outcome, output, store_error},
    namespace,
    registry::{self, Registries},
    signals,
};

/// Send images to registries
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    show: ShowArgs,
    /// Send every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Of an image for several platforms, the one for this alone
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// What to send; `latest` without a tag
    #[arg(value_name = "NAME[:TAG]", required = true)]
    images: Vec<String>,
}

/// Sends one after the other.
pub(crate) fn execute(arguments: &PushArgs, context: &Context) -> Outcome {
    namespace::enter_unless_root(context)?;
    let store = context.store()?;
    store.settle();
    let stop = signals::listen()?;
    let push = Push { arguments, context, store: &store, registries: Registries::new(context, &stop), stop };
    for name in &arguments.images {
        push.repository(name)?;
    }
    Ok(())
}

struct Push<'a> {
    arguments: &'a PushArgs,
    context: &'a Context,
    store: &'a Store,
    registries: Registries,
    stop: Cancel,
}

impl Push<'_> {
    fn repository(&self, name: &str) -> Outcome {
        let names =
            if self.arguments.all_tags { self.all_tags(name)? } else { vec![images::parse_tag(name)?] };
        let quiet = self.arguments.show.quiet;
        if let Some(first) = names.first().filter(|_| !quiet) {
            if !self.arguments.all_tags
                && !name.ends_with(&format!(":{}", first.tag.clone().unwrap_or_default()))
            {
                self.say("Using default tag: latest")?;
            }
            self.say(&format!("The push refers to repository [{}]", first.name()))?;
        }
        for name in &names {
            let packed = self.image(name)?;
            if quiet {
                self.say(&name.canonical())?;
            } else {
                let (tag, descriptor) = (name.tag.clone().unwrap_or_default(), packed.descriptor());
                self.say(&format!("{tag}: digest: {} size: {}", descriptor.digest, descriptor.size))?;
            }
        }
        Ok(())
    }

    /// Every name in the repository that the store has.
    fn all_tags(&self, name: &str) -> Result<Vec<Reference>, Error> {
        let parsed: Reference = name.parse().map_err(|error| {
            Error::new(ErrorKind::Usage, format!("{name:?} cannot be the name of an image")).because(error)
        })?;
        if parsed.tag.is_some() || parsed.digest.is_some() {
            return Err(Error::new(ErrorKind::Usage, format!("{name} has a tag, and --all-tags means all")));
        }
        let tags = self.store.tags().map_err(store_error)?.into_iter().map(|(tag, _)| tag);
        let tags: Vec<Reference> = tags.filter(|tag| tag.name() == parsed.name()).collect();
        if tags.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("no image is named {}", parsed.familiar())));
        }
        Ok(tags)
    }

    fn image(&self, name: &Reference) -> Result<Packed, Error> {
        let canonical = name.canonical();
        let images = match &self.arguments.platform {
            None => images::all(self.store, &canonical)?,
            Some(platform) => vec![images::find_for(self.store, &canonical, Some(platform))?],
        };
        let show = &self.arguments.show;
        show.show(self.context, (self.store, true), &self.stop, |fetcher| {
            // Layers that were made here may not be compressed yet.
            let (what, started) = ("exporting layers".to_owned(), Instant::now());
            fetcher.events.emit(Event::Exporting { what: what.clone() });
            let packed = save::pack(fetcher, &images, &PackOptions::default())?;
            fetcher.events.emit(Event::Exported { what, took: started.elapsed() });
            registry::push(&self.registries, fetcher, &packed, name)?;
            Ok(packed)
        })
    }

    fn say(&self, line: &str) -> Outcome {
        writeln!(io::stdout().lock(), "{line}").map_err(output)
    }
}
