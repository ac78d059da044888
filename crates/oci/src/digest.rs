//! Digests carry their algorithm: BLAKE3 inside galley (keys, trees), SHA-256 where OCI wants it.

use std::{fmt, io, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The number of bytes in a digest of either algorithm.
pub const DIGEST_BYTES: usize = 32;

/// Which hash a [`Digest`] was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, the hash of OCI.
    Sha256,
    /// BLAKE3, the hash of galley's keys and trees: ten times as fast.
    Blake3,
}

impl Algorithm {
    /// The name as written before the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }
}

/// A hash value with its algorithm, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; DIGEST_BYTES],
}

impl Digest {
    /// A digest from its raw bytes.
    #[must_use]
    pub const fn new(algorithm: Algorithm, bytes: [u8; DIGEST_BYTES]) -> Self {
        Self { algorithm, bytes }
    }

    /// The SHA-256 of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The BLAKE3 of `bytes`.
    #[must_use]
    pub fn blake3(bytes: &[u8]) -> Self {
        let mut hasher = Blake3::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw value.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.bytes
    }

    /// The value as 64 lower-case hex digits, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        self.bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// The first twelve hex digits, as docker prints image ids.
    #[must_use]
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// No `algorithm:` before the value.
    #[error("digest {0:?} has no algorithm: write it as sha256:<64 hex digits>")]
    NoAlgorithm(String),
    /// An algorithm other than sha256 and blake3.
    #[error("digest algorithm {0:?} is not supported: use sha256")]
    UnknownAlgorithm(String),
    /// Not 64 lower-case hex digits.
    #[error("digest {0:?} is not 64 lower-case hex digits")]
    NotHex(String),
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, hex) =
            text.split_once(':').ok_or_else(|| ParseDigestError::NoAlgorithm(text.to_owned()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "blake3" => Algorithm::Blake3,
            _ => return Err(ParseDigestError::UnknownAlgorithm(name.to_owned())),
        };
        let bytes = parse_hex(hex).ok_or_else(|| ParseDigestError::NotHex(hex.to_owned()))?;
        Ok(Self { algorithm, bytes })
    }
}

fn parse_hex(hex: &str) -> Option<[u8; DIGEST_BYTES]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let hex: &[u8; 2 * DIGEST_BYTES] = hex.as_bytes().try_into().ok()?;
    let mut bytes = [0; DIGEST_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A running SHA-256. All SHA-256 in galley goes through here, so that the provider is swapped in one place.
#[derive(Clone)]
pub struct Sha256(ring::digest::Context);

impl Sha256 {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut bytes = [0; DIGEST_BYTES];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Digest::new(Algorithm::Sha256, bytes)
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256(..)")
    }
}

/// A running BLAKE3, with helpers that keep hashed encodings unambiguous.
#[derive(Clone, Debug, Default)]
pub struct Blake3 {
    hasher: blake3::Hasher,
    /// Small additions, gathered: only long pieces are hashed fast.
    gathered: Vec<u8>,
}

/// What is gathered at most; the hash takes sixteen pieces of 1 KiB side by side.
const GATHER_BYTES: usize = 16 * 1024;

impl Blake3 {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with the name of what is hashed, so that two kinds of thing never share a digest.
    #[must_use]
    pub fn of(domain: &str) -> Self {
        let mut hasher = Self::new();
        hasher.field(domain.as_bytes());
        hasher
    }

    /// Adds `bytes` as they are.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        if self.gathered.len() + bytes.len() > GATHER_BYTES {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
        if bytes.len() < GATHER_BYTES {
            self.gathered.extend_from_slice(bytes);
        } else {
            self.hasher.update(bytes);
        }
        self
    }

    /// Adds a field of variable length: its length as eight little-endian bytes, then its bytes.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).update(bytes)
    }

    /// Adds a number as eight little-endian bytes.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.update(&number.to_le_bytes())
    }

    /// Adds several numbers.
    pub fn numbers<const COUNT: usize>(&mut self, numbers: [u64; COUNT]) -> &mut Self {
        self.update(numbers.map(u64::to_le_bytes).as_flattened())
    }

    /// Adds a digest: its algorithm and its value.
    pub fn digest(&mut self, digest: &Digest) -> &mut Self {
        self.field(digest.algorithm().name().as_bytes()).update(digest.bytes())
    }

    /// The digest of all bytes added.
    #[must_use]
    pub fn finish(&self) -> Digest {
        let hash = if self.gathered.is_empty() {
            self.hasher.finalize()
        } else {
            self.hasher.clone().update(&self.gathered).finalize()
        };
        Digest::new(Algorithm::Blake3, *hash.as_bytes())
    }
}

impl io::Write for Blake3 {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Write for Sha256 {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_round_trip() {
        let digest = Digest::sha256(b"");
        assert_eq!(digest.to_string(), EMPTY_SHA256);
        assert_eq!(EMPTY_SHA256.parse(), Ok(digest));
        assert_eq!(digest.short(), "e3b0c44298fc");
    }

    #[test]
    fn bad_texts_are_refused() {
        let upper = EMPTY_SHA256.to_uppercase().replace("SHA256", "sha256");
        for text in ["", "e3b0", "md5:00", "sha256:", "sha256:zz", upper.as_str(), "sha256:é"] {
            assert!(text.parse::<Digest>().is_err(), "{text:?} was taken as a digest");
        }
    }

    #[test]
    fn fields_do_not_run_together() {
        let digest = |a: &[u8], b: &[u8]| Blake3::of("test").field(a).field(b).finish();
        assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
    }

    #[test]
    fn pieces_of_any_length_are_hashed_in_order() {
        let bytes: Vec<u8> = (0..5 * GATHER_BYTES).map(|number| (number % 251) as u8).collect();
        let lengths = [1, GATHER_BYTES - 2, 1, 1, GATHER_BYTES - 1, 3, GATHER_BYTES, 0, GATHER_BYTES + 1, 7];
        let (mut hasher, mut rest) = (Blake3::new(), &bytes[..]);
        for length in lengths {
            let piece;
            (piece, rest) = rest.split_at(length);
            hasher.update(piece);
            let done = &bytes[..bytes.len() - rest.len()];
            assert_eq!(hasher.finish().bytes(), blake3::hash(done).as_bytes());
        }
    }
}
