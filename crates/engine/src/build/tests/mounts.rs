//! What a run step gets mounted.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::ports::{MountSource, ResolvedMount};

fn describe(mount: &ResolvedMount, store: &Path) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let source = match &mount.source {
        MountSource::Snapshot { snapshot, path, writable } => {
            let tree = snapshot.stack().unwrap().merged();
            let files: Vec<_> = tree.entries().iter().map(|entry| text(&entry.path)).collect();
            format!("{} {} of {files:?}", text(path), if *writable { "rw" } else { "ro" })
        }
        MountSource::Host { path, .. } => {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            format!("{} {:04o}", path.strip_prefix(store).unwrap().display(), mode & 0o7777)
        }
        MountSource::Tmpfs { size, .. } => format!("tmpfs {size:?}"),
        MountSource::File { content, mode, .. } => format!("file {:?} {mode:04o}", text(content)),
    };
    format!("{} = {source}", text(&mount.target))
}

/// The mounts of the one RUN of `text`.
fn mounts(bench: &Bench, text: &str) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let store = bench.store();
    let mut runner = bench.runner(&store);
    runner.look = Box::new({
        let (seen, root) = (Arc::clone(&seen), store.root().to_owned());
        move |request| {
            let described = request.mounts.iter().map(|mount| describe(mount, &root));
            seen.lock().unwrap().extend(described);
        }
    });
    bench.build_with(text, Mode::Execute, &runner, &Cancel::new()).unwrap();
    let mut seen = seen.lock().unwrap();
    std::mem::take(&mut *seen)
}

