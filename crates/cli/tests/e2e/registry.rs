//! Registries: pull, push, bases that come when they are needed, faults; against the test kit's own registry, which
//! counts what it is asked.

use std::{
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use fs_err as fs;
use galley_testkit::registry::{Auth, Fault, Registry, Rule, closed_port};
use serde_json::Value;

use super::{Kitchen, succeeded, text};

const BLOBS: &str = "/v2/*/blobs/sha256:*";
const MANIFESTS: &str = "/v2/*/manifests/*";
/// Of the test registry.
const USER: &str = "robot";
const PASSWORD: &str = "s3cret-password";

/// A registry with the image `team/base:1`, which is busybox and the file /version.
fn registry_with_base(kitchen: &Kitchen, version: &str) -> Registry {
    let registry = Registry::start();
    put_base(kitchen, &registry, version);
    registry.forget_requests();
    registry
}

fn put_base(kitchen: &Kitchen, registry: &Registry, version: &str) {
    kitchen.env.write(
        "base/Dockerfile",
        format!("FROM busybox\nRUN echo {version} > /version\nENV BASE={version}\n"),
    );
    kitchen.build(&["-t", &format!("{}/team/base:1", registry.host()), "--push", "base"]);
}

fn run(kitchen: &Kitchen, arguments: &[&str]) -> Output {
    kitchen.command(arguments).output().unwrap()
}

/// Exit code and all that was said of a command that must fail.
fn fails(kitchen: &Kitchen, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(kitchen, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded: {}", text(&output));
    (output.status.code(), text(&output))
}

/// How many blobs the registry was asked to take into `repository` from another one.
fn mounts(registry: &Registry, repository: &str) -> usize {
    let uploads = registry.matching("POST", &format!("/v2/{repository}/blobs/uploads/"));
    uploads.iter().filter(|request| request.target.contains("mount=") && request.status == 201).count()
}

fn id(kitchen: &Kitchen, image: &str) -> String {
    kitchen.galley(&["inspect", "--format", "{{.Id}}", image])
}

fn log_in(kitchen: &Kitchen, registry: &Registry) {
    kitchen.galley(&["login", "-u", USER, "-p", PASSWORD, &registry.host()]);
}

#[test]
fn logins_are_where_it_is_said() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::builder().auth(Auth::basic()).start();
    let name = format!("{}/app:1", registry.host());
    kitchen.dockerfile("FROM busybox\nCOPY Dockerfile /d\n").build(&["-t", &name, "."]);
    let logins = kitchen.path("logins").display().to_string();
    kitchen.galley(&["--config", &logins, "login", "-u", USER, "-p", PASSWORD, &registry.host()]);
    assert_eq!(fails(&kitchen, &["push", &name]).0, Some(6));
    kitchen.galley(&["--config", &logins, "push", &name]);
}

#[test]
fn what_is_pushed_is_pulled_and_neither_is_done_twice() {
    for auth in [Auth::None, Auth::basic(), Auth::token()] {
        let (Some(here), Some(there)) = (Kitchen::new(), Kitchen::new()) else { return };
        let open = matches!(auth, Auth::None);
        let registry = Registry::builder().auth(auth).start();
        let name = format!("{}/team/app:1", registry.host());
        here.dockerfile("FROM busybox\nCOPY Dockerfile /d\n").build(&["-t", &name, "."]);
        if !open {
            let (code, said) = fails(&here, &["push", &name]);
            assert_eq!(code, Some(6), "{said}");
            assert!(said.contains("galley login"), "{said}");
            for kitchen in [&here, &there] {
                log_in(kitchen, &registry);
            }
        }
        let said = here.galley(&["push", &name]);
        let (_, manifest) = registry.manifest("team/app", "1").unwrap();
        let digest = galley_oci::Digest::sha256(&manifest);
        assert!(said.ends_with(&format!("\n1: digest: {digest} size: {}\n", manifest.len())), "{said}");

        registry.forget_requests();
        here.galley(&["push", &name]);
        assert_eq!(registry.bytes_received(BLOBS) + registry.bytes_received("/v2/*/blobs/uploads/*"), 0);

        let said = there.galley(&["pull", &name]);
        let expected = format!(
            "1: Pulling from team/app\nDigest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n"
        );
        assert_eq!(said, expected);
        assert_eq!(id(&there, &name), id(&here, &name));
        for kitchen in [&here, &there] {
            let known = kitchen.galley(&["inspect", "--format", "{{index .RepoDigests 0}}", &name]);
            assert_eq!(known, format!("{}/team/app@{digest}\n", registry.host()));
        }
        assert_eq!(
            there.galley(&["run", "--rm", crate::e2e::offline(), &name, "cat", "/d"]),
            "FROM busybox\nCOPY Dockerfile /d\n"
        );

        registry.forget_requests();
        let said = there.galley(&["pull", &name]);
        assert!(said.contains(&format!("Status: Image is up to date for {name}\n")), "{said}");
        assert_eq!(registry.count("*", BLOBS), 0);
        let answered = registry.matching("*", MANIFESTS);
        let answered: Vec<_> = answered.iter().filter(|request| request.status == 200).collect();
        assert_eq!((answered.len(), answered[0].method.as_str()), (1, "HEAD"));
        assert_eq!(there.galley(&["pull", "-q", &name]), format!("{name}\n"));
    }
}

#[test]
fn a_base_costs_one_request_when_it_did_not_move() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let from = format!("FROM {}/team/base:1\n", registry.host());
    fresh.dockerfile(&format!("{from}RUN cat /version > /seen\n")).build(&["-t", "x", "."]);
    // As an ordinary user the build runs twice; the second time it knows what it was told.
    assert_eq!(registry.count("*", MANIFESTS), 1, "{:?}", registry.requests());
    for dockerfile in [format!("{from}RUN cat /version > /seen\n"), format!("{from}RUN echo new > /seen\n")] {
        registry.forget_requests();
        fresh.dockerfile(&dockerfile).build(&["-t", "x", "."]);
        assert_eq!(registry.count("HEAD", MANIFESTS), 1, "{:?}", registry.requests());
        assert_eq!(registry.count("GET", MANIFESTS) + registry.count("*", BLOBS), 0);
    }
}

