//! Archives that try to write outside of their root, or to use up the machine.

use fs_err as fs;
use galley_store::{ScanOptions, StoreError, UnpackLimits, UnpackOptions};
use proptest::prelude::*;

use crate::support::{Fixture, TarEntry, is_root, pack_too, tar};

/// Unpacks beside a file and a folder that must stay as they are.
fn attack(entries: &[TarEntry<'_>]) -> Result<(), StoreError> {
    let fixture = Fixture::new();
    let victim = fixture.folder("victim");
    fs::write(victim.join("file"), "precious").unwrap();
    let before = crate::support::snapshot(&victim);
    let result = {
        let temp = fixture.store.temp_dir("unpack").unwrap();
        let (archive, options) = (tar(entries), UnpackOptions::plain());
        let unpacked = fixture.store.unpack(&mut archive.as_slice(), &temp, &options);
        pack_too(&archive, &options, &unpacked);
        let names: Vec<_> =
            fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["diff"]);
        unpacked.map(drop)
    };
    assert_eq!(crate::support::snapshot(&victim), before);
    assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "precious");
    assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().count(), 2);
    result
}

const UP: &str = "../../../../victim";

#[test]
fn privileged_names_that_lead_out_are_refused_or_stay_inside() {
    if !is_root() {
        return;
    }
    let up_file = format!("{UP}/file");
    assert!(attack(&[TarEntry::file(&up_file, b"evil")]).is_err());
    assert!(attack(&[TarEntry::file("a/../../evil", b"evil")]).is_err());
    attack(&[TarEntry::file("/tmp/galley-hostile/evil", b"evil")]).unwrap();
    assert!(!std::path::Path::new("/tmp/galley-hostile").exists());
}

#[test]
fn privileged_links_do_not_lead_out() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    let up_file = format!("{UP}/file");
    attack(&[T::symlink("l", UP), T::file("l/file", b"evil")]).unwrap();
    attack(&[T::symlink("l", &up_file), T::file("l", b"evil")]).unwrap();
    attack(&[
        T::symlink("a", "."),
        T::symlink("a/b", ".."),
        T::symlink("c", "a/b/../.."),
        T::file("c/evil", b"x"),
    ])
    .unwrap();
    let error = attack(&[T::symlink("l", UP), T::hard_link("x", "l/file")]).unwrap_err();
    assert!(error.to_string().contains("a hard link to l/file, which is not in it"), "{error}");
    assert!(attack(&[T::hard_link("x", &up_file)]).is_err());
    // A link that comes in the place of a directory that was used before.
    attack(&[T::file("d/a", b"1"), T::symlink("d", UP), T::file("d/file", b"evil")]).unwrap();
    attack(&[T::file("d/e/a", b"1"), T::symlink("d", UP), T::hard_link("d/x", "d/e/a")]).unwrap_err();
}

#[test]
fn privileged_what_cannot_be_is_refused_by_name() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    let message = |entries: &[TarEntry<'_>]| attack(entries).unwrap_err().to_string();
    assert_eq!(
        message(&[T::hard_link("a", "a")]),
        "the archive entry a cannot be unpacked: it is a hard link to itself"
    );
    assert_eq!(
        message(&[T::hard_link("a", "b")]),
        "the archive entry a cannot be unpacked: it is a hard link to b, which is not in it"
    );
    assert_eq!(
        message(&[T::file("a", b""), T::file("a/b", b"")]),
        "the archive entry a/b cannot be unpacked: a file that is no directory is above it"
    );
    assert_eq!(
        message(&[T::symlink("a", "b"), T::symlink("b", "a"), T::file("a/x", b"")]),
        "the archive entry a/x cannot be unpacked: its path leads through a loop of links"
    );
    assert!(message(&[T::directory("d"), T::hard_link("e", "d")]).contains("which is not in it"));
    assert!(message(&[T::file("d/a", b"x"), T::hard_link("d", "d/a")]).contains("which is not in it"));
}

