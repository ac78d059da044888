//! The functions of Go's text/template that people use, and the ones docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::{
    METHOD,
    print::{print, quoted},
};

/// All functions, for the message about an unknown one.
const NAMES: [&str; 25] = [
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not", "or", "pad",
    "print", "printf", "println", "slice", "split", "table", "title", "truncate", "upper", "html",
];

pub(super) fn known(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn unknown(name: &str) -> String {
    let mut names = NAMES;
    names.sort_unstable();
    format!("there is no function {name}; there are: {}", names.join(", "))
}

/// Calls `name`. The error is a message without a place.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    Ok(match (name, arguments) {
        ("and", [_, ..]) => pick(arguments, |value| !truth(value)),
        ("or", [_, ..]) => pick(arguments, truth),
        ("not", [value]) => Value::Bool(!truth(value)),
        ("eq", [first, others @ ..]) if !others.is_empty() => Value::Bool(others.contains(first)),
        ("ne", [left, right]) => Value::Bool(left != right),
        ("lt", [left, right]) => Value::Bool(compare(left, right)? == Ordering::Less),
        ("le", [left, right]) => Value::Bool(compare(left, right)? != Ordering::Greater),
        ("gt", [left, right]) => Value::Bool(compare(left, right)? == Ordering::Greater),
        ("ge", [left, right]) => Value::Bool(compare(left, right)? != Ordering::Less),
        ("json", [Value::Object(map)]) if map.contains_key(METHOD) => {
            let fields = map.iter().filter(|(name, _)| *name != METHOD);
            let fields = fields.map(|(name, value)| (name.clone(), value.clone()));
            Value::String(Value::Object(fields.collect()).to_string())
        }
        ("json", [value]) => Value::String(value.to_string()),
        ("len", [value]) => Value::from(length(value)?),
        ("index", [value, keys @ ..]) => index(value, keys)?,
        ("slice", [value, bounds @ ..]) => slice(value, bounds)?,
        ("lower", [value]) => Value::String(print(value).to_lowercase()),
        ("upper", [value]) => Value::String(print(value).to_uppercase()),
        ("title", [value]) => Value::String(title(&print(value))),
        ("html", [value]) => Value::String(html(&print(value))),
        ("join", [Value::Array(items), separator]) => {
            Value::String(items.iter().map(print).collect::<Vec<_>>().join(&print(separator)))
        }
        // A list that is absent joins to nothing, as Go's nil slice does.
        ("join", [Value::Null, _]) => Value::String(String::new()),
        ("split", [text, separator]) => split(&print(text), &print(separator)),
        ("pad", [text, before, after]) => {
            Value::String(format!("{}{}{}", spaces(before), print(text), spaces(after)))
        }
        ("truncate", [text, length]) => Value::String(print(text).chars().take(count(length)).collect()),
        ("print", values) => Value::String(values.iter().map(print).collect()),
        ("println", values) => Value::String(values.iter().map(print).collect::<Vec<_>>().join(" ") + "\n"),
        ("printf", [format, values @ ..]) => Value::String(printf(&print(format), values)),
        ("table", _) => return Err("table stands at the start of the format, outside of {{ }}".to_owned()),
        (name, arguments) => return Err(format!("{name} does not take {}", described(arguments))),
    })
}

fn described(arguments: &[Value]) -> String {
    if arguments.is_empty() {
        return "no argument".to_owned();
    }
    let kinds: Vec<&str> = arguments.iter().map(kind).collect();
    format!("({})", kinds.join(", "))
}

/// What kind of value it is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Go's truth: not the zero value, not empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn pick(arguments: &[Value], wanted: impl Fn(&Value) -> bool) -> Value {
    arguments.iter().find(|value| wanted(value)).or(arguments.last()).cloned().unwrap_or_default()
}

