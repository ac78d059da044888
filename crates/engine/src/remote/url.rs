//! An address in its parts, split as Go's `net/url` does it: that is what Docker reads addresses with.

/// `scheme://user@host/path?query#fragment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// In lower case.
    pub(super) scheme: String,
    /// `user` or `user:password`, as written.
    pub(super) user: Option<String>,
    /// With the port, when there is one.
    pub(super) host: String,
    /// Escapes undone.
    pub(super) path: Vec<u8>,
    /// Pairs in the order written, escapes undone. What cannot be understood is left out.
    pub(super) query: Vec<(String, String)>,
    /// Escapes undone.
    pub(super) fragment: String,
    /// Without query and fragment.
    pub(super) plain: String,
}

/// The scheme that `text` begins with, in lower case.
pub(super) fn scheme(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once("://")?;
    let known = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    known.then(|| scheme.to_ascii_lowercase())
}

impl Url {
    /// Why not is said without the address, which may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err("there is a control character in it");
        }
        let scheme = scheme(text).ok_or("it has no scheme")?;
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let after = rest.get(scheme.len() + 3..).unwrap_or_default();
        let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        check_host(host)?;
        let path = unescape(path).ok_or("there is a % in it that begins no escape")?;
        let fragment = unescape(fragment).ok_or("there is a % in it that begins no escape")?;
        Ok(Self {
            plain: format!("{scheme}://{after}"),
            scheme,
            user,
            host: host.to_owned(),
            path,
            query: pairs(query),
            fragment: String::from_utf8_lossy(&fragment).into_owned(),
        })
    }

    /// The host without its port, as secrets name it.
    pub(super) fn host_name(&self) -> &str {
        host_name(&self.host)
    }

    /// The last part of the path; none when there is none.
    pub(super) fn file_name(&self) -> Option<&[u8]> {
        let mut parts = self.path.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
        parts.next_back().filter(|name| *name != b".")
    }
}

fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let port = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("a [ in its host has no end")?.1,
        None => host.find(':').map_or("", |colon| &host[colon..]),
    };
    let numeric = port.strip_prefix(':').unwrap_or(port).bytes().all(|byte| byte.is_ascii_digit());
    if !numeric || (!port.is_empty() && !port.starts_with(':')) {
        return Err("its port is no number");
    }
    if host_name(host).is_empty() {
        return Err("it has no host");
    }
    // What begins with a dash would be an option of the programs that are given it.
    if host.starts_with('-') || host.bytes().any(|byte| b" \"<>\\^`{|}%".contains(&byte)) {
        return Err("its host has characters that no host has");
    }
    Ok(())
}

/// `a=b&c` of a query.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let spaced = |text: &str| {
        let bytes = unescape(&text.replace('+', " "))?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter_map(|(name, value)| Some((spaced(name)?, spaced(value)?)))
        .collect()
}

/// Undoes `%41`; none when a `%` begins no escape.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts() {
        let url = Url::parse("HTTPS://me:pw@h:8/a%20b/c.git?x=1+2&y&z=%zz#main:d%2Fe").unwrap();
        assert_eq!((url.scheme.as_str(), url.host.as_str(), url.host_name()), ("https", "h:8", "h"));
        assert_eq!(url.user.as_deref(), Some("me:pw"));
        assert_eq!(url.path, b"/a b/c.git");
        assert_eq!(url.file_name(), Some(&b"c.git"[..]));
        assert_eq!(url.query, [("x".to_owned(), "1 2".to_owned()), ("y".to_owned(), String::new())]);
        assert_eq!(url.fragment, "main:d/e");
        assert_eq!(url.plain, "https://me:pw@h:8/a%20b/c.git");
        assert_eq!(Url::parse("http://[::1]:80").unwrap().host_name(), "::1");
        assert_eq!(Url::parse("http://h//").unwrap().file_name(), None);
    }

    #[test]
    fn what_is_no_address() {
        for (text, why) in [
            ("http://h:a/x", "its port is no number"),
            ("http://[::1/x", "a [ in its host has no end"),
            ("http://[::1]x/x", "its port is no number"),
            ("http:///x", "it has no host"),
            ("http://h/%4", "there is a % in it that begins no escape"),
            ("http://a b/", "its host has characters that no host has"),
            ("ssh://-oProxyCommand=x/", "its host has characters that no host has"),
            ("ssh://a@-x/", "its host has characters that no host has"),
            ("http://h/\n", "there is a control character in it"),
        ] {
            assert_eq!(Url::parse(text).unwrap_err(), why, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}|(https?|git|ssh)://[a-z:/?#@.%\\[\\]&=é-]{0,40}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert!(!url.host_name().is_empty());
                prop_assert_eq!(Url::parse(&url.plain).map(|again| again.path), Ok(url.path));
            }
        }
    }
}
