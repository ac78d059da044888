//! The variables a stage knows: ENV and ARG in one list, as BuildKit keeps them.

use std::collections::HashMap;

/// Names with values, each name once, in the order of their *last* assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// By name: the number of the last assignment, and the value.
    values: HashMap<String, (usize, String)>,
    assignments: usize,
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
        self.assignments += 1;
        self.values.insert(name.to_owned(), (self.assignments, value.to_owned()));
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }

    /// The names that have a value.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// As a process gets it.
    pub(super) fn to_vec(&self) -> Vec<(String, String)> {
        let mut sorted: Vec<_> = self.values.iter().collect();
        sorted.sort_unstable_by_key(|(_, (assignment, _))| *assignment);
        sorted.into_iter().map(|(name, (_, value))| (name.clone(), value.clone())).collect()
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
        let names: Vec<_> = environment.to_vec().into_iter().map(|(name, _)| name).collect();
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
