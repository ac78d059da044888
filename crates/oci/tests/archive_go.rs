//! The writer against Go: `go-1.22.tar.gz` was written by Go 1.22 with `Format: tar.FormatPAX` from the same headers.

use galley_oci::{
    archive::{EntryHeader, EntryKind, Item, ItemKind, Reader, Whiteouts, Writer},
    tree::Xattrs,
};

use crate::helpers::{golden, times as x};

const TIME: i64 = 1_700_000_000;

const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An entry with everything owned.
struct Case {
    path: Vec<u8>,
    kind: Kind,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: i64,
    xattrs: Xattrs,
}

enum Kind {
    File(Vec<u8>),
    Directory,
    Link(Vec<u8>),
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Whiteout,
}

impl Case {
    fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Self { path: path.into(), kind, mode, uid: 0, gid: 0, mtime: TIME, xattrs: Xattrs::new() }
    }

    fn file(path: impl Into<Vec<u8>>, content: &str) -> Self {
        Self::new(path, Kind::File(content.into()))
    }

    fn ids(self, uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..self }
    }

    fn mtime(self, mtime: i64) -> Self {
        Self { mtime, ..self }
    }

    fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.as_bytes().into(), value.into()));
        self
    }

    fn header(&self) -> EntryHeader<'_> {
        EntryHeader {
            path: &self.path,
            kind: match &self.kind {
                Kind::File(content) => EntryKind::File { size: content.len() as u64 },
                Kind::Directory => EntryKind::Directory,
                Kind::Link(target) => EntryKind::HardLink { target },
                Kind::Symlink(target) => EntryKind::Symlink { target },
                &Kind::Char(major, minor) => EntryKind::CharDevice { major, minor },
                &Kind::Block(major, minor) => EntryKind::BlockDevice { major, minor },
                Kind::Fifo => EntryKind::Fifo,
                Kind::Whiteout => unreachable!(),
            },
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: Some(&self.xattrs).filter(|xattrs| !xattrs.is_empty()),
        }
    }
}

fn directory(path: impl Into<Vec<u8>>) -> Case {
    Case::new(path, Kind::Directory)
}

fn symlink(path: &str, target: impl Into<Vec<u8>>) -> Case {
    Case::new(path, Kind::Symlink(target.into()))
}

fn cases() -> Vec<Case> {
    let mut a = directory("a").ids(1000, 100);
    a.mode = 0o4755;
    let mut cases = vec![
        a,
        Case::file("a/empty", ""),
        Case::file("a/file", "hello\n"),
        Case::file("a/block", &x("b", 512)),
        Case::new("a/link", Kind::Link(b"a/file".into())),
        symlink("a/symlink", "../x"),
        Case::new("a/char", Kind::Char(5, 1)),
        Case::new("a/blockdev", Kind::Block(8, 2_097_151)),
        Case::new("a/fifo", Kind::Fifo),
    ];
    cases.extend(names());
    cases.extend([
        symlink("l1", x("t", 100)),
        symlink("l2", x("t", 101)),
        symlink("l3", "zürich"),
        Case::new("l4", Kind::Link(format!("{}/{}", x("d", 99), x("n", 100)).into())),
        Case::file("uid", "").ids(2_097_151, 2_097_151),
        Case::file("biguid", "").ids(2_097_152, 4_294_967_294),
        Case::file(format!("{}/biguid{}", x("d", 99), x("n", 90)), "").ids(2_097_152, 0),
        Case::file("negative", "").mtime(-86_400),
        Case::file("late", "").mtime(8_589_934_592),
        Case::file("latest", "").mtime(8_589_934_591),
        Case::file("xattr", "x").xattr("security.capability", CAPABILITY).xattr("user.a", b"1"),
        Case::file(format!("{}/{}", x("d", 99), x("n", 60)), "y").xattr("user.b", x("v", 900).as_bytes()),
        directory("xdir").xattr("user.b", b""),
        Case::new("a/gone", Kind::Whiteout),
    ]);
    cases
}

fn names() -> Vec<Case> {
    vec![
        Case::file(x("n", 100), "1"),
        Case::file(x("n", 101), "2"),
        Case::file(format!("{}/{}", x("d", 99), x("n", 100)), "3"),
        Case::file(format!("{}/{}", x("d", 155), x("n", 100)), "4"),
        Case::file(format!("{}/{}", x("d", 156), x("n", 99)), "5"),
        Case::file(x("d/", 60) + "n", "6"),
        directory(x("d", 120)),
        directory(format!("{}/{}", x("d", 99), x("e", 60))),
        directory(format!("{}/{}", x("d", 99), x("e", 120))),
        Case::file("ü/naïve", "7"),
        Case::file("ü/".to_owned() + &x("é", 60), "8"),
        Case::file(*b"bad\xffutf8", "9"),
        directory("ü"),
    ]
}

#[test]
fn the_bytes_are_those_of_go() {
    let mut writer = Writer::new(Vec::new());
    for case in cases() {
        match &case.kind {
            Kind::Whiteout => writer.whiteout(&case.path),
            Kind::File(content) => writer.entry(&case.header(), Some(&mut content.as_slice())),
            _ => writer.entry(&case.header(), None),
        }
        .unwrap();
    }
    let written = writer.finish().unwrap();
    let wanted = golden("go-1.22.tar.gz");
    for (at, (written, wanted)) in written.chunks(512).zip(wanted.chunks(512)).enumerate() {
        let text = String::from_utf8_lossy;
        assert_eq!(text(written), text(wanted), "block {at}");
        assert!(written == wanted, "block {at}");
    }
    assert_eq!(written.len(), wanted.len());
}

#[test]
fn the_reader_understands_go() {
    let archive = golden("go-1.22.tar.gz");
    let mut reader = Reader::new(archive.as_slice(), Whiteouts::Read);
    for case in cases() {
        let item = reader.next_item().unwrap().expect("the archive ends early");
        check(&item, &case);
        if let Kind::File(content) = &case.kind {
            let mut read = Vec::new();
            std::io::Read::read_to_end(&mut reader.content(), &mut read).unwrap();
            assert_eq!(&read, content, "{:?}", case.path.escape_ascii().to_string());
        }
    }
    assert_eq!(reader.next_item().unwrap(), None);
}

fn check(item: &Item, case: &Case) {
    let name = case.path.escape_ascii().to_string();
    assert_eq!(item.path.escape_ascii().to_string(), name);
    let kind = match &case.kind {
        Kind::File(content) => ItemKind::File { size: content.len() as u64 },
        Kind::Directory => ItemKind::Directory,
        Kind::Link(target) => ItemKind::HardLink { target: target.as_slice().into() },
        Kind::Symlink(target) => ItemKind::Symlink { target: target.as_slice().into() },
        &Kind::Char(major, minor) => ItemKind::CharDevice { major, minor },
        &Kind::Block(major, minor) => ItemKind::BlockDevice { major, minor },
        Kind::Fifo => ItemKind::Fifo,
        Kind::Whiteout => ItemKind::Whiteout,
    };
    assert_eq!(item.kind, kind, "{name}");
    if kind != ItemKind::Whiteout {
        let meta = (item.meta.mode, item.meta.uid, item.meta.gid, item.meta.mtime.seconds);
        assert_eq!(meta, (case.mode, case.uid, case.gid, case.mtime), "{name}");
        assert_eq!(item.meta.xattrs.as_deref().cloned().unwrap_or_default(), case.xattrs, "{name}");
    }
}
