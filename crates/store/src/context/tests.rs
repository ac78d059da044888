use galley_oci::{Digest, Time};
use proptest::prelude::*;

use super::index::{Index, Moment, Row};

const OLD: Moment = Moment(i128::MAX / 2);

fn row(inode: u64, size: u64) -> Row {
    let time = Time { seconds: 3, nanoseconds: 4 };
    let digest = *Digest::blake3(&inode.to_le_bytes()).bytes();
    Row { inode: (1, inode), size, mtime: time, ctime: time, digest, keep: true }
}

fn index(rows: &[Row], before: &Index) -> Vec<u8> {
    before.updated(&before.marks(), rows.iter().copied().enumerate().collect(), OLD)
}

#[test]
fn the_encoding_is_pinned() {
    let bytes = index(&[row(7, 1), row(5, 2)], &Index::default());
    assert_eq!(bytes.len(), 16 + 2 * 88 + 32);
    assert_eq!(Digest::blake3(&bytes).short(), "268b72ca772e");
}

#[test]
fn rows_are_found_in_any_order() {
    let rows: Vec<_> = (0..100).map(|number| row(number * 3, number)).collect();
    let index = Index::decode(index(&rows, &Index::default())).unwrap();
    let mut hint = 0;
    for row in rows.iter().chain(rows.iter().rev()) {
        assert_eq!(index.find(row, &mut hint).unwrap().1, row.digest);
    }
    assert_eq!(index.find(&row(4, 1), &mut hint), None);
    assert_eq!(index.find(&row(3, 2), &mut hint), None, "another size");
}

#[test]
fn rows_of_other_walks_stay() {
    let first = Index::decode(index(&[row(1, 1), row(2, 2)], &Index::default())).unwrap();
    let changed = Row { digest: [9; 32], ..row(2, 3) };
    let second = Index::decode(index(&[changed], &first)).unwrap();
    let mut hint = 0;
    assert_eq!(second.find(&row(1, 1), &mut hint), Some((0, row(1, 1).digest)));
    assert_eq!(second.find(&changed, &mut hint), Some((1, [9; 32])));
    assert_eq!(second.find(&row(2, 2), &mut hint), None);
}

#[test]
fn of_rows_that_no_walk_found_only_so_many_stay() {
    let old: Vec<_> = (0..11_000).map(|number| row(number, 1)).collect();
    let before = Index::decode(index(&old, &Index::default())).unwrap();
    let mut found = before.marks();
    found[10_999] = true;
    let fresh = vec![(0, row(20_000, 1))];
    let after = Index::decode(before.updated(&found, fresh, OLD)).unwrap();
    let stays = |number| after.find(&row(number, 1), &mut 0).is_some();
    assert!(stays(10_999) && stays(20_000), "found, and read");
    assert!(stays(10_001) && !stays(10_002), "ten thousand, and as many as are used");
}

#[test]
fn young_rows_are_not_written() {
    let at = |nanoseconds| vec![(0, Row { ctime: Time { seconds: 3, nanoseconds }, ..row(1, 1) })];
    let started = Moment(3_000_000_000 + 50_000_100);
    assert!(Index::needs(&at(99), started));
    assert!(!Index::needs(&at(101), started));
    // A file system that keeps whole seconds only.
    let coarse = |seconds| {
        let time = Time { seconds, nanoseconds: 0 };
        vec![(0, Row { mtime: time, ctime: time, ..row(1, 1) })]
    };
    assert!(!Index::needs(&coarse(2), Moment(4_000_000_000)));
    assert!(Index::needs(&coarse(1), Moment(4_000_000_000)));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_looked_up(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), inode: u64) {
        let _ = Index::decode(bytes.clone());
        // Behind a good header and checksum anything may stand.
        let count = (bytes.len() / 88) as u64;
        bytes.truncate(bytes.len() / 88 * 88);
        let mut whole = [b"gly-idx1".as_slice(), &count.to_le_bytes(), &bytes].concat();
        whole.extend_from_slice(Digest::blake3(&whole).bytes());
        let index = Index::decode(whole).unwrap();
        let _ = index.find(&row(inode, 1), &mut 0);
        let _ = index.updated(&index.marks(), vec![(0, row(inode, 1))], OLD);
    }
}
