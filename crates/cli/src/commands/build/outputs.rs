//! What a build leaves behind: the image in the store, archives and folders, and the small files with its digests.

use std::{
    io::{self, Write},
    path::Path,
    sync::Mutex,
    time::Instant,
};

use fs_err as fs;
use galley_engine::{
    Error, ErrorKind, Event, Events,
    blobs::Packing,
    export::{Annotation, Carrier, Destination, Exported, Made, Output, OutputKind, PackOptions, Packed},
    image, images,
};
use galley_oci::{Digest, Platform, Reference};
use galley_registry::Engine;
use serde_json::{Value, json};

use super::{BuildArgs, engine};
use crate::{
    args::output::{OutputSpec, OutputTarget, PackingSpec},
    failure::Stream,
    registry::{self, Registries},
};

/// All outputs, understood.
#[derive(Debug)]
pub(super) struct Outputs {
    /// The image goes into the store under its names.
    pub(super) store: bool,
    pub(super) names: Vec<Reference>,
    /// A Docker engine gets it too.
    load: bool,
    pub(super) written: Vec<(Output, PackingSpec)>,
    pub(super) pushed: Vec<Pushed>,
    /// Any of them asked for `rewrite-timestamp=true`.
    pub(super) rewrite_times: bool,
    /// Only the cache was asked for: no image is put together.
    pub(super) nothing: bool,
}

/// A push to every name.
#[derive(Debug)]
pub(super) struct Pushed {
    by_digest: bool,
    packing: PackingSpec,
}

impl Outputs {
    /// Without any, the store is the output.
    pub(super) fn new(arguments: &BuildArgs) -> Result<Self, Error> {
        let mut names: Vec<String> = arguments.tag.clone();
        let mut specs: Vec<OutputSpec> = arguments.output.iter().flatten().cloned().collect();
        let pushes = |spec: &OutputSpec| matches!(spec.target, OutputTarget::Registry { .. });
        if arguments.push && !specs.iter().any(pushes) {
            specs.push(OutputSpec::push());
        }
        let mut outputs = Self {
            store: specs.is_empty() || arguments.load,
            names: Vec::new(),
            load: arguments.load,
            written: Vec::new(),
            pushed: Vec::new(),
            rewrite_times: false,
            nothing: !specs.is_empty() && !arguments.load,
        };
        for mut spec in specs {
            spec.packing.annotations.extend(arguments.annotation.iter().flatten().flatten().cloned());
            outputs.add(spec, &mut names)?;
        }
        outputs.names = names.iter().map(|name| images::parse_tag(name)).collect::<Result<_, _>>()?;
        let mut seen = std::collections::HashSet::new();
        outputs.names.retain(|name| seen.insert(name.canonical()));
        outputs.check(arguments)?;
        Ok(outputs)
    }

    fn add(&mut self, spec: OutputSpec, all: &mut Vec<String>) -> Result<(), Error> {
        let OutputSpec { target, names, rewrite_times, packing } = spec;
        match target {
            OutputTarget::Nothing => return Ok(()),
            OutputTarget::Store | OutputTarget::Load if packing != PackingSpec::default() => {
                let message = "compression, media types and annotations belong to a manifest, and the local store has none";
                return Err(Error::new(ErrorKind::Usage, message)
                    .help("add --push, or write an archive: -o type=oci,dest=FILE"));
            }
            OutputTarget::Store => self.store = true,
            OutputTarget::Load => (self.store, self.load) = (true, true),
            OutputTarget::Registry { by_digest, store } => {
                self.store |= store;
                self.pushed.push(Pushed { by_digest, packing });
            }
            OutputTarget::Write { kind, destination, folder, split } => {
                let destination = match destination {
                    Some(path) if folder => Destination::Folder(path),
                    Some(path) => Destination::File(path),
                    None => Destination::Stream(Mutex::new(Box::new(Stream::new()))),
                };
                self.written.push((Output { kind, destination, split }, packing));
            }
        }
        self.rewrite_times |= rewrite_times;
        self.nothing = false;
        all.extend(names);
        Ok(())
    }

