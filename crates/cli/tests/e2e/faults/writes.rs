//! Faults at the calls that change files, of all commands that write: each of them fails for once with EIO or ENOSPC, or all
//! from then on; or the program is killed there. Afterwards nothing is left, the store is sound, and the same command gives
//! what it gives where nothing went wrong.
//!
//! `make test` takes a sample of the calls with one fault each; `GALLEY_SOAK_FAULTS=1` (`make soak`) takes them all with each
//! fault, `=9` each ninth.

use std::{
    os::unix::process::ExitStatusExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::Command,
};

use galley_testkit::{Meddle, Meddler};
use rustix::io::Errno;

use super::{super::Kitchen, *};

/// A command that writes, in a kitchen that is set back before each fault.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) kitchen: Kitchen,
    /// What it needs from elsewhere.
    _registry: Option<Registry>,
    arguments: Vec<String>,
    /// Shows what came of it.
    result: fn(&Kitchen) -> String,
}

/// What is done to a scene at its calls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Once(Errno),
    FromThenOn(Errno),
    Kill,
}

impl Fault {
    const ERRORS: [Self; 4] = [
        Self::Once(Errno::IO),
        Self::Once(Errno::NOSPC),
        Self::FromThenOn(Errno::NOSPC),
        Self::FromThenOn(Errno::IO),
    ];

    fn of(self, meddle: Meddle, nth: usize) -> Meddle {
        let meddle = meddle.nth(nth);
        match self {
            Self::Once(error) => meddle.fails(error),
            Self::FromThenOn(error) => meddle.fails(error).from_then_on(),
            Self::Kill => meddle.kills(),
        }
    }
}

/// How it went, over all.
#[derive(Debug, Default)]
struct Figures {
    injected: usize,
    told: usize,
    withstood: usize,
}

impl Scene {
    fn new(name: &'static str, kitchen: Kitchen, arguments: &[&str], result: fn(&Kitchen) -> String) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let scene = Self { name, kitchen, _registry: None, arguments, result };
        scene.keep();
        scene
    }

    /// The store as it is before the command.
    pub(super) fn kept(&self) -> PathBuf {
        self.kitchen.path("kept")
    }

    /// What a path of the store was before.
    pub(super) fn had(&self, path: &Path) -> Option<PathBuf> {
        let kept = self.kept().join(path.strip_prefix(self.kitchen.env.store()).ok()?);
        fs::symlink_metadata(&kept).is_ok().then_some(kept)
    }

    pub(super) fn keep(&self) {
        let store = self.kitchen.env.store();
        fs::create_dir_all(&store).unwrap();
        let _ = fs::remove_dir_all(self.kept());
        copy(&store, &self.kept());
    }

    pub(super) fn reset(&self) {
        let store = self.kitchen.env.store();
        fs::remove_dir_all(&store).unwrap();
        copy(&self.kept(), &store);
        let _ = fs::remove_dir_all(self.output());
        fs::create_dir(self.output()).unwrap();
    }

    /// Where outputs other than the store go.
    pub(super) fn output(&self) -> PathBuf {
        self.kitchen.path("out")
    }

    pub(super) fn command(&self) -> Command {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        if let ["build", arguments @ ..] = &arguments[..] {
            return self.kitchen.build_command(&[&["--progress=plain"], arguments].concat());
        }
        self.kitchen.command(&arguments)
    }

    pub(super) fn result(&self) -> String {
        (self.result)(&self.kitchen)
    }

    /// What it gives when all is well.
    pub(super) fn expected(&self) -> String {
        self.reset();
        succeeded(self.command().output().unwrap());
        self.result()
    }

    pub(super) fn meddle(&self, meddler: &Meddler) -> Meddle {
        meddler.below(&[&self.kitchen.env.store(), &self.output()])
    }

