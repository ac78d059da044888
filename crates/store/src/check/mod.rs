//! `system check`: everything that can be recomputed is, on all cores; what is found wrong can be removed, so that it is made
//! again. docs/internals/collection.md says what counts as damage.
//!
//! | | |
//! |---|---|
//! | [`documents`] | names, images, records, blobs and all the small files |
//! | [`layers`] | trees against digests, files against trees |
//! | [`repair`] | removes what is damaged and what leads to it |

mod documents;
mod layers;
mod repair;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use galley_oci::{Digest, digest::Algorithm};

pub use self::repair::Repaired;
use crate::{Store, StoreError, collect::inventory::digest, images::names_in};

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// A layer's folder.
    Layer,
    /// Raw bytes under their SHA-256.
    Blob,
    /// An image.
    Image,
    /// The name of an image.
    Tag,
    /// A finished step.
    Record,
    /// A layer that was written as an archive.
    Export,
    /// What a registry's name meant.
    Remote,
    /// What another address meant.
    Seen,
    /// A draft of a manifest list.
    List,
    /// The index of a build context.
    Context,
    /// What a step printed.
    Log,
    /// A cache mount.
    Mount,
    /// A container.
    Container,
    /// When a boot's last barrier was.
    Barrier,
    /// A file under `tmp/` or `locks/`.
    Temporary,
}

impl Thing {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Blob => "blob",
            Self::Image => "image",
            Self::Tag => "tag",
            Self::Record => "record",
            Self::Export => "export",
            Self::Remote => "remote",
            Self::Seen => "seen",
            Self::List => "list",
            Self::Context => "context",
            Self::Log => "log",
            Self::Mount => "mount",
            Self::Container => "container",
            Self::Barrier => "barrier",
            Self::Temporary => "temporary file",
        }
    }

    /// The folder, what names in it end with, and what they are digests by.
    const fn place(self) -> (&'static str, &'static str, Algorithm) {
        match self {
            Self::Layer => ("layers", "", Algorithm::Blake3),
            Self::Blob => ("blobs/sha256", "", Algorithm::Sha256),
            Self::Image => ("images", "", Algorithm::Sha256),
            Self::Tag => ("refs", "", Algorithm::Blake3),
            Self::Record => ("records", "", Algorithm::Blake3),
            Self::Export => ("exports", "", Algorithm::Blake3),
            Self::Remote => ("remotes", "", Algorithm::Blake3),
            Self::Seen => ("seen", "", Algorithm::Blake3),
            Self::List => ("lists", "", Algorithm::Blake3),
            Self::Context => ("contexts", "", Algorithm::Blake3),
            Self::Log => ("history", ".log", Algorithm::Blake3),
            Self::Mount => ("mounts", "", Algorithm::Blake3),
            Self::Container => ("containers", "", Algorithm::Sha256),
            Self::Barrier => ("barriers", "", Algorithm::Sha256),
            Self::Temporary => ("tmp", "", Algorithm::Sha256),
        }
    }
}

/// What is looked at one by one, the long work first.
const THINGS: [Thing; 13] = [
    Thing::Layer,
    Thing::Blob,
    Thing::Image,
    Thing::Tag,
    Thing::Record,
    Thing::Export,
    Thing::Remote,
    Thing::Seen,
    Thing::List,
    Thing::Context,
    Thing::Log,
    Thing::Mount,
    Thing::Container,
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is not what it says that it is, or leads nowhere.
    Damaged,
    /// Nothing is lost: it was left by a process or a power cut, and is ignored.
    Leftover,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub thing: Thing,
    /// The file, relative to the store.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// How bad it is.
    pub severity: Severity,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// How many of each there are.
    pub counts: Counts,
    /// How many bytes were read and hashed.
    pub bytes: u64,
    /// What is wrong, by path.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Leftover)
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Things that were looked at.
    pub done: usize,
    /// All of them.
    pub all: usize,
    /// Bytes that were hashed.
    pub bytes: u64,
}

/// How many of each there are.
pub type Counts = Vec<(Thing, usize)>;

/// One thing to look at.
#[derive(Clone, Debug)]
struct Job {
    thing: Thing,
    name: String,
}

/// What the threads of a check share.
struct Check<'a> {
    store: &'a Store,
    bytes: AtomicU64,
    findings: Mutex<Vec<Finding>>,
}

impl Store {
    /// Recomputes everything. The caller has the collector's turn, so that nothing goes meanwhile; builds go on.
    pub fn check(&self, progress: &(dyn Fn(Progress) + Sync)) -> Result<Checked, StoreError> {
        let (jobs, counts) = self.jobs()?;
        let check = Check { store: self, bytes: AtomicU64::new(0), findings: Mutex::default() };
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failure = Mutex::new(None);
        let work = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                if let Err(error) = check.look(job) {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    next.store(jobs.len(), Ordering::SeqCst);
                    return;
                }
                let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                progress(Progress { done, all: jobs.len(), bytes: check.bytes.load(Ordering::SeqCst) });
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        check.temporary()?;
        check.barriers()?;
        check.names_of_containers()?;
        let mut findings = check.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        findings.sort_by(|one, other| one.path.cmp(&other.path).then(one.problem.cmp(&other.problem)));
        Ok(Checked { counts, bytes: check.bytes.into_inner(), findings })
    }

    fn jobs(&self) -> Result<(Vec<Job>, Counts), StoreError> {
        let (mut jobs, mut counts) = (Vec::new(), Vec::new());
        for thing in THINGS {
            let folder = self.root().join(thing.place().0);
            // Stores did not always have all of them.
            let names = if rustix::fs::lstat(&folder).is_ok() { names_in(&folder)? } else { Vec::new() };
            let names = names.into_iter().filter(|name| thing != Thing::Container || name != "names");
            let before = jobs.len();
            jobs.extend(names.map(|name| Job { thing, name }));
            counts.push((thing, jobs.len() - before));
        }
        Ok((jobs, counts))
    }
}

impl Check<'_> {
    fn look(&self, job: &Job) -> Result<(), StoreError> {
        let (folder, suffix, algorithm) = job.thing.place();
        let path = Path::new(folder).join(&job.name);
        let plain = job.name.strip_suffix(suffix).unwrap_or_default();
        let id = match job.thing {
            // A container's id is no digest of anything.
            Thing::Container => digest(Algorithm::Sha256, plain),
            _ => digest(algorithm, plain),
        };
        let Some(id) = id else {
            return self.found(job.thing, &path, Severity::Leftover, "no file of the store has such a name");
        };
        match job.thing {
            Thing::Layer => self.layer(&id, &path),
            _ => self.document(job.thing, &id, &path),
        }
    }

    fn found(
        &self,
        thing: Thing,
        path: &Path,
        severity: Severity,
        problem: impl Into<String>,
    ) -> Result<(), StoreError> {
        let finding = Finding { thing, path: path.to_owned(), problem: problem.into(), severity };
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
        Ok(())
    }

    fn damaged(&self, thing: Thing, path: &Path, problem: impl Into<String>) -> Result<(), StoreError> {
        self.found(thing, path, Severity::Damaged, problem)
    }

    fn hashed(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Whether there is a folder for the layer.
    fn has_layer(&self, id: &Digest) -> bool {
        rustix::fs::lstat(self.store.layer_path(id)).is_ok()
    }
}