#[test]
fn what_is_cached_needs_no_byte_of_its_base() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let host = registry.host();
    fresh.dockerfile(&format!("FROM {host}/team/base:1\nRUN cat /version > /seen\nCOPY Dockerfile /\n"));
    fresh.build(&["-t", "x", "."]);
    forget_layers_with_blobs(&fresh);
    registry.forget_requests();
    let counts = fresh.build(&["-o", "type=cacheonly", "."]);
    assert_eq!((counts.executed, registry.bytes_sent(BLOBS)), (0, 0));
    // Nor does an image of it that goes to where the base is.
    let counts = fresh.build(&["-t", &format!("{host}/team/app:1"), "--push", "."]);
    assert_eq!((counts.executed, registry.bytes_sent(BLOBS)), (0, 0), "{:?}", registry.requests());
    assert_eq!(mounts(&registry, "team/app"), 2, "{:?}", registry.requests());
    // What runs something on it has it fetched.
    fresh.dockerfile(&format!("FROM {host}/team/base:1\nRUN echo other\n")).build(&[
        "-o",
        "type=cacheonly",
        ".",
    ]);
    assert_eq!(registry.count("GET", BLOBS), 2);
}

/// Takes the layers that came from a registry out of the store, with their blobs.
fn forget_layers_with_blobs(kitchen: &Kitchen) {
    let blobs = kitchen.env.store().join("blobs/sha256");
    for entry in fs::read_dir(blobs).unwrap() {
        let path = entry.unwrap().path();
        // Manifests and configs are text.
        if fs::read(&path).unwrap().first() != Some(&b'{') {
            fs::remove_file(path).unwrap();
        }
    }
    let (mut removed, layers) = (0, kitchen.env.store().join("layers"));
    for entry in fs::read_dir(layers).unwrap() {
        let path = entry.unwrap().path();
        let of_base = ["packed", "diff/bin/busybox", "diff/version"];
        if of_base.iter().any(|file| path.join(file).exists()) {
            kitchen.env.run("rm", &["-rf", path.to_str().unwrap()]);
            removed += 1;
        }
    }
    assert_eq!(removed, 2, "the layers of the base");
}