    fn check(&self, arguments: &BuildArgs) -> Result<(), Error> {
        let usage = |message: &str| Error::new(ErrorKind::Usage, message);
        let streams = self.written.iter().filter(|(output, _)| is_stream(output));
        if streams.count() > usize::from(!arguments.quiet) {
            return Err(usage("only one thing can go to standard output")
                .help("give the others a file with dest=FILE; --quiet prints the image's id there"));
        }
        if !self.pushed.is_empty() && self.names.is_empty() {
            return Err(usage("a push needs to know where to").help("name the image: -t REGISTRY/NAME:TAG"));
        }
        if arguments.annotation.iter().any(Option::is_some) && self.pushed.is_empty() && !self.need_packing()
        {
            return Err(usage("annotations belong to a manifest, and this build writes none")
                .help("add --push, or write an archive: -o type=oci,dest=FILE"));
        }
        Ok(())
    }

    /// What an index cannot be written as, and what only an index can have.
    pub(super) fn check_index(&self, is_index: bool) -> Result<(), Error> {
        let usage = |message: &str| Error::new(ErrorKind::Usage, message);
        let of_index = |one: &Annotation| matches!(one.carrier, Carrier::Index | Carrier::IndexDescriptor);
        if !is_index && self.packings().any(|spec| spec.annotations.iter().any(of_index)) {
            return Err(usage("index annotations need an index, and an image for one platform has none")
                .help("give several platforms with --platform, or --build-arg BUILDKIT_MULTI_PLATFORM=1"));
        }
        if is_index && self.written.iter().any(|(output, _)| output.kind == OutputKind::Docker) {
            return Err(usage(
                "a docker archive holds an image for one platform, and this build makes an index",
            )
            .help("use -o type=oci, which docker load reads too, or build for one platform at a time"));
        }
        Ok(())
    }

    /// Nothing leaves the store.
    pub(super) fn stay_in_store(&self) -> bool {
        self.written.is_empty() && self.pushed.is_empty() && !self.load
    }

    /// The Docker engine that gets the image, if one runs here.
    fn engine(&self, registries: &Registries) -> Result<Option<Engine>, Error> {
        if self.load { registries.docker_engine() } else { Ok(None) }
    }

    /// Some output wants compressed layers.
    pub(super) fn need_packing(&self) -> bool {
        self.packings().next().is_some()
    }

    /// How the first of those that want compressed layers wants them.
    pub(super) fn packing(&self) -> Option<Packing> {
        self.packings().next().map(|spec| spec.packing)
    }

    fn packings(&self) -> impl Iterator<Item = &PackingSpec> {
        let written = self.written.iter().filter(|(output, _)| output.needs_image());
        written.map(|(_, packing)| packing).chain(self.pushed.iter().map(|push| &push.packing))
    }

    /// Something goes to standard output.
    pub(super) fn to_stream(&self) -> bool {
        self.written.iter().any(|(output, _)| is_stream(output))
    }

    /// Binary output on a terminal helps nobody.
    pub(super) fn refuse_terminal(&self) -> Result<(), Error> {
        if self.to_stream() && io::IsTerminal::is_terminal(&io::stdout()) {
            return Err(Error::new(ErrorKind::Usage, "an archive is not written to a terminal")
                .help("redirect it, or give a file with dest=FILE"));
        }
        Ok(())
    }
}

fn is_stream(output: &Output) -> bool {
    matches!(output.destination, Destination::Stream(_))
}

/// Writes and pushes everything; the first packed image, when there is one.
///
/// What goes to standard output comes last, after `caches` too: a reader that hangs up must not keep the rest from being
/// done, and of a build that starts over because a cache has lost something nothing may have been written there.
pub(super) fn write(
    outputs: &Outputs,
    exported: &Exported<'_>,
    registries: &Registries,
    caches: impl FnOnce() -> Result<(), Error>,
) -> Result<Option<Packed>, Error> {
    let events = exported.fetcher.events;
    let mut packer = Packer { exported, events, made: Vec::new() };
    let (streams, files): (Vec<_>, Vec<_>) =
        outputs.written.iter().partition(|(output, _)| is_stream(output));
    packer.write(&files)?;
    for push in &outputs.pushed {
        let packed = packer.pack(&push.packing, false)?;
        for name in &outputs.names {
            let tag = name.tag.clone().filter(|_| !push.by_digest);
            let name = Reference { tag, ..name.clone() };
            registry::push(registries, &exported.fetcher, packed, &name)?;
        }
    }
    if let Some(engine) = &outputs.engine(registries)? {
        let packed = packer.pack(&PackingSpec::default(), true)?;
        engine::load(engine, registries, exported, packed, events)?;
    }
    caches()?;
    packer.write(&streams)?;
    Ok(packer.made.into_iter().next().map(|(_, packed)| packed))
}

