//! Directories that a walk will come to, listed and examined before it does: a second thread asks the kernel while the
//! first makes entries of the answers, and both ask when nothing else is to do.
//!
//! What goes wrong here is not reported: the walk finds the directory missing among the answers, asks itself, and meets
//! the same error where it can say more about it.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    num::NonZeroUsize,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, Scope},
};

use galley_oci::tree::MAX_PATH_BYTES;
use rustix::fs::{FileType, Mode, Statx};

use super::{
    listing::{self, Listing},
    walk::{DIRECTORY, Visit, examine},
};

/// Answers that nobody has taken yet; each holds a directory open.
const ANSWERS_MAX: usize = 32;
/// Subdirectories of one directory that are looked at ahead.
const SIBLINGS_MAX: usize = 4096;
/// Files of one directory that are examined ahead.
const FILES_MAX: usize = 4096;

/// Says what is part of a walk. Cheapest when it is asked from the top down, about one directory after the other.
pub(crate) trait Judge {
    /// What to do with `path`.
    fn consider(&self, path: &[u8], is_directory: bool) -> Visit;

    /// Another one that says the same, for another thread.
    fn twin(&self) -> Box<dyn Judge + Send + '_>;
}

/// Leads a judge to a directory.
fn enter(judge: &dyn Judge, path: &[u8]) {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends.chain([path.len()]) {
        judge.consider(&path[..end], true);
    }
}

/// A directory as it was found.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) stat: Statx,
    pub(super) handle: OwnedFd,
    pub(super) names: Listing,
    /// By the number of the name; nothing where nobody asked yet, or where the answer was an error.
    pub(super) files: Vec<Option<Statx>>,
}

/// A directory to look at.
#[derive(Debug)]
struct Job {
    number: u64,
    parent: Arc<OwnedFd>,
    name: CString,
    path: Vec<u8>,
}

impl Job {
    fn answer(self, judge: &dyn Judge) -> Option<Directory> {
        let stat = examine(&self.parent, &self.name).ok()?;
        let handle = rustix::fs::openat(&*self.parent, &*self.name, DIRECTORY, Mode::empty()).ok()?;
        let names = listing::sorted(handle.as_fd()).ok()?;
        let mut path = self.path;
        enter(judge, &path);
        path.push(b'/');
        let above = path.len();
        let mut file = |name: &CStr, kind: FileType| {
            path.truncate(above);
            path.extend_from_slice(name.to_bytes());
            let known = !matches!(kind, FileType::Directory | FileType::Unknown);
            let wanted = known && path.len() <= MAX_PATH_BYTES && judge.consider(&path, false) != Visit::Skip;
            if wanted { examine(&handle, name).ok() } else { None }
        };
        let files = names.iter().take(FILES_MAX).map(|(name, kind)| file(name, kind)).collect();
        Some(Directory { stat, handle, names, files })
    }
}

/// What both threads know.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What comes next stands last.
    waiting: Vec<Job>,
    asked: HashSet<u64>,
    answers: HashMap<u64, Option<Directory>>,
    over: bool,
}

impl State {
    fn begin(&mut self) -> Option<Job> {
        if self.asked.len() + self.answers.len() >= ANSWERS_MAX {
            return None;
        }
        let job = self.waiting.pop()?;
        self.asked.insert(job.number);
        Some(job)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, job: Job, judge: &dyn Judge) {
        let mut answer = Answer { shared: self, number: job.number, found: None };
        answer.found = job.answer(judge);
    }

    fn work(&self, judge: &dyn Judge) {
        let mut state = self.lock();
        while !state.over {
            if let Some(job) = state.begin() {
                drop(state);
                self.answer(job, judge);
                state = self.lock();
            } else {
                state = self.wait(state);
            }
        }
    }
}

/// What comes of a job, for both threads to know when it goes: also of one that panicked, else the other would wait for it
/// for ever.
struct Answer<'a> {
    shared: &'a Shared,
    number: u64,
    found: Option<Directory>,
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.asked.remove(&self.number);
        state.answers.insert(self.number, self.found.take());
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// The side of the walk.
pub(super) struct Ahead<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    shared: &'env Shared,
    judge: &'env dyn Judge,
    /// For what this thread asks, but not about the path that the walk is at.
    twin: Box<dyn Judge + Send + 'env>,
    /// None as long as nothing had to be looked at.
    helped: Option<bool>,
    next: u64,
}

