//! What a source of ADD, or a context, means: a URL, a git repository, or a path. The rules are BuildKit's.

use std::{fmt, str::FromStr};

use galley_oci::{Digest, digest::Algorithm};

use super::url::{self, Url};

/// The name of a download whose address has none.
const UNNAMED: &[u8] = b"__unnamed__";
/// The name of a download whose address has one that no file can have.
const DOWNLOAD: &[u8] = b"download";

/// As in all file systems of Linux.
const NAME_BYTES_MAX: usize = 255;

/// Something that is had from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A file.
    Http(HttpAddress),
    /// A commit of a repository.
    Git(GitAddress),
}

/// A file at a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpAddress {
    /// `http://…` or `https://…`, as written.
    pub url: String,
    /// What the file is called: the last part of the path.
    pub name: Vec<u8>,
    /// SHA-256 of what must be there.
    pub checksum: Option<Digest>,
}

/// A commit of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GitAddress {
    /// As git takes it: `https://…`, `ssh://…`, `git@host:path`.
    pub remote: String,
    /// A branch, tag or commit; the default branch without one.
    pub reference: Option<String>,
    /// The commit that this must be, or how it begins.
    pub checksum: Option<String>,
    /// The folder of the repository that is meant, without a slash at either end; empty for all of it.
    pub subdir: String,
    /// Whether `.git` stays; none when the address does not say.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched too.
    pub submodules: bool,
    /// Whether files get the time of the commit.
    pub commit_times: bool,
    /// The commit is [`Self::checksum`], whatever the reference is at the remote.
    pub by_commit: bool,
}

/// Why something that looks like an address is none. It does not quote passwords.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

fn wrong<T>(reason: impl Into<String>) -> Result<T, AddressError> {
    Err(AddressError(reason.into()))
}

impl Address {
    /// What `text`, a source of ADD, means; none for a path.
    pub fn parse(text: &str) -> Result<Option<Self>, AddressError> {
        if let Some(git) = GitAddress::parse(text)? {
            return Ok(Some(Self::Git(git)));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return HttpAddress::new(text).map(|http| Some(Self::Http(http)));
        }
        Ok(None)
    }

    /// What `text`, a context, means: as [`Self::parse`], but `github.com/…` is a repository too.
    pub fn of_context(text: &str) -> Result<Option<Self>, AddressError> {
        if text.starts_with("github.com/") {
            let url = parse_url(&format!("https://{text}"))?;
            return GitAddress::of_url(url).map(|git| Some(Self::Git(git)));
        }
        Self::parse(text)
    }

    /// For people: without a password.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Http(http) => redacted(&http.url),
            Self::Git(git) => git.shown(),
        }
    }
}

impl HttpAddress {
    fn new(text: &str) -> Result<Self, AddressError> {
        let name = parse_url(text)?.file_name().unwrap_or(UNNAMED).to_vec();
        Ok(Self { url: text.to_owned(), name: safe_name(name), checksum: None })
    }

    /// What is checked before anything is asked, where the file keeps its name.
    pub fn check(&self) -> Result<(), AddressError> {
        let bytes = self.name.len();
        if bytes > NAME_BYTES_MAX {
            return wrong(format!(
                "the last part of its path would be the file's name, and has {bytes} bytes: no name has more than \
                 {NAME_BYTES_MAX}"
            ));
        }
        Ok(())
    }

    /// The same with `--checksum`.
    pub fn with_checksum(self, text: &str) -> Result<Self, AddressError> {
        match Digest::from_str(text) {
            Ok(digest) if digest.algorithm() == Algorithm::Sha256 => {
                Ok(Self { checksum: Some(digest), ..self })
            }
            _ => wrong(format!("`{text}` is no checksum of a file: write sha256:<64 hex digits>")),
        }
    }

    /// The host without its port.
    pub(super) fn host(&self) -> String {
        Url::parse(&self.url).map(|url| url.host_name().to_owned()).unwrap_or_default()
    }
}

