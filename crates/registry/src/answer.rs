//! What registries say when they refuse: their own words, made fit for a message.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

use crate::Secret;

/// The longest quotation.
const QUOTED_CHARS_MAX: usize = 300;
/// As many of the listed errors are quoted.
const QUOTED_ERRORS_MAX: usize = 3;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    errors: Vec<Listed>,
    /// Token servers say one of these instead.
    error: Value,
    error_description: Value,
    details: Value,
    message: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Listed {
    code: Value,
    message: Value,
    detail: Value,
}

/// The words of an error's body; none when there are none that help. `secrets` are taken out, should the registry repeat
/// what it was sent.
pub(crate) fn words(body: &[u8], secrets: &[&Secret]) -> Option<String> {
    let text = match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer.words(),
        Err(_) if is_html(body) => None,
        Err(_) => String::from_utf8_lossy(body).lines().next().map(ToOwned::to_owned),
    }?;
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text = without(&text, secrets);
    let text = text.trim();
    let mut cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    Some(cut).filter(|cut| !cut.is_empty())
}

/// `text` without `secrets`, in any of the ways they may be written.
pub(crate) fn without(text: &str, secrets: &[&Secret]) -> String {
    let spellings = secrets.iter().flat_map(|secret| spellings(secret.reveal()));
    spellings
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| text.replace(&secret, "***"))
}

/// A secret; and when it is the value of an `Authorization`, what is within.
fn spellings(secret: &str) -> Vec<String> {
    let mut spellings = vec![secret.to_owned()];
    if let Some((_, token)) = secret.split_once(' ') {
        spellings.push(token.to_owned());
        let pair = STANDARD.decode(token).ok().and_then(|pair| String::from_utf8(pair).ok());
        let password =
            pair.as_deref().and_then(|pair| pair.split_once(':')).map(|(_, password)| password.to_owned());
        spellings.extend(password);
    }
    spellings
}

/// Whether the registry's list of errors has this code.
pub(crate) fn has_code(body: &[u8], code: &str) -> bool {
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    answer.errors.iter().any(|error| error.code == *code)
}

/// Whether this is a web page, as proxies and mistyped hosts answer with.
pub(crate) fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

impl Answer {
    fn words(&self) -> Option<String> {
        if !self.errors.is_empty() {
            let words: Vec<String> = self.errors.iter().take(QUOTED_ERRORS_MAX).map(Listed::words).collect();
            return Some(words.join("; "));
        }
        let texts = [&self.error, &self.error_description, &self.details, &self.message];
        let words: Vec<&str> = texts.iter().filter_map(|value| value.as_str()).collect();
        (!words.is_empty()).then(|| words.join(": "))
    }
}

impl Listed {
    fn words(&self) -> String {
        let code = self.code.as_str().unwrap_or("UNKNOWN");
        let message = self.message.as_str().filter(|message| !message.is_empty());
        let message = message.or_else(|| self.detail.as_str());
        message.map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_of_registries() {
        let none: &[&Secret] = &[];
        let secret = Secret::new("s3cret");
        for (body, wanted) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m","detail":[{"Type":"x"}]}]}"#,
                Some("DENIED: no [31m"),
            ),
            (
                r#"{"errors":[{"code":"UNKNOWN","detail":"d"},{"code":"A","message":"b"}]}"#,
                Some("UNKNOWN: d; A: b"),
            ),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"error":"invalid_grant","error_description":"old"}"#, Some("invalid_grant: old")),
            ("too many\nrequests", Some("too many")),
            ("<html><body>proxy</body></html>", None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(words(body.as_bytes(), none).as_deref(), wanted, "{body}");
        }
        assert_eq!(words(b"you sent s3cret", &[&secret]).as_deref(), Some("you sent ***"));
        assert!(has_code(br#"{"errors":[{"code":"A"},{"code":"B"}]}"#, "B"));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let words = words(&body, &[]).unwrap_or_default();
            prop_assert!(words.chars().count() <= QUOTED_CHARS_MAX + 1);
        }
    }
}
