//! Checks of stores: what is whole passes, whatever byte is wrong is found, and what is repaired is made again.

use std::path::{Path, PathBuf};

use fs_err as fs;
use galley_oci::{Digest, Entry, Reference, Time, TimePolicy, Tree};
use galley_store::{
    Checked, Export, ExportBlob, Image, ImageLayer, Origin, Origins, Record, Remote, Seen, Severity, Sharing,
    Store, StoreError, Thing,
};

use crate::support::{Fixture, directory, files, write};

fn check(store: &Store) -> Checked {
    store.check(&|_| ()).unwrap()
}

/// One of each: a layer with files, one by reference, a record, an export, an image with a name, …
fn fill(store: &Store) {
    let (tree, origins) = files(&[("hello", b"world"), ("more", b"bytes")]);
    let owning = store.commit_origins(tree.clone(), origins).unwrap();
    store.own_bytes(&owning).unwrap();
    let index = tree.position(b"hello").unwrap();
    let entry = Entry { path: b"renamed".as_slice().into(), ..tree.entries()[index].clone() };
    let mut origins = Origins::new();
    origins.insert(b"renamed".as_slice(), Origin::Layer { layer: owning.clone(), index });
    let referring = store.commit_origins(Tree::from_entries(vec![directory(""), entry]), origins).unwrap();
    for (key, layer) in [("own", &owning), ("referring", &referring)] {
        let key = Digest::blake3(key.as_bytes());
        let log = format!("history/{}.log", key.hex());
        fs::write(store.root().join(&log), "said\n").unwrap();
        let layer = *layer.id();
        let record = Record {
            layer,
            created: Time::default(),
            duration_ms: 1,
            log: Some(log),
            boot: None,
            made_of: None,
        };
        store.put_record(&key, &record).unwrap();
    }
    let digest = store.put_blob(b"an archive").unwrap();
    let blob = Some(ExportBlob { digest, size: 10 });
    store.put_export(&Digest::blake3(b"export"), &Export { diff_id: digest, blob }).unwrap();
    let diff_id = Digest::sha256(b"diff");
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{diff_id}\"]}}}}"
    );
    let id = Digest::sha256(config.as_bytes());
    let layer = ImageLayer { layer: *owning.id(), diff_id, times: TimePolicy::Keep, blob: None };
    let config = config.into_bytes();
    let image = Image { id, config, layers: vec![layer], manifest: None, created: Time::default() };
    store.put_image(&image).unwrap();
    let name: Reference = "app".parse().unwrap();
    store.tag(&name, &id).unwrap();
    let remote = Remote { digest, media_type: "text/plain".to_owned(), size: 10, asked: Time::default() };
    store.put_remote(&name, &remote).unwrap();
    let seen = Seen {
        content: digest.to_string(),
        etag: None,
        modified: None,
        reference: None,
        asked: Time::default(),
    };
    store.put_seen("https://example.com/file", &seen).unwrap();
    store.put_list(&name, b"{}").unwrap();
    let filled = |path: &Path| -> Result<(), StoreError> {
        fs::write(path.join("data"), "x").unwrap();
        Ok(())
    };
    drop(store.cache_mount("cache", Sharing::Shared, filled).unwrap());
    store.create_container("box", format!("{{\"image_id\":\"{id}\"}}").as_bytes()).unwrap();
    let context = store.root().with_file_name("context");
    write(&context, "file", b"content");
    std::thread::sleep(std::time::Duration::from_millis(100));
    store.walk_context(&context, &galley_store::KeepAll).unwrap();
}

