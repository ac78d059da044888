//! A blob that is checked while it is read.

use std::io::{self, Read};

use galley_oci::{Descriptor, Digest, Sha256};

/// Fails unless it ends after the right bytes, and never gives more of them.
#[derive(Debug)]
pub(crate) struct Verified<R> {
    inner: R,
    digest: Digest,
    left: u64,
    /// None when everything has passed.
    hasher: Option<Sha256>,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, blob: &Descriptor) -> Self {
        Self { inner, digest: blob.digest, left: blob.size, hasher: Some(Sha256::new()) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let wrong = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        let Some(left) = self.left.checked_sub(count as u64) else {
            return wrong(format!("blob {} has more bytes than it should", self.digest));
        };
        self.left = left;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if count == 0 && left > 0 && !buffer.is_empty() {
            return wrong(format!("blob {} ends {left} bytes too early", self.digest));
        }
        let found = if left == 0 { self.hasher.take().map(Sha256::finish) } else { None };
        match found.filter(|found| *found != self.digest) {
            Some(found) => wrong(format!("blob {} has the content of {found}", self.digest)),
            None => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], blob: &Descriptor) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        match Verified::new(bytes, blob).read_to_end(&mut all) {
            Ok(_) => Ok(all),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn only_the_right_bytes_pass() {
        let blob = Descriptor::of("text/plain", b"right");
        assert_eq!(read(b"right", &blob).as_deref(), Ok(&b"right"[..]));
        for (bytes, why) in [
            (&b"wrong"[..], "has the content of"),
            (b"righ", "ends 1 bytes too early"),
            (b"", "ends 5 bytes too early"),
            (b"rightly", "has more bytes than it should"),
        ] {
            let error = read(bytes, &blob).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let nothing = Descriptor::of("text/plain", b"");
        assert_eq!(read(b"", &nothing).as_deref(), Ok(&b""[..]));
        let lie = Descriptor { digest: blob.digest, ..nothing };
        assert!(read(b"", &lie).unwrap_err().contains("has the content of"));
    }
}
