//! A power cut: what no barrier covers is gone, whatever of it the disk liked to lose. The program is killed at one of its
//! calls, and then the store is made what a file system may leave of it: files written since the last barrier are empty,
//! cut off or zeros, names made since then are missing, names removed since then are there again. And it is another boot.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use galley_testkit::Meddler;

use super::{
    writes::{self, Scene},
    *,
};

/// What the calls of a program promise of the files that they touched.
#[derive(Debug, Default)]
struct Journal {
    /// Names that no barrier and no flush of their folder covers.
    names: BTreeSet<PathBuf>,
    /// Names that were taken away and may come back, the oldest first.
    taken: Vec<PathBuf>,
    /// Files, and whether their bytes are on the disk.
    bytes: BTreeMap<PathBuf, bool>,
}

impl Journal {
    /// Of a program that ended by itself (`done`), or was killed.
    fn read(log: &Path, done: bool, scene: &Scene) -> Self {
        let text = fs::read_to_string(log).unwrap();
        let mut calls: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        // A folder is not replaced: whoever makes a layer that is there keeps it.
        calls.retain(|call| {
            !(call[1].starts_with("rename") && scene.had(Path::new(call[3])).is_some_and(|old| old.is_dir()))
        });
        let mut journal = Self::default();
        for (index, call) in calls.iter().enumerate() {
            // What came last may not have happened any more.
            let after = &calls[index + 1..];
            let completed = match call[1] {
                "syncfs" => {
                    after.iter().any(|call| call[1].starts_with("rename") && call[3].contains("/barriers/"))
                }
                // Nobody but the one who flushes a file goes on with it.
                _ => done || after.len() > 2 || after.iter().any(|later| later[2] == call[2]),
            };
            journal.add(call[1], Path::new(call[2]), Path::new(call[3]), completed);
        }
        journal
    }

    fn add(&mut self, call: &str, path: &Path, second: &Path, completed: bool) {
        match call {
            "syncfs" if completed => self.barrier(),
            "fsync" | "fdatasync" if completed => self.flush(path),
            "rename" | "renameat" | "renameat2" => self.rename(path, second),
            "unlink" | "unlinkat" | "rmdir" => self.remove(path),
            "link" | "linkat" => {
                self.names.insert(second.to_owned());
            }
            "mkdir" | "mkdirat" | "mknod" | "mknodat" | "symlink" | "symlinkat" => {
                self.names.insert(path.to_owned());
            }
            "open" | "openat" | "openat2" | "creat" => {
                self.names.insert(path.to_owned());
                self.bytes.insert(path.to_owned(), false);
            }
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "copy_file_range" | "sendfile"
            | "splice" | "ftruncate" | "fallocate" | "ficlone" => {
                self.bytes.insert(path.to_owned(), false);
            }
            _ => {}
        }
    }

    fn barrier(&mut self) {
        self.names.clear();
        self.taken.clear();
        self.bytes.values_mut().for_each(|written| *written = true);
    }

    /// Of a file its bytes, of a folder the names in it.
    fn flush(&mut self, path: &Path) {
        if let Some(written) = self.bytes.get_mut(path) {
            *written = true;
            return;
        }
        self.names.retain(|name| name.parent() != Some(path));
        self.taken.retain(|name| name.parent() != Some(path));
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let moved =
            |path: &PathBuf| path.strip_prefix(from).map_or_else(|_| path.clone(), |rest| joined(to, rest));
        self.names = self.names.iter().map(moved).collect();
        self.bytes = self.bytes.iter().map(|(path, written)| (moved(path), *written)).collect();
        self.names.insert(to.to_owned());
        self.taken.push(from.to_owned());
    }

    fn remove(&mut self, path: &Path) {
        self.names.remove(path);
        self.bytes.remove(path);
        self.taken.push(path.to_owned());
    }

    /// Whether a cut can have cost the bytes of `file`. What a step wrote is in no log.
    fn may_lose(&self, file: &Path) -> bool {
        let named = || file.ancestors().any(|path| self.names.contains(path));
        self.bytes.get(file).map_or_else(named, |written| !written)
    }
}

fn joined(path: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { path.to_owned() } else { path.join(rest) }
}

/// How the disk decides what it lost.
#[derive(Clone, Copy, Debug)]
enum Disk {
    /// All names, and no bytes.
    Names,
    /// Nothing since the barrier.
    Nothing,
    /// Some of each, by chance.
    Some(u64),
}

impl Disk {
    fn chance(self, what: &Path, of: u64) -> u64 {
        let Self::Some(seed) = self else { return 0 };
        let name = what.as_os_str().as_bytes();
        let digest = galley_oci::Digest::blake3(&[&seed.to_le_bytes(), name].concat());
        u64::from(digest.bytes()[0]) % of
    }

    fn loses_name(self, name: &Path) -> bool {
        matches!(self, Self::Nothing) || self.chance(name, 3) == 1
    }

    /// How many of so many removals are on the disk: file systems keep their order.
    fn removed(self, count: usize) -> usize {
        match self {
            Self::Names => count,
            Self::Nothing => 0,
            Self::Some(seed) => usize::try_from(seed).unwrap() * 7 % (count + 1),
        }
    }

    /// A file of which not all was written.
    fn damage(self, file: &Path) {
        let length = fs::metadata(file).unwrap().len();
        let open = fs::OpenOptions::new().write(true).open(file).unwrap();
        match self.chance(file, 4) {
            0 => open.set_len(0).unwrap(),
            1 => open.set_len(length / 2).unwrap(),
            2 => {
                open.set_len(0).unwrap();
                open.set_len(length).unwrap();
            }
            _ => {}
        }
    }

