//! `--cache-to` on one machine, `--cache-from` on another one, whose store is empty.

use fs_err as fs;
use galley_oci::{Descriptor, Manifest};
use galley_testkit::{
    busybox_rootfs,
    registry::{Fault, Registry, Rule},
};

use super::{Counts, Kitchen, counts, succeeded};

const TEXT: &str = "FROM busybox AS builder\nWORKDIR /src\nCOPY go.mod ./\nRUN cat go.mod > /deps\nCOPY . .\n\
    RUN cat main.go > /app && date > /when\nFROM busybox\nCOPY --from=builder /app /app\nRUN date > /built\nCMD [\"/app\"]\n";

/// What one build did and said.
struct Built {
    counts: Counts,
    events: String,
}

impl Built {
    /// Every name that an event of this kind has in a field.
    fn told(&self, kind: &str, field: &str) -> Vec<String> {
        let events = self.events.lines().filter(|line| line.starts_with('{'));
        let events = events.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let events = events.filter(|event| event["event"] == kind);
        events.filter_map(|event| event[field].as_str().map(str::to_owned)).collect()
    }

    /// Those about caches: machines without /dev/net/tun are warned too.
    fn warnings(&self) -> String {
        let warnings = self.told("warning", "message").into_iter();
        warnings.filter(|message| message.contains("cache")).collect::<Vec<_>>().join("\n")
    }
}

/// Several machines that build from one context.
struct Machines(Kitchen);

impl Machines {
    fn new() -> Option<Self> {
        let kitchen = Kitchen::new()?;
        kitchen.dockerfile(TEXT);
        kitchen.env.write("go.mod", "module x");
        kitchen.env.write("main.go", "package main");
        Some(Self(kitchen))
    }

    fn path(&self, name: &str) -> String {
        self.0.path(name).display().to_string()
    }

