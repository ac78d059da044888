//! The build contexts of a plan, each read once, when a step first needs it.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fs_err as fs;
use galley_dockerfile::{Ignore, ignore::FolderState};
use galley_oci::{
    Kind, Tree,
    tree::{is_within, join, parent},
};
use galley_store::{ContextFilter, Decision, Store};

use crate::{
    Error, ErrorKind, Event, Events,
    plan::{ContextId, ContextSource, Operation, Plan, Source},
    steps::{
        copy::join_all,
        files::Files,
        filter::{self, Meant},
        mounts,
        select::{self, Selected},
    },
};

/// Less that is new in a context is read by itself: to read it twice costs nothing.
const NEW_BYTES_MIN: u64 = 8 << 20;

/// Contexts that were read, and those that were not yet.
#[derive(Debug)]
pub(crate) struct Contexts<'a> {
    sources: &'a [ContextSource],
    needed: Vec<Needed>,
    read: Vec<Mutex<Option<Arc<Context>>>>,
}

/// One context as steps see it.
#[derive(Debug)]
pub(crate) struct Context {
    /// What is not ignored.
    pub files: Files,
    root: PathBuf,
    ignore: Option<IgnoreFile>,
}

impl<'a> Contexts<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let needed = (0..plan.contexts.len()).map(|id| Needed::of(plan, ContextId(id))).collect();
        Self {
            sources: &plan.contexts,
            needed,
            read: plan.contexts.iter().map(|_| Mutex::new(None)).collect(),
        }
    }

    /// The context `id`; whoever asks while it is being read waits.
    pub(crate) fn get(&self, id: ContextId, store: &Store, events: &Events) -> Result<Arc<Context>, Error> {
        let unknown = || Error::new(ErrorKind::Internal, format!("the plan has no context {}", id.0));
        let source = self.sources.get(id.0).ok_or_else(unknown)?;
        let needed = self.needed.get(id.0).ok_or_else(unknown)?;
        let mut slot =
            self.read.get(id.0).ok_or_else(unknown)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = &*slot {
            return Ok(Arc::clone(context));
        }
        let context = Arc::new(Context::read(source, needed, store, events)?);
        *slot = Some(Arc::clone(&context));
        Ok(context)
    }

    /// Reads the context `id`, unless that was done: when it has much that is new, with `read`, which may find digests by
    /// their index in the tree that it is given. What it finds besides comes back.
    pub(crate) fn read_with<T>(
        &self,
        id: ContextId,
        store: &Store,
        events: &Events,
        read: impl FnOnce(&Context) -> Option<(T, HashMap<usize, [u8; 32]>)>,
    ) -> Option<T> {
        let (source, needed) = (self.sources.get(id.0)?, self.needed.get(id.0)?);
        let mut slot = self.read.get(id.0)?.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() || source.kept.is_some() {
            return None;
        }
        let (context, found) = Context::read_with(source, needed, store, events, read)?;
        *slot = Some(Arc::new(context));
        found
    }
}

/// The part of a context that steps can mean: nothing else is read.
#[derive(Debug, Default)]
struct Needed {
    parts: Vec<Part>,
    /// Directories that must be there, whatever is in them.
    places: Vec<Vec<u8>>,
}

/// What one source can mean.
#[derive(Debug, Default)]
struct Part {
    path: Vec<u8>,
    /// Whether a pattern follows, whose matches are followed when they are links.
    wild: bool,
    /// What is meant that many names deep and deeper.
    filter: Option<(usize, Arc<filter::Filter>)>,
}

impl Needed {
    fn of(plan: &Plan, id: ContextId) -> Self {
        let mut needed = Self::default();
        for step in &plan.steps {
            match &step.operation {
                Operation::Copy(copy) if copy.from == Source::Context(id) => {
                    // A pattern that cannot be read is an error as soon as the step is looked at.
                    filter::sources(copy).iter().flatten().for_each(|source| needed.add(source));
                }
                Operation::Run(run) => {
                    let sources = run.mounts.iter().filter_map(mounts::source);
                    let ours = sources.filter(|(source, _)| *source == Source::Context(id));
                    let paths = ours.map(|(_, path)| select::clean(path));
                    needed.parts.extend(paths.map(|path| Part { path, ..Part::default() }));
                }
                _ => {}
            }
        }
        needed
    }