/// A name that a file can have, in the folder where it is put.
fn safe_name(name: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&name);
    let name = match text.trim() {
        trimmed if trimmed.len() < text.len() => trimmed.as_bytes().to_vec(),
        _ => name.clone(),
    };
    if matches!(&*name, b"" | b"." | b"..") || text.contains(char::is_control) {
        DOWNLOAD.to_vec()
    } else {
        name
    }
}

impl GitAddress {
    /// The repository that `text` means; none when it means anything else.
    fn parse(text: &str) -> Result<Option<Self>, AddressError> {
        let Some(scheme) = url::scheme(text) else { return Self::of_scp(text) };
        match scheme.as_str() {
            "http" | "https" => {
                // Whether this is an address at all is seen later, when it is a file's.
                let url = Url::parse(text).ok().filter(|url| url.path.ends_with(b".git"));
                url.map(Self::of_url).transpose()
            }
            "git" | "ssh" => Self::of_url(parse_url(text)?).map(Some),
            _ => Ok(None),
        }
    }

    fn of_url(url: Url) -> Result<Self, AddressError> {
        if url.user.as_deref().is_some_and(|user| user.starts_with('-')) {
            return wrong("no user's name begins with a dash");
        }
        Self::new(url.plain, &url.fragment, &url.query)
    }

    /// `user@host:path?query#fragment`.
    fn of_scp(text: &str) -> Result<Option<Self>, AddressError> {
        let Some((user, rest)) = text.split_once('@') else { return Ok(None) };
        let Some((host, path)) = rest.split_once(':') else { return Ok(None) };
        let word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !word(user, "-_") || !word(host, "-.") || path.contains('\n') {
            return Ok(None);
        }
        if user.starts_with('-') || host.starts_with('-') {
            return wrong("neither a user nor a host begins with a dash");
        }
        let (path, fragment) = path.split_once('#').unwrap_or((path, ""));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self::new(format!("{user}@{host}:{path}"), fragment, &url::pairs(query)).map(Some)
    }

    fn new(remote: String, fragment: &str, query: &[(String, String)]) -> Result<Self, AddressError> {
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let git = Self {
            remote,
            reference: Some(reference.to_owned()).filter(|reference| !reference.is_empty()),
            checksum: None,
            subdir: clean(subdir),
            keep_git_dir: None,
            submodules: true,
            commit_times: false,
            by_commit: false,
        };
        let git = git.with_query(query)?;
        match &git.reference {
            Some(reference) if reference.starts_with('-') || reference.contains(char::is_control) => {
                wrong(format!("`{}` is no branch, tag or commit", reference.escape_debug()))
            }
            _ => Ok(git),
        }
    }

    fn with_query(mut self, query: &[(String, String)]) -> Result<Self, AddressError> {
        let (mut tag, mut branch) = (None, None);
        for (index, (name, value)) in query.iter().enumerate() {
            if query[..index].iter().any(|(known, _)| known == name) {
                return wrong(format!("`{name}` is given twice"));
            }
            let is_switch = matches!(name.as_str(), "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_switch {
                return wrong(format!("`{name}` has no value"));
            }
            match name.as_str() {
                "ref" => agree(&mut self.reference, value.clone(), "references")?,
                "tag" => tag = Some(qualified(value, "refs/tags/")),
                "branch" => branch = Some(qualified(value, "refs/heads/")),
                "subdir" => {
                    let mut known = Some(self.subdir).filter(|known| !known.is_empty());
                    agree(&mut known, clean(value), "folders")?;
                    self.subdir = known.unwrap_or_default();
                }
                "checksum" | "commit" => agree(&mut self.checksum, value.clone(), "commits")?,
                "keep-git-dir" => self.keep_git_dir = Some(switch(name, value)?),
                "submodules" => self.submodules = switch(name, value)?,
                "fetch-by-commit" => self.by_commit = switch(name, value)?,
                "mtime" if matches!(value.as_str(), "checkout" | "commit") => {
                    self.commit_times = value == "commit";
                }
                "mtime" => return wrong(format!("mtime is checkout or commit, not `{value}`")),
                other => {
                    return wrong(format!(
                        "`{other}` is nothing that an address of a git repository can say: known are ref, tag, branch, \
                         subdir, checksum, commit, keep-git-dir, submodules, mtime, fetch-by-commit"
                    ));
                }
            }
        }
        if tag.is_some() && branch.is_some() {
            return wrong("it names both a tag and a branch");
        }
        if let Some(named) = tag.or(branch) {
            agree(&mut self.reference, named, "references")?;
        }
        Ok(self)
    }

