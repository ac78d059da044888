use std::num::NonZeroU32;

use proptest::prelude::*;

use super::{decode::Entries, *};

fn entry(path: &str, mode: u16, kind: Kind) -> Entry {
    Entry { path: path.as_bytes().into(), meta: Meta::new(mode), kind }
}

fn directory(path: &str, mode: u16) -> Entry {
    entry(path, mode, Kind::Directory { opaque: false })
}

fn file(path: &str, content: &str, links: Option<u32>) -> Entry {
    let digest = *crate::Digest::blake3(content.as_bytes()).bytes();
    let links = links.and_then(NonZeroU32::new);
    entry(path, 0o644, Kind::File { size: content.len() as u64, digest, links })
}

/// One entry of each kind, with everything an entry can have.
fn every_kind() -> Tree {
    let mut linked = file("usr/bin/b", "hello", Some(70));
    linked.meta.xattrs = Some(Box::new(vec![
        (b"user.z"[..].into(), b""[..].into()),
        (b"security.capability"[..].into(), b"\x01\0\0\x02"[..].into()),
    ]));
    linked.meta.uid = 4_294_967_294;
    linked.meta.gid = 200;
    let mut early = directory("usr", 0o1777);
    early.meta.mtime = Time { seconds: -1, nanoseconds: 999_999_999 };
    Tree::from_entries(vec![
        directory("", 0o755),
        early,
        entry("opt", 0o755, Kind::Directory { opaque: true }),
        directory("usr/bin", 0o755),
        linked,
        file("usr/bin/a", "hello", Some(70)),
        file("usr/bin/c", "", Some(3)),
        entry("usr/bin/sh", 0o755, Kind::Symlink { target: b"../../bin/sh"[..].into() }),
        entry("dev/null", 0o666, Kind::CharDevice { major: 1, minor: 3 }),
        entry("dev/sda", 0o660, Kind::BlockDevice { major: 8, minor: 1 << 20 }),
        entry("dev", 0o755, Kind::Directory { opaque: false }),
        entry("dev/pipe", 0o600, Kind::Fifo),
        entry("gone", 0o600, Kind::Whiteout),
        file(&format!("{}/{}", "x".repeat(200), "y".repeat(200)), "long", None),
    ])
}

/// These digests name layers in users' stores. When one changes, the format has changed: see the specification.
#[test]
fn the_encoding_is_the_specified_one() {
    let tree = every_kind();
    assert_eq!(
        tree.layer_id().to_string(),
        "blake3:415c983edf551f937dbca8b7229033082fdfe02f9b24c01bf12ccc785561eaee"
    );
    assert_eq!(
        tree.integrity().to_string(),
        "blake3:d7cd4450691a3b77fa6b1544085722134029e303817fc03cb87dbaffcb1e5273"
    );
    assert_eq!(
        Tree::default().layer_id().to_string(),
        crate::Digest::blake3(b"gtre\x01\x00\x00").to_string()
    );
}

/// The fuzzer begins with a tree of every kind and an empty one. `GALLEY_BLESS=1` writes them anew.
#[test]
fn the_seeds_of_the_fuzzer_are_trees() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/trees");
    let many = (0..200)
        .map(|number| file(&format!("f{number:03}"), "", NonZeroU32::new(number % 7).map(NonZeroU32::get)));
    let seeds: [(&str, &[u8], Tree); 3] = [
        ("many", include_bytes!("../../../../fuzz/seeds/trees/many"), Tree::from_entries(many.collect())),
        ("every-kind", include_bytes!("../../../../fuzz/seeds/trees/every-kind"), every_kind()),
        ("empty", include_bytes!("../../../../fuzz/seeds/trees/empty"), Tree::default()),
    ];
    for (name, seed, tree) in seeds {
        if std::env::var_os("GALLEY_BLESS").is_some() {
            let file = std::fs::OpenOptions::new().write(true).truncate(true).open(folder.join(name));
            std::io::Write::write_all(&mut file.expect("a seed"), &tree.encode()).expect("a seed");
        } else {
            assert_eq!(Tree::decode(seed), Ok(tree), "{name}");
        }
    }
}