    fn add(&mut self, source: &Meant) {
        let pattern = select::clean(&source.path);
        let depth = pattern.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).count();
        let filter = source.filter.clone().map(|filter| (depth, filter));
        let (mut path, wild) = select::split(&pattern);
        if let (None, Some(kept)) = (wild, &source.kept) {
            let fixed = join_all(&path, filter::fixed(kept));
            self.places.push(std::mem::replace(&mut path, fixed));
        }
        self.parts.push(Part { path, wild: wild.is_some(), filter });
    }

    fn everything() -> Self {
        Self { parts: vec![Part::default()], places: Vec::new() }
    }

    fn decide(&self, path: &[u8], is_directory: bool) -> Decision {
        if self.places.iter().any(|place| place == path) {
            return Decision::Keep;
        }
        let mut decision = Decision::Skip;
        for part in &self.parts {
            match part.decide(path, is_directory) {
                Decision::Keep => return Decision::Keep,
                Decision::SkipButLookInside => decision = Decision::SkipButLookInside,
                Decision::Skip => {}
            }
        }
        decision
    }

    /// Whether a source may be, or lead through, a link to something that was not read.
    fn may_lead_elsewhere(&self, tree: &Tree) -> bool {
        let links = tree.entries().iter().filter(|entry| matches!(entry.kind, Kind::Symlink { .. }));
        let followed = |path: &[u8]| {
            let mut parts = self.parts.iter();
            parts.any(|part| is_within(&part.path, path) || (part.wild && is_within(path, &part.path)))
        };
        !self.parts.iter().any(Part::is_everything)
            && links.map(|entry| &entry.path).any(|path| followed(path))
    }
}

impl Part {
    fn decide(&self, path: &[u8], is_directory: bool) -> Decision {
        if is_within(path, &self.path) {
            let Some((depth, filter)) = &self.filter else { return Decision::Keep };
            let below = path.splitn(depth + 1, |&byte| byte == b'/').nth(*depth);
            return filter.decide(below.unwrap_or_default(), is_directory);
        }
        match (is_within(&self.path, path), is_directory) {
            (true, true) => Decision::SkipButLookInside,
            // A link on the way, or a file in the way.
            (true, false) => Decision::Keep,
            (false, _) => Decision::Skip,
        }
    }

    fn is_everything(&self) -> bool {
        self.path.is_empty() && self.filter.is_none()
    }
}

impl Context {
    fn read(source: &ContextSource, needed: &Needed, store: &Store, events: &Events) -> Result<Self, Error> {
        let ignore = source.ignore.as_ref().map(|(name, text)| IgnoreFile::parse(name, text)).transpose()?;
        let none = Ignore::default();
        let ignored = ignore.as_ref().map_or(&none, |file| &file.rules);
        if let Some(files) = source.kept.as_ref().and_then(|kept| kept.files.clone()) {
            return Ok(Self::held(source, files, events));
        }
        let started = Instant::now();
        let walk = |needed: &Needed| {
            store.walk_context(&source.path, &Filter::new(ignored, needed)).map_err(|error| {
                let message = format!("cannot read the build context {}: {error}", source.name);
                let denied = crate::error::permission_denied(&error);
                let failed = Error::new(ErrorKind::Input.unless_disk(&error), message).because(error);
                if denied { failed.help("allow reading it, or name it in .dockerignore") } else { failed }
            })
        };
        let mut walked = walk(needed)?;
        if needed.may_lead_elsewhere(&walked.tree) {
            walked = walk(&Needed::everything())?;
        }
        ignore.as_ref().map_or(Ok(()), IgnoreFile::in_time)?;
        tell(source, &walked.tree, started.elapsed(), events);
        let files = Files::of_directory(&walked.root, Arc::new(walked.tree));
        Ok(Self { files, root: walked.root, ignore })
    }