/// Files whose bytes are checked: all that are not people's, locks, or of no consequence.
fn checked_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let of_people = relative.contains("mounts/") && !relative.ends_with("/id");
            let plain = ["history", "collector", "locks", "tmp", "version", "containers/names"];
            let skipped = of_people || plain.iter().any(|prefix| relative.starts_with(prefix));
            let skipped = skipped || relative.starts_with("containers") && !relative.ends_with("config.json");
            if path.is_dir() && !path.is_symlink() {
                todo.push(path);
            } else if !skipped {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_sound_store_passes() {
    let fixture = Fixture::new();
    fill(&fixture.reopened());
    if !crate::support::is_root() {
        return;
    }
    let checked = check(&fixture.reopened());
    assert_eq!(checked.findings, []);
    assert!(checked.bytes >= 20, "{}", checked.bytes);
}

#[test]
fn whatever_file_is_damaged_is_named_and_repaired() {
    if !crate::support::is_root() {
        return;
    }
    let fixture = Fixture::new();
    fill(&fixture.reopened());
    let root = fixture.store.root().to_owned();
    let all = checked_files(&root);
    assert!(all.len() >= 15, "{all:#?}");
    for path in all {
        let fixture = Fixture::new();
        fill(&fixture.reopened());
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        // Container ids are random: the file of this store.
        let own = match relative.split_once('/') {
            Some(("containers", _)) => {
                fixture.reopened().container("box").unwrap().unwrap().path().join("config.json")
            }
            // Named by the path of the folder.
            Some(("contexts", _)) => {
                fs::read_dir(fixture.store.root().join("contexts")).unwrap().next().unwrap().unwrap().path()
            }
            _ => fixture.store.root().join(&relative),
        };
        // Not the mtime: it is a file that rotted, not one that was written.
        let times = fs::metadata(&own).unwrap().modified().unwrap();
        let mut bytes = fs::read(&own).unwrap();
        // A brace, a digit of a digest, a byte of content: the first one says least.
        bytes[0] ^= 0x40;
        fs::write(&own, bytes).unwrap();
        fs::File::options().write(true).open(&own).unwrap().set_modified(times).unwrap();
        let store = fixture.reopened();
        let checked = check(&store);
        let named = own.strip_prefix(store.root()).unwrap().to_path_buf();
        let about = |found: &Path| named.starts_with(found);
        let found = checked
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Damaged && about(&finding.path));
        // The damage of a barrier makes other boots' files unknown, and is one itself.
        assert!(found, "{relative}: {:#?}", checked.findings);
        store.let_go();
        drop(store);
        let store = fixture.reopened();
        let repaired = store.repair(&checked).unwrap();
        drop(store);
        let left: Vec<_> = check(&fixture.reopened()).findings;
        let people = relative.starts_with("containers/") || relative.starts_with("lists/");
        // A container whose image is gone is told again: only people remove containers.
        let left: Vec<_> = left.iter().filter(|finding| !finding.path.starts_with("containers")).collect();
        assert!(left.is_empty() || people, "{relative}: {left:#?} after {repaired:#?}");
    }
}

#[test]
fn an_image_that_lost_a_layer_is_named() {
    if !crate::support::is_root() {
        return;
    }
    let fixture = Fixture::new();
    fill(&fixture.reopened());
    let store = fixture.reopened();
    let image = store.images().unwrap().remove(0);
    let diff = store.root().join("layers").join(image.layers[0].layer.hex()).join("diff/hello");
    drop(store);
    fs::write(diff, "w0rld").unwrap();
    let store = fixture.reopened();
    let checked = check(&store);
    assert!(checked.findings[0].problem.contains("/hello has other content"), "{:?}", checked.findings);
    let repaired = store.repair(&checked).unwrap();
    assert_eq!(repaired.images.len(), 1);
    assert_eq!(repaired.images[0].0, "app:latest");
    assert!(fixture.reopened().tags().unwrap().is_empty());
}

/// Before the barrier the document of an image can be on the disk and the bytes of its layers not.
#[test]
fn what_leads_to_a_layer_that_a_power_cut_may_have_hit_goes_with_it() {
    let fixture = Fixture::new();
    fill(&fixture.reopened());
    let store = fixture.reopened();
    let image = store.images().unwrap().remove(0);
    let info = store.root().join("layers").join(image.layers[0].layer.hex()).join("info");
    drop(store);
    let text = fs::read_to_string(&info).unwrap();
    let boot = text.split("\"boot\":\"").nth(1).unwrap().split('"').next().unwrap();
    fs::write(&info, text.replace(boot, "0-1-2-3-4")).unwrap();
    let store = fixture.reopened();
    let repaired = store.repair(&check(&store)).unwrap();
    drop(store);
    let left = check(&fixture.reopened()).findings;
    // A container whose image is gone is told again: only people remove containers.
    let left: Vec<_> = left.iter().filter(|finding| finding.thing != Thing::Container).collect();
    assert!(left.is_empty(), "{left:#?} after {repaired:#?}");
    assert_eq!(repaired.images.len(), 1, "{repaired:?}");
}

#[test]
fn what_the_dead_left_is_no_damage() {
    let fixture = Fixture::new();
    let tmp = fixture.store.root().join("tmp");
    fs::create_dir_all(tmp.join("dead")).unwrap();
    fs::write(tmp.join("dead.lock"), "").unwrap();
    fs::write(fixture.store.root().join("locks/0"), "").unwrap();
    let checked = check(&fixture.reopened());
    assert!(checked.is_sound() && checked.findings.len() == 3, "{checked:?}");
}
