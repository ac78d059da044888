//! `RUN --mount=type=…,key=value,…`: cut at commas, values expanded, then typed.

use crate::error::{Error, ErrorKind};
use crate::expand::Expander;
use crate::span::{Span, Word};
use crate::suggest::closest;

/// A mount of a RUN step. Paths are as written: a relative target joins WORKDIR, an empty one is WORKDIR itself (as in
/// Docker), and `/` is no valid target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mount {
    /// Files from the build context, a stage or an image.
    Bind(BindMount),
    /// A folder that outlives the build.
    Cache(CacheMount),
    /// A fresh file system in memory.
    Tmpfs(TmpfsMount),
    /// A secret, as a file or an environment variable.
    Secret(SecretMount),
    /// A socket of an SSH agent.
    Ssh(SshMount),
}

/// `type=bind`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BindMount {
    /// Where in the step.
    pub target: String,
    /// Where in its origin; empty is the root.
    pub source: String,
    /// Stage, image or named context; without it the build context.
    pub from: Option<String>,
    /// What is written is thrown away after the step anyway.
    pub read_only: bool,
}

/// `type=cache`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheMount {
    /// Where in the step.
    pub target: String,
    /// The cache's name, if written; else the cleaned target is its name.
    pub id: Option<String>,
    /// What several steps at once do with it.
    pub sharing: Sharing,
    /// Stage, image or named context that a new cache begins with.
    pub from: Option<String>,
    /// Folder of `from`.
    pub source: String,
    /// Whether the step may not write.
    pub read_only: bool,
    /// Of a new cache.
    pub owner: FileOwner,
}

/// `type=tmpfs`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TmpfsMount {
    /// Where in the step.
    pub target: String,
    /// Limit in bytes.
    pub size: Option<u64>,
    /// Whether the step may not write.
    pub read_only: bool,
}

/// `type=secret`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretMount {
    /// The secret's name.
    pub id: String,
    /// The file in the step; `None` when it is a variable only.
    pub target: Option<String>,
    /// The variable in the step.
    pub env: Option<String>,
    /// A missing secret fails the step; else it is silently absent.
    pub required: bool,
    /// Of the file; the mode's default is 0400.
    pub owner: FileOwner,
}

/// `type=ssh`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshMount {
    /// The agent's name; `default` when not written.
    pub id: String,
    /// The socket's path, if written.
    pub target: Option<String>,
    /// A missing agent fails the step.
    pub required: bool,
    /// Of the socket; the mode's default is 0600.
    pub owner: FileOwner,
}

/// Who owns what the mount shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileOwner {
    /// Permission bits.
    pub mode: Option<u32>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// Several steps on one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// All at once.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

/// Every key, with the name that it is an alias of.
const KEYS: [(&str, &str); 19] = [
    ("type", "type"),
    ("from", "from"),
    ("source", "source"),
    ("src", "source"),
    ("target", "target"),
    ("dst", "target"),
    ("destination", "target"),
    ("readonly", "readonly"),
    ("ro", "readonly"),
    ("readwrite", "readwrite"),
    ("rw", "readwrite"),
    ("id", "id"),
    ("sharing", "sharing"),
    ("required", "required"),
    ("size", "size"),
    ("mode", "mode"),
    ("uid", "uid"),
    ("gid", "gid"),
    ("env", "env"),
];

impl Mount {
    /// The stage, image or context it names.
    pub fn from(&self) -> Option<&str> {
        match self {
            Self::Bind(mount) => mount.from.as_deref(),
            Self::Cache(mount) => mount.from.as_deref(),
            Self::Tmpfs(_) | Self::Secret(_) | Self::Ssh(_) => None,
        }
    }
}