#[test]
fn a_context_shows_only_what_is_mounted_and_not_ignored() {
    let bench = Bench::new();
    bench.write(".dockerignore", "src/ignored");
    bench.write("src/a", "1");
    bench.write("src/ignored", "2");
    bench.write("other", "3");
    let text =
        "FROM scratch\nRUN --mount=type=bind,source=src,target=/src --mount=type=tmpfs,target=/tmp say x";
    let expected = [r#"/src = src ro of ["", "src", "src/a"]"#, "/tmp = tmpfs None"];
    assert_eq!(mounts(&bench, text), expected);
}

#[test]
fn a_stage_is_mounted_at_a_path() {
    let bench = Bench::new();
    let text =
        "FROM scratch AS a\nWORKDIR /x/y\nFROM scratch\nRUN --mount=from=a,source=/x,target=/m,rw say x";
    assert_eq!(mounts(&bench, text), [r#"/m = x rw of ["", "x", "x/y"]"#]);
}

#[test]
fn a_missing_source_is_an_error() {
    let bench = Bench::new();
    let error = bench.build("FROM scratch\nRUN --mount=type=bind,source=no,target=/m say x").unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Input, "/no was not found in the build context")
    );
}

#[test]
fn a_script_is_a_file_of_the_step() {
    let bench = Bench::new();
    let store = bench.store();
    let mut runner = bench.runner(&store);
    let seen = Arc::new(Mutex::new(Vec::new()));
    runner.look = Box::new({
        let seen = Arc::clone(&seen);
        move |request| seen.lock().unwrap().push(describe(&request.mounts[0], Path::new("/")))
    });
    // The fake does not know the command, which is the script's path.
    let run = std::panic::AssertUnwindSafe(|| {
        bench.build_with("FROM scratch\nRUN <<EOF\n#!/bin/x\nhi\nEOF", Mode::Execute, &runner, &Cancel::new())
    });
    assert_eq!(run().unwrap_err().kind, ErrorKind::Internal);
    assert_eq!(*seen.lock().unwrap(), ["/dev/pipes/EOF = file \"#!/bin/x\\nhi\\n\" 0755"]);
}

#[test]
fn caches_differ_by_what_a_new_one_looks_like() {
    let bench = Bench::new();
    let mount = |options: &str| {
        let text = format!("FROM scratch\nRUN --mount=type=cache,target=/c{options} say x{}", options.len());
        mounts(&bench, &text).remove(0)
    };
    let plain = mount("");
    assert!(plain.ends_with(" 0755"), "{plain}");
    assert_eq!(mount(",sharing=locked"), plain);
    let (other, private) = (mount(",id=other"), mount(",mode=0700"));
    assert!(other != plain && private != plain && private.ends_with(" 0700"), "{other} {private}");
}

#[test]
fn no_cache_empties_a_cache_once_a_build() {
    let mut bench = Bench::new();
    let text = "FROM scratch\nRUN --mount=type=cache,target=/c say x\nRUN --mount=type=cache,target=/c say y";
    let found = Arc::new(Mutex::new(Vec::new()));
    let count = |bench: &Bench| {
        let mut runner = bench.runner(&bench.store());
        runner.look = Box::new({
            let found = Arc::clone(&found);
            move |request| {
                let MountSource::Host { path, .. } = &request.mounts[0].source else { panic!("no cache") };
                let entries = fs::read_dir(path).unwrap().count();
                found.lock().unwrap().push(entries);
                fs::write(path.join(entries.to_string()), "x").unwrap();
            }
        });
        bench.build_with(text, Mode::Execute, &runner, &Cancel::new()).unwrap();
        std::mem::take(&mut *found.lock().unwrap())
    };
    assert_eq!(count(&bench), [0, 1]);
    bench.no_cache = NoCache::All;
    assert_eq!(count(&bench), [0, 1]);
}

#[test]
fn a_cache_may_start_with_files_of_a_stage() {
    let bench = Bench::new();
    bench.write("seed/a", "1");
    let text = "FROM scratch AS seed\nCOPY --chmod=750 seed /seed\nFROM scratch\nRUN --mount=type=cache,target=/c,from=seed,source=/seed say x";
    let found = Arc::new(Mutex::new(Vec::new()));
    let mut runner = bench.runner(&bench.store());
    runner.look = Box::new({
        let found = Arc::clone(&found);
        move |request| {
            let MountSource::Host { path, .. } = &request.mounts[0].source else { panic!("no cache") };
            let mode = fs::metadata(path).unwrap().permissions().mode() & 0o7777;
            found.lock().unwrap().push((mode, fs::read_to_string(path.join("a")).unwrap()));
        }
    });
    bench.build_with(text, Mode::Execute, &runner, &Cancel::new()).unwrap();
    assert_eq!(*found.lock().unwrap(), [(0o750, "1".to_owned())]);
}

#[test]
fn attributes_of_a_cache_are_for_one_that_starts_empty() {
    let bench = Bench::new();
    bench.write("seed/a", "1");
    let text = "FROM scratch AS seed\nCOPY --chmod=750 seed /seed\nFROM scratch\n\
        RUN --mount=type=cache,target=/c,mode=1770 say x\n\
        RUN --mount=type=cache,target=/d,from=seed,source=/seed,mode=700 say y\n\
        RUN --mount=type=secret,id=none,env=TOKEN say z";
    let found = Arc::new(Mutex::new(Vec::new()));
    let mut runner = bench.runner(&bench.store());
    runner.look = Box::new({
        let found = Arc::clone(&found);
        move |request| {
            for mount in &request.mounts {
                let MountSource::Host { path, .. } = &mount.source else { panic!("no cache") };
                let mode = fs::metadata(path).unwrap().permissions().mode() & 0o7777;
                found.lock().unwrap().push(format!("{mode:o}"));
            }
            for (name, value) in &request.secret_env {
                found.lock().unwrap().push(format!("{name} {}", value.expose().len()));
            }
        }
    });
    bench.build_with(text, Mode::Execute, &runner, &Cancel::new()).unwrap();
    assert_eq!(*found.lock().unwrap(), ["770", "750", "TOKEN 0"]);
}

#[test]
fn a_wait_for_a_locked_cache_can_be_cancelled() {
    let mut bench = Bench::new();
    bench.meeters = 2;
    let text = "FROM scratch AS a\nRUN --mount=type=cache,target=/c,sharing=locked meet;wait\nFROM scratch AS b\nRUN --mount=type=cache,target=/c,sharing=locked meet;wait\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /";
    let (runner, cancel) = (bench.runner(&bench.store()), Cancel::new());
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            while runner.runs.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            // The other step cannot start: it never meets the first.
            thread::sleep(Duration::from_millis(50));
            assert_eq!(runner.runs.load(Ordering::SeqCst), 1);
            cancel.cancel();
            runner.meeting.wait();
        });
        bench.build_with(text, Mode::Execute, &runner, &cancel).unwrap_err()
    });
    assert_eq!(error.kind, ErrorKind::Cancelled);
}

#[test]
fn a_step_may_mount_one_cache_twice() {
    let bench = Bench::new();
    for sharing in ["locked", "private", "shared"] {
        let mount =
            |target: &str| format!("--mount=type=cache,id={sharing},sharing={sharing},target={target}");
        let text = format!("FROM scratch\nRUN {} {} say {sharing}", mount("/a"), mount("/b"));
        let found: Vec<_> = mounts(&bench, &text).iter().map(|mount| mount[5..].to_owned()).collect();
        assert!(found[0] == found[1] && found.len() == 2, "{found:?}");
    }
}
