//! What is written is read again, and nothing that is read makes the reader panic.

use std::{
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
    num::NonZeroU32,
};

use proptest::prelude::*;

use super::*;
use crate::{
    Digest, Entry, Kind, Meta, Time, Tree,
    testing::{directory, file, symlink, tree, whiteout},
    tree::Xattrs,
};

type Files = Vec<(Entry, Vec<u8>)>;

/// Writes contents in the order of `files`, then their tree.
fn pack(files: &Files) -> (Tree, Vec<u8>) {
    let tree = Tree::from_entries(files.iter().map(|(entry, _)| entry.clone()).collect());
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    let mut contents = vec![None; tree.entries().len()];
    for (entry, bytes) in files {
        let mut file = writer.file();
        bytes.chunks(1000).for_each(|chunk| file.write_all(chunk).unwrap());
        contents[tree.position(&entry.path).unwrap()] = Some(file.finish());
    }
    let packed = writer.finish(&tree, |index| contents[index]).unwrap().into_inner();
    (tree, packed)
}

fn with_content(path: &str, content: &[u8]) -> (Entry, Vec<u8>) {
    let digest = *Digest::blake3(content).bytes();
    let kind = Kind::File { size: content.len() as u64, digest, links: None };
    (Entry { path: path.as_bytes().into(), meta: Meta::new(0o644), kind }, content.to_vec())
}

fn is_whole(files: &Files) {
    let (tree, packed) = pack(files);
    Reader::open(&packed[..]).unwrap().check(&tree).unwrap();
    assert_eq!(packed.len() % BLOCK_BYTES, 0);
}

#[test]
fn a_small_tree_has_these_bytes() {
    let files = || vec![(directory(""), vec![]), with_content("a", b"some"), with_content("big", &[7; 5000])];
    let (_, packed) = pack(&files());
    assert_eq!(packed, pack(&files()).1);
    assert_eq!(packed.len(), 4 * BLOCK_BYTES, "superblock, two blocks of a file, inodes");
    // What mounts it knows no versions: a change of these bytes is a new format.
    let digest = "blake3:864a4e7d9688b1555bd989923513f536b5896596314645db941da9a9e497fd42";
    assert_eq!(Digest::blake3(&packed).to_string(), digest);
}

#[test]
fn small_contents_are_held_back_as_long_as_there_is_room() {
    let files: Files = [(directory(""), vec![])]
        .into_iter()
        .chain((0..5000).map(|number| with_content(&format!("{number:04}"), &[number as u8; 2000])))
        .collect();
    is_whole(&files);
    let (_, packed) = pack(&files);
    let reader = Reader::open(&packed[..]).unwrap();
    let held = reader.walk().filter(|record| match &record.as_ref().unwrap().kind {
        RecordKind::File(runs) => runs.iter().all(|run| run.start % BLOCK_BYTES as u64 != 0),
        _ => false,
    });
    assert_eq!(held.count(), (8 << 20) / 2000);
}

#[test]
fn contents_that_no_file_has_do_no_harm() {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    for size in [1, 3000, 100_000] {
        writer.file().write_all(&vec![1; size]).unwrap();
        let mut replaced = writer.file();
        replaced.write_all(&vec![2; size]).unwrap();
        let _ = replaced.finish();
    }
    let mut kept = writer.file();
    kept.write_all(b"kept").unwrap();
    let content = kept.finish();
    let tree = tree(&[directory(""), file("a", "kept")]);
    let packed = writer.finish(&tree, |_| Some(content)).unwrap().into_inner();
    Reader::open(&packed[..]).unwrap().check(&tree).unwrap();
}

/// Counts what is written, apart from what is stepped over, and how often.
#[derive(Default)]
struct Counting {
    file: Cursor<Vec<u8>>,
    bytes: usize,
    calls: usize,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        self.calls += 1;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Counting {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.calls += 1;
        self.file.seek(to)
    }
}

#[test]
fn zeros_stay_holes() {
    let mut bytes = vec![0; 10 << 20];
    bytes[5 << 20] = 1;
    let (entry, bytes) = with_content("sparse", &bytes);
    let tree = tree(&[directory(""), entry]);
    let mut writer = Writer::new(Counting::default()).unwrap();
    let mut file = writer.file();
    file.write_all(&bytes).unwrap();
    let content = file.finish();
    let counted = writer.finish(&tree, |_| Some(content)).unwrap();
    assert!(counted.bytes < 512 << 10, "{}", counted.bytes);
    Reader::open(&counted.file.into_inner()[..]).unwrap().check(&tree).unwrap();
}

