//! `galley import`: an archive of plain files becomes an image of one layer.

use std::{
    fs::File,
    io::{self, Cursor, Read},
};

use galley_dockerfile::{Command, Source};
use galley_oci::{
    Digest, History, ImageConfig, Platform, Reference, RootFs, RunConfig, TimePolicy,
    compress::{self, PREFIX_BYTES},
};
use galley_store::Layer;

use super::{broken, patient::Patient};
use crate::{
    Error, ErrorKind, Fetcher,
    blobs::{self, Wanted},
    clock,
    image::{self, Assembled},
    plan::{self, ContextSource, PlanOptions},
    ports::{BaseImage, BaseLayer, ImageSource},
    steps::files::store_error,
};

/// A build gives every image a PATH, where it has none yet; `import` does not.
const NO_PATH: &str = "PATH=";

/// What becomes of the files.
#[derive(Clone, Debug)]
pub struct PlainOptions {
    /// Instructions of a Dockerfile that change the config: `--change`.
    pub changes: Vec<String>,
    /// The comment in the image's history.
    pub message: String,
    /// For whom the files are.
    pub platform: Platform,
    /// What the image is called; nothing is a name too.
    pub name: Option<Reference>,
}

/// Makes an image of the archive in `input`, compressed or not, and keeps it. `source` is what messages call it.
pub fn plain(
    fetcher: &Fetcher<'_>,
    source: &str,
    input: File,
    options: &PlainOptions,
) -> Result<Digest, Error> {
    // What is wrong there is said before a long archive is read.
    let config = changed(options)?;
    let layer = unpack(fetcher, source, input).map_err(|error| match fetcher.stop.is_cancelled() {
        true => Error::new(ErrorKind::Cancelled, "cancelled"),
        false => error,
    })?;
    let image = assemble(fetcher, options, config, layer)?;
    image::keep(fetcher, &[(&image, &options.platform)], options.name.as_slice())?;
    Ok(image.id)
}

fn unpack(fetcher: &Fetcher<'_>, source: &str, input: File) -> Result<Layer, Error> {
    let mut input = Patient::new(input, fetcher.stop);
    let (store, failed) = (fetcher.store, |error: io::Error| broken(source, error));
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    (&mut input).take(PREFIX_BYTES as u64).read_to_end(&mut prefix).map_err(failed)?;
    if prefix.is_empty() {
        return Err(broken(source, "it is empty"));
    }
    let mut plain = compress::decoder(Box::new(Cursor::new(prefix).chain(input))).map_err(failed)?;
    let layer = store
        .unpack_layer(&mut plain)
        .map_err(|error| if error.is_machines() { store_error(error) } else { broken(source, error) })?;
    // Whoever writes into a pipe wants to write to the end.
    io::copy(&mut plain, &mut io::sink()).map_err(failed)?;
    store.commit_new(layer).map_err(store_error)
}

fn assemble(
    fetcher: &Fetcher<'_>,
    options: &PlainOptions,
    config: RunConfig,
    layer: Layer,
) -> Result<Assembled, Error> {
    let times = TimePolicy::Keep;
    let wanted = Wanted { layer: layer.clone(), times, own: false };
    let diff_ids = blobs::diff_ids(fetcher, &[wanted])?;
    let of_layer =
        |diff_id: &Digest| BaseLayer { diff_id: *diff_id, times, blob: None, held: layer.clone().into() };
    let layers = diff_ids.iter().map(of_layer).collect();
    let created = clock::now();
    let text = Some(created.rfc3339());
    let history =
        vec![History { created: text.clone(), comment: options.message.clone(), ..History::default() }];
    let document = ImageConfig {
        created: text,
        config,
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        history,
        ..for_platform(&options.platform)
    };
    let config = document.to_bytes();
    Ok(Assembled { id: Digest::sha256(&config), config, layers, manifest: None, created })
}

fn for_platform(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    }
}