#[test]
fn a_base_with_metadata_alone_is_pushed_elsewhere_by_mount() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let host = registry.host();
    fresh.dockerfile(&format!("FROM {host}/team/base:1\nLABEL a=b\nCOPY --link Dockerfile /\n"));
    fresh.build(&["-t", &format!("{host}/team/app:1"), "--push", "."]);
    // The base's config, and nothing else.
    assert_eq!(registry.count("GET", BLOBS), 1, "{:?}", registry.requests());
    assert_eq!(mounts(&registry, "team/app"), 2);
    // The new layer and the config.
    assert_eq!(registry.count("PUT", "/v2/team/app/blobs/uploads/*"), 2);
    kitchen.galley(&["pull", "-q", &format!("{host}/team/app:1")]);
    let said = kitchen.galley(&[
        "run",
        "--rm",
        crate::e2e::offline(),
        &format!("{host}/team/app:1"),
        "cat",
        "/version",
    ]);
    assert_eq!(said, "one\n");
}

#[test]
fn a_moved_tag_is_noticed_unless_offline() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let seen = |arguments: &[&str]| {
        let files = fresh.files(arguments);
        String::from_utf8_lossy(&files["seen"].content).into_owned()
    };
    fresh.dockerfile(&format!("FROM {}/team/base:1\nRUN cat /version > /seen\n", registry.host()));
    assert_eq!(seen(&["."]), "one\n");
    put_base(&kitchen, &registry, "two");
    registry.forget_requests();
    assert_eq!(seen(&["--offline", "."]), "one\n");
    assert_eq!(registry.requests().len(), 0);
    assert_eq!(seen(&["."]), "two\n");
    assert_eq!(seen(&["--offline", "."]), "two\n");
}

#[test]
fn pull_asks_the_registry_before_the_store() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let base = format!("{}/team/base:1", registry.host());
    fresh.galley(&["pull", "-q", &base]);
    fresh.dockerfile(&format!("FROM {base}\nCOPY --from={base} /version /copied\n"));
    registry.forget_requests();
    fresh.build(&["."]);
    assert_eq!(registry.requests().len(), 0, "the store has it");
    fresh.build(&["--pull", "."]);
    assert_eq!(
        (registry.count("HEAD", MANIFESTS), registry.count("GET", "/v2/*/*")),
        (1, 0),
        "{:?}",
        registry.requests()
    );
    put_base(&kitchen, &registry, "two");
    let version = |arguments: &[&str]| fresh.files(arguments)["copied"].content.clone();
    assert_eq!(version(&["."]), b"one\n");
    assert_eq!(version(&["--pull", "."]), b"two\n");
}

#[test]
fn without_a_network_older_answers_are_offered() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let base = format!("{}/team/base:1", registry.host());
    fresh.dockerfile(&format!("FROM {base}\nRUN cat /version > /seen\n"));
    let (code, said) = fresh.build_fails(&["--offline", "."]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("in the local store (--offline: no registry was asked)"), "{said}");
    fresh.build(&["-o", "type=cacheonly", "."]);
    drop(registry);
    let (code, said) = fresh.build_fails(&["-o", "type=cacheonly", "."]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains(&format!("--offline goes on with what {base} was ")), "{said}");
    fresh.build(&["--offline", "-o", "type=cacheonly", "."]);
}