    /// What cannot be done like this, errors too, is left to [`read`](Self::read), which has the words for it.
    fn read_with<T>(
        source: &ContextSource,
        needed: &Needed,
        store: &Store,
        events: &Events,
        read: impl FnOnce(&Self) -> Option<(T, HashMap<usize, [u8; 32]>)>,
    ) -> Option<(Self, Option<T>)> {
        let ignore = source.ignore.as_ref().map(|(name, text)| IgnoreFile::parse(name, text));
        let mut ignore = ignore.transpose().ok()?;
        let none = Ignore::default();
        let ignored = ignore.as_ref().map_or(&none, |file| &file.rules);
        let started = Instant::now();
        let mut survey = store.survey_context(&source.path, &Filter::new(ignored, needed)).ok()?;
        let (mut found, mut digests) = (None, HashMap::new());
        if survey.new_bytes() >= NEW_BYTES_MIN {
            let tree = survey.tree();
            if needed.may_lead_elsewhere(&tree) {
                return None;
            }
            let root = survey.root().to_owned();
            let unread = Self { files: Files::of_directory(&root, tree), root, ignore };
            (found, digests) =
                read(&unread).map_or_else(Default::default, |(found, read)| (Some(found), read));
            ignore = unread.ignore;
        }
        let walked = survey.read(store, &digests).ok()?;
        ignore.as_ref().map_or(Ok(()), IgnoreFile::in_time).ok()?;
        if needed.may_lead_elsewhere(&walked.tree) {
            return None;
        }
        tell(source, &walked.tree, started.elapsed(), events);
        let files = Files::of_directory(&walked.root, Arc::new(walked.tree));
        Some((Self { files, root: walked.root, ignore }, found))
    }

    /// A context that galley put there itself: it is known already, and nothing of it is ignored.
    fn held(source: &ContextSource, files: Files, events: &Events) -> Self {
        files.stack().layers().iter().for_each(|tree| tell(source, tree, Duration::ZERO, events));
        Self { files, root: source.path.clone(), ignore: None }
    }

    /// Where in the tree the file is that is at `path` on this machine.
    pub(crate) fn place(&self, path: &Path) -> Option<usize> {
        let path = path.strip_prefix(&self.root).ok()?;
        self.files.stack().get(path.as_os_str().as_bytes()).map(|found| found.index)
    }

    /// What a source of COPY means here.
    pub(crate) fn select(&self, source: &Meant) -> Result<Vec<Selected>, Error> {
        let required = source.required().unwrap_or_default();
        let path = [&source.path, &b"/"[..], required].concat();
        select::select(self.files.stack(), source).map_err(|error| self.explain(error, &path))
    }

