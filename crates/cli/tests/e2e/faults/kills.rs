//! kill -9 at instants that nobody chose: the store is whole, the next command does all of it, and a registry never has a
//! manifest without its blobs.

use std::process::Child;

use super::{super::Kitchen, *};

/// What is killed, and what it is when it was not.
struct Victim {
    kitchen: Kitchen,
    registry: Registry,
    arguments: Vec<String>,
}

impl Victim {
    fn new(kitchen: Kitchen, registry: Registry, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { kitchen, registry, arguments }
    }

    fn spawn(&self) -> Child {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        spawn(&self.kitchen, &arguments)
    }

    /// How long it takes when nobody kills it.
    fn run(&self) -> Duration {
        let start = Instant::now();
        succeeded(self.spawn().wait_with_output().unwrap());
        start.elapsed()
    }

    /// Kills it after `delay`; says whether it had not ended by itself.
    fn kill_after(&self, delay: Duration) -> bool {
        let mut child = self.spawn();
        thread::sleep(delay);
        let killed = child.try_wait().unwrap().is_none();
        let _ = child.kill();
        child.wait().unwrap();
        wait_for("the end of its processes", || leftovers(&self.kitchen).is_empty());
        let manifests = self.registry.matching("PUT", "/v2/*/manifests/*");
        assert!(manifests.iter().all(|request| matches!(request.status, 0 | 201)), "{manifests:?}");
        killed
    }
}

/// Kills what `make` makes at so many instants between its beginning and its end. After each, `check` looks at what a
/// second run, which must succeed, has made.
fn at_random_instants(instants: u32, make: &dyn Fn() -> Option<Victim>, check: &dyn Fn(&Victim)) {
    let (Some(first), Some(whole)) = (make(), make()) else { return };
    let length = first.run().min(whole.run());
    check(&whole);
    let mut killed = 0;
    for number in 0..instants {
        let Some(victim) = make() else { return };
        let within = u64::from_le_bytes(noise(u64::from(number) + 77, 8).try_into().unwrap()) % 1000;
        let instant = length.mul_f64((f64::from(number) + within as f64 / 1000.0) / f64::from(instants));
        killed += u32::from(victim.kill_after(instant));
        victim.run();
        swept(&victim.kitchen, instant);
        check(&victim);
    }
    eprintln!("{}: {killed} of {instants} killed within {length:?}", whole.arguments[0]);
    // A busy machine may have been slower at first than it is later.
    assert!(killed > 0, "{killed} of {instants} were killed within {length:?}");
}

/// Whoever writes next sweeps. What was killed in its last instant has nothing left to write for the second run, which
/// then leaves the sweeping to the next writer.
fn swept(kitchen: &Kitchen, instant: Duration) {
    if temporary(kitchen).is_empty() {
        return;
    }
    write_something(kitchen);
    assert_eq!(temporary(kitchen), BTreeSet::new(), "not swept after a kill at {instant:?}");
}

fn instants() -> u32 {
    5
}

fn pull() -> Option<Victim> {
    let (kitchen, registry) = (Kitchen::new()?, Registry::start());
    put_app(&registry, 3, 300_000);
    let name = app(&registry);
    Some(Victim::new(kitchen, registry, &["pull", &name]))
}

fn load() -> Option<Victim> {
    let (kitchen, registry) = (Kitchen::new()?, Registry::start());
    put_app(&registry, 3, 300_000);
    let other = Kitchen::new()?;
    other.galley(&["pull", "-q", &app(&registry)]);
    let archive = kitchen.path("app.tar").display().to_string();
    other.galley(&["save", "-o", &archive, &app(&registry)]);
    Some(Victim::new(kitchen, registry, &["load", "-i", &archive]))
}

/// An image that was built here, so that its layers are not compressed yet.
fn push() -> Option<Victim> {
    let (kitchen, registry) = (Kitchen::new()?, Registry::start());
    for number in 0..3 {
        kitchen.env.write(&format!("data{number}"), noise(number, 300_000));
    }
    let name = app(&registry);
    kitchen.dockerfile("FROM busybox\nCOPY data0 /\nCOPY data1 /\nCOPY data2 /\n").build(&["-t", &name, "."]);
    Some(Victim::new(kitchen, registry, &["push", &name]))
}

fn build(more: &[&str]) -> Option<Victim> {
    let (kitchen, registry) = (Kitchen::new()?, Registry::start());
    put_app(&registry, 2, 300_000);
    let name = app(&registry);
    kitchen.dockerfile(&format!("FROM {name}\nRUN cat /data0 /data1 > /both\nRUN echo end > /end\n"));
    let built = format!("{}/team/built:1", registry.host());
    let more: Vec<String> = more.iter().map(|word| word.replace("HOST", &registry.host())).collect();
    let fixed = ["build", "--progress=plain", "--reproducible", "-t", &built];
    let arguments: Vec<&str> =
        fixed.into_iter().chain(more.iter().map(String::as_str)).chain(["."]).collect();
    Some(Victim::new(kitchen, registry, &arguments))
}

/// The files of the image, as a container sees them.
fn runs(victim: &Victim) {
    let said = victim.kitchen.galley(&[
        "run",
        "--rm",
        crate::e2e::offline(),
        &app(&victim.registry),
        "sh",
        "-c",
        "cat /data* > /all && stat -c %s /all",
    ]);
    assert_eq!(said, "900000\n");
}

/// Whoever has nothing yet gets the image from the registry.
fn can_be_pulled(victim: &Victim, name: &str) {
    let Some(fresh) = Kitchen::new() else { return };
    fresh.galley(&["pull", "-q", &format!("{}/{name}", victim.registry.host())]);
}

fn pulls(instants: u32) {
    at_random_instants(instants, &pull, &runs);
}

fn loads(instants: u32) {
    at_random_instants(instants, &load, &runs);
}

fn pushes(instants: u32) {
    at_random_instants(instants, &push, &|victim| can_be_pulled(victim, "team/app:1"));
}

fn builds_that_push(instants: u32) {
    let digests = std::cell::RefCell::new(BTreeSet::new());
    at_random_instants(instants, &|| build(&["--push"]), &|victim| {
        can_be_pulled(victim, "team/built:1");
        let manifest = victim.registry.manifest("team/built", "1").unwrap().1;
        digests.borrow_mut().insert(galley_oci::Digest::sha256(&manifest));
        assert_eq!(digests.borrow().len(), 1, "another image after a kill");
    });
}

fn builds_with_a_cache(instants: u32) {
    let cache = ["--cache-to", "type=registry,ref=HOST/team/cache:1,mode=max"];
    at_random_instants(instants, &|| build(&cache), &|victim| {
        let Some(fresh) = Kitchen::new() else { return };
        let from = format!("type=registry,ref={}/team/cache:1", victim.registry.host());
        fresh.dockerfile(&fs::read_to_string(victim.kitchen.env.work().join("Dockerfile")).unwrap());
        assert_eq!(fresh.build(&["--cache-from", &from, "--reproducible", "."]).executed, 0);
    });
}

#[test]
fn a_pull() {
    pulls(instants());
}

#[test]
fn a_load() {
    loads(instants());
}

#[test]
fn a_push() {
    pushes(instants());
}

#[test]
fn a_build_that_pushes() {
    builds_that_push(instants());
}

#[test]
fn a_build_that_sends_its_cache() {
    builds_with_a_cache(instants());
}

#[test]
#[ignore = "takes minutes"]
fn everything_a_hundred_times() {
    for kill in [pulls, loads, pushes, builds_that_push, builds_with_a_cache] {
        kill(120);
    }
}