#[test]
fn images_are_found_by_digest() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let digest = galley_oci::Digest::sha256(&registry.manifest("team/base", "1").unwrap().1);
    for name in [format!("team/base@{digest}"), format!("team/base:other@{digest}")] {
        fresh.dockerfile(&format!("FROM {}/{name}\nRUN cat /version\n", registry.host()));
        fresh.build(&["-o", "type=cacheonly", "."]);
    }
    let asked = registry.requests().len();
    fresh.build(&["-o", "type=cacheonly", "."]);
    assert_eq!(registry.requests().len(), asked, "a digest means the same for ever");
    let name = format!("{}/team/base@{digest}", registry.host());
    assert!(fresh.galley(&["pull", &name]).contains(&format!("Digest: {digest}\n")));
    assert_eq!(fresh.galley(&["run", "--rm", crate::e2e::offline(), &name, "cat", "/version"]), "one\n");
}

#[test]
fn a_pull_that_was_killed_is_done_again() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let name = format!("{}/team/base:1", registry.host());
    let drip = Fault::Drip { bytes: 1000, pause: Duration::from_millis(100) };
    registry.inject(Rule::on("GET", BLOBS, drip).skip(1).always());
    let mut child =
        fresh.command(&["pull", &name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while registry.count("GET", BLOBS) < 3 {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "the pull does not begin: {:?}",
            registry.requests()
        );
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fresh.galley(&["images", "-q"]), "");
    registry.heal();
    fresh.galley(&["pull", &name]);
    assert_eq!(fresh.galley(&["run", "--rm", crate::e2e::offline(), &name, "cat", "/version"]), "one\n");
    assert_eq!(
        fs::read_dir(fresh.env.store().join("tmp")).unwrap().count(),
        0,
        "temporary files were not swept"
    );
}

#[test]
fn two_pulls_at_once_fetch_each_layer_once() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let name = format!("{}/team/base:1", registry.host());
    registry.inject(Rule::on("GET", BLOBS, Fault::Delay(Duration::from_millis(300))).skip(1).always());
    let pull =
        || fresh.command(&["pull", &name]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (one, other) = (pull(), pull());
    for child in [one, other] {
        succeeded(child.wait_with_output().unwrap());
    }
    let layers = registry.matching("GET", BLOBS);
    let config = layers[0].path().to_owned();
    assert_eq!(layers.iter().filter(|request| request.path() != config).count(), 2, "{layers:?}");
}

#[test]
fn what_is_wrong_decides_the_exit_code() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let host = registry.host();
    let (code, said) = fails(&fresh, &["pull", &format!("{host}/team/base:2")]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains(&format!("the registry {host} has no image {host}/team/base:2")), "{said}");
    fresh.dockerfile(&format!("FROM {host}/team/base:2\n"));
    let (code, said) = fresh.build_fails(&["."]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains(&format!("in the local store and at the registry {host}")), "{said}");
    let (code, said) = fails(&fresh, &["pull", &format!("{}/a", closed_port())]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("cannot reach"), "{said}");
    let (code, said) = fails(&fresh, &["push", "nothing"]);
    assert_eq!(code, Some(5), "{said}");
    let (code, said) = fails(&fresh, &["pull", "Upper"]);
    assert_eq!(code, Some(125), "{said}");
    registry.inject(Rule::on("GET", BLOBS, Fault::Corrupt).always());
    let (code, said) = fails(&fresh, &["pull", &format!("{host}/team/base:1")]);
    assert_eq!(code, Some(6), "{said}");
    assert_eq!(fresh.galley(&["images", "-q"]), "");
}

#[test]
fn only_what_works_is_kept_by_login_and_no_secret_is_said() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::builder().auth(Auth::basic()).start();
    let host = registry.host();
    let file = kitchen.path("home/.docker/config.json");
    let (code, said) = fails(&kitchen, &["login", "-u", USER, "-p", "wrong-secret", &host]);
    assert_eq!(code, Some(6), "{said}");
    assert!(!said.contains("wrong-secret") && !file.exists(), "{said}");
    let (code, said) = fails(&kitchen, &["login", "-u", USER, &host]);
    assert_eq!(code, Some(125), "{said}");
    let output = succeeded(run(&kitchen, &["login", "-u", USER, "-p", PASSWORD, &host]));
    assert!(text(&output).contains("Login Succeeded"), "{}", text(&output));
    assert!(text(&output).contains("Using --password via the CLI is insecure. Use --password-stdin."));
    assert!(!text(&output).contains(PASSWORD), "{}", text(&output));
    let content: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(content["auths"][&host]["auth"].is_string(), "{content}");
    // What is kept is tried first.
    assert!(kitchen.galley(&["login", &host]).contains("Login Succeeded"));
    assert_eq!(kitchen.galley(&["logout", &host]), format!("Removing login credentials for {host}\n"));
    assert_eq!(kitchen.galley(&["logout", &host]), format!("Not logged in to {host}\n"));
}