impl<'scope, 'env> Ahead<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        shared: &'env Shared,
        judge: &'env dyn Judge,
    ) -> Self {
        Self { scope, shared, judge, twin: judge.twin(), helped: None, next: 1 }
    }

    /// Has the subdirectories of `parent` looked at that come from number `next` on. The one that `names` has at `n` gets
    /// the number that is given, plus `n`.
    pub(super) fn look_at(
        &mut self,
        parent: &Arc<OwnedFd>,
        path: &[u8],
        names: &Listing,
        next: usize,
    ) -> u64 {
        let first = self.next;
        let mut jobs = Vec::new();
        enter(&*self.twin, path);
        self.next += names.len() as u64;
        for (number, (name, kind)) in (first..).zip(names.iter()).skip(next) {
            if kind == FileType::Directory && jobs.len() < SIBLINGS_MAX {
                let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                let path = [path, separator, name.to_bytes()].concat();
                if self.twin.consider(&path, true) != Visit::Skip {
                    jobs.push(Job { number, parent: Arc::clone(parent), name: name.to_owned(), path });
                }
            }
        }
        if !jobs.is_empty() && self.is_helped() {
            self.shared.lock().waiting.extend(jobs.into_iter().rev());
            self.shared.changed.notify_all();
        }
        first
    }

    /// Whether there is a second thread. To ask how many processors there are takes longer than a small context.
    fn is_helped(&mut self) -> bool {
        if let Some(helped) = self.helped {
            return helped;
        }
        let (shared, judge) = (self.shared, self.judge.twin());
        let thread = thread::Builder::new().name("walk".to_owned());
        let helped = thread::available_parallelism().map_or(1, NonZeroUsize::get) > 1
            && thread.spawn_scoped(self.scope, move || shared.work(&*judge)).is_ok();
        *self.helped.insert(helped)
    }

    /// What was found out about a directory; nothing when the walk has to look itself.
    pub(super) fn take(&self, number: u64) -> Option<Directory> {
        let mut state = self.shared.lock();
        loop {
            if let Some(answer) = state.answers.remove(&number) {
                drop(state);
                // There is room for another one.
                self.shared.changed.notify_all();
                return answer;
            }
            if !state.asked.contains(&number) {
                let at = state.waiting.iter().rposition(|job| job.number == number);
                drop(at.map(|at| state.waiting.remove(at)));
                return None;
            }
            if let Some(job) = state.begin() {
                drop(state);
                self.shared.answer(job, &*self.twin);
                state = self.shared.lock();
            } else {
                state = self.shared.wait(state);
            }
        }
    }
}

impl Drop for Ahead<'_, '_> {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fs_err as fs;

    use super::super::walk::{Found, Visitor, walk, walk_ahead};
    use super::*;
    use crate::StoreError;

    /// Leaves out what has an x in its name, and only passes what begins with a p.
    struct Named;

    impl Judge for Named {
        fn consider(&self, path: &[u8], is_directory: bool) -> Visit {
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            match (name.contains(&b'x'), is_directory && name.starts_with(b"p")) {
                (true, _) => Visit::Skip,
                (false, true) => Visit::Pass,
                (false, false) => Visit::Report,
            }
        }