    /// How many calls there are.
    pub(super) fn count(&self, meddler: &Meddler) -> usize {
        self.reset();
        let log = self.kitchen.path("calls");
        let _ = succeeded(self.meddle(meddler).log(&log).command(&self.command()).output().unwrap());
        fs::read_to_string(log).unwrap().lines().count()
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    succeeded(command.args(["-a", "--reflink=auto", "-T"]).args([from, to]).output().unwrap());
}

/// The image `x` and whether its files can be read.
pub(super) fn image(kitchen: &Kitchen) -> String {
    let archive = kitchen.path("saved.tar").display().to_string();
    kitchen.galley(&["save", "-o", &archive, "x"]);
    digest_of(Path::new(&archive)) + &kitchen.galley(&["inspect", "--format", "{{.Id}}", "x"])
}

pub(super) fn digest_of(path: &Path) -> String {
    galley_oci::Digest::sha256(&fs::read(path).unwrap()).to_string()
}

/// Names and contents of what is in the output folder.
fn files(kitchen: &Kitchen) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "find . -printf '%p %m %l\\n' | sort; find . -type f | sort | xargs sha256sum"]);
    text(&succeeded(command.current_dir(kitchen.path("out")).output().unwrap()))
}

/// What a build makes after everything went.
fn build_again(kitchen: &Kitchen) -> String {
    assert_eq!(kitchen.galley(&["images", "-aq"]), "");
    kitchen.build(&["--reproducible", "-t", "x", "."]);
    image(kitchen)
}

fn small() -> Option<Kitchen> {
    let kitchen = Kitchen::new()?;
    kitchen.env.write("f", "content");
    kitchen.env.write("data", noise(3, 100_000));
    kitchen.dockerfile("FROM busybox\nCOPY f data /d/\nRUN cat /d/f > /g\nRUN echo end > /h\n");
    Some(kitchen)
}

fn built(options: &[&str]) -> Option<Kitchen> {
    let kitchen = small()?;
    kitchen.build(&[options, &["--reproducible", "."]].concat());
    Some(kitchen)
}

pub(super) fn build() -> Option<Scene> {
    Some(Scene::new("build", small()?, &["build", "--reproducible", "-t", "x", "."], image))
}

fn exports(name: &'static str, output: &str) -> Option<Scene> {
    let kitchen = built(&["-o", "type=cacheonly"])?;
    let output = output.replace("OUT", &kitchen.path("out").display().to_string());
    Some(Scene::new(name, kitchen, &["build", "--reproducible", "-o", &output, "."], files))
}

fn oci() -> Option<Scene> {
    exports("export oci", "type=oci,dest=OUT/x.tar")
}

fn layout() -> Option<Scene> {
    exports("export layout", "type=oci,tar=false,dest=OUT/x")
}

fn tar() -> Option<Scene> {
    exports("export tar", "type=tar,dest=OUT/x.tar")
}

fn local() -> Option<Scene> {
    exports("export local", "type=local,dest=OUT/x")
}

fn save() -> Option<Scene> {
    let kitchen = built(&["-t", "x"])?;
    let archive = kitchen.path("out/x.tar").display().to_string();
    Some(Scene::new("save", kitchen, &["save", "-o", &archive, "x"], files))
}

fn load() -> Option<Scene> {
    let (kitchen, other) = (Kitchen::new()?, built(&["-t", "x"])?);
    let archive = kitchen.path("x.tar").display().to_string();
    other.galley(&["save", "-o", &archive, "x"]);
    Some(Scene::new("load", kitchen, &["load", "-i", &archive], image))
}

pub(super) fn pull() -> Option<Scene> {
    let (kitchen, registry) = (Kitchen::new()?, Registry::start());
    put_app(&registry, 2, 100_000);
    let name = app(&registry);
    fs::write(kitchen.path("name"), &name).unwrap();
    let pulled = |kitchen: &Kitchen| {
        let (name, archive) = (fs::read_to_string(kitchen.path("name")).unwrap(), kitchen.path("saved.tar"));
        kitchen.galley(&["save", "-o", &archive.display().to_string(), &name]);
        digest_of(&archive)
    };
    let scene = Scene::new("pull", kitchen, &["pull", &name], pulled);
    Some(Scene { _registry: Some(registry), ..scene })
}

pub(super) fn prune() -> Option<Scene> {
    let kitchen = built(&["-t", "x", "-o", "type=image", "-o", "type=oci,dest=../x.tar"])?;
    Some(Scene::new("prune", kitchen, &["system", "prune", "-af", "--volumes"], build_again))
}

const SCENES: [fn() -> Option<Scene>; 9] = [build, oci, layout, tar, local, save, load, pull, prune];

/// Which of `count` calls are meant: so many of them, or what `GALLEY_SOAK_FAULTS` says.
pub(super) fn sample(count: usize, size: usize, seed: usize) -> Vec<usize> {
    match soak() {
        Some(step) => (1..=count).step_by(step).collect(),
        None => (0..size).map(|number| 1 + (number * count + seed * 7 % count) / size % count).collect(),
    }
}

