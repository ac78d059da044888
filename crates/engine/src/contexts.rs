//! The build contexts of a plan, each read once, when a step first needs it.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, PoisonError},
};

use galley_dockerfile::{Ignore, ignore::FolderState};
use galley_oci::tree::parent;
use galley_store::{ContextFilter, Decision, Store};

use crate::{
    Error, ErrorKind, Event, Events,
    plan::{ContextId, ContextSource},
    steps::{
        files::Files,
        select::{self, Selected},
    },
};

/// Contexts that were read, and those that were not yet.
#[derive(Debug)]
pub(crate) struct Contexts<'a> {
    sources: &'a [ContextSource],
    read: Vec<Mutex<Option<Arc<Context>>>>,
}

/// One context as steps see it.
#[derive(Debug)]
pub(crate) struct Context {
    /// What is not ignored.
    pub files: Files,
    ignore: Option<(String, Ignore)>,
}

impl<'a> Contexts<'a> {
    pub(crate) fn new(sources: &'a [ContextSource]) -> Self {
        Self { sources, read: sources.iter().map(|_| Mutex::new(None)).collect() }
    }

    /// The context `id`; whoever asks while it is being read waits.
    pub(crate) fn get(&self, id: ContextId, store: &Store, events: &Events) -> Result<Arc<Context>, Error> {
        let unknown = || Error::new(ErrorKind::Internal, format!("the plan has no context {}", id.0));
        let source = self.sources.get(id.0).ok_or_else(unknown)?;
        let mut slot =
            self.read.get(id.0).ok_or_else(unknown)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = &*slot {
            return Ok(Arc::clone(context));
        }
        let context = Arc::new(Context::read(source, store, events)?);
        *slot = Some(Arc::clone(&context));
        Ok(context)
    }
}

impl Context {
    fn read(source: &ContextSource, store: &Store, events: &Events) -> Result<Self, Error> {
        let ignore = match &source.ignore {
            Some((name, text)) => Some((name.clone(), parse(name, text)?)),
            None => None,
        };
        let none = Ignore::default();
        let filter = Filter::new(ignore.as_ref().map_or(&none, |(_, ignore)| ignore));
        let walked = store.walk_context(&source.path, &filter).map_err(|error| {
            let message = format!("cannot read the build context {}: {error}", source.name);
            Error::new(ErrorKind::Input, message).because(error)
        })?;
        let tree = Arc::new(walked.tree);
        let sizes = tree.entries().iter().filter_map(|entry| match entry.kind {
            galley_oci::Kind::File { size, .. } => Some(size),
            _ => None,
        });
        let (files, bytes) = sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size));
        events.emit(Event::Context { name: source.name.clone(), files, bytes });
        Ok(Self { files: Files::of_directory(&walked.root, tree), ignore })
    }

    /// What a source of COPY means here.
    pub(crate) fn select(&self, pattern: &[u8]) -> Result<Vec<Selected>, Error> {
        select::select(self.files.stack(), pattern).map_err(|error| self.explain(error, pattern))
    }

    /// Where a path without wildcards leads; it must exist.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let selected = select::literal(self.files.stack(), path);
        Ok(selected.map_err(|error| self.explain(error, path))?.path)
    }

    /// Something may be missing only because it is ignored, or because the path tries to leave the context.
    fn explain(&self, error: Error, path: &[u8]) -> Error {
        if error.kind != ErrorKind::NotFound {
            return error;
        }
        let cleaned = select::clean(path);
        let error = match &self.ignore {
            Some((name, ignore)) if ignore.matches(&cleaned) => {
                let mut error = error.label(format!("excluded by {name}"));
                error.help.clear();
                error.help(format!("{name} excludes it from the build context: add an exception, !{}", {
                    String::from_utf8_lossy(&cleaned)
                }))
            }
            _ => error,
        };
        if path.split(|&byte| byte == b'/').any(|name| name == b"..") {
            return error.help("nothing above the build context can be copied: .. stops at its top");
        }
        error
    }
}

/// The ignore file as the walk asks it.
struct Filter<'a> {
    ignore: &'a Ignore,
    /// The directories that the walk is in, and what is known of each.
    above: RefCell<Vec<(Vec<u8>, FolderState)>>,
}

impl<'a> Filter<'a> {
    fn new(ignore: &'a Ignore) -> Self {
        Self { ignore, above: RefCell::new(vec![(Vec::new(), ignore.root())]) }
    }
}

impl ContextFilter for Filter<'_> {
    fn decide(&self, path: &[u8], is_directory: bool) -> Decision {
        let Some(dir) = parent(path) else { return Decision::Keep };
        let mut above = self.above.borrow_mut();
        while above.len() > 1 && above.last().is_some_and(|(last, _)| last != dir) {
            above.pop();
        }
        let ignored = match above.last() {
            Some((last, state)) if last == dir => {
                let (ignored, state) = self.ignore.check(state, path);
                if is_directory {
                    above.push((path.to_vec(), state));
                }
                ignored
            }
            _ => self.ignore.matches(path),
        };
        match (ignored, is_directory) {
            (false, _) => Decision::Keep,
            (true, true) if self.ignore.may_readmit_below(path) => Decision::SkipButLookInside,
            (true, _) => Decision::Skip,
        }
    }
}

fn parse(name: &str, text: &[u8]) -> Result<Ignore, Error> {
    Ignore::parse(text)
        .map_err(|error| Error::new(ErrorKind::Input, format!("{name}: {error}")).because(error))
}
