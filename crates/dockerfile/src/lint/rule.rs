//! A rule.

/// What is looked for. There is one static for each, so that code says `&docker::UNDEFINED_VAR` and not a string.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// By which it is known everywhere, `# check=skip=` included.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Docker has a rule of this name that finds the same.
    pub docker: bool,
    /// Off unless `# check=experimental=` turns it on.
    pub experimental: bool,
}

impl Rule {
    /// A rule that Docker has too.
    pub(super) const fn docker(name: &'static str, description: &'static str) -> Self {
        Self { name, description, docker: true, experimental: false }
    }

    /// A rule of galley alone.
    pub(super) const fn own(name: &'static str, description: &'static str) -> Self {
        Self { name, description, docker: false, experimental: false }
    }

    /// The same rule, off unless it is turned on.
    pub(super) const fn experimental(self) -> Self {
        Self { experimental: true, ..self }
    }

    /// Its page in the source tree.
    pub fn page(&self) -> String {
        format!("docs/rules/{}.md", self.name)
    }
}
