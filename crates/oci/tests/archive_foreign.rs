//! The reader against other writers: GNU tar 1.34 and Python's tarfile.

use std::{
    fmt::Write as _,
    io::{Cursor, Read, copy, sink},
};

use galley_oci::archive::{ItemKind, ReadArchiveError, Reader, Whiteouts};
use proptest::prelude::*;

use crate::helpers::{golden, times as x};

/// One line for each entry.
fn listing(archive: &[u8], whiteouts: Whiteouts) -> Result<String, ReadArchiveError> {
    let mut reader = Reader::new(archive, whiteouts);
    let mut lines = String::new();
    while let Some(item) = reader.next_item()? {
        let (path, meta) = (item.path.escape_ascii(), item.meta);
        let kind = match item.kind {
            ItemKind::Directory => "directory".to_owned(),
            ItemKind::File { size } => {
                let mut content = Vec::new();
                reader.content().read_to_end(&mut content).map_err(ReadArchiveError::Read)?;
                assert_eq!(content.len() as u64, size);
                content.retain(|byte| *byte != 0);
                format!("file {size} {:?}", String::from_utf8_lossy(&content))
            }
            ItemKind::HardLink { target } => format!("= {}", target.escape_ascii()),
            ItemKind::Symlink { target } => format!("-> {}", target.escape_ascii()),
            other => format!("{other:?}"),
        };
        write!(lines, "{path} {:o} {}:{} {} {kind}", meta.mode, meta.uid, meta.gid, meta.mtime.rfc3339())
            .unwrap();
        for (name, value) in meta.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
            write!(lines, " {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
        }
        lines.push('\n');
    }
    Ok(lines)
}

fn golden_listing(name: &str) -> String {
    listing(&golden(name), Whiteouts::Read).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn sparse_files_of_all_formats() {
    let pieces: String = (0..30).map(|piece| format!("piece {piece:02}")).collect();
    let wanted = format!(
        "sparse 644 0:0 2023-11-14T22:13:20Z file {} {pieces:?}\n\
         holes 644 0:0 2023-11-14T22:13:20Z file 100000 \"\"\n\
         dir/file 644 0:0 2023-11-14T22:13:20Z file 7 \"content\"\n",
        30 * 65_536 + 3
    );
    for name in ["gnu-sparse", "pax-sparse-0.0", "pax-sparse-0.1", "pax-sparse-1.0"] {
        assert_eq!(golden_listing(&format!("{name}.tar.gz")), wanted, "{name}");
    }
}

#[test]
fn pieces_are_where_they_belong() {
    for name in ["gnu-sparse", "pax-sparse-0.0", "pax-sparse-0.1", "pax-sparse-1.0"] {
        let archive = golden(&format!("{name}.tar.gz"));
        let mut reader = Reader::new(archive.as_slice(), Whiteouts::Read);
        reader.next_item().unwrap().unwrap();
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).unwrap();
        for piece in 0..30 {
            assert_eq!(&content[piece * 65_536..][..8], format!("piece {piece:02}").as_bytes(), "{name}");
        }
    }
}

