//! The little that must be known about addresses.

use ureq::http::Uri;

/// Scheme, host and port: what must be the same for credentials to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    host: String,
    port: u16,
}

/// The origin of an absolute `http` or `https` address.
pub(crate) fn origin(uri: &Uri) -> Option<Origin> {
    let https = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let default = if https { 443 } else { 80 };
    let host = uri.host()?.to_ascii_lowercase();
    Some(Origin { https, host, port: uri.port_u16().unwrap_or(default) })
}

/// The host, and the port where it is not the usual one: for messages, and as the key of certificates.
pub(crate) fn place(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        Some(443) if uri.scheme_str() == Some("https") => host.to_owned(),
        Some(80) if uri.scheme_str() == Some("http") => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Without its query, which may hold a signature, and without a user: for messages.
pub(crate) fn public(uri: &Uri) -> String {
    format!("{}://{}{}", uri.scheme_str().unwrap_or("http"), place(uri), uri.path())
}

/// What `target`, from a `Location` or `Link`, means on the page `base`.
pub(crate) fn join(base: &Uri, target: &str) -> Option<Uri> {
    let target = target.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let text = if target.contains("://") && !target.starts_with(['/', '?', '.']) {
        target.to_owned()
    } else if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else if target.starts_with('?') {
        format!("{scheme}://{authority}{}{target}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{target}")
    };
    let uri: Uri = text.parse().ok()?;
    // A user in the address would be sent on as a header by nobody, and shown by messages.
    let named = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (named && origin(&uri).is_some()).then_some(uri)
}

/// `uri` with another parameter.
pub(crate) fn with_query(uri: &Uri, parameter: &str) -> String {
    let separator = if uri.query().is_some() { '&' } else { '?' };
    format!("{uri}{separator}{parameter}")
}

/// For the value of a parameter.
pub(crate) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Undoes `%41`; a `%` that begins nothing stands for itself.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = (*first == b'%').then(|| after.get(..2).and_then(hex)).flatten();
        bytes.push(digits.unwrap_or(*first));
        rest = if digits.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    bytes
}

fn hex(digits: &[u8]) -> Option<u8> {
    let text =
        str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(base: &str, target: &str) -> Option<String> {
        join(&base.parse().unwrap(), target).map(|uri| uri.to_string())
    }

    #[test]
    fn targets_are_joined() {
        let base = "https://a:5000/v2/x/uploads/1?s=1";
        for (target, wanted) in [
            ("https://b/y?z=1#f", Some("https://b/y?z=1")),
            ("//b/y", Some("https://b/y")),
            ("/y?u=http://c/", Some("https://a:5000/y?u=http://c/")),
            ("2?s=3", Some("https://a:5000/v2/x/uploads/2?s=3")),
            ("?s=4", Some("https://a:5000/v2/x/uploads/1?s=4")),
            ("ftp://b/y", None),
            ("https://user:word@b/y", None),
            ("https://", None),
        ] {
            assert_eq!(joined(base, target).as_deref(), wanted, "{target}");
        }
    }

    #[test]
    fn origins_know_default_ports() {
        let origin = |text: &str| origin(&text.parse().unwrap());
        assert_eq!(origin("https://A/x"), origin("https://a:443/y"));
        assert_ne!(origin("https://a"), origin("http://a"));
        assert_ne!(origin("http://a"), origin("http://a:81"));
        assert_eq!(encode("repository:a/b:pull,push"), "repository%3Aa%2Fb%3Apull%2Cpush");
    }

    proptest! {
        #[test]
        fn no_target_panics(target in "\\PC{0,40}|[a-z:/?#@.%]{0,30}") {
            let base = "https://a:5000/v2/x".parse().unwrap();
            if let Some(uri) = join(&base, &target) {
                prop_assert!(origin(&uri).is_some());
            }
        }
    }
}
