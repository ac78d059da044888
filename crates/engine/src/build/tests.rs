//! Builds with a runner that only pretends, and counts.

mod copy;
mod elsewhere;
mod first_read;
mod image;
mod keys;
mod mounts;
mod shared;

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fs_err as fs;
use galley_oci::{Platform, Reference, Tree};
use galley_store::{MountTrial, OpenOptions, ScanOptions, Store};
use tempfile::TempDir;

use super::*;
use crate::{
    events::Stream,
    plan::{ContextSource, NoCache, PlanOptions, plan},
    ports::{
        BaseImage, Exit, ImageSource, NoRecords, Remotes, RunOutcome, RunRequest, Runner, Secret, Secrets,
    },
    ssh::{SshAgent, SshAgents},
};

/// No base images but scratch.
struct NoImages;

impl ImageSource for NoImages {
    fn resolve(&self, _: &Reference, _: &Platform) -> Result<Option<BaseImage>, Error> {
        Ok(None)
    }
}

/// Executes a language of its own instead of a shell: `write PATH TEXT`, `say TEXT`, `fail CODE`, `meet`, `sleep`,
/// `wait`, each after `;`.
struct FakeRunner {
    store: Store,
    runs: AtomicUsize,
    /// What `meet` waits for.
    meeting: Barrier,
    /// Called with each request.
    look: Box<dyn Fn(&RunRequest<'_>) + Sync + Send>,
}

impl Runner for FakeRunner {
    fn run(
        &self,
        request: RunRequest<'_>,
        output: &(dyn Fn(Stream, &[u8]) + Sync),
        cancel: &Cancel,
    ) -> Result<RunOutcome, Error> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (self.look)(&request);
        let temp = self.store.temp_dir("fake").unwrap();
        fs::create_dir(temp.diff()).unwrap();
        let script = String::from_utf8(request.operation.arguments.last().unwrap().clone()).unwrap();
        let mut exit = Exit::Code(0);
        for command in script.split(';') {
            let words: Vec<_> = command.split_whitespace().collect();
            match words.as_slice() {
                ["write", path, text] => write(&temp.diff(), path, text),
                ["say", text] => output(Stream::Stdout, format!("{text}\n").as_bytes()),
                ["fail", code] => exit = Exit::Code(code.parse().unwrap()),
                ["meet"] => drop(self.meeting.wait()),
                ["sleep"] => thread::sleep(Duration::from_millis(30)),
                ["wait"] => {
                    while !cancel.is_cancelled() {
                        thread::sleep(Duration::from_millis(1));
                    }
                    exit = Exit::Signal(9);
                }
                other => panic!("what is {other:?}?"),
            }
        }
        let tree = self.store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
        let changes = (exit == Exit::Code(0)).then_some((temp, tree));
        Ok(RunOutcome { exit, changes, lets_out: false, memory_bytes_max: 0, cpu: Duration::ZERO })
    }
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A store, a context, and everything else a build wants.
struct Bench {
    dir: TempDir,
    meeters: usize,
    secrets: Secrets,
    ssh: SshAgents,
    no_cache: NoCache,
    /// As in the request; a store for this packs its layers.
    kept: Option<TimePolicy>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("context")).unwrap();
        Self {
            dir,
            meeters: 1,
            secrets: Secrets::new(),
            ssh: SshAgents::new(),
            no_cache: NoCache::None,
            kept: None,
        }
    }

    fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    fn write(&self, path: &str, text: &str) {
        write(&self.context(), path, text);
    }

    /// The store as a new process would open it.
    fn store(&self) -> Store {
        let mount_trial = self.kept.map(|_| (|_: &Path| Ok(())) as MountTrial);
        let options = OpenOptions { mount_trial, ..OpenOptions::default() };
        Store::open(&self.dir.path().join("store"), options).unwrap()
    }

    fn runner(&self, store: &Store) -> FakeRunner {
        FakeRunner {
            store: store.clone(),
            runs: AtomicUsize::new(0),
            meeting: Barrier::new(self.meeters),
            look: Box::new(|_| ()),
        }
    }

    fn plan(&self, text: &str) -> Plan {
        let ignore = fs::read(self.context().join(".dockerignore")).ok();
        let context = ContextSource {
            name: ".".to_owned(),
            path: self.context(),
            ignore: ignore.map(|text| (".dockerignore".to_owned(), text)),
            kept: None,
        };
        let mut options = PlanOptions::new("Dockerfile", text, context, Platform::new("linux", "amd64"));
        options.no_cache = self.no_cache.clone();
        options.secrets = self.secrets.keys().cloned().collect();
        options.ssh = self.ssh.keys().cloned().collect();
        plan(&options, &NoImages).unwrap()
    }

    fn build(&self, text: &str) -> Result<Built, Error> {
        let store = self.store();
        self.build_with(text, Mode::Execute, &self.runner(&store), &Cancel::new())
    }

    fn build_with(
        &self,
        text: &str,
        mode: Mode,
        runner: &FakeRunner,
        cancel: &Cancel,
    ) -> Result<Built, Error> {
        let plan = self.plan(text);
        let request =
            BuildRequest { plan: &plan, mode, jobs: schedule::DEFAULT_JOBS, subject: None, kept: self.kept };
        let ports = Ports {
            store: &runner.store,
            runner,
            secrets: &self.secrets,
            ssh: &self.ssh,
            records: &NoRecords,
            remotes: Remotes::none(),
        };
        build(&request, &ports, &Events::silent(), cancel)
    }

    fn counts(&self, text: &str) -> (usize, usize, usize) {
        let Counts { runs, copies, hits } = self.build(text).unwrap().counts;
        (runs, copies, hits)
    }
}