/// The config that the changes make of an empty one.
fn changed(options: &PlainOptions) -> Result<RunConfig, Error> {
    if options.changes.is_empty() {
        return Ok(RunConfig::default());
    }
    let mut variables = Vec::new();
    for change in &options.changes {
        variables.extend(check(change)?);
    }
    let text = format!("FROM nothing\n{}\n", options.changes.join("\n"));
    let context = ContextSource { name: ".".to_owned(), path: ".".into(), ignore: None, kept: None };
    let plan = PlanOptions::new("--change", text, context, options.platform.clone());
    let plan = plan::plan(&plan, &Nothing).map_err(|mut error| {
        error.place = None;
        error
    })?;
    let mut config = plan.targets.into_iter().next().map(|target| target.config.config).unwrap_or_default();
    config.env.retain(|variable| variable != NO_PATH);
    // PATH was there first, but is to stand where it was written.
    let written = |entry: &String| variables.iter().position(|name| entry.split('=').next() == Some(name));
    config.env.sort_by_key(|entry| written(entry).unwrap_or(usize::MAX));
    Ok(config)
}

/// The variables that a change sets. Only what changes nothing but the config is accepted; the others want files, or
/// another image.
fn check(change: &str) -> Result<Vec<String>, Error> {
    let refused = |why: &str| {
        let error = Error::new(ErrorKind::Usage, format!("--change {change:?} is refused: {why}"));
        error.help(
            "these can be given: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR",
        )
    };
    let source = Source::new("--change", change).map_err(|error| refused(&error.to_string()))?;
    let parsed = galley_dockerfile::parse(&source).map_err(|error| refused(&error.to_string()))?;
    let mut variables = Vec::new();
    for instruction in parsed.instructions {
        match instruction.command {
            Command::Env(env) => variables.extend(env.pairs.into_iter().map(|pair| pair.key.text)),
            Command::Cmd(_)
            | Command::Entrypoint(_)
            | Command::Expose(_)
            | Command::Healthcheck(_)
            | Command::Label(_)
            | Command::Onbuild(_)
            | Command::StopSignal(_)
            | Command::User(_)
            | Command::Volume(_)
            | Command::Workdir(_) => {}
            other => return Err(refused(&format!("{} changes more than the config", other.name()))),
        }
    }
    Ok(variables)
}

/// The base of the changes: an image that says nothing.
#[derive(Debug)]
struct Nothing;

impl ImageSource for Nothing {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Option<BaseImage>, Error> {
        let mut config = for_platform(platform);
        config.config.env = vec![NO_PATH.to_owned()];
        let document = config.to_bytes();
        let (name, id) = (reference.familiar(), Digest::sha256(&document));
        Ok(Some(BaseImage { name, id, config, document, layers: Vec::new(), manifest: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(changes: &[&str]) -> PlainOptions {
        PlainOptions {
            changes: changes.iter().map(|&change| change.to_owned()).collect(),
            message: String::new(),
            platform: Platform::of_this_machine(),
            name: None,
        }
    }

    #[test]
    fn changes_make_a_config_and_nothing_else() {
        let changes = [
            "ENV A=b\nENV C=$A",
            "CMD [\"sh\"]",
            "workdir /x",
            "WORKDIR y",
            "ENV PATH=/bin",
            "EXPOSE 80",
            "LABEL a=b",
        ];
        let config = changed(&options(&changes)).unwrap();
        assert_eq!(config.env, ["A=b", "C=b", "PATH=/bin"]);
        assert_eq!((config.cmd, config.working_dir.as_str()), (vec!["sh".to_owned()], "/x/y"));
        assert!(config.exposed_ports.contains("80/tcp") && config.labels.contains_key("a"));
        assert_eq!(changed(&options(&[])).unwrap(), RunConfig::default());
    }

    #[test]
    fn changes_of_files_are_refused() {
        for change in ["RUN true", "COPY a b", "FROM x", "ENV A=b\nADD a b", "ARG x", "NONSENSE 1", "", "ENV"]
        {
            let error = changed(&options(&[change])).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage, "{change:?}: {error}");
        }
        assert!(changed(&options(&["EXPOSE nothing"])).is_err());
    }
}