#[test]
fn the_encoding_by_hand() {
    let mut link = entry("a/b", 0, Kind::Symlink { target: b"t"[..].into() });
    link.meta.uid = 300;
    link.meta.mtime = Time { seconds: 2, nanoseconds: 3 };
    let tree = Tree::from_entries(vec![directory("a", 0o755), link, entry("a/c", 0, Kind::Whiteout)]);
    let wanted = [
        &b"gtre\x01\x01\x03"[..],
        b"\x00\x01a\x00\xed\x03\x00\x00\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x01\x02/b\x04\xff\x03\xac\x02\x00\x02\0\0\0\0\0\0\0\x03\0\0\0\x01t",
        b"\x02\x01c\x08",
    ]
    .concat();
    assert_eq!(tree.encode(), wanted);
    assert_eq!(Tree::decode(&wanted), Ok(tree));
}

#[test]
fn every_kind_comes_back() {
    let tree = every_kind();
    assert_eq!(Tree::decode(&tree.encode()), Ok(tree));
    // Nothing is shorter than this.
    let root = Tree::from_entries(vec![entry("", 0, Kind::Whiteout)]);
    assert_eq!(Tree::decode(&root.encode()), Ok(root));
}

#[test]
fn times_are_no_part_of_the_id() {
    let tree = every_kind();
    let mut entries = tree.clone().into_entries();
    entries[1].meta.mtime.seconds += 1;
    let later = Tree::from_entries(entries);
    assert_eq!(later.layer_id(), tree.layer_id());
    assert_ne!(later.integrity(), tree.integrity());
}

#[test]
fn entries_stay_small() {
    assert!(size_of::<Entry>() <= 104, "{}", size_of::<Entry>());
}

#[test]
fn a_file_of_several_names_has_its_bytes_once() {
    let files = vec![
        directory("", 0o755),
        file("a", "four", Some(1)),
        file("b", "four", Some(1)),
        file("c", "sixsix", Some(2)),
        file("d", "sixsix", Some(2)),
        file("e", "four", None),
        file("f", "four", None),
    ];
    assert_eq!(Tree::from_entries(files).bytes_of_files(), 4 + 6 + 4 + 4);
}

#[test]
fn a_directory_is_followed_by_what_it_holds() {
    let paths = ["a-b", "a/b", "", "a", "a/b/c", "a.b"];
    let tree = Tree::from_entries(paths.iter().map(|path| directory(path, 0o755)).collect());
    let paths = |entries: &[Entry]| -> Vec<String> {
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
    };
    assert_eq!(paths(tree.entries()), ["", "a", "a/b", "a/b/c", "a-b", "a.b"]);
    assert_eq!(tree.position(b"a/b/c"), Ok(3));
    assert_eq!(tree.position(b"a/c"), Err(4));
    assert_eq!(paths(tree.below(b"a")), ["a", "a/b", "a/b/c"]);
    assert_eq!(paths(tree.below(b"")).len(), 6);
    assert_eq!(paths(tree.below(b"a/b/d")), [""; 0]);
    let children: Vec<Entry> = tree.children(b"").cloned().collect();
    assert_eq!(paths(&children), ["a", "a-b", "a.b"]);
    let children: Vec<Entry> = tree.children(b"a").cloned().collect();
    assert_eq!(paths(&children), ["a/b"]);
    assert_eq!(tree.children(b"a-b").count(), 0);
}

#[test]
fn the_last_entry_of_a_path_wins() {
    let tree = Tree::from_entries(vec![directory("a", 0o700), directory("b", 0o1), directory("a", 0o755)]);
    assert_eq!(tree.get(b"a").map(|entry| entry.meta.mode), Some(0o755));
    assert_eq!(tree.entries().len(), 2);
}