#[test]
fn all_tags_of_a_repository_are_pushed() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::start();
    let name = |tag: &str| format!("{}/team/app:{tag}", registry.host());
    kitchen.dockerfile("FROM busybox\n").build(&["-t", &name("1"), "-t", &name("2"), "-t", "other", "."]);
    kitchen.galley(&["push", "-a", &format!("{}/team/app", registry.host())]);
    assert_eq!(registry.tags("team/app"), ["1", "2"]);
    assert_eq!(registry.count("PUT", "/v2/team/app/blobs/uploads/*"), 2, "each blob is sent once");
    // Another repository of the registry takes them from the first.
    kitchen.galley(&["tag", &name("1"), &format!("{}/team/copy:1", registry.host())]);
    kitchen.galley(&["push", &format!("{}/team/copy:1", registry.host())]);
    assert_eq!(mounts(&registry, "team/copy"), 2, "{:?}", registry.requests());
}

#[test]
fn lists_of_manifests_are_made_and_pushed() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = Registry::start();
    let name = |name: &str| format!("{}/team/{name}", registry.host());
    kitchen.dockerfile("FROM busybox\n").build(&["-t", &name("amd:1"), "--push", "."]);
    kitchen.dockerfile("FROM busybox\nCOPY Dockerfile /\n").build(&["-t", &name("arm:1"), "--push", "."]);
    let list = name("all:1");
    let made = kitchen.galley(&["manifest", "create", &list, &name("amd:1"), &name("arm:1")]);
    assert_eq!(made, format!("Created manifest list {list}\n"));
    let (code, said) = fails(&kitchen, &["manifest", "create", &list, &name("amd:1")]);
    assert_eq!(code, Some(125), "{said}");
    kitchen.galley(&["manifest", "annotate", "--os", "linux", "--arch", "riscv64", &list, &name("arm:1")]);
    let digest = kitchen.galley(&["manifest", "push", "-p", "-q", &list]);
    assert_eq!(registry.count("PUT", "/v2/team/all/blobs/uploads/*"), 0, "blobs of the registry are mounted");
    let (_, bytes) = registry.manifest("team/all", "1").unwrap();
    assert_eq!(digest.trim(), galley_oci::Digest::sha256(&bytes).to_string());
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(index["manifests"][1]["platform"]["architecture"], "riscv64");
    assert_eq!(index["manifests"][1].get("galley.seen-as"), None);
    let shown: Value = serde_json::from_str(&fresh.galley(&["manifest", "inspect", &list])).unwrap();
    assert_eq!(shown, index);
    let shown: Value = serde_json::from_str(&fresh.galley(&["manifest", "inspect", "-v", &list])).unwrap();
    assert_eq!(shown.as_array().map(Vec::len), Some(2), "{shown}");
    let by_digest = format!("{}@{}", name("all"), digest.trim());
    let said = fresh.galley(&["run", "--rm", crate::e2e::offline(), &by_digest, "echo", "ran"]);
    assert_eq!(said, "ran\n");
    fresh.galley(&["pull", "-q", "--platform", "linux/riscv64", &list]);
    let (_, manifest) = registry.manifest("team/arm", "1").unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(id(&fresh, &list).trim(), manifest["config"]["digest"].as_str().unwrap());
    let (code, said) = fails(&kitchen, &["manifest", "rm", &list]);
    assert_eq!(code, Some(5), "{said}");
}

