//! Collections of real stores: beside processes that use what they look up, and killed in the middle.

use std::{
    env,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use fs_err as fs;
use galley_oci::{Digest, Reference, Time, TimePolicy};
use galley_store::{
    Checked, Finding, Image, ImageLayer, Keep, Layer, ObjectKind, OpenOptions, Policy, Record, Severity,
    Sharing, Store, StoreError, Thing,
};

use crate::support::{Fixture, files, options};

const ROOT: &str = "GALLEY_TEST_STORE";
const FAILPOINT: &str = "GALLEY_TEST_FAILPOINT";
const COLLECTS: &str = "GALLEY_TEST_COLLECTS";

fn everything() -> Policy {
    Policy { images: true, all: true, ..Policy::new(Keep::Cache(0)) }
}

fn owning(store: &Store, content: &str) -> Layer {
    let (tree, origins) = files(&[("file", content.as_bytes())]);
    let layer = store.commit_origins(tree, origins).unwrap();
    store.own_bytes(&layer).unwrap();
    layer
}

fn record(store: &Store, key: &str, layer: &Layer) -> Digest {
    let key = Digest::blake3(key.as_bytes());
    let log = format!("history/{}.log", key.hex());
    fs::write(store.root().join(&log), "said\n").unwrap();
    let record = Record {
        layer: *layer.id(),
        created: Time::default(),
        duration_ms: 1,
        log: Some(log),
        boot: None,
        made_of: None,
    };
    store.put_record(&key, &record).unwrap();
    key
}

fn image(store: &Store, config: &str, layer: &Layer) -> Digest {
    let id = Digest::sha256(config.as_bytes());
    let diff_id = Digest::sha256(b"diff");
    let layer = ImageLayer { layer: *layer.id(), diff_id, times: TimePolicy::Keep, blob: None };
    let config = config.as_bytes().to_vec();
    let image = Image { id, config, layers: vec![layer], manifest: None, created: Time::default() };
    store.put_image(&image).unwrap();
    id
}

fn age(path: &Path, seconds: u64) {
    let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn what_names_and_containers_need_stays_and_the_rest_goes() {
    let fixture = Fixture::new();
    let (named, boxed, cached, lost) = {
        let store = fixture.reopened();
        let named = owning(&store, "named");
        store.tag(&"app".parse::<Reference>().unwrap(), &image(&store, "{\"a\":1}", &named)).unwrap();
        let boxed = owning(&store, "boxed");
        let id = image(&store, "{\"a\":2}", &boxed);
        store.create_container("box", format!("{{\"image_id\":\"{id}\"}}").as_bytes()).unwrap();
        let cached = owning(&store, "cached");
        record(&store, "cached", &cached);
        let lost = owning(&store, "lost");
        image(&store, "{\"a\":3}", &lost);
        (named, boxed, cached, lost)
    };
    let store = fixture.reopened();
    let collected = store.collect(&everything()).unwrap();
    let went: Vec<Digest> = collected.objects.iter().map(|object| object.id).collect();
    assert!(went.contains(cached.id()) && went.contains(lost.id()), "{went:?}");
    assert!(!collected.gave_up && collected.bytes() > 0);
    let after = fixture.reopened();
    for (layer, there) in [(&named, true), (&boxed, true), (&cached, false), (&lost, false)] {
        assert_eq!(after.layer(layer.id()).unwrap().is_some(), there);
    }
    assert_eq!(fs::read_dir(after.root().join("history")).unwrap().count(), 0);
    assert_eq!(after.images().unwrap().len(), 2);
    drop(store);
    assert_eq!(fs::read_dir(after.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn the_least_recently_used_goes_first() {
    let fixture = Fixture::new();
    let layers: Vec<Layer> = {
        let store = fixture.reopened();
        let layers: Vec<Layer> = (0..4).map(|number| owning(&store, &format!("layer {number}"))).collect();
        for (number, layer) in layers.iter().enumerate() {
            let key = record(&store, &format!("step {number}"), layer);
            age(&store.root().join("records").join(key.hex()), 10_000 * (4 - number as u64));
        }
        layers
    };
    // Looked at again, the oldest is the youngest.
    let store = fixture.reopened();
    store.record(&Digest::blake3(b"step 0")).unwrap().unwrap();
    drop(store);
    let total = fixture.reopened().inventory().unwrap().bytes();
    let policy = Policy::new(Keep::Total { limit: total - 1, reserved: 0 });
    let went = fixture.reopened().collect(&policy).unwrap().objects;
    assert_eq!(went.iter().map(|object| object.id).collect::<Vec<_>>(), [*layers[1].id()]);
}

#[test]
fn what_a_living_process_looked_up_stays_until_it_ends() {
    let fixture = Fixture::new();
    let key = {
        let store = fixture.reopened();
        record(&store, "step", &owning(&store, "used"))
    };
    let user = fixture.reopened();
    let found = user.record(&key).unwrap().unwrap();
    let layer = user.layer(&found.layer).unwrap().unwrap();
    // It only looks: for as long as it does nothing goes.
    let collector = fixture.reopened();
    assert!(collector.collect_in(&everything(), Duration::from_millis(200)).unwrap().gave_up);
    assert!(user.has_bytes(&layer));
    // It begins to write: what it has used stays, and so does what it looks up later.
    let other = owning(&fixture.reopened(), "later");
    user.settle();
    let kept = user.layer(other.id()).unwrap().unwrap();
    let collected = collector.collect(&everything()).unwrap();
    assert!(collected.objects.iter().all(|object| object.kind != ObjectKind::Layer), "{collected:?}");
    assert!(user.has_bytes(&layer) && user.has_bytes(&kept));
    drop(user);
    let collected = collector.collect(&everything()).unwrap();
    assert_eq!(collected.objects.len(), 2, "{collected:?}");
}

#[test]
fn a_cache_mount_in_use_stays() {
    let fixture = Fixture::new();
    let store = fixture.reopened();
    let fill = |path: &Path| -> Result<(), StoreError> {
        fs::write(path.join("data"), vec![1; 100_000]).unwrap();
        Ok(())
    };
    let used = store.cache_mount("used", Sharing::Shared, fill).unwrap();
    drop(store.cache_mount("idle", Sharing::Locked, fill).unwrap());
    let collected = fixture.reopened().collect(&everything()).unwrap();
    let went: Vec<&str> = collected.objects.iter().map(|object| object.text.as_str()).collect();
    assert_eq!(went, ["idle"]);
    assert!(collected.bytes() >= 100_000 && used.path().join("data").exists());
}

#[test]
fn whether_there_is_anything_to_do_is_known_without_counting() {
    let fixture = Fixture::new();
    let store = fixture.reopened();
    assert!(!store.may_exceed(1 << 60).unwrap(), "a new store is empty");
    fs::remove_file(store.root().join("collector/sizes")).unwrap();
    assert!(store.may_exceed(1 << 60).unwrap(), "nothing was counted yet");
    let bytes = store.inventory().unwrap().bytes();
    assert!(!store.may_exceed(1 << 60).unwrap());
    owning(&store, "more");
    assert!(store.may_exceed(bytes).unwrap() || store.disk().unwrap().used == 0);
}

/// Runs in processes of their own, started by the other tests: builds, and sometimes collects.
#[test]
#[ignore = "a part of other tests"]
fn child() {
    let Ok(root) = env::var(ROOT) else { return };
    let options = || OpenOptions { failpoint: env::var(FAILPOINT).ok(), ..options() };
    let open = || Store::open(Path::new(&root), options()).unwrap();
    if env::var(FAILPOINT).is_ok() {
        drop(open().collect(&everything()));
        return;
    }
    // `make soak` takes longer.
    let seconds = env::var("GALLEY_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (pid, collects) = (std::process::id(), env::var(COLLECTS).is_ok());
    let mut round = 0;
    while Instant::now() < end {
        round += 1;
        build(&open(), (pid as usize + round) % 5);
        if collects {
            open().collect(&everything()).unwrap();
        }
    }
}

/// As builds do: what was remembered is used again, and used to the end; what was not is made.
fn build(store: &Store, number: usize) {
    let below = step(store, &format!("base {number}"));
    let top = step(store, &format!("top {number}"));
    let id = image(store, &format!("{{\"a\":{number}}}"), &top);
    store.tag(&format!("app{number}").parse::<Reference>().unwrap(), &id).unwrap();
    for layer in [&below, &top] {
        assert!(store.has_bytes(layer), "a layer went while it was used");
        assert_eq!(std::io::read_to_string(store.open_file(layer, 1).unwrap()).unwrap().len(), 2000);
    }
    if number == 0 {
        store.untag(&"app0".parse::<Reference>().unwrap()).unwrap();
    }
}

fn step(store: &Store, name: &str) -> Layer {
    let key = Digest::blake3(name.as_bytes());
    if let Some(found) = store.record(&key).unwrap()
        && let Some(layer) = store.layer(&found.layer).unwrap()
        && store.has_bytes(&layer)
    {
        return layer;
    }
    let _lock = store.lock_key(&key).unwrap();
    let layer = owning(store, &name.repeat(2000)[..2000]);
    let record = Record {
        layer: *layer.id(),
        created: Time::default(),
        duration_ms: 1,
        log: None,
        boot: None,
        made_of: None,
    };
    store.put_record(&key, &record).unwrap();
    layer
}

fn start(root: &Path, failpoint: Option<&str>, collects: bool) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "collect::child", "--ignored", "--quiet", "--nocapture"]).env(ROOT, root);
    if collects {
        command.env(COLLECTS, "1");
    }
    if let Some(point) = failpoint {
        command.env(FAILPOINT, point);
    }
    command.stdout(std::process::Stdio::null()).spawn().unwrap()
}

/// What can be seen is whole: no record, image or name leads to what is not there.
fn check(store: &Store) {
    let inventory = store.inventory().unwrap();
    for record in inventory.records.values() {
        assert!(inventory.layers.contains_key(&record.what.layer), "a record leads nowhere");
    }
    for id in &inventory.tagged {
        let image = store.image(id).unwrap().unwrap();
        for layer in &image.layers {
            let layer = store.layer(&layer.layer).unwrap().expect("a layer of a named image");
            assert!(store.has_bytes(&layer));
        }
    }
}

#[test]
fn builds_and_collections_at_once_harm_nobody() {
    let fixture = Fixture::new();
    let children: Vec<Child> = (0..10).map(|number| start(fixture.store.root(), None, number < 2)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    check(&fixture.reopened());
    assert_eq!(fs::read_dir(fixture.store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_collection_that_is_killed_leaves_everything_whole() {
    let points = ["collect-record", "collect-image", "collect-layer", "collect-mount", "collect-delete"];
    for point in points.iter().flat_map(|point| [(*point).to_owned(), format!("{point}.done")]) {
        let fixture = Fixture::new();
        {
            let store = fixture.reopened();
            (0..5).for_each(|number| build(&store, number));
            record(&store, "only remembered", &owning(&store, "only remembered"));
            let fill = |path: &Path| -> Result<(), StoreError> {
                fs::write(path.join("data"), "x").unwrap();
                Ok(())
            };
            drop(store.cache_mount("idle", Sharing::Shared, fill).unwrap());
        }
        let status = start(fixture.store.root(), Some(&point), false).wait().unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(status.signal(), Some(9), "{point}");
        // The gate that it left closed is opened by the next one.
        let store = fixture.reopened();
        check(&store);
        (0..5).for_each(|number| build(&store, number));
        drop(store);
        fixture.reopened().collect(&everything()).unwrap();
        check(&fixture.reopened());
        assert_eq!(fs::read_dir(fixture.store.root().join("tmp")).unwrap().count(), 0, "{point}");
    }
}

#[test]
fn a_store_of_an_older_format_is_collected_under_the_new_one() {
    let fixture = Fixture::new();
    let version = fixture.store.root().join("version");
    let new = fs::read_to_string(&version).unwrap();
    fs::remove_dir_all(fixture.store.root().join("collector")).unwrap();
    let store = fixture.reopened();
    assert!(store.layer(&Digest::blake3(b"none")).unwrap().is_none());
    drop(store);
    fixture.reopened().collect(&everything()).unwrap();
    let raised = new.replace("\"format\":1", "\"format\":2");
    assert!(raised != new && fs::read_to_string(&version).unwrap() == raised);
}

/// Two prunes at once: the second has looked at the images already when it waits for the first, which waits to be alone.
#[test]
fn who_waits_for_its_turn_keeps_nobody_waiting() {
    let fixture = Fixture::new();
    let waiting = fixture.reopened();
    let turn = fixture.store.collector_turn().unwrap();
    waiting.images().unwrap();
    let problem = String::new();
    let path = "tmp/nothing".into();
    let nothing = Finding { thing: Thing::Temporary, path, problem, severity: Severity::Leftover };
    let checked = Checked { findings: vec![nothing], ..Checked::default() };
    std::thread::scope(|scope| {
        scope.spawn(|| drop(waiting.collector_turn().unwrap()));
        // It waits until nobody looks anything up, ten seconds each time.
        let is_alone = |_: &u32| fixture.store.repair(&checked).unwrap().left.is_empty();
        let tries = (0..6).find(is_alone);
        drop(turn);
        assert!(tries.is_some(), "the store is busy");
    });
}

/// Somebody else removes a lot from the disk while the store grows.
#[test]
fn a_disk_of_which_less_is_in_use_tells_nothing_of_the_store() {
    let fixture = Fixture::new();
    fixture.store.inventory().unwrap();
    assert!(!fixture.store.may_exceed(1 << 60).unwrap() || fixture.store.disk().unwrap().used == 0);
    let path = fixture.store.root().join("collector/sizes");
    let mut sizes: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    sizes["disk"] = (1_u64 << 60).into();
    fs::write(&path, sizes.to_string()).unwrap();
    assert!(fixture.store.may_exceed(1 << 60).unwrap());
}
