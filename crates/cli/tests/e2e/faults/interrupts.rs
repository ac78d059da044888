//! Ctrl-C while a registry is slow: exit code 130 soon, and nothing stays behind.

use super::{super::Kitchen, *};

/// SIGINT to `child`, which ends with 130 long before it would by itself, and leaves nothing.
fn interrupt(kitchen: &Kitchen, child: std::process::Child) -> String {
    let start = Instant::now();
    kitchen.env.run("kill", &["-INT", &child.id().to_string()]);
    let output = child.wait_with_output().unwrap();
    let took = start.elapsed();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(took < Duration::from_secs(15), "it took {took:?}: {}", text(&output));
    wait_for("the end of its helpers", || leftovers(kitchen).is_empty());
    assert_eq!(temporary(kitchen), BTreeSet::new(), "{}", text(&output));
    text(&output)
}

#[test]
fn a_pull_and_a_build_in_the_middle_of_a_layer() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    put_app(&registry, 2, 1 << 20);
    let name = app(&registry);
    kitchen.dockerfile(&format!("FROM {name}\nRUN true\n"));
    drip(&registry);
    for arguments in [&["pull", &name][..], &["build", "-t", "x", "."], &["run", "--rm", &name, "true"]] {
        let before = registry.count("GET", "/v2/*/*");
        let child = spawn(&kitchen, arguments);
        wait_for("the layers", || registry.count("GET", "/v2/*/*") > before + 1);
        thread::sleep(Duration::from_millis(200));
        interrupt(&kitchen, child);
        assert_eq!(kitchen.galley(&["images", "-aq"]), "", "{arguments:?}");
    }
    registry.heal();
    kitchen.galley(&["pull", &name]);
}

#[test]
fn while_nothing_at_all_comes() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    put_app(&registry, 1, 1 << 20);
    let name = app(&registry);
    let (silent, address) = galley_testkit::registry::silent_listener();
    kitchen.dockerfile(&format!("FROM {name}\nRUN true\n"));
    for (path, fault) in [
        ("/v2/*/manifests/*", Fault::Hang),
        (BLOBS, Fault::Hang),
        (BLOBS, Fault::Stall { after: 100 }),
        ("/v2/*/manifests/*", Fault::status(503)),
        ("/v2/*/manifests/*", Fault::too_many("60")),
    ] {
        for arguments in [&["pull", &name][..], &["build", "-t", "x", "."], &["lock", "."]] {
            if arguments[0] == "lock" && path == BLOBS {
                continue;
            }
            registry.heal();
            registry.inject(Rule::on("*", path, fault.clone()).always());
            registry.forget_requests();
            let child = spawn(&kitchen, arguments);
            wait_for("the question", || registry.count("*", path) > 0);
            thread::sleep(Duration::from_millis(50));
            interrupt(&kitchen, child);
        }
    }
    let child = spawn(&kitchen, &["pull", &format!("{address}/x")]);
    let connection = silent.accept().unwrap();
    interrupt(&kitchen, child);
    drop(connection);
}

#[test]
fn a_push() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    let name = app(&registry);
    kitchen.env.write("data", noise(1, 8 << 20));
    kitchen.dockerfile("FROM busybox\nCOPY data /data\n").build(&["-t", &name, "."]);
    let layout = format!("busybox=oci-layout://{}", kitchen.path("busybox").display());
    let build = ["build", "--build-context", &layout, "-t", &name, "--push", "."];
    let cache = format!("type=registry,ref={name}-cache,mode=max");
    let cache = ["build", "--build-context", &layout, "--cache-to", &cache, "."];
    for (method, fault) in
        [("POST", Fault::Hang), ("PUT", Fault::Hang), ("HEAD", Fault::Delay(Duration::from_secs(30)))]
    {
        for arguments in [&["push", &name][..], &build, &cache] {
            registry.heal();
            registry.inject(Rule::on(method, "/v2/*/blobs/*", fault.clone()).always());
            registry.forget_requests();
            let child = spawn(&kitchen, arguments);
            wait_for("the push", || registry.count(method, "/v2/*/blobs/*") > 0);
            interrupt(&kitchen, child);
            assert_eq!(registry.tags("team/app"), Vec::<String>::new());
        }
    }
}
