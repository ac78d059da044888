//! Keys that leave a container running: `ctrl-p,ctrl-q`.

/// One after the other, and how many of them have been typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    sequence: Vec<u8>,
    typed: usize,
}

impl Keys {
    /// Understands single characters and `ctrl-X` with commas between; nothing for no keys.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let keys = text.split(',').filter(|_| !text.is_empty()).map(key);
        Ok(Self { sequence: keys.collect::<Result<_, _>>()?, typed: 0 })
    }

    /// What of `bytes` goes to the container, and whether the keys have come.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut through = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.sequence.get(self.typed) == Some(&byte) {
                self.typed += 1;
                if self.typed == self.sequence.len() {
                    return (through, true);
                }
                continue;
            }
            // Those that were held back were meant for the container.
            through.extend_from_slice(self.sequence.get(..self.typed).unwrap_or_default());
            self.typed = 0;
            if self.sequence.first() == Some(&byte) {
                self.typed = 1;
            } else {
                through.push(byte);
            }
        }
        (through, false)
    }
}

fn key(text: &str) -> Result<u8, String> {
    let wrong = || format!("{text:?} is no key: write a character, or ctrl- and one of a-z @ [ \\ ] ^ _");
    match *text.as_bytes() {
        [byte] => Ok(byte),
        [b'c', b't', b'r', b'l', b'-', letter] => match letter.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => Ok(letter - b'a' + 1),
            b'@' => Ok(0),
            b'[' => Ok(27),
            b'\\' => Ok(28),
            b']' => Ok(29),
            b'^' => Ok(30),
            b'_' => Ok(31),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_docker_reads_them() {
        let keys = |text| Keys::parse(text).map(|keys| keys.sequence);
        assert_eq!(keys("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(keys("a,ctrl-@,ctrl-\\"), Ok(vec![b'a', 0, 28]));
        assert_eq!(keys(""), Ok(vec![]));
        for wrong in ["ctrl-", "ctrl-1", "ab", "a,,b"] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_the_whole_sequence_goes_through() {
        let mut keys = Keys::parse("ctrl-p,ctrl-q").unwrap();
        assert_eq!(keys.take(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.take(b"b\x10\x10\x11c"), (b"\x10b\x10".to_vec(), true));
        let mut none = Keys::parse("").unwrap();
        assert_eq!(none.take(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