pub(super) fn soak() -> Option<usize> {
    std::env::var("GALLEY_SOAK_FAULTS").ok()?.parse().ok()
}

/// Which faults there are at the call of that number: one of them, or all in `make soak`.
fn meant(faults: &[Fault], number: usize) -> &[Fault] {
    match soak() {
        Some(_) => faults,
        None => std::slice::from_ref(&faults[number % faults.len()]),
    }
}

fn all(size: usize, faults: &[Fault]) {
    let Some(meddler) = Meddler::new() else { return };
    let mut lost = Vec::new();
    for (number, scene) in SCENES.iter().enumerate() {
        let Some(scene) = scene() else { return };
        let (expected, count, before) = (scene.expected(), scene.count(&meddler), lost.len());
        let mut figures = Figures::default();
        for (place, nth) in sample(count, size, number).into_iter().enumerate() {
            for &fault in meant(faults, place + number) {
                let told = try_out(&scene, fault, nth, &meddler, &mut figures);
                let loss = told.and_then(|call| after(&scene, &call, &expected)).err();
                // At once: the whole table takes long.
                lost.extend(loss.inspect(|loss| eprintln!("lost: {loss}")));
            }
        }
        eprintln!("{}: {count} calls, {figures:?}, lost: {}", scene.name, lost.len() - before);
    }
    assert!(lost.is_empty(), "{} lost:\n{}", lost.len(), lost.join("\n"));
}

/// The command with the fault; what it says is right.
fn try_out(
    scene: &Scene,
    fault: Fault,
    nth: usize,
    meddler: &Meddler,
    figures: &mut Figures,
) -> Result<String, String> {
    scene.reset();
    let log = scene.kitchen.path("calls");
    let meddle = fault.of(scene.meddle(meddler), nth).log(&log);
    let output = meddle.command(&scene.command()).output().unwrap();
    let calls = fs::read_to_string(log).unwrap();
    // Threads share their work in other ways each time, so that there may be fewer calls than were counted.
    let Some(call) = calls.lines().nth(nth - 1) else { return Ok(format!("{}, undisturbed", scene.name)) };
    let what = format!("{}, {fault:?} at {call}", scene.name);
    figures.injected += 1;
    let fails = match fault {
        Fault::Kill => output.status.signal() != Some(9),
        Fault::Once(error) | Fault::FromThenOn(error) => {
            figures.told += usize::from(!output.status.success());
            !output.status.success() && !tells(scene, &output, error)
        }
    };
    figures.withstood += usize::from(output.status.success());
    if fails { Err(format!("{what}: {}", text(&output))) } else { Ok(what) }
}

/// The documented exit code, where it was, and why, once.
fn tells(scene: &Scene, output: &Output, error: Errno) -> bool {
    let (said, why) = (text(output), std::io::Error::from(error).to_string());
    let place = scene.kitchen.env.path().to_str().unwrap();
    let once = said.lines().filter(|line| line.starts_with("error")).count() == 1;
    output.status.code() == Some(4) && said.contains(&why) && said.contains(place) && once
}

/// Nothing is left, nothing is damaged, and the next time it is right.
fn after(scene: &Scene, when: &str, expected: &str) -> Result<(), String> {
    wait_for("the end of its processes", || leftovers(&scene.kitchen).is_empty());
    sound(&scene.kitchen, when)?;
    let output = scene.command().output().unwrap();
    if !output.status.success() {
        return Err(format!("{when}, the next one: {}", text(&output)));
    }
    // What cannot even be looked at says so itself, and is one of many.
    let looked = catch_unwind(AssertUnwindSafe(|| scene.result()));
    let result = looked.map_err(|_| format!("{when}: what came of it cannot be read"))?;
    if result != expected {
        return Err(format!("{when}: {result} instead of {expected}"));
    }
    sound(&scene.kitchen, when)
}

pub(super) fn sound(kitchen: &Kitchen, when: &str) -> Result<(), String> {
    let output = kitchen.command(&["system", "check"]).output().unwrap();
    let said = text(&output);
    let sound = output.status.success() && said.contains("nothing is damaged");
    if sound { Ok(()) } else { Err(format!("{when}: {said}")) }
}

#[test]
fn errors() {
    all(2, &Fault::ERRORS);
}

#[test]
fn kills() {
    all(2, &[Fault::Kill]);
}
