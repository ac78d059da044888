//! What `--filter` leaves over.

use std::collections::BTreeMap;

use galley_oci::Time;

/// Which things may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those that were made before.
    pub until: Option<Time>,
    /// Only those with all of these labels; without a value, whatever it is.
    pub labels: Vec<(String, Option<String>)>,
    /// And with none of these.
    pub without: Vec<(String, Option<String>)>,
}

impl Filter {
    /// Whether something that was made then, with these labels, is one of them.
    #[must_use]
    pub fn takes(&self, created: Option<Time>, labels: &BTreeMap<String, String>) -> bool {
        let has = |(name, value): &(String, Option<String>)| {
            let found = labels.get(name);
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        let old = self.until.is_none_or(|until| created.is_none_or(|created| created < until));
        old && self.labels.iter().all(has) && !self.without.iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_dockers() {
        let labels = BTreeMap::from([("keep".to_owned(), "yes".to_owned())]);
        let takes = |filter: Filter| filter.takes(Some(Time::from_seconds(5)), &labels);
        let label = |value: Option<&str>| vec![("keep".to_owned(), value.map(str::to_owned))];
        assert!(takes(Filter::default()));
        assert!(takes(Filter { until: Some(Time::from_seconds(6)), ..Filter::default() }));
        assert!(!takes(Filter { until: Some(Time::from_seconds(5)), ..Filter::default() }));
        assert!(takes(Filter { labels: label(None), ..Filter::default() }));
        assert!(!takes(Filter { labels: label(Some("no")), ..Filter::default() }));
        assert!(!takes(Filter { without: label(Some("yes")), ..Filter::default() }));
    }
}