#[test]
fn files_cost_no_calls() {
    let mut writer = Writer::new(Counting::default()).unwrap();
    let files: Files = (0..2000).map(|number| with_content(&format!("{number}"), &[1; 4000])).collect();
    let mut contents = Vec::new();
    for (_, bytes) in &files {
        let mut file = writer.file();
        file.write_all(bytes).unwrap();
        contents.push(file.finish());
    }
    let entries =
        [&[directory("")], &files.iter().map(|(entry, _)| entry.clone()).collect::<Vec<_>>()[..]].concat();
    let counted = writer.finish(&tree(&entries), |index| Some(contents[index - 1])).unwrap();
    let pieces = counted.bytes.div_ceil(256 << 10);
    // The end of the contents, the end of all, and the superblock with its seek.
    assert!(counted.calls <= pieces + 4, "{} calls for {pieces} pieces", counted.calls);
}

#[test]
fn many_names_of_one_file_and_many_files_of_one_directory() {
    let (entry, bytes) = with_content("f", &[1; 3000]);
    let Kind::File { size, digest, .. } = entry.kind else { unreachable!() };
    let kind = Kind::File { size, digest, links: NonZeroU32::new(1) };
    let mut files = vec![(directory(""), vec![])];
    files.extend((0..70_000).map(|number| {
        let path = format!("name-{number}").into_bytes().into();
        (
            Entry { path, meta: Meta::new(0o644), kind: kind.clone() },
            if number == 0 { bytes.clone() } else { vec![] },
        )
    }));
    let tree = Tree::from_entries(files.iter().map(|(entry, _)| entry.clone()).collect());
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    let mut file = writer.file();
    file.write_all(&bytes).unwrap();
    let content = file.finish();
    let mut asked = Vec::new();
    let once = |index| {
        asked.push(index);
        Some(content)
    };
    let packed = writer.finish(&tree, once).unwrap().into_inner();
    assert_eq!(asked, [1]);
    let reader = Reader::open(&packed[..]).unwrap();
    reader.check(&tree).unwrap();
    let found = reader.find(b"name-65536").unwrap().unwrap();
    assert_eq!((found.links, reader.inodes()), (70_000, 2));
    assert_eq!(reader.find(b"name-70000").unwrap(), None);
    assert_eq!(reader.find(b"name-1/below").unwrap(), None);
}

#[test]
fn what_cannot_be_packed_is_refused_by_name() {
    let refuse = |entries: &[Entry]| {
        let writer = Writer::new(Cursor::new(Vec::new())).unwrap();
        writer.finish(&tree(entries), |_| None).unwrap_err().to_string()
    };
    let long = "n".repeat(256);
    let mut capable = file("c", "");
    capable.meta.xattrs = Some(Box::new(vec![(b"security.capability".as_slice().into(), [1; 20].into())]));
    let said = [
        refuse(&[]),
        refuse(&[directory(""), file("a/b", "")]),
        refuse(&[directory(""), file("a", ""), file("a/b", "")]),
        refuse(&[directory(""), file(&long, "")]).replace(&long, "n…"),
        refuse(&[directory(""), symlink("s", "")]),
        refuse(&[directory(""), symlink("s", &"t".repeat(4096))]),
        refuse(&[directory(""), file("f", "four")]),
        refuse(&[directory(""), capable]),
    ];
    let expected = [
        "cannot pack /: the tree does not have the directory that it is in",
        "cannot pack /a/b: the tree does not have the directory that it is in",
        "cannot pack /a/b: the tree does not have the directory that it is in",
        "cannot pack /n…: its name is longer than 255 bytes",
        "cannot pack /s: the target of a symbolic link must have 1 to 4095 bytes",
        "cannot pack /s: the target of a symbolic link must have 1 to 4095 bytes",
        "cannot pack /f: it has 4 bytes, but 0 were written",
        "cannot pack /c: its capabilities have neither version 2 nor version 3",
    ];
    assert_eq!(said, expected);
}