/// What becomes of an archive under these limits, in both forms.
fn within(limits: UnpackLimits, archive: &[u8]) -> Result<(), String> {
    let fixture = Fixture::new();
    let temp = fixture.store.temp_dir("unpack").unwrap();
    let options = UnpackOptions { limits, ..UnpackOptions::plain() };
    let unpacked = fixture.store.unpack(&mut &*archive, &temp, &options);
    pack_too(archive, &options, &unpacked);
    unpacked.map(drop).map_err(|error| error.to_string())
}

#[test]
fn privileged_limits_have_names() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    let whole = UnpackLimits::default();
    let refused = |limits, archive: &[u8], words: &str| {
        assert_eq!(within(limits, archive).unwrap_err(), words);
    };
    let two = tar(&[T::file("a", &[0; 100]), T::file("b", &[0; 100])]);
    within(UnpackLimits { entries: 2, bytes: 200, ..whole }, &two).unwrap();
    let one = UnpackLimits { entries: 1, ..whole };
    refused(one, &two, "b is too large: the number of entries is limited to 1");
    let fewer = UnpackLimits { bytes: 199, ..whole };
    refused(fewer, &two, "b is too large: the sum of its files is limited to 199");
    // One header implies three directories.
    let deep = tar(&[T::file("a/b/c/d", b"")]);
    within(UnpackLimits { entries: 4, ..whole }, &deep).unwrap();
    let three = UnpackLimits { entries: 3, ..whole };
    refused(three, &deep, "a/b/c/d is too large: the number of entries is limited to 3");
    // The directory it goes to and the three.
    within(UnpackLimits { lookups: 4 + 3, ..whole }, &deep).unwrap();
    let found = "is too large: what finding its directories takes is limited to";
    refused(UnpackLimits { lookups: 3, ..whole }, &deep, &format!("a/b/c/d {found} 3"));
    // 1 + 3 + 5 + 7 bytes of paths.
    within(UnpackLimits { described: 16, ..whole }, &deep).unwrap();
    let described = "is too large: what its paths, links and extended attributes have is limited to";
    refused(UnpackLimits { described: 15, ..whole }, &deep, &format!("a/b/c/d {described} 15"));
    let link = tar(&[T::symlink("l", "0123456789")]);
    refused(UnpackLimits { described: 10, ..whole }, &link, &format!("l {described} 10"));
    let linked = tar(&[T::directory("d"), T::symlink("l", "d/../d/../d"), T::file("l/x", b"")]);
    within(UnpackLimits { lookups: 6 + 3, ..whole }, &linked).unwrap();
    refused(UnpackLimits { lookups: 5, ..whole }, &linked, &format!("l/x {found} 5"));
}

/// The archive of one entry with extended headers: `x` with these records, then the entry.
fn extended(records: &[(&str, &str)], entry: TarEntry<'_>) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        let digits = (1..8).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap();
        format!("{}{rest}", rest.len() + digits)
    };
    let records: String = records.iter().map(record).collect();
    tar(&[TarEntry { kind: b'x', ..TarEntry::file("header", records.as_bytes()) }, entry])
}

#[test]
fn privileged_attributes_count_for_every_name_of_a_file() {
    if !is_root() {
        return;
    }
    let value = "v".repeat(3_000);
    let mut archive = extended(&[("SCHILY.xattr.user.a", &value)], TarEntry::file("f", b""));
    archive.truncate(archive.len() - 1024);
    let names: Vec<String> = (0..100).map(|number| format!("l{number}")).collect();
    let links: Vec<_> = names.iter().map(|name| TarEntry::hard_link(name, "f")).collect();
    archive.extend(tar(&links));
    let limits = UnpackLimits { described: 100_000, ..UnpackLimits::default() };
    let said = within(limits, &archive).unwrap_err();
    assert!(said.starts_with("l32 is too large: what its paths, links and extended"), "{said}");
}

#[test]
fn privileged_holes_are_counted() {
    if !is_root() {
        return;
    }
    let sparse = |size: &str| {
        let records = [("GNU.sparse.map", "0,1"), ("GNU.sparse.size", size), ("GNU.sparse.numblocks", "1")];
        extended(&records, TarEntry::file("s", b"x"))
    };
    let limits = UnpackLimits { holes: 100_000, ..UnpackLimits::default() };
    within(limits, &sparse("100001")).unwrap();
    let said = within(limits, &sparse("100002")).unwrap_err();
    assert_eq!(said, "s is too large: what holes of its files have is limited to 100000");
    // Nothing of it is written first.
    let said = within(UnpackLimits::default(), &sparse("1099511627776")).unwrap_err();
    assert_eq!(said, "s is too large: what holes of its files have is limited to 68719476736");
}