    /// Builds on the machine of that name.
    fn build(&self, machine: &str, arguments: &[&str]) -> Built {
        let root = self.path(machine);
        let arguments = [&["--root", &root], arguments, &["."]].concat();
        let output = succeeded(self.0.build_command(&arguments).output().unwrap());
        Built { counts: counts(&output), events: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

#[test]
fn a_folder_makes_a_fresh_machine_rebuild_nothing() {
    let Some(machines) = Machines::new() else { return };
    for (mode, times) in [("max", "--load"), ("min", "--load"), ("min", "--reproducible")] {
        let name = |what: &str| machines.path(&format!("{what}-{mode}{times}"));
        let output = |tar: &str| format!("type=oci,dest={tar}");
        let (here, there, cache) = (name("here.tar"), name("there.tar"), name("cache"));
        let to = format!("type=local,dest={cache},mode={mode}");
        let first = machines.build(&name("one"), &["-o", &output(&here), times, "--cache-to", &to]);
        assert_eq!(first.counts.executed, 7);
        let from = format!("type=local,src={cache}");
        let second = machines.build(&name("two"), &["-o", &output(&there), times, "--cache-from", &from]);
        assert_eq!(second.counts.executed, 0, "{mode} {times}");
        assert_eq!(second.told("cached", "from"), [from.as_str(); 7]);
        assert!(fs::read(here).unwrap() == fs::read(there).unwrap(), "{mode} {times}");
    }
}

#[test]
fn what_changed_is_built_on_what_was_fetched() {
    let Some(machines) = Machines::new() else { return };
    let caches = ["max", "min"].map(|mode| machines.path(mode));
    let to = [("max", &caches[0]), ("min", &caches[1])];
    let to = to.map(|(mode, path)| format!("type=local,dest={path},mode={mode}"));
    machines.build("one", &["--cache-to", &to[0], "--cache-to", &to[1]]);
    machines.0.env.write("main.go", "package main // edited");
    // COPY . ., RUN cat, COPY --from, RUN date; with the names alone also what these stand on.
    for (cache, executed) in caches.iter().zip([4, 7]) {
        let from = format!("type=local,src={cache}");
        let tar = machines.path("files.tar");
        let output = format!("type=tar,dest={tar}");
        let built = machines.build(&format!("of{executed}"), &["-o", &output, "--cache-from", &from]);
        assert_eq!((built.counts.executed, built.warnings().as_str()), (executed, ""), "{cache}");
        let files = super::read_tar(&fs::read(tar).unwrap());
        assert_eq!(files["app"].content, b"package main // edited");
    }
}

#[test]
fn a_registry_makes_a_fresh_machine_rebuild_nothing_and_fetch_nothing() {
    let Some(machines) = Machines::new() else { return };
    let registry = Registry::start();
    let host = registry.host();
    let (cache, app) = (format!("{host}/team/cache:main"), format!("{host}/team/app"));
    let to = format!("type=registry,ref={cache},mode=max");
    let first = machines
        .build("one", &["-t", &format!("{app}:1"), "--push", "--cache-from", &cache, "--cache-to", &to]);
    assert_eq!(first.counts.executed, 7);
    assert!(first.warnings().contains("there is nothing of that name"), "{}", first.warnings());
    registry.forget_requests();
    let second = machines
        .build("two", &["-t", &format!("{app}:2"), "--push", "--cache-from", &cache, "--cache-to", &to]);
    assert_eq!((second.counts.executed, second.warnings().as_str()), (0, ""));
    let manifest = |tag: &str| registry.manifest("team/app", tag).unwrap().1;
    assert_eq!(manifest("1"), manifest("2"));
    // Of all blobs, the cache's own document is all that is read; nothing is sent.
    let (_, document) = registry.manifest("team/cache", "main").unwrap();
    let config = Manifest::parse(&document).unwrap().config;
    assert!(registry.bytes_sent("/v2/*/*/blobs/*") <= config.size);
    assert_eq!(registry.count("PUT", "/v2/*/*/blobs/*"), 0);
}

#[test]
fn when_every_step_is_cached_nothing_of_a_base_is_fetched() {
    let (Some(machines), Some(rootfs)) = (Machines::new(), busybox_rootfs()) else { return };
    let registry = Registry::start();
    let host = registry.host();
    let base = registry.put_image("team/base", "1", &[rootfs]);
    machines.0.dockerfile(&TEXT.replace("busybox", &format!("{host}/team/base:1")));
    let cache = format!("{host}/team/cache");
    let (here, there) = (format!("{host}/team/app:1"), format!("{host}/other/app:1"));
    machines
        .build("one", &["-t", &here, "--push", "--cache-to", &format!("type=registry,ref={cache},mode=max")]);
    registry.forget_requests();
    let second = machines.build("two", &["-t", &there, "--push", "--cache-from", &cache]);
    assert_eq!((second.counts.executed, second.warnings().as_str()), (0, ""));
    assert_eq!(registry.manifest("team/app", "1"), registry.manifest("other/app", "1"));
    let layer = format!("/v2/team/base/blobs/{}", base.layers[0].digest);
    assert_eq!(registry.count("GET", &layer), 0);
    let (_, document) = registry.manifest("team/cache", "latest").unwrap();
    for layer in Manifest::parse(&document).unwrap().layers {
        assert_eq!(registry.count("GET", &format!("/v2/team/cache/blobs/{}", layer.digest)), 0);
    }
    // The layers went from repository to repository; only the config was sent.
    let sent = registry.bytes_received("/v2/other/app/blobs/uploads/*");
    assert!((1..10_000).contains(&sent), "{sent}");
}

#[test]
fn a_registry_that_lost_a_blob_costs_time_and_nothing_else() {
    let Some(machines) = Machines::new() else { return };
    let registry = Registry::start();
    let cache = format!("{}/cache:1", registry.host());
    let to = format!("type=registry,ref={cache},mode=max");
    machines.build("one", &["-o", "type=cacheonly", "--cache-to", &to]);
    let (_, document) = registry.manifest("cache", "1").unwrap();
    for layer in Manifest::parse(&document).unwrap().layers {
        let path = format!("/v2/cache/blobs/{}", layer.digest);
        registry.inject(Rule::on("GET", &path, Fault::status(404)).always());
    }
    let built = machines.build("two", &["-t", "app", "--cache-from", &cache]);
    assert_eq!(built.counts.executed, 7);
    assert!(built.warnings().contains("a cache does not have what it promised"), "{}", built.warnings());
}

#[test]
fn an_image_with_its_cache_in_it_makes_a_fresh_machine_rebuild_nothing() {
    let Some(machines) = Machines::new() else { return };
    let registry = Registry::start();
    let app = |tag: &str| format!("{}/app:{tag}", registry.host());
    machines.build("one", &["-t", &app("1"), "--push", "--cache-to", "type=inline"]);
    let from = app("1");
    let arguments =
        ["-t", &app("2"), "--push", "--cache-from", &from, "--build-arg", "BUILDKIT_INLINE_CACHE=1"];
    let second = machines.build("two", &arguments);
    assert_eq!((second.counts.executed, second.warnings().as_str()), (0, ""));
    assert_eq!(registry.manifest("app", "1"), registry.manifest("app", "2"));
    // Without its cache it is another image.
    machines.build("two", &["-t", &app("3"), "--push"]);
    assert_ne!(registry.manifest("app", "1"), registry.manifest("app", "3"));
}

#[test]
fn a_base_does_not_pass_on_its_cache() {
    let Some(machines) = Machines::new() else { return };
    let (base, image) = (machines.path("base"), machines.path("image"));
    let output = |folder: &str| format!("type=oci,tar=false,dest={folder}");
    machines.build("one", &["-o", &output(&base), "--cache-to", "type=inline"]);
    machines.0.dockerfile("FROM base\nENV A=1\n");
    let context = format!("base=oci-layout://{base}");
    machines.build("two", &["--build-context", &context, "-o", &output(&image)]);
    let carries = |folder: &str| {
        let blobs = fs::read_dir(format!("{folder}/blobs/sha256")).unwrap();
        let mut blobs = blobs.map(|blob| fs::read(blob.unwrap().path()).unwrap());
        blobs.any(|blob| String::from_utf8_lossy(&blob).contains("galley.cache.v1"))
    };
    assert!(carries(&base) && !carries(&image));
}

#[test]
fn what_is_no_cache_of_ours_is_said_and_not_used() {
    let Some(machines) = Machines::new() else { return };
    let registry = Registry::start();
    let host = registry.host();
    registry.put_image("plain", "1", &[b"a layer".to_vec()]);
    let put = |tag: &str, media_type: &str, config: &[u8]| {
        let blob = registry.put_blob("strange", config);
        let config = Descriptor { media_type: media_type.to_owned(), ..blob };
        let manifest = Manifest::new(config, Vec::new()).to_bytes();
        registry.put_manifest("strange", tag, galley_oci::media_type::OCI_MANIFEST, &manifest);
    };
    put("buildkit", "application/vnd.buildkit.cacheconfig.v0", b"{}");
    put("inline", galley_oci::media_type::OCI_CONFIG, br#"{"moby.buildkit.cache.v0":"e30="}"#);
    put("broken", "application/vnd.galley.cache.config.v1+json", br#"{"galley.cache.v1":{"layers":7}}"#);
    for (name, why) in [
        ("plain:1", "there is no build cache in it"),
        ("strange:buildkit", "it is a cache of BuildKit, which galley cannot use"),
        ("strange:inline", "it is a cache of BuildKit, which galley cannot use"),
        ("strange:broken", "its config is malformed"),
        ("nowhere:1", "there is nothing of that name"),
    ] {
        let built = machines.build("one", &["--cache-from", &format!("{host}/{name}")]);
        let expected = format!("the cache {host}/{name} is not used: {why}");
        assert!(built.warnings().starts_with(&expected), "{}", built.warnings());
    }
    let built = machines.build("one", &["--cache-from", "type=local,src=nowhere"]);
    assert_eq!(built.warnings(), "the cache type=local,src=nowhere is not used: there is no such folder");
}

#[test]
fn a_cache_that_cannot_be_written_fails_unless_that_is_allowed() {
    let Some(machines) = Machines::new() else { return };
    fs::write(machines.path("file"), "").unwrap();
    let to = format!("type=local,dest={}", machines.path("file"));
    let (code, said) = machines.0.build_fails(&["--cache-to", &to, "."]);
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("cannot write the cache in"), "{said}");
    let built = machines.build("one", &["--cache-to", &format!("{to},ignore-error=true")]);
    assert!(built.warnings().starts_with("no cache was written to "), "{}", built.warnings());
}
