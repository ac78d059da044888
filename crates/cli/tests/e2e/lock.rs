//! `galley lock` and `build --locked`, against the test kit's own registry.

use std::process::Output;

use fs_err as fs;
use galley_testkit::registry::Registry;

use super::{Kitchen, text};

/// Pushes an image that holds `version` as `team/base:1`.
fn put_base(kitchen: &Kitchen, registry: &Registry, version: &str) -> String {
    kitchen.env.write("base/Dockerfile", format!("FROM busybox\nRUN echo {version} > /version\n"));
    let name = format!("{}/team/base:1", registry.host());
    kitchen.build(&["-t", &name, "--push", "base"]);
    name
}

fn run(kitchen: &Kitchen, arguments: &[&str]) -> Output {
    kitchen.command(arguments).output().unwrap()
}

/// Locks a Dockerfile whose second stage only a target needs.
fn locked(kitchen: &Kitchen, base: &str) -> String {
    kitchen.dockerfile(&format!(
        "FROM scratch AS other\nCOPY --from={base} /version /v\nFROM {base}\nRUN cat /version\n"
    ));
    kitchen.galley(&["lock"]);
    fs::read_to_string(kitchen.env.work().join("galley.lock")).unwrap()
}

#[test]
fn a_locked_build_stays_what_it_was() {
    let (Some(kitchen), Some(other)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = Registry::start();
    let base = put_base(&other, &registry, "one");
    let lock = locked(&kitchen, &base);
    let (_, manifest) = registry.manifest("team/base", "1").unwrap();
    let digest = galley_oci::Digest::sha256(&manifest);
    assert!(lock.ends_with(&format!("[[image]]\nname = \"{base}\"\ndigest = \"{digest}\"\n")), "{lock}");
    kitchen.build(&["--locked", "-t", "x", "."]);

    put_base(&other, &registry, "two");
    let moved = run(&kitchen, &["build", "--locked", "-t", "x", "."]);
    assert_eq!(moved.status.code(), Some(1));
    let said = text(&moved);
    assert!(said.contains("Dockerfile:3:6") && said.contains("this name has moved"), "{said}");
    assert!(said.contains(&digest.to_string()) && said.contains("galley lock --update"), "{said}");
    // Nothing else has changed: what is locked is still there.
    kitchen.build(&["--locked", "--offline", "-t", "x", "."]);
    assert!(kitchen.galley(&["lock"]).contains("nothing changed"));

    let said = kitchen.galley(&["lock", "--update", &base]);
    assert!(said.starts_with("~ ") && !said.contains(&digest.to_string()), "{said}");
    kitchen.build(&["--locked", "-t", "x", "."]);
}

#[test]
fn what_a_lock_does_not_know_is_an_error_at_its_line() {
    let (Some(kitchen), Some(other)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = Registry::start();
    let base = put_base(&other, &registry, "one");
    kitchen.dockerfile(&format!("FROM {base}\n"));
    let missing = run(&kitchen, &["build", "--locked", "."]);
    assert_eq!(missing.status.code(), Some(5), "{}", text(&missing));
    assert!(text(&missing).contains("there is no galley.lock"), "{}", text(&missing));

    kitchen.galley(&["lock"]);
    kitchen.dockerfile(&format!("FROM {base}\nCOPY --from=busybox /bin/sh /sh\n"));
    let unknown = run(&kitchen, &["build", "--locked", "."]);
    assert_eq!(unknown.status.code(), Some(1), "{}", text(&unknown));
    assert!(text(&unknown).contains("busybox:latest is not in galley.lock"), "{}", text(&unknown));
    assert!(text(&unknown).contains("Dockerfile:2"), "{}", text(&unknown));

    fs::write(kitchen.env.work().join("galley.lock"), "version = 7\n").unwrap();
    let newer = run(&kitchen, &["build", "--locked", "."]);
    assert_eq!(newer.status.code(), Some(1));
    assert!(text(&newer).contains("of version 7"), "{}", text(&newer));
}

#[test]
fn an_image_of_the_store_alone_is_held_to_its_id() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    // The registry is there and does not have it.
    let name = format!("{}/mine:1", registry.host());
    kitchen.dockerfile("FROM busybox\nRUN echo 1 > /one\n").build(&["-t", &name, "."]);
    kitchen.dockerfile(&format!("FROM {name}\n"));
    let said = kitchen.galley(&["lock"]);
    assert!(said.contains("(an image of the local store)"), "{said}");
    kitchen.build(&["--locked", "-t", "x", "."]);
    kitchen.env.write("again/Dockerfile", "FROM busybox\nRUN echo 2 > /one\n");
    kitchen.build(&["-t", &name, "again"]);
    let moved = run(&kitchen, &["build", "--locked", "."]);
    assert!(text(&moved).contains("this name has moved"), "{}", text(&moved));
}

#[test]
fn a_check_knows_what_is_locked() {
    let (Some(kitchen), Some(other)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = Registry::start();
    let base = put_base(&other, &registry, "one");
    kitchen.dockerfile(&format!("# check=experimental=BaseWithoutDigest\nFROM {base}\n"));
    let check = || run(&kitchen, &["build", "--check", "."]);
    let said = text(&check());
    assert!(said.contains("BaseWithoutDigest"), "{said}");
    kitchen.galley(&["lock"]);
    assert!(check().status.success(), "{}", text(&check()));
}