#[test]
fn privileged_links_do_not_make_paths_without_end() {
    if !is_root() {
        return;
    }
    use TarEntry as T;
    let whole = UnpackLimits::default();
    // A header of a megabyte would ask for half a million directories.
    let target = "d/".repeat(500_000);
    let said = within(whole, &extended(&[("linkpath", &target)], T::symlink("l", ""))).unwrap_err();
    assert!(said.ends_with("l cannot be unpacked: a link has a target of 1 to 4095 bytes"), "{said}");
    // Each of these is harmless, but one leads on to the next.
    let mut archive = Vec::new();
    let mut name = String::new();
    for _ in 0..9 {
        name.push_str("l/");
        let target = format!("{}/", "d".repeat(250)).repeat(16);
        let part = extended(&[("linkpath", &target)], T::symlink(name.trim_end_matches('/'), ""));
        archive.extend(&part[..part.len() - 1024]);
    }
    let said = within(whole, &archive).unwrap_err();
    assert!(said.ends_with("its path has more than 4095 bytes, links followed"), "{said}");
}

#[test]
fn privileged_names_are_no_longer_than_linux_has_them() {
    if !is_root() {
        return;
    }
    let path = |length: usize| "n".repeat(length);
    let file = |path: &str| extended(&[("path", path)], TarEntry::file("short", b""));
    let whole = UnpackLimits::default();
    within(whole, &file(&path(255))).unwrap();
    for long in [path(256), format!("{}/f", path(256)), format!("d/{}", path(256))] {
        let said = within(whole, &file(&long)).unwrap_err();
        assert!(said.ends_with("cannot be unpacked: a name has 255 bytes at most"), "{said}");
    }
}

#[test]
fn an_archive_does_not_talk_to_overlayfs() {
    let fixture = Fixture::new();
    let record = |name: &str| {
        let rest = format!(" SCHILY.xattr.{name}=/secret\n");
        format!("{}{rest}", rest.len() + 2)
    };
    let names = ["trusted.overlay.redirect", "user.overlay.redirect", "user.overlay.metacopy", "user.kept"];
    let records = names.map(record).concat();
    let header = TarEntry { kind: b'x', ..TarEntry::file("header", records.as_bytes()) };
    let bytes = tar(&[header, TarEntry::directory("d")]);
    let temp = fixture.store.temp_dir("unpack").unwrap();
    if !is_root() {
        return;
    }
    let unpacked = fixture.store.unpack(&mut bytes.as_slice(), &temp, &UnpackOptions::layer());
    pack_too(&bytes, &UnpackOptions::layer(), &unpacked);
    let tree = unpacked.unwrap();
    let kept: Vec<_> = tree.get(b"d").unwrap().meta.xattrs.iter().flat_map(|all| all.iter()).collect();
    assert_eq!(kept, [&(b"user.kept".as_slice().into(), b"/secret".as_slice().into())]);
    let mut names = [0; 256];
    let length = rustix::fs::listxattr(temp.diff().join("d"), &mut names[..]).unwrap();
    assert_eq!(&names[..length], b"user.kept\0");
}

#[test]
fn a_path_as_deep_as_paths_can_be_is_no_reason_to_panic() {
    let fixture = Fixture::new();
    if !is_root() {
        return;
    }
    for depth in [1_000, 3_000, 9_000] {
        let record = |digits: usize| format!("{} path={}f\n", 2 * depth + 8 + digits, "d/".repeat(depth));
        let record = record(if depth < 4_990 { 4 } else { 5 });
        assert_eq!(record.len().to_string(), record.split(' ').next().unwrap());
        let header = TarEntry { kind: b'x', ..TarEntry::file("header", record.as_bytes()) };
        let bytes = tar(&[header, TarEntry::file("short", b"x")]);
        let temp = fixture.store.temp_dir("unpack").unwrap();
        let unpacked = fixture.store.unpack(&mut bytes.as_slice(), &temp, &UnpackOptions::layer());
        pack_too(&bytes, &UnpackOptions::layer(), &unpacked);
        match unpacked {
            Ok(tree) => assert_eq!(tree.entries().len(), depth + 2),
            Err(error) => assert!(depth > 2_048, "{error}"),
        }
    }
}