#[test]
fn what_is_no_packed_layer_is_refused_by_name() {
    let (tree, packed) = pack(&vec![(directory(""), vec![]), with_content("a", &[1; 9000])]);
    let open = |bytes: &[u8]| Reader::open(bytes).map(|_| ()).unwrap_err().to_string();
    let with = |at: usize, value: u8| {
        let mut bytes = packed.clone();
        bytes[at] = value;
        bytes
    };
    let said = [open(b""), open(&[0; 8192]), open(&with(1024 + 36, 200)), open(&with(4095, 1))];
    let none = "this is no packed layer, or one that was not written to its end";
    let damaged = "the packed layer is damaged: the checksum of its superblock is wrong";
    assert_eq!(said, [none, none, damaged, damaged]);
    let check = |bytes: &[u8]| Reader::open(bytes).unwrap().check(&tree).unwrap_err().to_string();
    assert_eq!(
        check(&packed[..packed.len() - BLOCK_BYTES]),
        "the packed layer is damaged: inode 2: the layer is cut off before it"
    );
    assert_eq!(
        check(&with(5000, 2)),
        "the packed layer does not hold what its tree says: /a: its content differs"
    );
}

#[test]
fn a_check_names_what_differs() {
    let files = vec![
        (directory(""), vec![]),
        (directory("d"), vec![]),
        with_content("d/f", b"x"),
        (whiteout("w"), vec![]),
    ];
    let (_, packed) = pack(&files);
    let check = |entries: &[Entry]| {
        let checked = Reader::open(&packed[..]).unwrap().check(&tree(entries));
        checked.map_or_else(|error| error.to_string(), |()| "same".to_owned())
    };
    let [root, d, f, w] = ["", "d", "d/f", "w"]
        .map(|path| files.iter().find(|(entry, _)| *entry.path == *path.as_bytes()).unwrap().0.clone());
    let chmod = Entry { meta: Meta { mode: 0o600, ..f.meta.clone() }, ..f.clone() };
    let opaque = Entry { kind: Kind::Directory { opaque: true }, ..d.clone() };
    let all = [root.clone(), d.clone(), f.clone(), w.clone()];
    assert_eq!(check(&all), "same");
    let different = |what: &str| format!("the packed layer does not hold what its tree says: {what}");
    assert_eq!(check(&all[..3]), different("/w: the tree does not have it"));
    assert_eq!(check(&[root.clone(), w.clone()]), different("/d: the tree does not have it"));
    assert_eq!(check(&[&all[..], &[file("z", "")]].concat()), different("/z: it is missing"));
    assert_eq!(check(&[root.clone(), d.clone(), chmod, w.clone()]), different("/d/f: its mode differs"));
    assert_eq!(check(&[root, opaque, f, w]), different("/d: it is something else"));
}

#[test]
fn damage_is_named() {
    let files = ["", "a", "a/in", "b"].map(|path| (directory(path), vec![]));
    let files = [&files[..], &[with_content("f", b"content"), (symlink("s", "to"), vec![])]].concat();
    let (_, packed) = pack(&files);
    let reader = Reader::open(&packed[..]).unwrap();
    let inodes: Vec<u64> = reader.walk().map(|record| record.unwrap().inode).collect();
    let [root, a, inner, b, f, s] = inodes[..] else { unreachable!() };
    let start = packed.len() - BLOCK_BYTES;
    let inode = |number: u64| start + 32 * number as usize;
    // A directory of four names and two dots: 12 bytes each, then the names, behind the inode.
    let names = inode(root) + 64;
    let say = |at: usize, change: &[u8]| {
        let mut bytes = packed.clone();
        bytes[at..at + change.len()].copy_from_slice(change);
        let error = Reader::open(&bytes[..]).unwrap().walk().find_map(Result::err);
        error.map(|error| error.to_string().replace("the packed layer is damaged: ", "")).unwrap_or_default()
    };
    let named = |inode: u64, what: &str| format!("inode {inode}: {what}");
    assert_eq!(packed[names + 3 * 12..][..8], b.to_le_bytes());
    for (at, change, expected) in [
        (names + 3 * 12, &a.to_le_bytes()[..], named(a, "it is a directory with several names")),
        (inode(a) + 64 + 2 * 12, &root.to_le_bytes(), named(root, "it is a directory with several names")),
        (names, &a.to_le_bytes(), named(root, "its dots lead elsewhere")),
        (names + 4 * 12, &[255; 8], named(u64::MAX, "it is outside of the layer")),
        (names + 3 * 12 + 10, &[1], named(b, "its directory says that it is something else")),
        (names + 8, &[7], named(root, "its directory has no names where they should be")),
        (names + 12 + 8, &[255; 2], named(root, "its directory has a name outside of its block")),
        (names + 6 * 12, b"/", named(root, "its directory has a name that cannot be")),
        (names + 6 * 12 + 3, b"z", named(root, "its directory is not sorted")),
        (inode(inner) + 8, &[0], named(inner, "its directory lacks its dots")),
        (inode(f), &[2], named(f, "its format is unknown")),
        (inode(f) + 2, &[255; 2], named(f, "its bytes leave its block")),
        (inode(f) + 4, &[0; 2], named(f, "its type is unknown")),
        (inode(f) + 8, &[255; 8], named(f, "its bytes are outside of the layer")),
        (inode(f) + 40, &[255; 4], named(f, "its time is none")),
        (inode(s) + 64, &[0], named(s, "its target has a zero byte")),
        (inode(s) + 8, &[0], named(s, "its target has an impossible length")),
    ] {
        assert_eq!(say(at, change), expected);
    }
}