    /// The same with `--checksum`.
    pub fn with_checksum(mut self, text: &str) -> Result<Self, AddressError> {
        agree(&mut self.checksum, text.to_owned(), "commits")?;
        Ok(self)
    }

    /// The same with `--keep-git-dir`.
    pub fn with_git_dir(mut self, keep: bool) -> Result<Self, AddressError> {
        if self.keep_git_dir.is_some_and(|known| known != keep) {
            return wrong("--keep-git-dir says otherwise than keep-git-dir in the address");
        }
        self.keep_git_dir = Some(keep);
        Ok(self)
    }

    /// What is checked before anything is asked.
    pub fn check(&self) -> Result<(), AddressError> {
        if let Some(checksum) = &self.checksum {
            if checksum.is_empty() || !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return wrong(format!(
                    "`{checksum}` is no commit: write its hex digits, or the first of them"
                ));
            }
            if let Some(reference) = self.reference.as_deref().filter(|reference| is_commit(reference))
                && !reference.starts_with(checksum.as_str())
            {
                return wrong(format!("the commit {reference} is not {checksum}"));
            }
        }
        let commit = self.checksum.as_deref().or(self.reference.as_deref()).unwrap_or_default();
        if self.by_commit && !is_commit(commit) {
            return wrong("fetch-by-commit needs all digits of the commit, as checksum=…");
        }
        Ok(())
    }

    /// The commit, when the address alone says which.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        let named = self.reference.as_deref().filter(|reference| is_commit(reference));
        named.or_else(|| self.checksum.as_deref().filter(|_| self.by_commit))
    }

    /// Whether `.git` is in the result: only of a whole repository.
    #[must_use]
    pub fn has_git_dir(&self) -> bool {
        self.keep_git_dir == Some(true) && self.subdir.is_empty()
    }

    /// Repository and reference, without a password: its name in a lock.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = redacted(&self.remote);
        if let Some(reference) = &self.reference {
            shown = format!("{shown}#{reference}");
        }
        shown
    }
}

fn parse_url(text: &str) -> Result<Url, AddressError> {
    Url::parse(text).map_err(|why| AddressError(format!("this is no address: {why}")))
}

/// Two places may say the same.
fn agree(known: &mut Option<String>, value: String, what: &str) -> Result<(), AddressError> {
    match known {
        Some(known) if *known != value => wrong(format!("it names two {what}: `{known}` and `{value}`")),
        _ => {
            *known = Some(value);
            Ok(())
        }
    }
}

fn qualified(name: &str, prefix: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// As Go reads truth; a name alone is true.
fn switch(name: &str, value: &str) -> Result<bool, AddressError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => wrong(format!("{name} is true or false, not `{value}`")),
    }
}

/// A path below the root without `.` and `..`.
fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

/// All hex digits of a commit: SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The address without user and password, for messages.
#[must_use]
pub fn redacted(address: &str) -> String {
    match Url::parse(address) {
        Ok(Url { user: Some(user), .. }) if user != "git" => {
            address.replacen(&format!("{user}@"), "xxxxx:xxxxx@", 1)
        }
        _ => address.to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests;