/// Fetches nothing, for nothing is elsewhere.
fn fetcher(store: &Store) -> Fetcher<'_> {
    static EVENTS: Events = Events::silent();
    static STOP: std::sync::LazyLock<Cancel> = std::sync::LazyLock::new(Cancel::new);
    Fetcher { store, may_write: true, events: &EVENTS, stop: &STOP, records: &NoRecords }
}

/// The files of the first target.
fn files(built: &Built) -> Tree {
    built.targets[0].stack().unwrap().merged()
}

fn content(bench: &Bench, built: &Built, path: &str) -> String {
    let store = bench.store();
    let stack = built.targets[0].stack().unwrap();
    let found = stack.get(path.as_bytes()).unwrap();
    let layer = &built.targets[0].layers().unwrap()[found.layer];
    std::io::read_to_string(store.open_file(layer, found.index).unwrap()).unwrap()
}

#[test]
fn a_second_build_executes_nothing_and_writes_nothing() {
    let bench = Bench::new();
    bench.write("a", "one");
    let text = "FROM scratch AS build\nCOPY a /a\nRUN write /out hello\nFROM scratch\nCOPY --from=build /out /out\nWORKDIR /w";
    assert_eq!(bench.counts(text), (1, 3, 0));
    // A file that changed just now is not remembered yet: the build after the next one is the first to know it.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(bench.counts(text), (0, 0, 4));
    let before = snapshot_of(&bench.dir.path().join("store"));
    assert_eq!(bench.counts(text), (0, 0, 4));
    assert_eq!(snapshot_of(&bench.dir.path().join("store")), before);
}