/// `fsck.erofs` 1.5 reads a header of attributes behind every inode.
#[test]
fn the_last_inode_is_not_at_the_very_end() {
    for files in 50..150 {
        let names = (0..files).map(|number| with_content(&format!("{number:03}"), b""));
        let (_, packed) = pack(&[(directory(""), vec![])].into_iter().chain(names).collect());
        let last = Reader::open(&packed[..]).unwrap().walk().last().unwrap().unwrap().inode as usize;
        assert!(packed.len() >= BLOCK_BYTES + 32 * last + 64 + 12);
    }
}

#[test]
fn lists_that_are_none_are_left_out() {
    const LIST: &[u8] = &[2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255];
    let (access, default) = ("system.posix_acl_access", "system.posix_acl_default");
    let kept = |mut entry: Entry, name: &str, value: &[u8]| {
        entry.meta.xattrs = Some(Box::new(vec![(name.as_bytes().into(), value.into())]));
        !xattrs::encode(&entry).is_empty()
    };
    assert!(kept(file("f", ""), access, LIST) && kept(directory("d"), default, LIST));
    assert!(!kept(file("f", ""), access, &LIST[..5]) && !kept(file("f", ""), access, b"\x01\0\0\0"));
    assert!(!kept(file("f", ""), default, LIST) && !kept(symlink("s", "t"), "user.a", b""));
}

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const NAMES: [&[u8]; 8] = [b"a", b"b", b"!", b"-", b"...", b"\xff\xfe", &[b'n'; 255], b"some file"];
const LENGTHS: [usize; 11] = [0, 1, 2047, 2048, 2049, 4031, 4095, 4096, 4097, 9000, 200_000];

fn times() -> impl Strategy<Value = Time> {
    let seconds = prop::sample::select(vec![0, -1, 1_700_000_000, i64::MIN, i64::MAX]);
    (seconds, 0..1_000_000_000_u32).prop_map(|(seconds, nanoseconds)| Time { seconds, nanoseconds })
}

fn xattrs() -> impl Strategy<Value = Option<Box<Xattrs>>> {
    let name = prop::sample::select(vec![
        "user.a",
        "user.b",
        "trusted.t",
        "security.capability",
        "system.posix_acl_access",
        "user.overlay.opaque",
        "odd.name",
    ]);
    let length = prop::sample::select(vec![0, 1, 20, 3000, 4096, 65_535, 65_536]);
    let one = (name, any::<u8>(), length)
        .prop_map(|(name, byte, length)| (name.as_bytes().into(), vec![byte; length].into()))
        .prop_map(|(name, value): (Box<[u8]>, Box<[u8]>)| match &*name {
            b"security.capability" => (name, CAPABILITY.into()),
            _ => (name, value),
        });
    prop::option::weighted(0.3, prop::collection::vec(one, 0..8).prop_map(Box::new))
}

prop_compose! {
    fn metas()(
        mode in 0..0o10_000_u16, uid in any::<u32>(), gid in any::<u32>(), mtime in times(), xattrs in xattrs(),
    ) -> Meta {
        Meta { mode, uid, gid, mtime, xattrs }
    }
}