/// Reads the value of a `--mount` flag with the variables of its place.
pub fn parse(text: &Word, expander: &Expander<'_>) -> Result<Mount, Error> {
    let mut entries = Entries { text: text.span, entries: Vec::new(), kind: "bind" };
    for field in fields(text)? {
        entries.add(&field, expander)?;
    }
    let mount = match entries.kind {
        "bind" => Mount::Bind(entries.bind()?),
        "cache" => Mount::Cache(entries.cache()?),
        "tmpfs" => Mount::Tmpfs(entries.tmpfs()?),
        "secret" => Mount::Secret(entries.secret()?),
        _ => Mount::Ssh(entries.ssh()?),
    };
    Ok(mount)
}

/// The comma-separated fields, quoted as in CSV.
pub(crate) fn fields(text: &Word) -> Result<Vec<Word>, Error> {
    let wrong = || {
        Error::new(ErrorKind::MountQuotes { text: text.text.clone() }, text.span)
            .with_help("quote a whole field, and write a quote inside of it twice")
    };
    let mut fields = Vec::new();
    let mut start = 0;
    loop {
        let rest = text.text.get(start..).unwrap_or_default();
        let (field, length) =
            if rest.starts_with('"') { quoted(rest) } else { bare(rest) }.ok_or_else(wrong)?;
        fields.push(Word::new(field, text.part(start..start + length)));
        start += length + 1;
        if start > text.text.len() {
            return Ok(fields);
        }
    }
}

/// A field without quotes, and its length.
fn bare(rest: &str) -> Option<(String, usize)> {
    let end = rest.find(',').unwrap_or(rest.len());
    let field = rest.get(..end)?;
    (!field.contains('"')).then(|| (field.to_owned(), end))
}

/// A field in quotes, and its length with them.
fn quoted(rest: &str) -> Option<(String, usize)> {
    let mut field = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match (character, characters.peek().map(|&(_, next)| next)) {
            ('"', Some('"')) => {
                characters.next();
                field.push('"');
            }
            ('"', None | Some(',')) => return Some((field, at + 1)),
            ('"', _) => return None,
            (other, _) => field.push(other),
        }
    }
    None
}

/// A key with its expanded value.
struct Entry {
    key: &'static str,
    value: Word,
    has_value: bool,
}

/// What is written and not yet used.
struct Entries {
    text: Span,
    entries: Vec<Entry>,
    kind: &'static str,
}