#[test]
fn bytes_that_are_stepped_over_are_found_again() {
    for (name, wanted) in [("gnu.tar.gz", &["content", "long"][..]), ("gnu-sparse.tar.gz", &["content"])] {
        let archive = golden(name);
        let mut reader = Reader::new(Cursor::new(&archive), Whiteouts::Plain);
        let mut found = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            let place = reader.step_over().unwrap().filter(|place| !place.is_empty());
            if let (ItemKind::File { size }, Some(place)) = (item.kind, place) {
                assert_eq!(place.end - place.start, size);
                let place = usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap();
                found.push(String::from_utf8_lossy(&archive[place]).into_owned());
            }
        }
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn long_names_of_gnu_and_pax() {
    let long = x("l", 120);
    let prefix = format!("dir/{long}/{long}");
    let wanted = format!(
        "dir 755 0:0 T directory\n\
         dir/fifo 644 0:0 T Fifo\n\
         dir/file 644 0:0 T file 7 \"content\"\n\
         dir/hard 644 0:0 T = dir/file\n\
         dir/{long} 755 0:0 T directory\n\
         {prefix} 755 0:0 T directory\n\
         {prefix}/{} 644 0:0 T file 4 \"long\"\n\
         dir/longlink 777 0:0 T -> {}\n\
         dir/soft 777 0:0 T -> file\n",
        x("n", 150),
        x("t", 200)
    );
    let wanted = wanted.replace(" T ", " 2023-11-14T22:13:20Z ");
    assert_eq!(golden_listing("gnu.tar.gz"), wanted);
    assert_eq!(golden_listing("pax.tar.gz"), wanted);
}

#[test]
fn odd_numbers_and_old_headers() {
    assert_eq!(
        golden_listing("gnu-numbers.tar.gz"),
        "dir/file 644 3000000:4000000 1969-12-31T23:59:55Z file 7 \"content\"\n"
    );
    assert_eq!(
        golden_listing("v7.tar.gz"),
        "dir/file 644 0:0 2023-11-14T22:13:20Z file 7 \"content\"\n\
         dir/hard 644 0:0 2023-11-14T22:13:20Z = dir/file\n\
         dir/soft 777 0:0 2023-11-14T22:13:20Z -> file\n"
    );
}

#[test]
fn names_are_cleaned_and_markers_understood() {
    let time = "2023-11-14T22:13:20.25Z";
    let head = format!(
        "absolute/file 644 0:0 {time} file 1 \"x\"\n\
         a/b 644 0:0 {time} directory\n\
         big 644 705032704:3000000 1969-12-31T23:59:58.5Z file 0 \"\"\n"
    );
    let tail = format!("xattr 644 0:0 {time} file 0 \"\" user.a=w user.x=v\n");
    let zero = "0 0:0 1970-01-01T00:00:00Z";
    let markers = format!("dir/gone {zero} Whiteout\ndir {zero} OpaqueMarker\n");
    assert_eq!(golden_listing("python.tar.gz"), format!("{head}{markers}{tail}"));

    let plain =
        [".wh.gone", ".wh..wh..opq"].map(|name| format!("dir/{name} 644 0:0 {time} file 0 \"\"\n")).concat()
            + &format!(".wh..wh.plnk/1 644 0:0 {time} file 0 \"\"\n");
    let archive = golden("python.tar.gz");
    assert_eq!(listing(&archive, Whiteouts::Plain).unwrap(), format!("{head}{plain}{tail}"));
}

/// A header block of a regular file without content, with `edit` applied before the checksum is made.
fn block(name: &[u8], edit: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    edit(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

#[test]
fn what_is_refused_is_named() {
    let refused = |archive: &[u8]| listing(archive, Whiteouts::Read).unwrap_err().to_string();
    let no_edit = |_: &mut [u8]| {};
    assert_eq!(
        refused(&block(b"a/../../etc/passwd", no_edit)),
        r#"the name "a/../../etc/passwd" in the archive is refused: it leads out of its directory with "..""#
    );
    let link = block(b"link", |block| {
        block[156] = b'1';
        block[157..161].copy_from_slice(b"../x");
    });
    assert_eq!(
        refused(&link),
        r#"the name "../x" in the archive is refused: it leads out of its directory with "..""#
    );
    assert_eq!(
        refused(&block(b"volume", |block| block[156] = b'M')),
        r#"entry "volume" of the archive has type 'M', which is not supported"#
    );
    assert_eq!(
        refused(&block(b"./", |block| block[156] = b'2')),
        r#"entry "./" of the archive has a bad name: only a directory can be the root"#
    );
    assert_eq!(
        refused(&block(b"uid", |block| block[108] = b'x')),
        r#"entry "uid" of the archive has a bad uid"#
    );
    assert_eq!(refused(&block(b"short", |block| block[134] = b'1')), "cannot read the archive");
    assert_eq!(refused(b"short"), "the archive is cut off");
    assert_eq!(
        refused(&[b'x'; 512]),
        "entry 1 of the archive has a broken header: this is no tar archive, or it is damaged"
    );
    let huge = block(b"huge", |block| {
        block[156] = b'x';
        block[124..135].copy_from_slice(b"00010000001");
    });
    assert_eq!(
        refused(&huge),
        r#"entry "huge" of the archive has more than 1048576 bytes of extended header"#
    );
}

#[test]
fn skipped_content_is_not_taken_for_headers() {
    let archive = golden("go-1.22.tar.gz");
    let mut reader = Reader::new(archive.as_slice(), Whiteouts::Read);
    let mut partly = 0;
    while let Some(item) = reader.next_item().unwrap() {
        if item.kind == (ItemKind::File { size: 512 }) {
            copy(&mut reader.content().take(7), &mut sink()).unwrap();
            partly += 1;
        }
    }
    assert_eq!(partly, 1);
}

const GOLDEN: &[&str] =
    &["gnu-sparse", "pax-sparse-0.0", "pax-sparse-1.0", "gnu", "pax", "python", "go-1.22"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = listing(&bytes, Whiteouts::Read);
    }

    /// Damage that keeps the checksums right, so that it reaches what is behind them.
    #[test]
    fn no_damage_panics(
        name in prop::sample::select(GOLDEN),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut archive = golden(&format!("{name}.tar.gz"));
        for (at, byte) in damage {
            let at = at.index(archive.len().min(8192));
            archive[at] = byte;
        }
        for block in archive.chunks_exact_mut(512) {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        archive.truncate(cut.index(archive.len()));
        let mut reader = Reader::new(archive.as_slice(), Whiteouts::Read);
        while let Ok(Some(_)) = reader.next_item() {
            let _ = copy(&mut reader.content().take(1 << 20), &mut sink());
        }
    }
}
