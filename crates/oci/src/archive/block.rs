//! The 512-byte block that all tar formats are made of.

use std::ops::Range;

pub(super) const BLOCK: usize = 512;

pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK_NAME: Range<usize> = 157..257;
pub(super) const MAGIC: Range<usize> = 257..263;
pub(super) const VERSION: Range<usize> = 263..265;
pub(super) const DEV_MAJOR: Range<usize> = 329..337;
pub(super) const DEV_MINOR: Range<usize> = 337..345;
pub(super) const PREFIX: Range<usize> = 345..500;

pub(super) const USTAR_MAGIC: &[u8] = b"ustar\0";
pub(super) const USTAR_VERSION: &[u8] = b"00";

/// The bytes after content up to the next block.
pub(super) const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Whether `value` can be written in octal into a field of `width` bytes, the last of which is NUL.
pub(super) const fn fits_octal(width: usize, value: u64) -> bool {
    value < 1 << (3 * (width - 1))
}

/// Writes `value` in octal with leading zeros; zero when it does not fit, since then a PAX record holds it.
pub(super) fn put_octal(block: &mut [u8; BLOCK], field: Range<usize>, value: u64) {
    let width = field.len() - 1;
    let value = if fits_octal(field.len(), value) { value } else { 0 };
    let text = format!("{value:0width$o}\0");
    block[field].copy_from_slice(text.as_bytes());
}

/// Copies as much of `text` as fits. A cut never leaves a slash at the end: some readers take that for a directory.
pub(super) fn put_text(block: &mut [u8; BLOCK], field: Range<usize>, text: &[u8]) {
    let field = &mut block[field];
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    if text.len() > field.len() && field.ends_with(b"/") {
        let kept = field.len() - field.iter().rev().take_while(|&&byte| byte == b'/').count();
        field[kept] = 0;
    }
}

/// Sets the checksum, the last field to be set.
pub(super) fn seal(block: &mut [u8; BLOCK]) {
    block[CHECKSUM].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Whether the checksum is right. Old programs added signed bytes.
pub(super) fn is_sealed(block: &[u8; BLOCK]) -> bool {
    let blank = |at: usize, byte: u8| if CHECKSUM.contains(&at) { b' ' } else { byte };
    let bytes = || block.iter().enumerate().map(|(at, &byte)| blank(at, byte));
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    number(&block[CHECKSUM]).is_some_and(|sum| sum == unsigned || sum == signed)
}

/// A text field up to its NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number in octal or, when the top bit is set, in base 256. `None` when it is neither or too large.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

/// Two's complement, big-endian, the top bit being a mark and the one after it the sign.
fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let start = if negative { i64::from(first | 0x80) - 0x100 } else { i64::from(first & 0x7f) };
    rest.iter().try_fold(start, |value, &byte| value.checked_mul(256)?.checked_add(byte.into()))
}

fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let digits = text(&field[start..end]);
    digits.iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add((byte - b'0').into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_of_all_writers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\x01\0\0\0"), Some(1 << 24));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(b"0000008\0"), None);
        assert_eq!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    proptest! {
        #[test]
        fn no_field_panics(field in prop::collection::vec(any::<u8>(), 0..24)) {
            let _ = number(&field);
        }
    }
}