fn compare(left: &Value, right: &Value) -> Result<Ordering, String> {
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64().partial_cmp(&right.as_f64()),
        },
        _ => None,
    };
    order.ok_or_else(|| format!("{} cannot be compared with {}", kind(left), kind(right)))
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(fields) => Ok(fields.len()),
        other => Err(format!("{} has no length", kind(other))),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let Some((key, rest)) = keys.split_first() else { return Ok(value.clone()) };
    let inner = match (value, key) {
        (Value::Array(items), Value::Number(number)) => {
            let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
            let item = at.and_then(|at| items.get(at));
            item.cloned().ok_or_else(|| format!("there is no item {number}, the list has {}", items.len()))?
        }
        (Value::Object(fields), Value::String(key)) => {
            fields.get(key).cloned().unwrap_or_else(|| zero(fields.values().next()))
        }
        (Value::Null, _) => return Err("there is nothing to take an item from".to_owned()),
        (value, key) => return Err(format!("{} has no item named by {}", kind(value), kind(key))),
    };
    index(&inner, rest)
}

/// What Go gives for an absent key: the zero value of the map's type, told from a neighbour.
fn zero(neighbour: Option<&Value>) -> Value {
    match neighbour {
        None | Some(Value::String(_)) => Value::String(String::new()),
        Some(_) => Value::Null,
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = length(value)?;
    let from = bounds.first().map_or(0, count);
    let to = bounds.get(1).map_or(length, count);
    let outside = || format!("{from} to {to} is outside, the length is {length}");
    match value {
        Value::String(text) => text.get(from..to).map(Value::from).ok_or_else(outside),
        Value::Array(items) => {
            items.get(from..to).map(|part| Value::Array(part.to_vec())).ok_or_else(outside)
        }
        other => Err(format!("{} has no slices", kind(other))),
    }
}

fn split(text: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return Value::Array(text.chars().map(|c| Value::String(c.to_string())).collect());
    }
    Value::Array(text.split(separator).map(Value::from).collect())
}

fn title(text: &str) -> String {
    let mut start = true;
    let raise = |c: char| {
        let raised = if start { c.to_uppercase().to_string() } else { c.to_string() };
        start = !c.is_alphanumeric();
        raised
    };
    text.chars().map(raise).collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// Wider than any terminal; a format cannot ask for more memory than that.
const WIDTH_MAX: usize = 4096;

fn count(value: &Value) -> usize {
    value.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

fn spaces(value: &Value) -> String {
    " ".repeat(count(value).min(WIDTH_MAX))
}

/// `%s %v %d %q %x %%`, with `-`, a width and a precision.
fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let spec = rest.get(at + 1..).unwrap_or_default();
        let length = spec.find(|c: char| !c.is_ascii_digit() && !"-+# .".contains(c)).unwrap_or(spec.len());
        let flags = spec.get(..length).unwrap_or_default();
        let verb = spec.get(length..).unwrap_or_default().chars().next();
        rest = spec.get(length + verb.map_or(0, char::len_utf8)..).unwrap_or_default();
        let value = if verb == Some('%') { None } else { values.next() };
        match (verb, value) {
            (Some('%') | None, _) => out.push('%'),
            (Some(verb), None) => out.push_str(&format!("%!{verb}(MISSING)")),
            (Some(verb), Some(value)) => out.push_str(&padded(flags, verbed(verb, value))),
        }
    }
    out + rest
}

fn verbed(verb: char, value: &Value) -> String {
    match verb {
        'q' => quoted(value),
        'x' => match value.as_i64() {
            Some(number) => format!("{number:x}"),
            None => print(value).bytes().map(|byte| format!("{byte:02x}")).collect(),
        },
        _ => print(value),
    }
}

fn padded(flags: &str, text: String) -> String {
    let (width, precision) = flags.split_once('.').unwrap_or((flags, ""));
    let text = match precision.parse::<usize>() {
        Ok(precision) => text.chars().take(precision).collect(),
        Err(_) => text,
    };
    let left = width.contains('-');
    let width: usize = width.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
    let fill = " ".repeat(width.min(WIDTH_MAX).saturating_sub(text.chars().count()));
    if left { text + &fill } else { fill + &text }
}
