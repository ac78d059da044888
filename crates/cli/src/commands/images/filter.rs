//! `images --filter`: names are any of those that are given, all else holds together. As docker reads it.

use galley_engine::{
    Error, ErrorKind,
    images::{self, ImageSummary},
    prune,
};
use galley_oci::{Reference, Time};
use galley_store::Store;

use crate::args::prune_filter;

/// Which images are listed.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Patterns, of which one has to match.
    references: Vec<String>,
    dangling: Option<bool>,
    /// Made before this moment, and after this one.
    before: Option<Time>,
    since: Option<Time>,
    /// Labels and `until`.
    things: prune::Filter,
}

impl Filter {
    /// Reads `KEY=VALUE`; an empty one, from a script's empty variable, is none.
    pub(super) fn parse(given: &[String], store: &Store) -> Result<Self, Error> {
        let mut filter = Self::default();
        let mut things = Vec::new();
        for one in given.iter().filter(|one| !one.is_empty()) {
            let created = |name: &str| Ok::<_, Error>(Some(images::created(&images::find(store, name)?)));
            match prune_filter::split(one)? {
                ("reference", value) => filter.references.push(pattern(value)?),
                ("dangling", value) => filter.dangling = Some(prune_filter::truth("dangling", value)?),
                ("before", value) => filter.before = created(value)?,
                ("since", value) => filter.since = created(value)?,
                ("label" | "label!" | "until", _) => things.push(one.clone()),
                (name, _) => {
                    let known = "reference, dangling, label, label!, before, since, until";
                    return Err(prune_filter::unknown(name, known));
                }
            }
        }
        filter.things = prune_filter::things(&things)?;
        Ok(filter)
    }

    pub(super) fn takes(&self, store: &Store, image: &ImageSummary) -> bool {
        let named = self.references.is_empty()
            || image
                .reference
                .as_ref()
                .is_some_and(|name| self.references.iter().any(|it| matches(it, name)));
        let dangling = self.dangling.is_none_or(|wanted| wanted == image.reference.is_none());
        let before = self.before.is_none_or(|before| image.created < before);
        let since = self.since.is_none_or(|since| image.created > since);
        named && dangling && before && since && self.takes_thing(store, image)
    }

    fn takes_thing(&self, store: &Store, image: &ImageSummary) -> bool {
        if self.things == prune::Filter::default() {
            return true;
        }
        let found = store.image(&image.id).ok().flatten();
        let labels = found.and_then(|image| images::config(&image).ok()).map(|config| config.config.labels);
        self.things.takes(Some(image.created), &labels.unwrap_or_default())
    }
}

fn pattern(text: &str) -> Result<String, Error> {
    if !text.contains(['[', ']', '\\']) {
        return Ok(text.to_owned());
    }
    let message = format!("the filter \"reference={text}\" is not supported");
    Err(Error::new(ErrorKind::Usage, message)
        .help("of patterns there are * and ?, of which none matches a /"))
}

/// With its tag, or without.
fn matches(pattern: &str, name: &Reference) -> bool {
    [name.familiar(), name.familiar_name()].iter().any(|name| is_like(pattern.as_bytes(), name.as_bytes()))
}

/// Whether `text` is like a pattern of `*` and `?`.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    // Where the last star was, and where what follows it was tried last.
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(b'?') if text[from] != b'/' => (at, from) = (at + 1, from + 1),
            Some(byte) if *byte == text[from] => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((place, tried)) if text[tried] != b'/' => {
                    star = Some((place, tried + 1));
                    (at, from) = (place + 1, tried + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_gos() {
        for (pattern, name) in [
            ("app", "app:1"),
            ("app:*", "app:1"),
            ("a*", "app:1"),
            ("*p*:?", "app:1"),
            ("*/*", "user/app:1"),
            ("localhost:5000/*", "localhost:5000/app:1"),
            ("app:1*", "app:1"),
        ] {
            assert!(matches(pattern, &name.parse().unwrap()), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*", "user/app:1"),
            ("user?app", "user/app:1"),
            ("app:2", "app:1"),
            ("ap", "app:1"),
            ("", "app:1"),
        ] {
            assert!(!matches(pattern, &name.parse().unwrap()), "{pattern} {name}");
        }
        assert!(pattern("a[bc]").is_err());
    }
}