/// All files below a directory with their sizes and times.
fn snapshot_of(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        if data.is_dir() {
            all.extend(snapshot_of(&path));
        } else {
            all.push((path, data.len(), data.modified().unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn stages_run_side_by_side() {
    let mut bench = Bench::new();
    bench.meeters = 3;
    let text = "FROM scratch AS a\nRUN meet;write /a 1\nFROM scratch AS b\nRUN meet;write /b 2\nFROM scratch\nRUN meet\nCOPY --from=a /a /\nCOPY --from=b /b /";
    assert_eq!(bench.build(text).unwrap().counts.runs, 3);
}

#[test]
fn two_builds_do_the_same_step_once() {
    let bench = Bench::new();
    let (one, other) = (bench.runner(&bench.store()), bench.runner(&bench.store()));
    let text = "FROM scratch\nRUN sleep;write /a 1";
    thread::scope(|scope| {
        for runner in [&one, &other] {
            let bench = &bench;
            scope.spawn(move || bench.build_with(text, Mode::Execute, runner, &Cancel::new()).unwrap());
        }
    });
    assert_eq!(one.runs.load(Ordering::SeqCst) + other.runs.load(Ordering::SeqCst), 1);
}

#[test]
fn look_ups_alone_say_that_something_must_be_executed() {
    let bench = Bench::new();
    let text = "FROM scratch\nRUN write /a 1\nRUN write /b 2";
    let runner = bench.runner(&bench.store());
    let look = || bench.build_with(text, Mode::LookupOnly, &runner, &Cancel::new());
    assert_eq!(look().unwrap_err().kind, ErrorKind::NeedsExecution);
    bench.build(text).unwrap();
    assert_eq!(look().unwrap().counts, Counts { hits: 2, ..Counts::default() });
    assert_eq!(runner.runs.load(Ordering::SeqCst), 0);
}

#[test]
fn what_makes_the_same_layer_again_leaves_the_rest_cached() {
    let bench = Bench::new();
    let text = "FROM scratch AS build\nCOPY a /a\nRUN write /out same\nFROM scratch\nCOPY --from=build /out /out\nRUN write /after 1\nRUN write /more 2";
    bench.write("a", "one");
    assert_eq!(bench.build(text).unwrap().counts.runs, 3);
    bench.write("a", "two");
    // The first RUN sees another /a and is run; the copy of its result is made again, on trees, and is the same.
    assert_eq!(bench.counts(text), (1, 2, 2));
}

#[test]
fn times_and_unselected_files_do_not_count() {
    let bench = Bench::new();
    bench.write("a", "one");
    let text = "FROM scratch\nCOPY a /a\nRUN write /b 1";
    bench.build(text).unwrap();
    bench.write("other", "x");
    let old = fs::File::options().write(true).open(bench.context().join("a")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(bench.counts(text), (0, 0, 2));
}

#[test]
fn no_cache_skips_records_but_not_those_of_the_same_build() {
    let mut bench = Bench::new();
    let text = "FROM scratch AS a\nRUN write /a 1\nFROM scratch AS b\nWORKDIR /\nRUN write /a 1\nFROM scratch\nCOPY --from=a /a /x\nCOPY --from=b /a /y";
    bench.build(text).unwrap();
    bench.no_cache = NoCache::All;
    let built = bench.build(text).unwrap();
    assert_eq!((built.counts.runs, built.counts.copies), (1, 2));
}

#[test]
fn a_failure_says_what_the_process_said_and_stops_the_others() {
    let bench = Bench::new();
    let text = "FROM scratch AS a\nRUN wait\nFROM scratch\nRUN say one;say two;fail 3\nCOPY --from=a / /";
    let error = bench.build(text).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Step);
    assert!(error.message.ends_with("did not complete successfully: exit code: 3"), "{}", error.message);
    assert_eq!(error.place.as_ref().unwrap().line(), 4);
    let failure = error.source.as_ref().unwrap().downcast_ref::<StepFailure>().unwrap();
    assert_eq!(failure.last_lines, [b"one", b"two"]);
    assert_eq!(fs::read_to_string(&failure.log).unwrap(), "one\ntwo\n");
    assert_eq!(error.help.len(), 1, "{:?}", error.help);
    // Nothing is remembered of a failure.
    assert_eq!(bench.build(text).unwrap_err().kind, ErrorKind::Step);
    let error = bench.build("FROM scratch\nRUN fail 127").unwrap_err();
    assert!(error.help[1].contains("dynamic loader"), "{:?}", error.help);
}

#[test]
fn only_the_last_lines_are_kept_for_the_error() {
    let bench = Bench::new();
    let many: Vec<_> = (0..50).map(|number| format!("say {number}")).collect();
    let error = bench.build(&format!("FROM scratch\nRUN {};fail 1", many.join(";"))).unwrap_err();
    let failure = error.source.as_ref().unwrap().downcast_ref::<StepFailure>().unwrap();
    assert_eq!((failure.last_lines.len(), failure.last_lines[0].as_slice()), (20, &b"30"[..]));
}

#[test]
fn cancelling_ends_the_build() {
    let bench = Bench::new();
    let (runner, cancel) = (bench.runner(&bench.store()), Cancel::new());
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            while runner.runs.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            cancel.cancel();
        });
        bench
            .build_with("FROM scratch\nRUN wait\nRUN write /a 1", Mode::Execute, &runner, &cancel)
            .unwrap_err()
    });
    assert_eq!((error.kind, runner.runs.load(Ordering::SeqCst)), (ErrorKind::Cancelled, 1));
}

