//! Processes that are killed at named points, and processes that do the same at once.

use std::{
    env,
    path::Path,
    process::{Child, Command, ExitStatus},
};

use fs_err as fs;
use galley_oci::{Digest, Reference, Time, erofs::Reader};
use galley_store::{Image, Lower, OpenOptions, Record, ScanOptions, Store};

use crate::support::{Fixture, TarEntry, files, options, packing, tar, write};

const ROOT: &str = "GALLEY_TEST_STORE";
const FAILPOINT: &str = "GALLEY_TEST_FAILPOINT";
const PACKING: &str = "GALLEY_TEST_PACKING";

const CONFIG: &[u8] = b"{\"os\":\"linux\"}";

fn key() -> Digest {
    Digest::blake3(b"step")
}

fn tag() -> Reference {
    "app".parse().unwrap()
}

/// What a build does with the store.
fn build(store: &Store) {
    let imported =
        store.unpack_layer(&mut tar(&[TarEntry::file("imported", &[1; 5_000])]).as_slice()).unwrap();
    store.commit_new(imported).unwrap();
    let temp = store.temp_dir("step").unwrap();
    write(&temp.diff(), "bin/app", b"the program");
    let tree = store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
    let step = store.commit_dir(temp, tree).unwrap();
    let (tree, origins) = files(&[("copied", b"from memory")]);
    let copy = store.commit_origins(tree, origins).unwrap();
    let record = Record {
        layer: *step.id(),
        created: Time::default(),
        duration_ms: 1,
        log: None,
        made_of: None,
        boot: None,
    };
    store.put_record(&key(), &record).unwrap();
    store.own_bytes(&copy).unwrap();
    let id = Digest::sha256(CONFIG);
    let image =
        Image { id, config: CONFIG.to_vec(), layers: Vec::new(), manifest: None, created: Time::default() };
    store.put_image(&image).unwrap();
    store.barrier().unwrap();
    store.tag(&tag(), &id).unwrap();
}

/// Runs in processes of their own, started by the other tests.
#[test]
#[ignore = "a part of other tests"]
fn child() {
    let Ok(root) = env::var(ROOT) else { return };
    let options =
        if env::var(PACKING).is_ok_and(|packing| packing == "true") { packing() } else { options() };
    let options = OpenOptions { failpoint: env::var(FAILPOINT).ok(), ..options };
    build(&Store::open(Path::new(&root), options).unwrap());
}

fn start(root: &Path, failpoint: &str, packing: bool) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored", "--quiet"])
        .env(ROOT, root)
        .env(FAILPOINT, failpoint)
        .env(PACKING, packing.to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

fn is_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::KILL.as_raw())
}

/// Everything that can be seen is whole.
fn check(store: &Store) {
    for folder in ["layers", "records", "images", "refs", "barriers"] {
        for entry in fs::read_dir(store.root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(folder == "barriers" || name.len() == 64, "{folder}/{name}");
        }
    }
    for entry in fs::read_dir(store.root().join("layers")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let id = format!("blake3:{name}").parse().unwrap();
        let layer = store.layer(&id).unwrap().unwrap();
        let tree = layer.tree().unwrap();
        assert_eq!(tree.layer_id(), id);
        if store.has_bytes(&layer) && rustix::process::geteuid().is_root() {
            match store.lower(&layer).unwrap() {
                Lower::Directory(path) => {
                    assert_eq!(store.scan(&path, &ScanOptions::default()).unwrap(), *tree);
                }
                Lower::Packed(path) => {
                    let file = fs::File::open(path).unwrap().into_file();
                    Reader::open(file).unwrap().check(&tree).unwrap();
                }
            }
        }
    }
    if let Some(record) = store.record(&key()).unwrap() {
        assert!(store.layer(&record.layer).unwrap().is_some());
    }
    if let Some(id) = store.resolve(&tag()).unwrap() {
        assert!(store.image(&id).unwrap().is_some());
    }
}

#[test]
fn a_kill_at_any_point_costs_nothing() {
    kill_at_every_point(false);
}

#[test]
fn a_kill_at_any_point_costs_nothing_when_layers_are_packed() {
    kill_at_every_point(true);
}

fn kill_at_every_point(packed: bool) {
    for point in ["layer-rename", "record-rename", "image", "barrier", "tag"] {
        for point in [point.to_owned(), format!("{point}.done")] {
            let fixture = Fixture::new();
            let status = start(fixture.store.root(), &point, packed).wait().unwrap();
            assert!(is_killed(status), "{point}: {status}");
            let options = if packed { packing() } else { options() };
            let store = Store::open(fixture.store.root(), options).unwrap();
            check(&store);
            let tagged = store.resolve(&tag()).unwrap().is_some();
            assert_eq!(tagged, point == "tag.done", "{point}");
            build(&store);
            check(&store);
            drop(store);
            let left: Vec<_> = fs::read_dir(fixture.store.root().join("tmp")).unwrap().collect();
            assert!(left.is_empty(), "{point}: {left:?}");
        }
    }
}

#[test]
fn processes_that_build_the_same_at_once_agree() {
    let fixture = Fixture::new();
    // Half of them pack: whoever is first decides.
    let children: Vec<_> = (0..6).map(|number| start(fixture.store.root(), "", number % 2 == 0)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(fixture.store.root(), packing()).unwrap();
    check(&store);
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 3);
    assert!(store.resolve(&tag()).unwrap().is_some());
    drop(store);
    let left: Vec<_> = fs::read_dir(fixture.store.root().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_new_store_is_made_once() {
    let fixture = Fixture::new();
    let root = fixture.dir.path().join("new");
    let children: Vec<_> = (0..6).map(|_| start(&root, "", false)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    check(&Store::open(&root, options()).unwrap());
}