    /// The store after the cut.
    fn cut(self, scene: &Scene, journal: &Journal) {
        let store = scene.kitchen.env.store();
        for file in files_below(&store).iter().filter(|file| journal.may_lose(file)) {
            self.damage(file);
        }
        for name in journal.names.iter().filter(|name| name.starts_with(&store) && **name != store) {
            if self.loses_name(name) && fs::symlink_metadata(name).is_ok() {
                match scene.had(name) {
                    Some(old) if old.is_dir() => {}
                    // What a rename replaced is there again.
                    Some(old) => writes::copy(&old, name),
                    None => drop(succeeded(Command::new("rm").arg("-rf").arg(name).output().unwrap())),
                }
            }
        }
        for name in journal.taken.iter().skip(self.removed(journal.taken.len())) {
            let Some(old) = scene.had(name) else { continue };
            if fs::symlink_metadata(name).is_err() && name.parent().unwrap().exists() {
                writes::copy(&old, name);
            }
        }
        another_boot(&store);
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let listed = Command::new("find").arg(folder).args(["-type", "f", "-print0"]).output().unwrap();
    let names = succeeded(listed).stdout;
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| OsStr::from_bytes(name).into())
        .collect()
}

/// What was written was written under a boot that is over.
fn another_boot(store: &Path) {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let (boot, other) = (boot.trim_end(), "00000000-1111-2222-3333-444444444444");
    let barrier = store.join("barriers").join(boot);
    if barrier.exists() {
        fs::rename(&barrier, store.join("barriers").join(other)).unwrap();
    }
    for file in files_below(store) {
        let stamped = file.file_name().is_some_and(|name| name == "info")
            || ["records", "exports"].iter().any(|folder| file.starts_with(store.join(folder)));
        let Some(text) =
            stamped.then(|| fs::read(&file).unwrap()).and_then(|bytes| String::from_utf8(bytes).ok())
        else {
            continue;
        };
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, text.replace(boot, other)).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    }
}

/// A second image in the store, which was done long before.
fn with_another(scene: Scene) -> (Scene, String) {
    scene.reset();
    scene
        .kitchen
        .env
        .write("other/Dockerfile", "FROM busybox\nCOPY Dockerfile /other\nRUN echo other > /by-a-step\n");
    scene.kitchen.build(&["--reproducible", "-t", "other", "other"]);
    scene.keep();
    let saved = other(&scene.kitchen).unwrap();
    (scene, saved)
}

fn other(kitchen: &Kitchen) -> Result<String, String> {
    let archive = kitchen.path("other.tar").display().to_string();
    let output = kitchen.command(&["save", "-o", &archive, "other"]).output().unwrap();
    if output.status.success() { Ok(writes::digest_of(Path::new(&archive))) } else { Err(text(&output)) }
}

/// The store opens, what was done is there, the command does its work, and a repair makes everything sound.
fn after(scene: &Scene, done: bool, repair: bool, expected: &str) -> Result<(), String> {
    let run = |arguments: &[&str]| {
        let output = scene.kitchen.command(arguments).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(format!("{arguments:?}: {}", text(&output))) }
    };
    run(&["images"])?;
    if repair {
        run(&["system", "check", "--repair"])?;
        writes::sound(&scene.kitchen, "repaired")?;
    }
    if !done {
        let output = scene.command().output().unwrap();
        if !output.status.success() {
            return Err(text(&output));
        }
    }
    if scene.result() != expected {
        return Err(format!("{} instead of {expected}", scene.result()));
    }
    run(&["system", "check", "--repair"])?;
    writes::sound(&scene.kitchen, "at the end")
}

fn cuts(make: fn() -> Option<Scene>, size: usize, seeds: u64) {
    let (Some(meddler), Some(scene)) = (Meddler::new(), make()) else { return };
    let (scene, saved) = with_another(scene);
    let (expected, count) = (scene.expected(), scene.count(&meddler));
    let (mut lost, mut injected) = (Vec::new(), 0);
    let mut calls = writes::sample(count, size, 5);
    // Behind the last one it is done, and is to stay so.
    calls.push(count + 1000);
    for (number, nth) in calls.into_iter().enumerate() {
        let chances = (0..seeds).map(|seed| Disk::Some(seed + number as u64));
        for (turn, disk) in [Disk::Names, Disk::Nothing].into_iter().chain(chances).enumerate() {
            scene.reset();
            let log = scene.kitchen.path("calls");
            let killed = scene.meddle(&meddler).log(&log).nth(nth).kills().command(&scene.command());
            let done = { killed }.output().unwrap().status.success();
            disk.cut(&scene, &Journal::read(&log, done, &scene));
            injected += 1;
            let kept = || match other(&scene.kitchen)? == saved {
                true => Ok(()),
                false => Err("another image is not what it was".to_owned()),
            };
            // What was removed may come back.
            let removes = scene.name == "prune";
            let mut result = if removes { Ok(()) } else { kept() };
            result =
                result.and_then(|()| after(&scene, done && !removes, (number + turn) % 2 == 0, &expected));
            lost.extend(result.err().map(|why| format!("{disk:?} at call {nth}, done: {done}: {why}")));
        }
    }
    eprintln!("power cuts in {}: {injected}, lost: {}", scene.name, lost.len());
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

/// How many calls, and how many decisions by chance at each.
fn some() -> (usize, u64) {
    if writes::soak().is_some() { (0, 3) } else { (1, 1) }
}

#[test]
fn in_a_build() {
    let (size, seeds) = some();
    cuts(writes::build, size, seeds);
}

#[test]
fn in_a_pull() {
    let (size, seeds) = some();
    cuts(writes::pull, size, seeds);
}

#[test]
fn in_a_prune() {
    let (size, seeds) = some();
    cuts(writes::prune, size, seeds);
}