#[test]
fn a_copy_of_an_earlier_process_can_still_be_read() {
    let bench = Bench::new();
    bench.write("a", "one");
    let text = "FROM scratch AS src\nCOPY a /a\nFROM scratch\nCOPY --from=src /a /b";
    bench.build(text).unwrap();
    let store = bench.store();
    let runner = bench.runner(&store);
    let built = bench.build_with(text, Mode::Execute, &runner, &Cancel::new()).unwrap();
    assert_eq!(built.counts, Counts { hits: 2, ..Counts::default() });
    let layer = built.targets[0].layers().unwrap().pop().unwrap();
    let index = layer.tree().unwrap().position(b"b").unwrap();
    assert_eq!(std::io::read_to_string(store.open_file(&layer, index).unwrap()).unwrap(), "one");
}

#[test]
fn a_step_that_changes_nothing_has_a_layer_all_the_same() {
    let bench = Bench::new();
    let built = bench.build("FROM scratch\nWORKDIR /w\nWORKDIR /w\nRUN say nothing").unwrap();
    assert_eq!(built.targets[0].layers().unwrap().len(), 3);
    let last = built.targets[0].layers().unwrap().last().unwrap().tree().unwrap();
    assert_eq!(last.entries().len(), 1, "the root alone");
    assert_eq!(files(&built).entries().len(), 2);
}

#[test]
fn a_layer_that_is_there_twice_is_mounted_once() {
    let bench = Bench::new();
    let text = "FROM scratch\nRUN write /a 1\nRUN say x\nRUN write /b 2\nRUN say y\nRUN write /a 1";
    let snapshot = bench.build(text).unwrap().targets.remove(0);
    let store = bench.store();
    let name = |layer: &Layer| galley_sandbox::Lower::Directory(store.directory(layer).unwrap());
    let layers = snapshot.layers().unwrap();
    let expected = [4, 3, 2].map(|index: usize| name(&layers[index]));
    assert_eq!((layers.len(), snapshot.lowers(&store).unwrap()), (5, expected.to_vec()));
}

#[test]
fn ignored_files_are_not_there_and_the_error_says_why() {
    let bench = Bench::new();
    bench.write(".dockerignore", "secret\nlogs/*\n!logs/keep\n");
    bench.write("secret", "x");
    bench.write("logs/a", "x");
    bench.write("logs/keep", "kept");
    let built = bench.build("FROM scratch\nCOPY . /").unwrap();
    let paths: Vec<_> = files(&built)
        .entries()
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    assert_eq!(paths, ["", ".dockerignore", "logs", "logs/keep"]);
    let error = bench.build("FROM scratch\nCOPY secret /").unwrap_err();
    assert_eq!(error.label.as_deref(), Some("excluded by .dockerignore, line 1"));
}

#[test]
fn a_missing_file_suggests_the_nearest() {
    let bench = Bench::new();
    bench.write("src/main.go", "x");
    let error = bench.build("FROM scratch\nCOPY src/mian.go /").unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Input, "/src/mian.go was not found in the build context")
    );
    assert_eq!(error.help, ["did you mean src/main.go?"]);
    assert_eq!(error.place.as_ref().unwrap().line(), 2);
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let bench = Bench::new();
    std::os::unix::fs::symlink("/etc", bench.context().join("out")).unwrap();
    let error = bench.build("FROM scratch\nCOPY out/no/such /").unwrap_err();
    assert_eq!(error.message, "/out/no/such was not found in the build context");
    assert_eq!(
        error.help,
        ["out is a symbolic link to /etc, which does not lead to a file of the build context"]
    );
}