/// The image packed in each way that is asked for, once.
struct Packer<'a> {
    exported: &'a Exported<'a>,
    events: &'a Events,
    made: Vec<(PackOptions, Packed)>,
}

impl Packer<'_> {
    fn write(&mut self, written: &[&(Output, PackingSpec)]) -> Result<(), Error> {
        let (exported, events) = (self.exported, self.events);
        for (output, spec) in written {
            let packed = if output.needs_image() { Some(self.pack(spec, true)?) } else { None };
            let what = format!("exporting {}", output.describe());
            timed(events, what, || exported.write(output, packed))?;
        }
        Ok(())
    }

    /// With `bring`, every blob is in the store.
    fn pack(&mut self, spec: &PackingSpec, bring: bool) -> Result<&Packed, Error> {
        let exported = self.exported;
        let options = PackOptions {
            packing: spec.packing,
            force: spec.force,
            docker_types: spec.docker_types,
            keep_plain: false,
            annotations: spec.annotations.clone(),
        };
        let index = match self.made.iter().position(|(known, _)| *known == options) {
            Some(index) => index,
            None => {
                let packed = timed(self.events, "exporting layers".to_owned(), || exported.pack(&options))?;
                self.made.push((options, packed));
                self.made.len() - 1
            }
        };
        let packed = &mut self.made[index].1;
        if bring {
            packed.bring(&exported.fetcher)?;
        }
        Ok(packed)
    }
}

/// Puts the images into the store and names them.
pub(super) fn keep(outputs: &Outputs, exported: &Exported<'_>) -> Result<(), Error> {
    let names: Vec<String> = outputs.names.iter().map(Reference::familiar).collect();
    let made = exported.made.iter().filter_map(|one| Some((one.image.as_ref()?, &one.platform)));
    let made: Vec<_> = made.collect();
    let ids: Vec<String> = made.iter().map(|(image, _)| image.id.short()).collect();
    let images = match ids.as_slice() {
        [id] => format!("image {id}"),
        ids => format!("images {}", ids.join(", ")),
    };
    let what = match names.as_slice() {
        [] => format!("exporting to {images}"),
        names => format!("exporting to {images} named {}", names.join(", ")),
    };
    timed(exported.fetcher.events, what, || image::keep(&exported.fetcher, &made, &outputs.names))
}

/// By what docker calls the result: the digest of the index that was written, else the id of the image for this machine.
pub(super) fn id(made: &[Made], packed: Option<&Packed>) -> Option<Digest> {
    if let Some(index) = packed.and_then(|packed| packed.index.as_ref()) {
        return Some(index.descriptor.digest);
    }
    let here = Platform::of_this_machine();
    let nearest = made.iter().min_by_key(|one| here.rank(&one.platform).unwrap_or(usize::MAX));
    nearest.and_then(|one| Some(one.image.as_ref()?.id))
}

pub(super) fn timed<T>(
    events: &Events,
    what: String,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let started = Instant::now();
    events.emit(Event::Exporting { what: what.clone() });
    let done = work()?;
    events.emit(Event::Exported { what, took: started.elapsed() });
    Ok(done)
}

/// `--iidfile`, `--metadata-file`.
pub(super) fn write_small_files(
    arguments: &BuildArgs,
    outputs: &Outputs,
    id: &Digest,
    packed: Option<&Packed>,
) -> Result<(), Error> {
    if let Some(path) = &arguments.iidfile {
        write_file(path, &id.to_string())?;
    }
    let Some(path) = &arguments.metadata_file else { return Ok(()) };
    let mut fields = serde_json::Map::new();
    let mut insert = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    if packed.is_none_or(|packed| packed.index.is_none()) {
        insert("containerimage.config.digest", json!(id.to_string()));
    }
    if let Some(packed) = packed {
        insert("containerimage.digest", json!(packed.descriptor().digest.to_string()));
        insert("containerimage.descriptor", json!(packed.descriptor()));
    } else if !outputs.names.is_empty() {
        // As docker's own builder: the digest by which the image is found where it is kept, and that is its id.
        insert("containerimage.digest", json!(id.to_string()));
    }
    if !outputs.names.is_empty() {
        let names: Vec<String> = outputs.names.iter().map(Reference::canonical).collect();
        insert("image.name", json!(names.join(",")));
    }
    write_file(path, &format!("{:#}\n", Value::Object(fields)))
}

fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("cannot write {}", path.display())).because(error)
    })
}

/// `--quiet`: the id alone.
pub(super) fn print_id(id: &Digest) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{id}")
}
