//! `WWW-Authenticate`: how a registry wants to be told who asks.

use std::collections::BTreeMap;

/// As many are looked at.
const CHALLENGES_MAX: usize = 16;

/// One way of saying who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// `basic` or `bearer`, in lower case.
    pub(crate) scheme: String,
    /// `realm`, `service`, `scope`, `error`; names in lower case.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Challenge {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// Reads one header line, which may hold several challenges. What is malformed ends the list.
pub(crate) fn parse(text: &str) -> Vec<Challenge> {
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    let mut found: Vec<Challenge> = Vec::new();
    while let Some((word, after)) = token(rest) {
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            let Some(challenge) = found.last_mut() else { break };
            let Some((value, after)) = parameter_value(value.trim_start()) else { break };
            challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
            rest = after;
        } else {
            if found.len() == CHALLENGES_MAX {
                break;
            }
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
            rest = after;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_of_registries() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="insufficient_scope""#;
        let parsed = parse(hub);
        assert_eq!(parsed.len(), 1);
        assert_eq!(parsed[0].scheme, "bearer");
        assert_eq!(parsed[0].get("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(parsed[0].get("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(parsed[0].get("error"), Some("insufficient_scope"));
    }

    #[test]
    fn several_in_one_line() {
        let parsed = parse(r#"Negotiate, Basic realm="a \"b\", c", BEARER Realm=x , service = "y""#);
        let schemes: Vec<&str> = parsed.iter().map(|challenge| challenge.scheme.as_str()).collect();
        assert_eq!(schemes, ["negotiate", "basic", "bearer"]);
        assert_eq!(parsed[1].get("realm"), Some("a \"b\", c"));
        assert_eq!(parsed[2].get("realm"), Some("x"));
        assert_eq!(parsed[2].get("service"), Some("y"));
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "\\PC{0,80}|([a-z]{1,4}|[ ,=\"\\\\]){0,40}") {
            prop_assert!(parse(&text).len() <= CHALLENGES_MAX);
        }
    }
}