    /// Where a path without wildcards leads; it must exist.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let selected = select::literal(self.files.stack(), path);
        Ok(selected.map_err(|error| self.explain(error, path))?.path)
    }

    /// Something may be missing only because it is ignored, or because the path tries to leave the context.
    fn explain(&self, mut error: Error, path: &[u8]) -> Error {
        if !select::is_missing(&error) {
            return error;
        }
        error.help.clear();
        error.message.push_str(" in the build context");
        let cleaned = select::clean(path);
        if path.split(|&byte| byte == b'/').any(|name| name == b"..") {
            error = error.help("nothing above the build context can be copied: .. stops at its top");
        }
        let shown = String::from_utf8_lossy(&cleaned);
        if let Some(file) = self.ignore.as_ref().filter(|file| file.rules.matches(&cleaned)) {
            let help = format!("add the exception !{shown} to {}, or copy something else", file.name);
            return error.label(file.reason(&cleaned)).help(help);
        }
        if let Some(help) = self.link_on(&cleaned) {
            return error.help(help);
        }
        match select::nearest_path(&cleaned, &|dir| self.names(dir)) {
            Some(near) => error.help(format!("did you mean {}?", String::from_utf8_lossy(&near))),
            None => error,
        }
    }

    /// What there is to say about the first symbolic link on the way to `path`.
    fn link_on(&self, path: &[u8]) -> Option<String> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        ends.chain([path.len()]).find_map(|end| {
            let part = path.get(..end)?;
            let target = fs::read_link(self.root.join(OsStr::from_bytes(part))).ok()?;
            let part = String::from_utf8_lossy(part);
            Some(format!(
                "{part} is a symbolic link to {}, which does not lead to a file of the build context",
                target.display()
            ))
        })
    }

    /// The names in a directory of the context that could be copied, read or not.
    fn names(&self, dir: &[u8]) -> Option<Vec<Vec<u8>>> {
        let path = self.root.join(OsStr::from_bytes(dir));
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|data| data.is_dir());
        let entries = fs::read_dir(path).ok().filter(|_| is_directory)?;
        let names = entries.flatten().map(|entry| entry.file_name().as_bytes().to_vec());
        let ignored =
            |name: &[u8]| self.ignore.as_ref().is_some_and(|file| file.rules.matches(&join(dir, name)));
        Some(names.filter(|name| !ignored(name)).collect())
    }
}

fn tell(source: &ContextSource, tree: &Tree, took: Duration, events: &Events) {
    let sizes = tree.entries().iter().filter_map(|entry| match entry.kind {
        Kind::File { size, .. } => Some(size),
        _ => None,
    });
    let (files, bytes) = sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size));
    events.emit(Event::Context { name: source.name.clone(), files, bytes, took });
}

/// The ignore file as the walk asks it.
struct Filter<'a> {
    ignore: &'a Ignore,
    needed: &'a Needed,
    /// The directories that the walk is in, and what is known of each.
    above: RefCell<Vec<(Vec<u8>, FolderState)>>,
}

impl<'a> Filter<'a> {
    fn new(ignore: &'a Ignore, needed: &'a Needed) -> Self {
        Self { ignore, needed, above: RefCell::new(vec![(Vec::new(), ignore.root())]) }
    }
}

impl ContextFilter for Filter<'_> {
    fn decide(&self, path: &[u8], is_directory: bool) -> Decision {
        let Some(dir) = parent(path) else { return Decision::Keep };
        let needed = self.needed.decide(path, is_directory);
        if needed == Decision::Skip || self.ignore.is_empty() {
            return needed;
        }
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
            (false, _) => needed,
            (true, true) if self.ignore.may_readmit_below(path) => Decision::SkipButLookInside,
            (true, _) => Decision::Skip,
        }
    }

    fn twin(&self) -> Box<dyn ContextFilter + Send + '_> {
        Box::new(Self::new(self.ignore, self.needed))
    }
}

/// An ignore file that was read.
#[derive(Debug)]
struct IgnoreFile {
    name: String,
    rules: Ignore,
}

impl IgnoreFile {
    fn parse(name: &str, text: &[u8]) -> Result<Self, Error> {
        let rules = Ignore::parse(text)
            .map_err(|error| Error::new(ErrorKind::Input, format!("{name}: {error}")).because(error))?;
        Ok(Self { name: name.to_owned(), rules })
    }

    /// Whether what it answered is true.
    fn in_time(&self) -> Result<(), Error> {
        self.rules.in_time().map_err(|error| {
            let failed = Error::new(ErrorKind::Input, format!("{}: {error}", self.name)).because(error);
            failed.help("write fewer patterns that differ in `[…]`, `?` and `*` alone")
        })
    }

    /// Which rule it is that excludes `path`.
    fn reason(&self, path: &[u8]) -> String {
        let rule = self.rules.verdict(path).rule.and_then(|index| self.rules.rules().nth(index));
        match rule {
            Some(rule) => format!("excluded by {}, line {}", self.name, rule.line),
            None => format!("excluded by {}", self.name),
        }
    }
}