#[test]
fn only_what_is_meant_is_read() {
    let bench = Bench::new();
    bench.write("app/main.go", "x");
    bench.write("big/data", "x");
    std::os::unix::fs::symlink("/nowhere", bench.context().join("app/link")).unwrap();
    let store = bench.store();
    let context = |text: &str| {
        let (sender, events) = crossbeam_channel::unbounded();
        let (plan, runner) = (bench.plan(text), bench.runner(&store));
        let request = BuildRequest { plan: &plan, mode: Mode::Execute, jobs: 1, subject: None, kept: None };
        let ports = Ports {
            store: &store,
            runner: &runner,
            secrets: &bench.secrets,
            ssh: &bench.ssh,
            records: &NoRecords,
            remotes: Remotes::none(),
        };
        build(&request, &ports, &Events::new(sender, Instant::now()), &Cancel::new()).unwrap();
        events.try_iter().find_map(|stamped| match stamped.event {
            Event::Context { files, .. } => Some(files),
            _ => None,
        })
    };
    assert_eq!(context("FROM scratch\nCOPY app /app"), Some(1));
    assert_eq!(
        context("FROM scratch\nCOPY app/*.go /app/\nRUN --mount=source=app/main.go,target=/m say x"),
        Some(2)
    );
    assert_eq!(context("FROM scratch\nCOPY --exclude=big --exclude=.* --exclude=app/m* . /x"), Some(0));
    assert_eq!(context("FROM scratch\nCOPY --exclude=* --exclude=!d* big /x"), Some(1));
    assert_eq!(context("FROM scratch\nCOPY --parents **/*.go /x"), Some(1));
    assert_eq!(context("FROM scratch\nCOPY --parents app/./none/* big/./data /x"), Some(1));
    std::os::unix::fs::symlink("big", bench.context().join("alias")).unwrap();
    assert_eq!(context("FROM scratch\nCOPY alias /x"), Some(2), "a link leads to what was not walked");
    assert_eq!(context("FROM scratch\nRUN say x"), None);
}

#[test]
fn nothing_outside_of_the_context_can_be_copied() {
    let bench = Bench::new();
    fs::write(bench.dir.path().join("outside"), "x").unwrap();
    std::os::unix::fs::symlink("../outside", bench.context().join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bench.context().join("absolute")).unwrap();
    for source in ["../outside", "link", "absolute", "../../../../etc/passwd"] {
        let error = bench.build(&format!("FROM scratch\nCOPY {source} /x")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Input, "{source}: {error}");
    }
}

#[test]
fn a_context_changed_meanwhile_is_noticed_when_its_bytes_are_needed() {
    let bench = Bench::new();
    bench.write("a", "one");
    let store = bench.store();
    let runner = bench.runner(&store);
    let built = bench.build_with("FROM scratch\nCOPY a /a", Mode::Execute, &runner, &Cancel::new()).unwrap();
    bench.write("a", "two");
    assert!(store.own_bytes(&built.targets[0].layers().unwrap()[0]).is_err());
}

#[test]
fn bytes_that_are_no_text_are_names() {
    let bench = Bench::new();
    let name = std::ffi::OsStr::from_bytes(b"f\xff\xfe");
    fs::write(bench.context().join(name), "x").unwrap();
    let built = bench.build("FROM scratch\nCOPY . /").unwrap();
    assert!(files(&built).get(b"f\xff\xfe").is_some());
}

#[test]
fn what_runs_after_a_step_is_known_before_it() {
    use super::ahead::{self, Ahead};
    let bench = Bench::new();
    bench.write("f", "1");
    let plan = bench.plan(
        "FROM scratch AS a\nCOPY f /1\nRUN --network=none x\n\
         FROM scratch AS b\nCOPY f /2\nRUN y\nCOPY f /3\n\
         FROM scratch\nCOPY --from=a /1 /\nCOPY --from=b /2 /\n",
    );
    let needs: Vec<Vec<usize>> = plan.steps.iter().map(needs).collect();
    let mut seen: Vec<Ahead> = ahead::of(&plan.steps, &needs);
    let run = |ahead: &Ahead| *ahead != Ahead::Nothing;
    assert_eq!(seen.iter().filter(|ahead| run(ahead)).count(), 4, "two copies and what runs on them");
    seen.sort();
    assert_eq!(seen[seen.len() - 3..], [Ahead::Processes, Ahead::WithNetwork, Ahead::WithNetwork]);
}