#[test]
fn what_means_the_same_is_made_the_same() {
    let links = |tree: &Tree| -> Vec<Option<u32>> {
        let of = |entry: &Entry| match entry.kind {
            Kind::File { links, .. } => links.map(NonZeroU32::get),
            _ => None,
        };
        tree.entries().iter().map(of).collect()
    };
    let tree = Tree::from_entries(vec![
        file("e", "", Some(4)),
        file("d", "", Some(9)),
        file("c", "", Some(4)),
        file("b", "", Some(7)),
        file("a", "", Some(9)),
    ]);
    assert_eq!(links(&tree), [Some(1), None, Some(2), Some(1), Some(2)]);

    let mut one = directory("a", 0o10755);
    one.meta.xattrs = Some(Box::default());
    assert_eq!(Tree::from_entries(vec![one]), Tree::from_entries(vec![directory("a", 0o755)]));
    let mut twice = directory("a", 0o755);
    let attribute = |value: &[u8]| (b"user.a"[..].into(), value.into());
    twice.meta.xattrs = Some(Box::new(vec![attribute(b"1"), attribute(b"2")]));
    let tree = Tree::from_entries(vec![twice]);
    assert_eq!(tree.entries()[0].meta.xattrs.as_deref(), Some(&vec![attribute(b"2")]));
}

#[test]
fn what_is_not_canonical_is_refused() {
    let decode = |bytes: &[&[u8]]| Tree::decode(&bytes.concat()).unwrap_err();
    let whiteout: &[u8] = b"\x00\x01b\x08";
    assert_eq!(Tree::decode(b"tree"), Err(DecodeTreeError::NotATree));
    assert_eq!(decode(&[b"gtre\x02\x01\x00"]), DecodeTreeError::Version(2));
    assert_eq!(decode(&[b"gtre\x01\x00\x00"]), DecodeTreeError::NoTimes);
    assert_eq!(decode(&[b"gtre\x01\x01\x01"]), DecodeTreeError::CutOff(7));
    assert_eq!(decode(&[b"gtre\x01\x01\x00", b"x"]), DecodeTreeError::NotCanonical);
    assert_eq!(decode(&[b"gtre\x01\x01\x81\x00", whiteout]), DecodeTreeError::NotCanonical);
    assert_eq!(decode(&[b"gtre\x01\x01\x02", whiteout, b"\x00\x01a\x08"]), DecodeTreeError::BadPath(14));
    assert_eq!(decode(&[b"gtre\x01\x01\x02", whiteout, b"\x01\x00\x08\x08"]), DecodeTreeError::BadPath(13));
    assert_eq!(decode(&[b"gtre\x01\x01\x02", whiteout, b"\x00\x02bb\x08"]), DecodeTreeError::NotCanonical);
    assert_eq!(decode(&[b"gtre\x01\x01\x01", b"\x00\x02..\x08"]), DecodeTreeError::BadPath(11));
    assert_eq!(decode(&[b"gtre\x01\x01\x01", b"\x00\x02a/\x08"]), DecodeTreeError::BadPath(11));
    assert_eq!(decode(&[b"gtre\x01\x01\x01", b"\x00\x01a\x0f"]), DecodeTreeError::CutOff(11));
    assert_eq!(decode(&[b"gtre\x01\x01\x01", b"\x00\x01a\x18"]), DecodeTreeError::NotCanonical);
    assert_eq!(
        decode(&[b"gtre\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"]),
        DecodeTreeError::OutOfRange(16)
    );
    let long = [b"gtre\x01\x01\x01\x00\xff\xff\x7f".as_slice(), &[b'a'; 20_000]].concat();
    assert!(matches!(Tree::decode(&long), Err(DecodeTreeError::PathTooLong(_))));
}