#[test]
fn settings_of_docker_and_podman_count() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let settings = format!(
        "[[registry]]\nprefix = \"bases.example.com\"\nlocation = \"{}/team\"\ninsecure = true\n\
         [[registry]]\nlocation = \"forbidden.example.com\"\nblocked = true\n",
        registry.host()
    );
    fs::write(fresh.path("registries.conf"), settings).unwrap();
    let with_settings = |arguments: &[&str]| {
        let mut command = fresh.command(arguments);
        command.env("CONTAINERS_REGISTRIES_CONF", fresh.path("registries.conf")).output().unwrap()
    };
    succeeded(with_settings(&["pull", "-q", "bases.example.com/base:1"]));
    let said =
        fresh.galley(&["run", "--rm", crate::e2e::offline(), "bases.example.com/base:1", "cat", "/version"]);
    assert_eq!(said, "one\n");
    let output = with_settings(&["pull", "forbidden.example.com/x"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(text(&output).contains("is blocked by"), "{}", text(&output));
}

#[test]
fn files_with_passwords_are_looked_at_with_care() {
    let Some(kitchen) = Kitchen::new() else { return };
    let registry = Registry::builder().auth(Auth::basic()).start();
    let name = format!("{}/team/app:1", registry.host());
    kitchen.dockerfile("FROM busybox\n").build(&["-t", &name, "."]);
    log_in(&kitchen, &registry);
    let file = kitchen.path("home/.docker/config.json");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let output = succeeded(run(&kitchen, &["login", &registry.host()]));
    assert!(text(&output).contains("has mode 0644"), "{}", text(&output));
    let secret = "c2VjcmV0LXNlY3JldA";
    fs::write(&file, format!("{{\"auths\": {{\"x\": {{\"auth\": \"{secret}\"")).unwrap();
    let (code, said) = fails(&kitchen, &["push", &name]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("config.json") && !said.contains(secret), "{said}");
}

#[test]
fn several_bases_are_asked_for_at_once() {
    let (Some(kitchen), Some(fresh)) = (Kitchen::new(), Kitchen::new()) else { return };
    let registry = registry_with_base(&kitchen, "one");
    let host = registry.host();
    kitchen.galley(&["pull", "-q", &format!("{host}/team/base:1")]);
    for other in ["two", "three", "unused"] {
        kitchen.galley(&["tag", &format!("{host}/team/base:1"), &format!("{host}/team/{other}:1")]);
        kitchen.galley(&["push", &format!("{host}/team/{other}:1")]);
    }
    registry.forget_requests();
    // None is answered before all have been asked for.
    registry.inject(Rule::on("GET", MANIFESTS, Fault::together(3)).always());
    fresh.dockerfile(&format!(
        "FROM {host}/team/two:1 AS two\nFROM {host}/team/unused:1\nFROM {host}/team/three:1 AS three\n\
         FROM {host}/team/base:1\nCOPY --link --from=two /version /two\nCOPY --link --from=three /version /three\n"
    ));
    fresh.build(&["-o", "type=cacheonly", "."]);
    let asked = registry.matching("GET", MANIFESTS);
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[test]
fn a_blob_that_a_power_cut_damaged_is_made_anew() {
    let Some(kitchen) = Kitchen::new() else { return };
    let (one, two) = (Registry::start(), Registry::start());
    let names = [&one, &two].map(|registry| format!("{}/team/app:1", registry.host()));
    kitchen.dockerfile("FROM scratch\nCOPY Dockerfile /d\n").build(&["-t", &names[0], "-t", &names[1], "."]);
    kitchen.galley(&["push", &names[0]]);
    let mut damaged = 0;
    for entry in fs::read_dir(kitchen.env.store().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        if bytes.starts_with(b"\x1f\x8b") {
            fs::remove_file(&path).unwrap();
            fs::write(&path, vec![0; bytes.len()]).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    let (code, said) = fails(&kitchen, &["push", &names[1]]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("damaged and is removed: push again"), "{said}");
    kitchen.galley(&["push", &names[1]]);
}