impl Entries {
    fn add(&mut self, field: &Word, expander: &Expander<'_>) -> Result<(), Error> {
        let (name, value) = match field.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (field.text.as_str(), None),
        };
        let lower = name.to_lowercase();
        let known = KEYS.iter().find(|(known, _)| *known == lower);
        let &(_, key) = known.ok_or_else(|| unknown_key(&lower, field.part(0..name.len())))?;
        let has_value = value.is_some();
        if !has_value && !matches!(key, "readonly" | "readwrite" | "required") {
            let kind = ErrorKind::MountKeyWithoutValue { key: name.to_owned() };
            return Err(Error::new(kind, field.span).with_help(format!("write {name}=VALUE")));
        }
        let raw = Word::new(
            value.unwrap_or("true"),
            field.part(field.text.len() - value.map_or(0, str::len)..field.text.len()),
        );
        let value = Word::new(expander.word(&raw)?.text, raw.span);
        match key {
            "type" => self.become_kind(&value)?,
            // As in Docker, these two mean something only behind the type that has them.
            "size" if self.kind != "tmpfs" => return Err(self.too_early(key, &["tmpfs"], value.span)),
            "required" if !matches!(self.kind, "secret" | "ssh") => {
                return Err(self.too_early(key, &["secret", "ssh"], value.span));
            }
            _ => self.entries.push(Entry { key, value, has_value }),
        }
        Ok(())
    }

    fn become_kind(&mut self, value: &Word) -> Result<(), Error> {
        let lower = value.text.to_lowercase();
        let known = TYPES.into_iter().find(|name| *name == lower);
        self.kind = known.ok_or_else(|| bad_value("type", value, &TYPES))?;
        Ok(())
    }

    fn too_early(&self, key: &'static str, kinds: &[&str], span: Span) -> Error {
        let error = Error::new(ErrorKind::MountKeyNotAllowed { kind: self.kind, key }, span);
        error.with_help(format!(
            "`{key}` belongs to type={}, which has to stand before it",
            kinds.join(" and type=")
        ))
    }

    /// The last entry of a key, and all before it, taken out.
    fn take(&mut self, key: &str) -> Option<Entry> {
        let mut last = None;
        while let Some(index) = self.entries.iter().position(|entry| entry.key == key) {
            last = Some(self.entries.remove(index));
        }
        last
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.take(key).map(|entry| entry.value.text).filter(|text| !text.is_empty())
    }

    fn number(&mut self, key: &'static str, radix: u32) -> Result<Option<u32>, Error> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        let text = &entry.value.text;
        let number =
            text.bytes().all(|digit| digit.is_ascii_digit()).then(|| u32::from_str_radix(text, radix));
        number.and_then(Result::ok).map(Some).ok_or_else(|| bad_value(key, &entry.value, &[]))
    }

    fn switch(&mut self, key: &'static str) -> Result<Option<bool>, Error> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        let value = boolean(&entry.value.text).filter(|_| !entry.has_value || !entry.value.text.is_empty());
        value.map(Some).ok_or_else(|| bad_value(key, &entry.value, &["true", "false"]))
    }

    /// Of `readonly` and `readwrite` the last one counts.
    fn read_only(&mut self, default: bool) -> Result<bool, Error> {
        let order = |key| self.entries.iter().rposition(|entry| entry.key == key);
        let read_write_is_last = order("readwrite") > order("readonly");
        let read_only = self.switch("readonly")?;
        let read_write = self.switch("readwrite")?.map(|value| !value);
        let (last, first) =
            if read_write_is_last { (read_write, read_only) } else { (read_only, read_write) };
        Ok(last.or(first).unwrap_or(default))
    }

    fn owner(&mut self) -> Result<FileOwner, Error> {
        let mode = self.number("mode", 8)?;
        Ok(FileOwner { mode, uid: self.number("uid", 10)?, gid: self.number("gid", 10)? })
    }

    fn target(&mut self) -> String {
        self.text("target").unwrap_or_default()
    }

    fn bind(&mut self) -> Result<BindMount, Error> {
        let target = self.target();
        let (source, from) = (self.text("source").unwrap_or_default(), self.text("from"));
        let read_only = self.read_only(true)?;
        self.finish(&["id"])?;
        Ok(BindMount { target, source, from, read_only })
    }

    fn cache(&mut self) -> Result<CacheMount, Error> {
        let target = self.target();
        let (source, from) = (self.text("source").unwrap_or_default(), self.text("from"));
        let (id, sharing) = (self.text("id"), self.sharing()?);
        let (read_only, owner) = (self.read_only(false)?, self.owner()?);
        self.finish(&[])?;
        Ok(CacheMount { target, id, sharing, from, source, read_only, owner })
    }

    fn tmpfs(&mut self) -> Result<TmpfsMount, Error> {
        let target = self.target();
        let size =
            match self.take("size") {
                Some(entry) => Some(size(&entry.value.text).ok_or_else(|| {
                    bad_value("size", &entry.value, &["bytes", "or a number with k, m, g, t"])
                })?),
                None => None,
            };
        let read_only = self.read_only(false)?;
        self.finish(&["id", "source", "from"])?;
        Ok(TmpfsMount { target, size: size.filter(|&size| size > 0), read_only })
    }

    fn secret(&mut self) -> Result<SecretMount, Error> {
        let (id, source, target) = (self.text("id"), self.text("source"), self.text("target"));
        if id.is_some() && source.is_some() {
            let kind = ErrorKind::MountKeyNotAllowed { kind: "secret", key: "source" };
            return Err(Error::new(kind, self.text).with_help("id and source mean the same here: keep one"));
        }
        let base = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let id = id.or(source).or_else(|| target.as_deref().map(base)).filter(|id| !id.is_empty());
        let missing =
            Error::new(ErrorKind::MountIncomplete { kind: "secret", what: "an id or a target" }, self.text)
                .with_help("write id=NAME");
        let id = id.ok_or(missing)?;
        let env = self.take("env").map(|entry| entry.value);
        if let Some(empty) = env.as_ref().filter(|name| name.text.is_empty()) {
            let kind = ErrorKind::MountKeyWithoutValue { key: "env".to_owned() };
            return Err(Error::new(kind, empty.span).with_help("write env=NAME"));
        }
        let env = env.map(|name| name.text);
        let target = target.or_else(|| env.is_none().then(|| format!("/run/secrets/{}", base(&id))));
        let (required, owner) = (self.switch("required")?.unwrap_or_default(), self.owner()?);
        let _unused = self.read_only(true)?;
        self.finish(&[])?;
        Ok(SecretMount { id, target, env, required, owner })
    }

    fn ssh(&mut self) -> Result<SshMount, Error> {
        if self.text("source").is_some() {
            let kind = ErrorKind::MountKeyNotAllowed { kind: "ssh", key: "source" };
            return Err(Error::new(kind, self.text).with_help("an agent is named with id="));
        }
        let id = self.text("id").unwrap_or_else(|| "default".to_owned());
        let target = self.text("target");
        let (required, owner) = (self.switch("required")?.unwrap_or_default(), self.owner()?);
        let _unused = self.read_only(true)?;
        self.finish(&["from"])?;
        Ok(SshMount { id, target, required, owner })
    }

    fn sharing(&mut self) -> Result<Sharing, Error> {
        let Some(entry) = self.take("sharing") else { return Ok(Sharing::default()) };
        let lower = entry.value.text.to_lowercase();
        let known = SHARINGS.iter().find(|(name, _)| *name == lower);
        known
            .map(|&(_, sharing)| sharing)
            .ok_or_else(|| bad_value("sharing", &entry.value, &SHARINGS.map(|(name, _)| name)))
    }

    /// Nothing may be left but what Docker takes and does not use.
    fn finish(&self, unused: &[&str]) -> Result<(), Error> {
        let unused = |key: &str| key == "env" || unused.contains(&key);
        match self.entries.iter().find(|entry| !unused(entry.key)) {
            Some(entry) => {
                let kind = ErrorKind::MountKeyNotAllowed { kind: self.kind, key: entry.key };
                Err(Error::new(kind, entry.value.span))
            }
            None => Ok(()),
        }
    }
}

