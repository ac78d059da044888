//! JSON as Go's `encoding/json` writes it: `<`, `>`, `&` and the Unicode line separators are escaped.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{
    Map, Serializer, Value,
    ser::{CompactFormatter, Formatter, PrettyFormatter},
};

/// Compact, as `json.Marshal`.
#[must_use]
pub fn to_compact<T: Serialize>(value: &T) -> Vec<u8> {
    write(value, GoFormatter(CompactFormatter))
}

/// With two spaces of indentation and without a final newline, as `json.MarshalIndent(value, "", "  ")`.
#[must_use]
pub fn to_indented<T: Serialize>(value: &T) -> Vec<u8> {
    write(value, GoFormatter(PrettyFormatter::new()))
}

/// The top-level fields sorted by name: what becomes of a struct that Go code reads into a map to patch it.
pub(super) fn sorted<T: Serialize>(value: &T) -> Value {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect::<Map<_, _>>())
        }
        Ok(other) => other,
        Err(_) => Value::Null, // ok: all keys of these documents are strings
    }
}

fn write<T: Serialize>(value: &T, formatter: impl Formatter) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory does not fail, and all keys of these documents are strings.
    let result = value.serialize(&mut Serializer::with_formatter(&mut out, formatter));
    debug_assert!(result.is_ok());
    out
}

/// Escapes what Go escapes and serde_json does not; the rest is left to `F`.
struct GoFormatter<F>(F);

/// Forwards methods to the inner formatter.
macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $type)*) -> io::Result<()> {
            self.0.$name(writer $(, $argument)*)
        })*
    };
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, found) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut chars = found.chars();
            if let Some(char) = chars.next() {
                write!(writer, "\\u{:04x}", u32::from(char))?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    forward! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}
