//! `--filter` of prune, du and `volume ls`: `until=24h`, `label=NAME=VALUE`, `label!=NAME`, `type=…`, `id=…`, `dangling=true`.

use std::time::SystemTime;

use galley_engine::{
    Error, ErrorKind,
    prune::{CacheKind, Filter},
};
use galley_oci::Time;
use galley_store::{ObjectKind, Policy};

use super::expression::Expression;

/// What the build cache is filtered by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheFilter {
    /// Only what was not used since.
    pub(crate) unused_since: Option<Time>,
    /// Only these kinds.
    pub(crate) kinds: Vec<ObjectKind>,
    /// Only ids that begin so.
    pub(crate) id: Option<String>,
}

impl CacheFilter {
    /// Adds it to what a collection does.
    pub(crate) fn apply(self, policy: Policy) -> Policy {
        Policy { unused_since: self.unused_since, kinds: self.kinds, id: self.id, ..policy }
    }
}

/// Of volumes that are removed: docker's clients say with a filter that those with a name go too.
pub(crate) fn volumes(given: &[String]) -> Result<(bool, Filter), Error> {
    let (mut all, mut others) = (false, Vec::new());
    for one in given {
        match one.split_once('=') {
            Some(("all", value)) => all = truth("all", value)?,
            _ => others.push(one.clone()),
        }
    }
    Ok((all, things(&others)?))
}

/// Of volumes that are listed.
#[derive(Debug, Default)]
pub(crate) struct ListedVolumes {
    /// Only those that nothing uses, or only the others.
    pub(crate) dangling: Option<bool>,
    /// One of these is found in the name.
    pub(crate) names: Vec<Expression>,
}

/// Reads what volumes are listed.
pub(crate) fn listed_volumes(given: &[String]) -> Result<ListedVolumes, Error> {
    let mut listed = ListedVolumes::default();
    for one in given.iter().filter(|one| !one.is_empty()) {
        match split(one)? {
            ("dangling", value) => listed.dangling = Some(truth("dangling", value)?),
            ("name", value) => {
                listed.names.push(Expression::parse(value).map_err(|why| no_expression(one, &why))?)
            }
            (name, _) => return Err(unknown(name, "dangling, name")),
        }
    }
    Ok(listed)
}

/// What `text` has instead of a regular expression.
pub(crate) fn no_expression(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("the filter {text:?} is no regular expression: {why}"))
        .help("write a part of the name, or name=^NAME$")
}

pub(crate) fn truth(name: &str, value: &str) -> Result<bool, Error> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => {
            Err(Error::new(ErrorKind::Usage, format!("the filter {name:?} is true or false, not {value:?}")))
        }
    }
}

/// Of images, containers and volumes.
pub(crate) fn things(given: &[String]) -> Result<Filter, Error> {
    let mut filter = Filter::default();
    for one in given.iter().filter(|one| !one.is_empty()) {
        match split(one)? {
            ("until", value) => filter.until = Some(moment(value)?),
            ("label", value) => filter.labels.push(label(value)),
            ("label!", value) => filter.without.push(label(value)),
            // What prune does in any case, and docker's clients send.
            ("dangling", "true" | "1") => {}
            (name, _) => return Err(unknown(name, "until, label, label!")),
        }
    }
    Ok(filter)
}

/// Of the build cache.
pub(crate) fn cache(given: &[String]) -> Result<CacheFilter, Error> {
    let mut filter = CacheFilter::default();
    for one in given.iter().filter(|one| !one.is_empty()) {
        match split(one)? {
            ("until" | "unused-for", value) => filter.unused_since = Some(moment(value)?),
            ("type", value) => {
                let value = value.trim_start_matches('=');
                let unknown = || {
                    let known = "regular, source.local, exec.cachemount, internal";
                    Error::new(ErrorKind::Usage, format!("there is no cache of the type {value:?}"))
                        .help(format!("there are: {known}"))
                };
                filter.kinds = CacheKind::of_name(value).ok_or_else(unknown)?;
            }
            ("id" | "id~", value) => filter.id = Some(value.trim_start_matches(['=', '~']).to_owned()),
            (name, _) => return Err(unknown(name, "until, type, id")),
        }
    }
    Ok(filter)
}

pub(crate) fn split(one: &str) -> Result<(&str, &str), Error> {
    one.split_once('=').map(|(name, value)| (name.trim(), value.trim())).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("the filter {one:?} has no value"))
            .help("write NAME=VALUE, as in until=24h")
    })
}

fn label(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

pub(crate) fn unknown(name: &str, known: &str) -> Error {
    let message = format!("the filter {name:?} is not supported here");
    Error::new(ErrorKind::Usage, message).help(format!("there are: {known}"))
}

/// A time: so long ago, `24h`, or a date.
fn moment(text: &str) -> Result<Time, Error> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let ago = seconds(text).map(|seconds| now.saturating_sub(seconds));
    let time = ago.or_else(|| text.parse().ok()).map(Time::from_seconds);
    let time = time.or_else(|| Time::parse_rfc3339(text));
    let time = time.or_else(|| Time::parse_rfc3339(&format!("{text}Z")));
    time.or_else(|| Time::parse_rfc3339(&format!("{text}T00:00:00Z"))).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("{text:?} is neither a duration nor a time"))
            .help("write 24h, 10m, 1h30m, a date as 2026-11-21, or seconds since 1970")
    })
}

/// Go's durations, in whole seconds.
fn seconds(text: &str) -> Option<i64> {
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        let units = [("ms", 0.001), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let after = rest.get(end..)?;
        let (unit, scale) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        sum += number * scale;
        rest = after.get(unit.len()..)?;
    }
    (!text.is_empty() && sum < 1e12).then_some(sum as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [("24h", 86_400), ("1h30m", 5400), ("1.5h", 5400), ("90s", 90), ("1500ms", 1)]
        {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "h", "24", "1d", "-1h", "1h x"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn volumes_have_filters_of_their_own() {
        let given = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let all = |one: &str| volumes(&given(&[one])).map(|(all, _)| all).ok();
        assert_eq!([all("all=1"), all("all=false"), all("label=a")], [Some(true), Some(false), Some(false)]);
        assert_eq!([all("all=yes"), all("all"), all("size=1")], [None; 3]);
        assert!(things(&given(&["all=1"])).is_err());
        let dangling = |one: &str| listed_volumes(&given(&[one])).map(|listed| listed.dangling).ok();
        assert_eq!(
            [dangling("dangling=true"), dangling("dangling=0")],
            [Some(Some(true)), Some(Some(false))]
        );
        assert_eq!([dangling(""), dangling("dangling=2"), dangling("label=a")], [Some(None), None, None]);
    }

    #[test]
    fn filters_are_understood_or_named() {
        let given = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let filter = things(&given(&["until=2026-01-01", "label=a=b", "label!=c", ""])).unwrap();
        assert_eq!(filter.until, Some(Time::from_seconds(1_767_225_600)));
        assert_eq!(filter.labels, [("a".to_owned(), Some("b".to_owned()))]);
        assert_eq!(filter.without, [("c".to_owned(), None)]);
        let filter = cache(&given(&["type==exec.cachemount", "id~=ab"])).unwrap();
        assert_eq!((filter.kinds, filter.id.as_deref()), (vec![ObjectKind::Mount], Some("ab")));
        for bad in ["until", "until=soon", "size=1", "label"] {
            assert!(things(&given(&[bad])).is_err(), "{bad}");
        }
        assert!(cache(&given(&["type=frontend"])).is_err() && cache(&given(&["label=x"])).is_err());
    }
}
