//! Serde coding of byte strings (paths, arguments, contents) inside JSON.
//!
//! Linux paths and arguments are bytes, JSON strings are text. Each byte becomes the character of the same number
//! (U+0000 to U+00FF), which loses nothing and keeps plain ASCII readable and short.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// A type that is only bytes underneath.
pub(crate) trait Raw: Sized {
    fn bytes(&self) -> &[u8];
    fn from_bytes(bytes: Vec<u8>) -> Self;
}

impl Raw for PathBuf {
    fn bytes(&self) -> &[u8] {
        self.as_os_str().as_bytes()
    }
    fn from_bytes(bytes: Vec<u8>) -> Self {
        OsString::from_vec(bytes).into()
    }
}

impl Raw for OsString {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::from_vec(bytes)
    }
}

impl Raw for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
    fn from_bytes(bytes: Vec<u8>) -> Self {
        bytes
    }
}

fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn from_text<T: Raw>(text: &str) -> Option<T> {
    text.chars().map(|c| u8::try_from(c).ok()).collect::<Option<Vec<u8>>>().map(T::from_bytes)
}

pub(crate) fn serialize<T: Raw, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_text(value.bytes()))
}

pub(crate) fn deserialize<'de, T: Raw, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    from_text(&text).ok_or_else(|| D::Error::custom("a byte string holds a character above U+00FF"))
}

/// The same for lists: `#[serde(with = "raw::list")]`.
pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<T: Raw, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| to_text(value.bytes())))
    }

    pub(crate) fn deserialize<'de, T: Raw, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let values: Option<Vec<T>> = texts.iter().map(|text| from_text(text)).collect();
        values.ok_or_else(|| D::Error::custom("a byte string holds a character above U+00FF"))
    }
}

/// The same for optional values: `#[serde(with = "raw::option")]`.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<T: Raw, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&to_text(value.bytes())),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: Raw, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        from_text(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom("a byte string holds a character above U+00FF"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct All {
        #[serde(with = "super")]
        path: PathBuf,
        #[serde(with = "super")]
        content: Vec<u8>,
        #[serde(with = "super::list")]
        args: Vec<OsString>,
        #[serde(with = "super::option")]
        maybe: Option<PathBuf>,
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_survive(path: Vec<u8>, content: Vec<u8>, args: Vec<Vec<u8>>, maybe: Option<Vec<u8>>) {
            let args = args.into_iter().map(OsString::from_vec).collect();
            let maybe = maybe.map(PathBuf::from_bytes);
            let all = All { path: PathBuf::from_bytes(path), content, args, maybe };
            let text = serde_json::to_string(&all).unwrap();
            assert_eq!(serde_json::from_str::<All>(&text).unwrap(), all);
        }
    }

    #[test]
    fn ascii_stays_readable_and_other_characters_are_refused() {
        let all = All { path: "/a".into(), content: b"\xff".to_vec(), args: vec![], maybe: None };
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, "{\"path\":\"/a\",\"content\":\"\u{ff}\",\"args\":[],\"maybe\":null}");
        assert!(serde_json::from_str::<All>(&text.replace("/a", "/\u{100}")).is_err());
    }
}
