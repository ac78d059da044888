//! Messages of the SSH agent protocol: a length, then that many bytes, the first of which says what it is.

use std::io::{self, Read, Write};

/// Which keys are there?
pub(super) const REQUEST_IDENTITIES: u8 = 11;
/// Sign this with that key.
pub(super) const SIGN_REQUEST: u8 = 13;
/// Something that not every agent knows.
pub(super) const EXTENSION: u8 = 27;
/// The answer to what cannot be done.
pub(super) const FAILURE: u8 = 5;
/// The answer to an extension that cannot be used.
pub(super) const EXTENSION_FAILURE: u8 = 28;

/// As in OpenSSH; what is longer is no message.
const MESSAGE_BYTES_MAX: u32 = 256 << 10;

/// The next message; none when the other side has ended.
pub(super) fn read(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message longer than agents send"));
    }
    let mut message = vec![0; length as usize];
    reader.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Sends a message.
pub(super) fn write(writer: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut all = Vec::with_capacity(4 + message.len());
    string(&mut all, message);
    writer.write_all(&all)
}

/// Appends a length and bytes: a `string` of the protocol.
pub(super) fn string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    to.extend_from_slice(bytes);
}

/// Reads the parts of a message or a key file from its beginning.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Parts<'a> {
    pub(super) fn number(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*head))
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()? as usize;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}
