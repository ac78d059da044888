//! The ARGs of a stage.

use std::{cell::OnceCell, collections::HashMap};

use super::environment::Environment;

/// ARGs in the order of their first declaration, with their last value.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    declared: Vec<(String, Option<String>)>,
    /// By name: the index in `declared`.
    index: HashMap<String, usize>,
    /// What the history says, until an ARG or a variable changes.
    text: OnceCell<String>,
}

impl Arguments {
    /// Remembers an ARG.
    pub(super) fn declare(&mut self, name: &str, value: Option<&str>) {
        self.text.take();
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

    /// To be called when a variable changes, which the history's text shows.
    pub(super) fn variable_changed(&mut self) {
        self.text.take();
    }

    /// `|2 A=1 B=2 `, as the history of RUN shows the ARGs that are in force; empty when there are none.
    pub(super) fn for_history(&self, environment: &Environment) -> &str {
        self.text.get_or_init(|| {
            if self.declared.is_empty() {
                return String::new();
            }
            let mut text = format!("|{} ", self.declared.len());
            for (name, value) in &self.declared {
                let value = environment.get(name).or(value.as_deref()).unwrap_or_default();
                text.extend([name, "=", value, " "]);
            }
            text
        })
    }
}