prop_compose! {
    /// Any tree, valid or odd.
    fn trees()(entries in prop::collection::vec((
        prop::collection::vec("[ab.]{1,3}", 0..4),
        any::<(u16, u32, u32, i64)>(),
        0..1_000_000_000_u32,
        prop::option::of(prop::collection::vec(("[a-c]{0,2}", "[a-c]{0,2}"), 0..3)),
        0..9_u8,
        (any::<u64>(), 0..4_u32, "[a/.]{0,4}"),
    ), 0..20)) -> Tree {
        Tree::from_entries(entries.into_iter().map(|(path, ids, nanoseconds, xattrs, kind, content)| {
            let (mode, uid, gid, seconds) = ids;
            let (size, links, target) = content;
            let boxed = |text: String| text.into_bytes().into_boxed_slice();
            let xattrs = xattrs.map(|list| Box::new(list.into_iter().map(|(a, b)| (boxed(a), boxed(b))).collect()));
            let names = path.into_iter().filter(|name| name != "." && name != "..").collect::<Vec<_>>();
            let kind = match kind {
                0 | 1 => Kind::Directory { opaque: kind == 1 },
                2 | 3 => Kind::File { size, digest: [kind; 32], links: NonZeroU32::new(links) },
                4 => Kind::Symlink { target: boxed(target) },
                5 => Kind::CharDevice { major: links, minor: gid },
                6 => Kind::BlockDevice { major: links, minor: gid },
                7 => Kind::Fifo,
                _ => Kind::Whiteout,
            };
            let mtime = Time { seconds, nanoseconds };
            Entry { path: boxed(names.join("/")), meta: Meta { mode, uid, gid, mtime, xattrs }, kind }
        }).collect())
    }
}

/// A tree that is read from the disk, beside the same with all entries made.
fn compare_stored(encoded: &[u8], paths: &[Vec<u8>]) {
    let decoded = Entries::of(encoded).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let decoded = decoded.map(Tree::from_sorted);
    let stored = Tree::decode_own(encoded.to_vec());
    assert_eq!(stored.as_ref().err(), decoded.as_ref().err());
    let (Ok(decoded), Ok(stored)) = (decoded, stored) else { return };
    assert_eq!((stored.len(), stored.is_empty()), (decoded.len(), decoded.is_empty()));
    let own = decoded.entries().iter().map(|entry| entry.path.to_vec());
    for path in own.chain(paths.iter().cloned()) {
        assert_eq!(stored.position(&path), decoded.position(&path));
        assert_eq!(stored.get(&path), decoded.get(&path));
        assert_eq!(stored.range_below(&path), decoded.range_below(&path));
        assert!(stored.children(&path).eq(decoded.children(&path)));
    }
    assert_eq!(stored.entry(decoded.len()), None);
    assert!((0..decoded.len()).all(|index| stored.entry(index) == decoded.entries().get(index)));
    assert!(stored.entries.get().is_none() || stored.parts().is_none());
    assert_eq!(stored, decoded);
    assert_eq!(stored.into_entries(), decoded.into_entries());
}

#[test]
fn of_a_stored_tree_only_what_is_asked_for_is_made() {
    let tree = every_kind();
    let stored = Tree::decode_own(tree.encode()).unwrap();
    assert_eq!(stored.get(b"usr/bin/sh"), tree.get(b"usr/bin/sh"));
    assert!(stored.entries.get().is_none(), "all entries were made");
    assert_eq!(stored.encode(), tree.encode());
    assert!(stored.entries.get().is_some());
}

proptest! {
    #[test]
    fn a_stored_tree_is_the_same_tree(tree in trees(), paths in prop::collection::vec("[ab./]{0,4}", 0..4)) {
        let paths: Vec<Vec<u8>> = paths.into_iter().map(String::into_bytes).collect();
        compare_stored(&tree.encode(), &paths);
    }

    /// Also where a digest vouches for nonsense.
    #[test]
    fn a_damaged_stored_tree_is_the_same_tree(tree in trees(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = tree.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        compare_stored(&bytes, &[]);
    }

    #[test]
    fn round_trip(tree in trees()) {
        prop_assert_eq!(Tree::decode(&tree.encode()), Ok(tree));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Tree::decode(&[&b"gtre\x01\x01"[..], &bytes].concat());
        let _ = Tree::decode(&bytes);
    }

    /// Damage is an error or another tree, which then has this very encoding.
    #[test]
    fn damage_is_noticed(tree in trees(), at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = tree.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(other) = Tree::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes.clone());
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = Tree::decode(&bytes);
    }
}
