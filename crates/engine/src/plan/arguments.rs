//! The ARGs of a stage.

use std::collections::HashMap;

use super::environment::Environment;

/// ARGs in the order of their first declaration, with their last value.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    declared: Vec<(String, Option<String>)>,
    /// By name: the index in `declared`.
    index: HashMap<String, usize>,
    /// What the history says of the first [`Self::told`] of them.
    text: String,
    told: usize,
}

impl Arguments {
    /// Remembers an ARG.
    pub(super) fn declare(&mut self, name: &str, value: Option<&str>) {
        self.variable_changed(name);
        let value = value.map(ToOwned::to_owned);
        match self.index.get(name).and_then(|index| self.declared.get_mut(*index)) {
            Some((_, known)) => *known = value,
            None => {
                self.index.insert(name.to_owned(), self.declared.len());
                self.declared.push((name.to_owned(), value));
            }
        }
    }

    /// Whether there was such an ARG.
    pub(super) fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// To be called when a variable changes, which the history's text may show.
    pub(super) fn variable_changed(&mut self, name: &str) {
        if self.has(name) {
            self.variables_changed();
        }
    }

    /// The same for any number of them.
    pub(super) fn variables_changed(&mut self) {
        self.text.clear();
        self.told = 0;
    }

    /// Writes `|2 A=1 B=2 `, as the history of RUN shows the ARGs that are in force; nothing when there are none.
    pub(super) fn tell(&mut self, environment: &Environment, history: &mut String) {
        if self.declared.is_empty() {
            return;
        }
        for (name, value) in self.declared.iter().skip(self.told) {
            let value = environment.get(name).or(value.as_deref()).unwrap_or_default();
            self.text.extend([name, "=", value, " "]);
        }
        self.told = self.declared.len();
        history.extend(["|", &self.told.to_string(), " ", &self.text]);
    }
}
