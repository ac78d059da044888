use std::os::unix::fs::PermissionsExt;

use fs_err as fs;
use galley_oci::{
    Kind, Tree,
    archive::{EntryHeader, EntryKind, Writer},
};
use galley_store::{ScanOptions, StoreError, UnpackOptions};

use crate::support::{Fixture, TarEntry, file_kind, is_root, is_root_of_the_machine, pack_too, tar};

/// Unpacks, and checks that the directory is what the tree says.
fn unpacked(entries: &[TarEntry<'_>], options: &UnpackOptions) -> Result<Tree, StoreError> {
    let fixture = Fixture::new();
    let temp = fixture.store.temp_dir("unpack").unwrap();
    let archive = tar(entries);
    let unpacked = fixture.store.unpack(&mut archive.as_slice(), &temp, options);
    pack_too(&archive, options, &unpacked);
    let tree = unpacked?;
    if is_root() {
        let scanned = fixture.store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
        assert_eq!(scanned.entries(), tree.entries());
    }
    Ok(tree)
}

fn shape(tree: &Tree) -> Vec<String> {
    let line = |entry: &galley_oci::Entry| {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        match &entry.kind {
            Kind::Directory { opaque: false } => format!("{path}/"),
            Kind::Directory { opaque: true } => format!("{path}/ opaque"),
            Kind::File { links: None, size, .. } => format!("{path} {size}"),
            Kind::File { links: Some(group), size, .. } => format!("{path} {size} #{group}"),
            Kind::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(target)),
            Kind::Whiteout => format!("{path} gone"),
            other => format!("{path} {other:?}"),
        }
    };
    tree.entries().iter().map(line).collect()
}

#[track_caller]
fn check(entries: &[TarEntry<'_>], expected: &[&str]) {
    assert_eq!(shape(&unpacked(entries, &UnpackOptions::layer()).unwrap()), expected);
}

#[test]
fn privileged_missing_parents_are_made() {
    if !is_root() {
        return;
    }
    check(&[TarEntry::file("a/b/c", b"x")], &["/", "a/", "a/b/", "a/b/c 1"]);
    let tree = unpacked(&[TarEntry::file("a/b", b"x")], &UnpackOptions::layer()).unwrap();
    for path in ["", "a"] {
        let meta = &tree.get(path.as_bytes()).unwrap().meta;
        assert_eq!((meta.mode, meta.mtime.seconds), (0o755, 3_000), "{path:?}");
    }
}

#[test]
fn privileged_later_entries_replace_earlier_ones() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    check(&[T::file("a", b"x"), T::file("a", b"longer")], &["/", "a 6"]);
    check(&[T::file("d/x", b"1"), T::file("d/y/z", b"2"), T::file("d", b"now")], &["/", "d 3"]);
    check(&[T::file("a", b"x"), T::directory("a"), T::file("a/b", b"y")], &["/", "a/", "a/b 1"]);
    check(&[T::file("d/x", b"1"), T::directory("d")], &["/", "d/", "d/x 1"]);
    check(&[T::directory("d-"), T::file("d/x", b"1"), T::file("d", b"")], &["/", "d 0", "d-/"]);
    // The content of a link's target must not be written through the link.
    check(&[T::file("a", b"x"), T::symlink("l", "a"), T::file("l", b"longer")], &["/", "a 1", "l 6"]);
    check(&[T::file("a", b"x"), T::hard_link("b", "a"), T::file("b", b"longer")], &["/", "a 1", "b 6"]);
}

#[test]
fn privileged_directories_keep_the_last_attributes() {
    if !is_root() {
        return;
    }
    let second = TarEntry { mode: 0o700, ..TarEntry::directory("d") };
    let entries = [TarEntry::directory("d"), TarEntry::file("d/x", b"1"), second];
    let tree = unpacked(&entries, &UnpackOptions::plain()).unwrap();
    assert_eq!(tree.get(b"d").unwrap().meta.mode, 0o700);
}

#[test]
fn privileged_the_header_of_a_hard_link_holds_for_all_names() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    let second = T { mode: 0o4711, ..T::hard_link("b", "a") };
    let entries = [T::file("a", b"x"), second, T { mode: 0o640, ..T::hard_link("c", "b") }];
    let tree = unpacked(&entries, &UnpackOptions::plain()).unwrap();
    for path in ["a", "b", "c"] {
        assert_eq!(tree.get(path.as_bytes()).unwrap().meta.mode, 0o640, "{path}");
    }
}

#[test]
fn privileged_hard_links_share_their_content() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    check(
        &[T::file("a", b"x"), T::hard_link("d/b", "a"), T::hard_link("c", "d/b")],
        &["/", "a 1 #1", "c 1 #1", "d/", "d/b 1 #1"],
    );
    check(&[T::symlink("s", "t"), T::hard_link("u", "s")], &["/", "s -> t", "u -> t"]);
}

#[test]
fn privileged_links_that_the_archive_made_are_followed_below_the_root() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    check(
        &[T::directory("usr/lib"), T::symlink("lib", "usr/lib"), T::file("lib/x", b"1")],
        &["/", "lib -> usr/lib", "usr/", "usr/lib/", "usr/lib/x 1"],
    );
    check(
        &[T::symlink("l", "/../../deep"), T::file("l/x", b"1")],
        &["/", "deep/", "deep/x 1", "l -> /../../deep"],
    );
    check(
        &[T::symlink("d/l", "../e"), T::file("d/l/x", b"1"), T::hard_link("y", "d/l/x")],
        &["/", "d/", "d/l -> ../e", "e/", "e/x 1 #1", "y 1 #1"],
    );
}

