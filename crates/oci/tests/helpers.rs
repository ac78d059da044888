//! What several tests need.

use std::io::Read;

/// The golden archive of this name, decompressed.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let file =
        std::fs::OpenOptions::new().read(true).open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut bytes = Vec::new();
    galley_oci::compress::decoder(Box::new(file)).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// `text` so many times.
pub(crate) fn times(text: &str, count: usize) -> String {
    text.repeat(count)
}
