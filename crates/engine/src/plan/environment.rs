//! The variables a stage knows: ENV and ARG in one list, as BuildKit keeps them.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Names and values, as processes get them. Steps share the texts, and the list while nothing is assigned.
pub type Variables = Arc<[(Arc<str>, Arc<str>)]>;

/// Names with values, each name once, in the order of their *last* assignment.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// By name: the number of the last assignment.
    last: HashMap<Arc<str>, usize>,
    /// By that number: name and value.
    values: BTreeMap<usize, (Arc<str>, Arc<str>)>,
    assignments: usize,
    /// The values as a list, until the next assignment.
    list: OnceCell<Variables>,
}

impl Environment {
    /// From `NAME=value` entries of an image's config.
    pub(super) fn assign_all(&mut self, entries: &[String]) {
        for entry in entries {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.set(name, value);
        }
    }

    /// Assigns, which moves the name to the end.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.list.take();
        self.assignments += 1;
        let name: Arc<str> = name.into();
        if let Some(earlier) = self.last.insert(Arc::clone(&name), self.assignments) {
            self.values.remove(&earlier);
        }
        self.values.insert(self.assignments, (name, value.into()));
    }

    /// As if it had never been assigned.
    pub(super) fn remove(&mut self, name: &str) {
        self.list.take();
        if let Some(last) = self.last.remove(name) {
            self.values.remove(&last);
        }
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.values.get(self.last.get(name)?)?;
        Some(value)
    }

    /// The names that have a value.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.values().map(|(name, _)| &**name)
    }

    /// As a process gets it.
    pub(super) fn list(&self) -> Variables {
        Arc::clone(self.list.get_or_init(|| self.values.values().cloned().collect()))
    }
}

/// Assigns in a config's `Env`, which keeps the place of the first assignment.
pub(super) fn assign_in_config(entries: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let key = |entry: &String| entry.split('=').next() == Some(name);
    match entries.iter_mut().find(|known| key(known)) {
        Some(known) => *known = entry,
        None => entries.push(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_assignment_decides_the_place() {
        let mut environment = Environment::default();
        environment.assign_all(&["A=1".to_owned(), "B=x=y".to_owned(), "C".to_owned()]);
        environment.set("A", "2");
        let names: Vec<_> = environment.list().iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(
            (names.concat(), environment.get("B"), environment.get("C")),
            ("BCA".to_owned(), Some("x=y"), Some(""))
        );
    }

    #[test]
    fn a_config_keeps_the_first_place() {
        let mut entries = vec!["A=1".to_owned(), "AB=2".to_owned()];
        assign_in_config(&mut entries, "A", "3");
        assign_in_config(&mut entries, "B", "4");
        assert_eq!(entries, ["A=3", "AB=2", "B=4"]);
    }
}