        fn twin(&self) -> Box<dyn Judge + Send + '_> {
            Box::new(Self)
        }
    }

    /// Everything that a visitor is told.
    #[derive(Default)]
    struct Log(Vec<String>);

    impl Visitor for Log {
        fn consider(&mut self, path: &[u8], is_directory: bool) -> Visit {
            Named.consider(path, is_directory)
        }

        fn directory(&mut self, found: &Found<'_>, handle: &OwnedFd, visit: Visit) -> Result<(), StoreError> {
            let ours = rustix::fs::fstat(handle).unwrap();
            assert_eq!(ours.st_ino, found.stat.stx_ino);
            self.0.push(format!("{visit:?} {} {}", found.path.escape_ascii(), found.stat.stx_ino));
            Ok(())
        }

        fn leave(&mut self) {
            self.0.push("leave".to_owned());
        }

        fn file(&mut self, found: &Found<'_>, parent: &Arc<OwnedFd>, name: &CStr) -> Result<(), StoreError> {
            let ours = examine(parent, name).unwrap();
            assert_eq!((ours.stx_ino, ours.stx_size), (found.stat.stx_ino, found.stat.stx_size));
            self.0.push(format!("{} {}", found.path.escape_ascii(), found.stat.stx_ino));
            Ok(())
        }
    }

    fn log(root: &Path, walk: impl Fn(&Path, &mut dyn Visitor) -> Result<(), StoreError>) -> Vec<String> {
        let mut log = Log::default();
        walk(root, &mut log).unwrap();
        log.0
    }

    /// Wide and deep enough for the second thread, and more than it may look at.
    fn grown(root: &Path) {
        for number in 0..2100 {
            fs::write(root.join(format!("{number:04}")), vec![b'.'; number]).unwrap();
        }
        for number in 0..60 {
            let folder = root.join(format!("{}{number}/below/x/y", ["a", "p", "x"][number % 3]));
            fs::create_dir_all(&folder).unwrap();
            for name in ["one", "two", "xxx", "../three", "../../four", "../../link"] {
                if name.ends_with("link") {
                    std::os::unix::fs::symlink("/nowhere", folder.join(name)).unwrap();
                } else {
                    fs::write(folder.join(name), name).unwrap();
                }
            }
        }
        let mut deep = root.to_owned();
        for level in 0..80 {
            deep.push(format!("d{level}"));
            fs::create_dir_all(deep.join("beside")).unwrap();
            fs::write(deep.join("beside/file"), "").unwrap();
        }
    }

    #[test]
    fn a_walk_that_looks_ahead_is_told_the_same_in_the_same_order() {
        let folder = tempfile::tempdir().unwrap();
        grown(folder.path());
        let plain = log(folder.path(), walk);
        assert!(plain.iter().any(|line| line.contains("/d79/beside/file ")));
        assert!(!plain.iter().any(|line| line.contains('x')));
        for _ in 0..20 {
            assert_eq!(log(folder.path(), |root, visitor| walk_ahead(root, &Named, visitor)), plain);
        }
    }

    #[test]
    fn what_goes_wrong_ends_both_threads() {
        let folder = tempfile::tempdir().unwrap();
        grown(folder.path());
        struct Fails(usize);
        impl Visitor for Fails {
            fn consider(&mut self, path: &[u8], is_directory: bool) -> Visit {
                Named.consider(path, is_directory)
            }
            fn directory(&mut self, _: &Found<'_>, _: &OwnedFd, _: Visit) -> Result<(), StoreError> {
                self.0 -= 1;
                let path = "here".into();
                if self.0 == 0 { Err(StoreError::FileChanged { path }) } else { Ok(()) }
            }
            fn leave(&mut self) {}
            fn file(&mut self, _: &Found<'_>, _: &Arc<OwnedFd>, _: &CStr) -> Result<(), StoreError> {
                Ok(())
            }
        }
        for after in 1..60 {
            walk_ahead(folder.path(), &Named, &mut Fails(after)).unwrap_err();
        }
    }

    #[test]
    fn an_answer_is_given_once_and_a_question_that_nobody_began_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        let open = || rustix::fs::open(folder.path(), DIRECTORY, Mode::empty()).unwrap();
        let job = |number, name: &CStr| Job {
            number,
            parent: Arc::new(open()),
            name: name.to_owned(),
            path: name.to_bytes().to_vec(),
        };
        let shared = Shared::default();
        thread::scope(|scope| {
            let ahead = Ahead {
                scope,
                shared: &shared,
                judge: &Named,
                twin: Named.twin(),
                helped: Some(true),
                next: 1,
            };
            shared.lock().waiting.extend([job(3, c"a"), job(2, c"gone"), job(1, c"a")]);
            for _ in 0..2 {
                let job = shared.lock().begin().unwrap();
                shared.answer(job, &Named);
            }
            let answer = ahead.take(1).unwrap();
            assert_eq!(answer.names.iter().map(|(name, _)| name).collect::<Vec<_>>(), [c"b"]);
            assert!(ahead.take(1).is_none() && ahead.take(2).is_none() && ahead.take(3).is_none());
            assert!(shared.lock().waiting.is_empty() && shared.lock().answers.is_empty());
        });
    }

    #[test]
    fn a_thread_that_panics_leaves_nobody_waiting() {
        struct Panics;
        impl Judge for Panics {
            fn consider(&self, _: &[u8], _: bool) -> Visit {
                panic!("as it is meant to");
            }
            fn twin(&self) -> Box<dyn Judge + Send + '_> {
                Box::new(Self)
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let parent = Arc::new(rustix::fs::open(folder.path(), DIRECTORY, Mode::empty()).unwrap());
        let shared = Shared::default();
        shared.lock().waiting.push(Job { number: 7, parent, name: c".".to_owned(), path: b"a".to_vec() });
        thread::scope(|scope| scope.spawn(|| shared.work(&Panics)).join()).unwrap_err();
        let state = shared.lock();
        assert!(state.asked.is_empty() && state.answers[&7].is_none(), "{state:?}");
    }
}
