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

    /// Docker's page about it. One of the rules has none.
    pub fn url(&self) -> Option<String> {
        let has_page = self.docker && self.name != "InvalidBaseImagePlatform";
        has_page.then(|| format!("https://docs.docker.com/go/dockerfile/rule/{}/", kebab(self.name)))
    }

    /// Its page in the source tree.
    pub fn page(&self) -> String {
        format!("docs/rules/{}.md", self.name)
    }
}

/// `JSONArgsRecommended` is `json-args-recommended`.
fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut kebab = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| letters.get(before));
        let begins =
            |after: &char| after.is_ascii_lowercase() || before.is_some_and(char::is_ascii_lowercase);
        if before.is_some() && letter.is_ascii_uppercase() && letters.get(index + 1).is_none_or(begins) {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}