/// An archive of files, each at the `path` of its number.
fn deep(count: usize, path: impl Fn(usize) -> String) -> Vec<u8> {
    let mut archive = Vec::new();
    for number in 0..count {
        let part = extended(&[("path", &path(number))], TarEntry::file("short", b""));
        archive.extend(&part[..part.len() - 1024]);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[test]
fn privileged_directories_that_are_implied_cost_little_or_are_refused() {
    if !is_root() {
        return;
    }
    let whole = UnpackLimits::default();
    // All but the last directory of each is there already.
    let chain = "d/".repeat(1_000);
    within(whole, &deep(100, |number| format!("{chain}{number}/f"))).unwrap();
    // Each has its own: kilobytes ask for many times as much.
    let own = deep(100, |number| format!("{number}/{chain}f"));
    let said = within(UnpackLimits { lookups: 1 << 20, ..whole }, &own).unwrap_err();
    assert!(said.ends_with("what finding its directories takes is limited to 1048576"), "{said:.100}");
    let long = deep(1, |_| "d/".repeat(4_000) + "f");
    let said = within(whole, &long).unwrap_err();
    assert!(said.ends_with("its path has more than 4095 bytes, links followed"), "{said}");
}

#[test]
fn a_cut_off_archive_is_an_error_and_never_a_layer() {
    let fixture = Fixture::new();
    let whole = tar(&[TarEntry::file("a", &[1; 700]), TarEntry::file("b", &[2; 10])]);
    for length in [1, 511, 513, 600, 1_023, 1_100, 1_535, 1_600, 2_000] {
        let temp = fixture.store.temp_dir("unpack").unwrap();
        let result = fixture.store.unpack(&mut &whole[..length], &temp, &UnpackOptions::layer());
        pack_too(&whole[..length], &UnpackOptions::layer(), &result);
        assert!(result.is_err(), "cut to {length}");
    }
}

/// Names from few letters, so that they meet.
fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "c", r"\.\.", r"\.wh\.a", r"\.wh\.\.wh\.\.opq"], 1..4)
        .prop_map(|parts| parts.join("/"))
}

fn any_entry() -> impl Strategy<Value = (String, u8, String)> {
    (
        name(),
        prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5')],
        prop_oneof![name(), Just("/".to_owned())],
    )
}

/// Whatever comes, in whatever order: an error, or a directory that is exactly what the tree says.
#[test]
fn any_archive_is_refused_or_true() {
    let fixture = Fixture::new();
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let archives = (proptest::collection::vec(any_entry(), 1..12), any::<bool>());
    let check = |(all, layer): (Vec<(String, u8, String)>, bool)| {
        let entries: Vec<_> = all
            .iter()
            .map(|(name, kind, link)| TarEntry { name, kind: *kind, link, content: b"", mode: 0o700 })
            .collect();
        let options = if layer { UnpackOptions::layer() } else { UnpackOptions::plain() };
        let temp = fixture.store.temp_dir("unpack").unwrap();
        let archive = tar(&entries);
        let unpacked = fixture.store.unpack(&mut archive.as_slice(), &temp, &options);
        pack_too(&archive, &options, &unpacked);
        if let Ok(tree) = unpacked {
            let scanned = fixture.store.scan(&temp.diff(), &ScanOptions::default()).unwrap();
            if is_root() {
                prop_assert_eq!(scanned.entries(), tree.entries());
            }
            let id = tree.layer_id();
            let layer = fixture.store.commit_dir(temp, tree).unwrap();
            prop_assert_eq!(layer.id(), &id);
        }
        Ok(())
    };
    proptest::test_runner::TestRunner::new(config).run(&archives, check).unwrap();
}