#[test]
fn privileged_whiteouts_hide_what_is_below_and_not_what_is_here() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    check(&[T::file(".wh.a", b""), T::file("d/.wh.b", b"")], &["/", "a gone", "d/", "d/b gone"]);
    check(&[T::file("d/.wh..wh..opq", b""), T::file("d/x", b"1")], &["/", "d/ opaque", "d/x 1"]);
    check(&[T::file("d/x", b"1"), T::file("d/.wh..wh..opq", b"")], &["/", "d/ opaque", "d/x 1"]);
    check(&[T::file("a", b"1"), T::file(".wh.a", b"")], &["/", "a 1"]);
    check(&[T::file(".wh.a", b""), T::file("a", b"1")], &["/", "a 1"]);
    check(&[T::file(".wh.d", b""), T::file("d/x", b"1")], &["/", "d/ opaque", "d/x 1"]);
    check(&[T::file("d/x", b"1"), T::file(".wh.d", b"")], &["/", "d/ opaque", "d/x 1"]);
    let plain = unpacked(&[T::file(".wh.a", b"1")], &UnpackOptions::plain()).unwrap();
    assert_eq!(shape(&plain), ["/", ".wh.a 1"]);
}

#[test]
fn privileged_special_files_are_made() {
    if is_root_of_the_machine() {
        use TarEntry as T;
        check(
            &[T::special("null", b'3'), T::special("sda", b'4'), T::special("pipe", b'6')],
            &[
                "/",
                "null CharDevice { major: 1, minor: 3 }",
                "pipe Fifo",
                "sda BlockDevice { major: 1, minor: 3 }",
            ],
        );
    }
}

#[test]
fn privileged_content_is_hashed_while_it_is_written() {
    if !is_root() {
        return;
    }
    let content = vec![7; 300_000];
    let tree = unpacked(&[TarEntry::file("big", &content)], &UnpackOptions::plain()).unwrap();
    assert_eq!(tree.get(b"big").unwrap().kind, file_kind(&content));
}

#[test]
fn privileged_files_have_their_mode_and_owner_whatever_they_get_by_themselves() {
    if !is_root() {
        return;
    }
    let modes = [0o644, 0o755, 0o666, 0o777, 0o444, 0o600, 0o000, 0o4755, 0o2755, 0o1644];
    let names: Vec<String> = modes.iter().map(|mode| format!("d/{mode:04o}")).collect();
    let files = names.iter().zip(modes).map(|(name, mode)| TarEntry { mode, ..TarEntry::file(name, b"x") });
    let set_group = TarEntry { mode: 0o2755, ..TarEntry::directory("d") };
    let entries: Vec<_> = [set_group].into_iter().chain(files).collect();
    let tree = unpacked(&entries, &UnpackOptions::layer()).unwrap();
    for (name, mode) in names.iter().zip(modes) {
        assert_eq!(u32::from(tree.get(name.as_bytes()).unwrap().meta.mode), mode);
    }
    if !is_root_of_the_machine() {
        return;
    }
    // Everything below belongs to this group by itself.
    let fixture = Fixture::new();
    let temp = fixture.store.temp_dir("unpack").unwrap();
    std::os::unix::fs::chown(temp.path(), Some(0), Some(7)).unwrap();
    fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o2700)).unwrap();
    let tree = fixture.store.unpack(&mut tar(&entries).as_slice(), &temp, &UnpackOptions::layer()).unwrap();
    let scanned = fixture.store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
    assert_eq!(scanned.entries(), tree.entries());
}

#[test]
fn privileged_many_small_files_keep_their_order() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    // More than are handed over at once, in folders that take turns; each is linked or replaced soon after.
    let name = |folder: usize, file: usize| format!("folder-{}/file-{file}", folder % 3);
    let names: Vec<_> = (0..200).map(|number| name(number / 7, number)).collect();
    let links: Vec<_> = names.iter().map(|name| format!("{name}-linked")).collect();
    let mut entries = Vec::new();
    for (index, (name, link)) in names.iter().zip(&links).enumerate() {
        entries.push(T::file(name, b"first"));
        match index % 5 {
            0 => entries.push(T::hard_link(link, name)),
            1 => entries.push(T::file(name, b"the second")),
            2 => entries.extend([T::directory(name), T::file(link, b"")]),
            _ => {}
        }
    }
    entries.push(T::file("folder-1", b"no folder any more"));
    let tree = unpacked(&entries, &UnpackOptions::layer()).unwrap();
    let replaced = tree.get(names[1].as_bytes()).unwrap();
    assert_eq!(replaced.kind, file_kind(b"the second"));
    assert!(matches!(tree.get(links[0].as_bytes()).unwrap().kind, Kind::File { links: Some(_), .. }));
    assert!(tree.get(links[7].as_bytes()).is_none());
}

#[test]
fn a_name_that_no_file_can_have_is_refused() {
    let long = "n".repeat(300);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut writer = Writer::new(Vec::new());
    for number in 0..100 {
        let path = if number == 20 { long.clone() } else { format!("folder/{number}") };
        let kind = EntryKind::File { size: 1 };
        let header =
            EntryHeader { path: path.as_bytes(), kind, mode: 0o644, uid, gid, mtime: 1, xattrs: None };
        writer.entry(&header, Some(&mut &b"x"[..])).unwrap();
    }
    let archive = writer.finish().unwrap();
    let fixture = Fixture::new();
    let temp = fixture.store.temp_dir("unpack").unwrap();
    let result = fixture.store.unpack(&mut archive.as_slice(), &temp, &UnpackOptions::layer());
    let error = result.unwrap_err();
    assert!(error.to_string().ends_with("cannot be unpacked: a name has 255 bytes at most"), "{error}");
}
