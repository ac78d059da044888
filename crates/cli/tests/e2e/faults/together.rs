//! Several at once: each layer is fetched once, and all of them succeed.

use std::collections::BTreeMap;

use super::{super::Kitchen, *};

/// How often each blob was asked for.
fn fetches(registry: &Registry) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in registry.matching("GET", BLOBS) {
        *counts.entry(request.path().rsplit('/').next().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

fn each_layer_once(registry: &Registry, image: &TestImage) {
    let fetches = fetches(registry);
    for layer in &image.layers {
        assert_eq!(fetches.get(&layer.digest.to_string()), Some(&1), "{fetches:?}");
    }
}

fn all_succeed(children: Vec<std::process::Child>) {
    for child in children {
        succeeded(child.wait_with_output().unwrap());
    }
}

/// A registry whose layers take their time, so that what is at once meets.
fn slow_registry() -> (Registry, TestImage) {
    let registry = Registry::start();
    let image = put_app(&registry, 3, 1 << 20);
    let delay = Fault::Delay(Duration::from_millis(200));
    registry.inject(Rule::on("GET", BLOBS, delay).always());
    (registry, image)
}

#[test]
fn pulls_of_one_image() {
    for count in [2, 8] {
        let Some(kitchen) = Kitchen::new() else { return };
        let (registry, image) = slow_registry();
        let name = app(&registry);
        all_succeed((0..count).map(|_| spawn(&kitchen, &["pull", &name])).collect());
        each_layer_once(&registry, &image);
        assert_eq!(kitchen.galley(&["images", "-q"]).lines().count(), 1);
        assert_eq!(temporary(&kitchen), BTreeSet::new());
    }
}

#[test]
fn builds_and_pulls_on_one_base() {
    let Some(kitchen) = Kitchen::new() else { return };
    let (registry, image) = slow_registry();
    let name = app(&registry);
    let build = |number: usize| {
        let file = format!("Dockerfile.{number}");
        kitchen.env.write(&file, format!("FROM {name}\nRUN echo {number} > /n\n"));
        let tag = format!("n{number}");
        spawn(&kitchen, &["build", "--progress=plain", "-f", &file, "-t", &tag, "."])
    };
    let mut children: Vec<_> = (0..3).map(build).collect();
    children.push(spawn(&kitchen, &["pull", &name]));
    all_succeed(children);
    each_layer_once(&registry, &image);
    for number in 0..3 {
        let said =
            kitchen.galley(&["run", "--rm", crate::e2e::offline(), &format!("n{number}"), "cat", "/n"]);
        assert_eq!(said, format!("{number}\n"));
    }
    assert_eq!(temporary(&kitchen), BTreeSet::new());
}

#[test]
fn one_that_fails_leaves_the_other_its_turn() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    let image = put_app(&registry, 1, 1 << 20);
    drip(&registry);
    let name = app(&registry);
    let mut first = spawn(&kitchen, &["pull", &name]);
    wait_for("the first pull", || registry.count("GET", BLOBS) > 2);
    let second = spawn(&kitchen, &["pull", &name]);
    thread::sleep(Duration::from_millis(300));
    registry.heal();
    first.kill().unwrap();
    first.wait().unwrap();
    all_succeed(vec![second]);
    let counts = fetches(&registry);
    for layer in &image.layers {
        assert!(counts[&layer.digest.to_string()] <= 2, "{counts:?}");
    }
}

#[test]
fn pushes_of_one_image() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    kitchen.env.write("data", noise(1, 1 << 20));
    kitchen.dockerfile("FROM busybox\nCOPY data /data\n").build(&["-t", &app(&registry), "."]);
    all_succeed((0..4).map(|_| spawn(&kitchen, &["push", &app(&registry)])).collect());
    assert_eq!(registry.tags("team/app"), ["1"]);
    assert_eq!(temporary(&kitchen), BTreeSet::new());
}

#[test]
fn a_tag_that_moves_while_it_is_pulled() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    put_app(&registry, 1, 1000);
    let old = registry.manifest("team/app", "1").unwrap().1;
    let new = registry.put_image("team/app", "2", &[rootfs_tar(&[TarEntry::File("f", 0o644, b"f")])]);
    let moves = Fault::MoveTag {
        repository: "team/app".to_owned(),
        tag: "1".to_owned(),
        digest: new.manifest.digest.to_string(),
    };
    // Whatever is asked first: from then on the name means another image.
    registry.inject(Rule::on("*", "/v2/team/app/manifests/*", moves));
    let said = kitchen.galley(&["pull", &app(&registry)]);
    let old = galley_oci::Digest::sha256(&old);
    assert!(said.contains(&format!("Digest: {old}\n")), "{said}");
    let shown = kitchen.galley(&["inspect", "--format", "{{index .RepoDigests 0}}", &app(&registry)]);
    assert!(shown.trim().ends_with(&old.to_string()), "{shown}");
    let said = kitchen.galley(&["pull", &app(&registry)]);
    assert!(said.contains(&format!("Digest: {}\n", new.manifest.digest)), "{said}");
}