fn unknown_key(key: &str, span: Span) -> Error {
    let names = KEYS.map(|(name, _)| name);
    let help = match closest(key, &names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known are {}", names.join(", ")),
    };
    Error::new(ErrorKind::UnknownMountKey { key: key.to_owned() }, span).with_help(help)
}

fn bad_value(key: &'static str, value: &Word, known: &[&str]) -> Error {
    let error = Error::new(ErrorKind::BadMountValue { key, value: value.text.clone() }, value.span);
    match closest(&value.text.to_lowercase(), known) {
        Some(name) => error.with_help(format!("did you mean `{name}`?")),
        None if key == "mode" => error.with_help("write an octal number, such as 0755"),
        None if known.is_empty() => error.with_help("write a number"),
        None => error.with_help(format!("known are {}", known.join(", "))),
    }
}

/// The spellings of true and false that Go takes.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `64m`, `1.5g`, `1024`, `10KiB`: powers of 1024.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits =
        lower.trim_end_matches(|character: char| character.is_ascii_alphabetic() || character == ' ');
    let unit = lower.get(digits.len()..)?.trim_start();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit);
    let shift = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit)? * 10;
    let well_formed = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = digits.parse().ok().filter(|_| well_formed)?;
    let bytes = number * (1_u64 << shift) as f64;
    // Saturates far above any memory.
    (bytes <= u64::MAX as f64 / 2.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests;