fn kinds() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    let content = (prop::sample::select(&LENGTHS[..]), any::<u8>()).prop_map(|(length, byte)| {
        let (entry, content) = with_content("", &vec![byte; length]);
        (entry.kind, content)
    });
    let number = || prop::sample::select(vec![0, 1, 255, 256, 4095, 4096, u32::MAX]);
    let bare = prop_oneof![
        any::<bool>().prop_map(|opaque| Kind::Directory { opaque }),
        prop::sample::select(vec![1, 100, 3900, 4032, 4095])
            .prop_map(|length| Kind::Symlink { target: vec![b't'; length].into() }),
        (number(), number()).prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        (number(), number()).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        Just(Kind::Fifo),
        Just(Kind::Whiteout),
    ];
    prop_oneof![content, bare.prop_map(|kind| (kind, Vec::new()))]
}

/// Files with all directories above them, in any order. Some are hard links of the first one of their kind.
fn layers() -> impl Strategy<Value = Files> {
    let path = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..5);
    let one = (path, metas(), kinds(), 0..3_u32);
    prop::collection::vec(one, 0..40).prop_map(|given| {
        let mut files: Files = vec![(directory(""), vec![])];
        for (path, meta, (kind, content), group) in given {
            add(&mut files, &path, meta, (kind, content), NonZeroU32::new(group));
        }
        files
    })
}

fn add(
    files: &mut Files,
    path: &[&[u8]],
    meta: Meta,
    (kind, content): (Kind, Vec<u8>),
    group: Option<NonZeroU32>,
) {
    for depth in 1..path.len() {
        let above = path[..depth].join(&b'/');
        match files.iter().find(|(entry, _)| *entry.path == *above) {
            Some((entry, _)) if !entry.is_directory() => return,
            Some(_) => {}
            None => files.push((Entry { path: above.into(), ..directory("") }, vec![])),
        }
    }
    let path = path.join(&b'/');
    if files.iter().any(|(entry, _)| *entry.path == *path) {
        return;
    }
    let twin = files.iter().find(
        |(entry, _)| matches!(entry.kind, Kind::File { links, .. } if links.is_some() && links == group),
    );
    let (meta, kind, content) = match (kind, twin) {
        (Kind::File { .. }, Some((twin, content))) => (twin.meta.clone(), twin.kind.clone(), content.clone()),
        (Kind::File { size, digest, .. }, None) => (meta, Kind::File { size, digest, links: group }, content),
        (kind, _) => (meta, kind, content),
    };
    files.push((Entry { path: path.into(), meta, kind }, content));
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(files in layers()) {
        let (tree, packed) = pack(&files);
        let reader = Reader::open(&packed[..]).unwrap();
        reader.check(&tree).unwrap();
        for (record, entry) in reader.walk().zip(tree.entries()) {
            let record = record.unwrap();
            prop_assert_eq!(&reader.find(&entry.path).unwrap(), &Some(record));
        }
        prop_assert_eq!(reader.find(b"not/there").unwrap(), None);
    }

    #[test]
    fn damage_never_makes_the_reader_panic(
        files in layers(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        // Most of a packed layer is content, where damage is nothing to the reader.
        at_the_end in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (tree, mut packed) = pack(&files);
        let from = if at_the_end { packed.len().saturating_sub(8 * BLOCK_BYTES).max(BLOCK_BYTES) } else { 0 };
        for (at, value) in damage {
            let at = from + at.index(packed.len() - from);
            packed[at] = value;
        }
        if let Some(cut) = cut {
            packed.truncate(cut.index(packed.len()));
        }
        let Ok(reader) = Reader::open(&packed[..]) else { return Ok(()) };
        let _ = reader.check(&tree);
        for record in reader.walk().take(1000).flatten() {
            if let RecordKind::File(runs) = record.kind {
                let _ = reader.content(runs).take(1 << 20).read_to_end(&mut Vec::new());
            }
        }
        for entry in tree.entries() {
            let _ = reader.find(&entry.path);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn other_tools_accept_what_is_written(files in layers()) {
        let mut image = tempfile::NamedTempFile::new().unwrap();
        image.write_all(&pack(&files).1).unwrap();
        let checked = std::process::Command::new("fsck.erofs").arg("--extract").arg(image.path()).output().unwrap();
        let said = [checked.stdout, checked.stderr].concat();
        prop_assert!(checked.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
