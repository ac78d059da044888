//! Opaque directories in layers that root wrote without the right to write root's mark, as in an ordinary pod.

use std::path::Path;

use fs_err as fs;
use galley_oci::Kind;
use galley_store::{Layer, Lower, Store};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::support::{Fixture, TarEntry, is_root_of_the_machine, packing, tar};

const FOR_ROOT: &str = "trusted.overlay.opaque";
const FOR_USERS: &str = "user.overlay.opaque";

/// Does something as root of a pod would.
fn in_pod<T>(act: impl FnOnce() -> T) -> T {
    let before = capabilities(None).unwrap();
    let mut fewer = before;
    fewer.effective.remove(CapabilitySet::SYS_ADMIN);
    set_capabilities(None, fewer).unwrap();
    let done = act();
    set_capabilities(None, before).unwrap();
    done
}

fn unpacked(store: &Store) -> Layer {
    let archive = tar(&[
        TarEntry::file("a/b/.wh..wh..opq", b""),
        TarEntry::file("a/b/x", b"1"),
        TarEntry::file("c/.wh..wh..opq", b""),
        TarEntry::file("d/x", b"2"),
    ]);
    let new = store.unpack_layer(&mut archive.as_slice()).unwrap();
    store.commit_new(new).unwrap()
}

fn marks(diff: &Path, name: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for path in ["", "a", "a/b", "c", "d"] {
        match rustix::fs::getxattr(diff.join(path), name, &mut [0_u8; 8][..]) {
            Ok(1) => found.push(path),
            Ok(other) => panic!("{other}"),
            Err(error) => assert_eq!(error, rustix::io::Errno::NODATA),
        }
    }
    found
}

fn is_sound(store: &Store) {
    let checked = store.check(&|_| ()).unwrap();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
}

#[test]
fn privileged_marks_of_a_pod_become_roots_when_root_mounts() {
    if !is_root_of_the_machine() {
        return;
    }
    let fixture = Fixture::new();
    let layer = in_pod(|| unpacked(&fixture.store));
    let opaque = Kind::Directory { opaque: true };
    assert!(layer.tree().unwrap().get(b"a/b").unwrap().kind == opaque);
    let diff = fixture.store.root().join("layers").join(layer.id().hex()).join("diff");
    assert_eq!((marks(&diff, FOR_ROOT), marks(&diff, FOR_USERS)), (vec![], vec!["a/b", "c"]));
    in_pod(|| is_sound(&fixture.reopened()));
    is_sound(&fixture.reopened());

    // Who does not know of such marks would mount what is hidden.
    let version = fs::read_to_string(fixture.store.root().join("version")).unwrap();
    assert!(version.contains("\"format\":3"), "{version}");

    // Another pod can use it as it is; whoever may, makes it as it should be, once.
    for (store, marked_for) in [(in_pod(|| fixture.reopened()), FOR_USERS), (fixture.reopened(), FOR_ROOT)] {
        let lower = || store.lower(&store.layer(layer.id()).unwrap().unwrap()).unwrap();
        let lower = if marked_for == FOR_USERS { in_pod(lower) } else { lower() };
        assert_eq!(lower, Lower::Directory(diff.clone()));
        assert_eq!(marks(&diff, marked_for), ["a/b", "c"]);
    }
    assert_eq!(marks(&diff, FOR_USERS), [""; 0]);
    is_sound(&fixture.reopened());
    // Nobody in a pod sees root's mark: that is no damage.
    in_pod(|| is_sound(&fixture.reopened()));
    let info = fs::read_to_string(diff.with_file_name("info")).unwrap();
    assert!(!info.contains("marked"), "{info}");
}

#[test]
fn privileged_a_layer_that_comes_to_a_directory_in_a_pod_is_marked_too() {
    if !is_root_of_the_machine() {
        return;
    }
    let fixture = Fixture::new();
    let store = Store::open(fixture.store.root(), packing()).unwrap();
    let packed = unpacked(&store);
    // Another program, which cannot mount it.
    let store = fixture.reopened();
    let layer = store.layer(packed.id()).unwrap().unwrap();
    let diff = in_pod(|| store.directory(&layer)).unwrap();
    assert_eq!(marks(&diff, FOR_USERS), ["a/b", "c"]);
    fixture.reopened().directory(&fixture.reopened().layer(packed.id()).unwrap().unwrap()).unwrap();
    assert_eq!((marks(&diff, FOR_ROOT), marks(&diff, FOR_USERS)), (vec!["a/b", "c"], vec![]));
}
