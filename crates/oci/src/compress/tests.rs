use std::io::{self, Cursor, Read};

use proptest::prelude::*;

use super::*;
use crate::Digest;

/// Bytes that compress like a program: words, repetitions and some noise. Always the same.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words: Vec<Vec<u8>> =
        (0..512).map(|_| next().to_le_bytes()[..2 + usize::from(next() as u8 % 6)].to_vec()).collect();
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        let word = next() as usize;
        bytes.extend_from_slice(&words[word % 64 * (word >> 8 & 7)]);
    }
    bytes.truncate(length);
    bytes
}

fn encode(input: &[u8], compression: Compression, threads: usize, piece: usize) -> Vec<u8> {
    let mut writer = Compressor::new(Vec::new(), compression, None, threads).unwrap();
    for piece in input.chunks(piece) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn decode(bytes: Vec<u8>) -> Vec<u8> {
    let mut decoded = Vec::new();
    decoder(Box::new(Cursor::new(bytes))).unwrap().read_to_end(&mut decoded).unwrap();
    decoded
}

#[test]
fn what_unpacks_to_too_much_ends_at_a_limit() {
    let free = 1 << 20;
    let read = |packed: Vec<u8>| {
        let mut plain = decode::bounded(Box::new(Cursor::new(packed)), free).unwrap();
        io::copy(&mut plain, &mut io::sink())
    };
    for compression in [Compression::Gzip, Compression::Zstd] {
        let zeros = |length| encode(&vec![0; length], compression, 1, 1 << 20);
        let small = zeros(1 << 20);
        assert_eq!(read(small).unwrap(), 1 << 20, "{compression:?}");
        let bomb = zeros(64 << 20);
        let said = read(bomb).unwrap_err().to_string();
        assert!(said.ends_with("the limit is 1048576 bytes and 200 times its length"), "{said}");
        let program = sample(8 << 20);
        assert_eq!(read(encode(&program, compression, 1, 1 << 20)).unwrap(), 8 << 20, "{compression:?}");
    }
}

const SIZES: &[usize] =
    &[0, 1, 1000, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 9 * BLOCK_BYTES + 77];

#[test]
fn threads_and_pieces_do_not_change_a_byte() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        for &size in SIZES {
            let input = sample(size);
            let one = encode(&input, compression, 1, size.max(1));
            assert!(one == encode(&input, compression, 8, 4099), "{compression:?} of {size} bytes");
            assert!(one == encode(&input, compression, 2, 1 << 20), "{compression:?} of {size} bytes");
            assert!(decode(one) == input, "{compression:?} of {size} bytes");
        }
    }
}

#[test]
fn gzip_is_one_member_that_simple_readers_read() {
    let input = sample(3 * BLOCK_BYTES + 5);
    let mut decoded = Vec::new();
    let gzip = encode(&input, Compression::Gzip, 2, 1 << 16);
    flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut decoded).unwrap();
    assert!(decoded == input);
    assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
}

#[test]
fn incompressible_input_grows_little() {
    let mut noise = Vec::new();
    let mut seed = Digest::blake3(b"noise");
    while noise.len() < 3 * BLOCK_BYTES {
        noise.extend_from_slice(seed.bytes());
        seed = Digest::blake3(seed.bytes());
    }
    let gzip = encode(&noise, Compression::Gzip, 2, 1 << 16);
    assert!(gzip.len() < noise.len() + noise.len() / 1000, "{} became {}", noise.len(), gzip.len());
    assert!(decode(gzip) == noise);
}

/// When one of these changes, another encoder is at work: change [`encoder_version`] with it, or users' layers get new
/// digests while their remembered blobs keep the old ones.
#[test]
fn the_encoders_are_the_known_ones() {
    let input = sample(2 * BLOCK_BYTES + 12_345);
    assert_eq!(
        Digest::sha256(&input).to_string(),
        "sha256:f9fc11409713091667caa30351cd0fbaa3ec1d5e30136669b8275dc63a60aa06"
    );
    assert_eq!(
        Digest::sha256(&encode(&input, Compression::Gzip, 2, 1 << 16)).to_string(),
        "sha256:bd002341d45f5995b8ccaec55c1ac77d4a7b7bfe7fae8f73fd914dea66d89f66"
    );
    assert_eq!(
        Digest::sha256(&encode(&input, Compression::Zstd, 2, 1 << 16)).to_string(),
        "sha256:8c7eb4dee28c643cd48f0290bcba6d4d1b0cb2465f0f901ae718060731206fea"
    );
    // Zstandard cuts larger input into jobs.
    assert_eq!(
        Digest::sha256(&encode(&sample(5 << 20), Compression::Zstd, 2, 1 << 16)).to_string(),
        "sha256:5d51e32cec417fbd6ffe5d5bacf05b04945bb40fa42a26b40f31f14cca03f54f"
    );
}

/// `printf hello` through each program.
const HELLO: &[(Format, &str)] = &[
    (Format::Gzip, "1f8b0800000000000003cb48cdc9c9070086a6103605000000"),
    (Format::Bzip2, "425a68393141592653591931653d00000081000244a000219a68334d07338bb9229c28480c98b29e80"),
    (
        Format::Xz,
        "fd377a585a000004e6d6b4460200210116000000742fe5a301000468656c6c6f00000000b137b9dbe5da1e9b\
         00011d05b82d80af1fb6f37d010000000004595a",
    ),
    (Format::Zstd, "28b52ffd045829000068656c6c6fa36d9f88"),
];

#[test]
fn every_format_is_detected_and_decoded() {
    for &(format, digits) in HELLO {
        let once = hex(digits);
        assert_eq!(detect(&once), Some(format));
        assert_eq!(decode(once.clone()), b"hello", "{format:?}");
        assert_eq!(decode([once.clone(), once].concat()), b"hellohello", "{format:?}");
    }
    let skippable = hex("502a4d1803000000aabbcc");
    assert_eq!(detect(&skippable), Some(Format::Zstd));
    assert_eq!(decode([skippable, hex(HELLO[3].1)].concat()), b"hello");
}

#[test]
fn what_is_cut_off_is_an_error() {
    for &(format, digits) in HELLO {
        let mut cut = hex(digits);
        cut.truncate(cut.len() - 2);
        let result = decoder(Box::new(Cursor::new(cut))).unwrap().read_to_end(&mut Vec::new());
        assert!(result.is_err(), "{format:?}");
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    digits.chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
}

#[test]
fn what_is_not_compressed_passes() {
    assert_eq!(decode(b"plain".to_vec()), b"plain");
    assert_eq!(decode(Vec::new()), b"");
    assert_eq!(detect(&[0; PREFIX_BYTES]), None);
    let mut tar = crate::archive::Writer::new(Vec::new());
    tar.opaque(b"dir").unwrap();
    assert_eq!(detect(&tar.finish().unwrap()), Some(Format::Tar));
}

/// Fails after some writes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_fails_ends_the_compression() {
    let input = sample(20 * BLOCK_BYTES);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut writer = Compressor::new(Full(1), compression, None, 2).unwrap();
        let error = writer.write_all(&input).and_then(|()| writer.finish().map(drop)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{compression:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(
        magic in prop::sample::select(vec![
            &b"\x1f\x8b\x08"[..], b"BZh9", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let input = [magic, &rest].concat();
        if let Ok(decoder) = decoder(Box::new(Cursor::new(input))) {
            let _ = io::copy(&mut decoder.take(1 << 20), &mut io::sink());
        }
    }
}
