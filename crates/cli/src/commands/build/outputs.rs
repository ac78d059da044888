//! What a build leaves behind: the image in the store, archives and folders, and the small files with its digests.

use std::{
    io::{self, Write},
    path::Path,
    sync::Mutex,
    time::Instant,
};

use fs_err as fs;
use galley_engine::{
    Error, ErrorKind, Event, Events, Fetcher,
    export::{Destination, Exported, Output, PackOptions, PackedImage},
    image::{self, Assembled},
    images,
};
use galley_oci::Reference;
use serde_json::json;

use super::BuildArgs;
use crate::args::output::OutputSpec;

/// All outputs, understood.
#[derive(Debug)]
pub(super) struct Outputs {
    /// The image goes into the store under its names.
    pub(super) store: bool,
    pub(super) names: Vec<Reference>,
    pub(super) written: Vec<Output>,
    /// Any of them asked for `rewrite-timestamp=true`.
    pub(super) rewrite_times: bool,
    /// Only the cache was asked for: no image is put together.
    pub(super) nothing: bool,
}

impl Outputs {
    /// Without any, the store is the output.
    pub(super) fn new(arguments: &BuildArgs) -> Result<Self, Error> {
        let mut names: Vec<String> = arguments.tag.clone();
        let mut outputs = Self {
            store: arguments.output.is_empty() || arguments.load,
            names: Vec::new(),
            written: Vec::new(),
            rewrite_times: false,
            nothing: !arguments.output.is_empty() && !arguments.load,
        };
        for spec in &arguments.output {
            outputs.add(spec, &mut names);
        }
        outputs.names = names.iter().map(|name| images::parse_tag(name)).collect::<Result<_, _>>()?;
        let mut seen = std::collections::HashSet::new();
        outputs.names.retain(|name| seen.insert(name.canonical()));
        let streams =
            outputs.written.iter().filter(|output| matches!(output.destination, Destination::Stream(_)));
        if streams.count() > usize::from(!arguments.quiet) {
            return Err(Error::new(ErrorKind::Usage, "only one thing can go to standard output")
                .help("give the others a file with dest=FILE; --quiet prints the image's id there"));
        }
        Ok(outputs)
    }

    fn add(&mut self, spec: &OutputSpec, all: &mut Vec<String>) {
        match spec {
            OutputSpec::Nothing => return,
            OutputSpec::Store { names } => {
                self.store = true;
                all.extend(names.iter().cloned());
            }
            OutputSpec::Write { kind, destination, folder, names, rewrite_times } => {
                let destination = match destination {
                    Some(path) if *folder => Destination::Folder(path.clone()),
                    Some(path) => Destination::File(path.clone()),
                    None => Destination::Stream(Mutex::new(Box::new(io::stdout()))),
                };
                self.written.push(Output { kind: *kind, destination });
                self.rewrite_times |= rewrite_times;
                all.extend(names.iter().cloned());
            }
        }
        self.nothing = false;
    }

    /// Some output wants compressed layers.
    pub(super) fn need_packing(&self) -> bool {
        self.written.iter().any(Output::needs_image)
    }

    /// Something goes to standard output.
    pub(super) fn to_stream(&self) -> bool {
        self.written.iter().any(|output| matches!(output.destination, Destination::Stream(_)))
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

/// Writes everything; the packed image, when there is one.
pub(super) fn write(
    outputs: &Outputs,
    exported: &Exported<'_>,
    events: &Events,
) -> Result<Option<PackedImage>, Error> {
    let packed = if outputs.need_packing() {
        Some(timed(events, "exporting layers".to_owned(), || {
            let mut packed = exported.pack(&PackOptions::default())?;
            packed.bring(&exported.fetcher)?;
            Ok(packed)
        })?)
    } else {
        None
    };
    for output in &outputs.written {
        let what = format!("exporting {}", output.describe());
        timed(events, what, || exported.write(output, packed.as_ref()))?;
    }
    Ok(packed)
}

/// Puts the image into the store and names it.
pub(super) fn keep(
    outputs: &Outputs,
    fetcher: &Fetcher<'_>,
    made: &Assembled,
    events: &Events,
) -> Result<(), Error> {
    let names: Vec<String> = outputs.names.iter().map(Reference::familiar).collect();
    let what = match names.as_slice() {
        [] => format!("exporting to image {}", made.id.short()),
        names => format!("exporting to image {} named {}", made.id.short(), names.join(", ")),
    };
    timed(events, what, || image::keep(fetcher, made, &outputs.names))
}

fn timed<T>(events: &Events, what: String, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
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
    image: &Assembled,
    packed: Option<&PackedImage>,
) -> Result<(), Error> {
    if let Some(path) = &arguments.iidfile {
        write_file(path, &image.id.to_string())?;
    }
    let Some(path) = &arguments.metadata_file else { return Ok(()) };
    let mut metadata = json!({ "containerimage.config.digest": image.id.to_string() });
    if let Some(fields) = metadata.as_object_mut() {
        if let Some(packed) = packed {
            fields.insert("containerimage.digest".to_owned(), json!(packed.descriptor.digest.to_string()));
            fields.insert("containerimage.descriptor".to_owned(), json!(packed.descriptor));
        }
        if !outputs.names.is_empty() {
            let names: Vec<String> = outputs.names.iter().map(Reference::canonical).collect();
            fields.insert("image.name".to_owned(), json!(names.join(",")));
        }
    }
    write_file(path, &format!("{metadata:#}\n"))
}

fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("cannot write {}", path.display())).because(error)
    })
}

/// `--quiet`: the id alone.
pub(super) fn print_id(image: &Assembled) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", image.id)
}
