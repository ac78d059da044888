//! Why a step is executed: what went into its key, beside what went into that of the last build of the same thing.
//!
//! With the record of each executed step the store keeps *parts*: everything that is in its key, each with a name for
//! people and a short digest. When a step is not found, the last build of the same Dockerfile and target tells which key
//! the step had then, and the parts of the two are compared. No value is kept, only digests: neither here nor in what is
//! shown are there values of variables.

use std::{
    collections::{BTreeMap, HashMap},
    sync::OnceLock,
};

use galley_oci::{Blake3, Digest};
use galley_store::Store;
use serde::Serialize;
use serde_json::Value;

use crate::plan::{CopyOp, Plan, RunOp, Step, WorkdirOp};

/// Hex digits kept of each part's digest.
const DIGITS: usize = 16;

/// What a step stands on.
const BELOW: &str = "the files below it";
/// Its words.
const INSTRUCTION: &str = "the instruction";

/// Why nothing was found for a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Why {
    /// `--no-cache`: nothing was looked for.
    NoCache,
    /// No earlier build of this Dockerfile and target is remembered, and no other build made the step.
    First,
    /// The last build had no such step.
    New,
    /// It is what it was, and what the store remembered of it is gone.
    Gone,
    /// Something is not what it was in the last build.
    Changed {
        /// What, in words: `variable VERSION`, `the files below it`.
        parts: Vec<String>,
        /// The instruction then, when that is what changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<String>,
        /// The layer that the step made then.
        #[serde(skip_serializing_if = "Option::is_none")]
        layer: Option<String>,
    },
    /// The last build had it, and nothing tells what went into its key then.
    Unknown,
}

/// What went into a key, by names for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts(BTreeMap<String, String>);

impl Parts {
    fn add(&mut self, name: impl Into<String>, fill: impl FnOnce(&mut Blake3)) {
        let mut hash = Blake3::of("galley.part.v1");
        fill(&mut hash);
        let mut digest = hash.finish().hex();
        digest.truncate(DIGITS);
        self.0.insert(name.into().replace(['\n', '\t'], " "), digest);
    }

    fn digest(&mut self, name: impl Into<String>, digest: &Digest) {
        self.add(name, |hash| {
            hash.digest(digest);
        });
    }

    /// Those of a run step. `inputs` are the digests of what mounts show, in their order.
    pub(crate) fn of_run(below: &Digest, operation: &RunOp, inputs: &[Digest]) -> Self {
        let mut parts = Self::default();
        parts.digest(BELOW, below);
        parts.add(INSTRUCTION, |hash| {
            hash.field(format!("{:?} {:?}", operation.arguments, operation.scripts).as_bytes());
            hash.field(format!("{:?}", operation.mounts).as_bytes());
        });
        for (name, value) in operation.environment.iter() {
            parts.add(format!("variable {name}"), |hash| {
                hash.field(value.as_bytes());
            });
        }
        parts.add("the working directory", |hash| {
            hash.field(&operation.working_directory);
        });
        parts.add("the user", |hash| {
            hash.field(operation.user.as_bytes());
        });
        parts.add("options of the build", |hash| {
            let RunOp { network, hostname, platform, insecure, surroundings, .. } = operation;
            let text = format!("{network:?} {hostname} {platform:?} {insecure} {surroundings:?}");
            hash.field(text.as_bytes());
        });
        let shown = operation.mounts.iter().filter(|mount| crate::steps::mounts::source(mount).is_some());
        for (mount, input) in shown.zip(inputs) {
            parts.digest(format!("the files mounted at {}", lossy(&mount.target)), input);
        }
        parts
    }

    /// Those of a copy: `selections` are the digests of what each source of a context means, `copied` those of other
    /// snapshots.
    pub(crate) fn of_copy(
        below: &Digest,
        operation: &CopyOp,
        selections: &[Digest],
        copied: &[Digest],
    ) -> Self {
        let mut parts = Self::default();
        parts.digest(BELOW, below);
        parts.add(INSTRUCTION, |hash| {
            hash.field(&operation.destination).number(u64::from(operation.unpack));
            let CopyOp { chown, chmod, sources, excludes, inline, .. } = operation;
            hash.field(format!("{chown:?} {chmod:?} {sources:?} {excludes:?} {inline:?}").as_bytes());
        });
        for (source, selection) in operation.sources.iter().zip(selections) {
            let name = lossy(source);
            let name = name.trim_start_matches('/');
            let what = if name.is_empty() {
                "the build context".to_owned()
            } else {
                format!("{name} of the build context")
            };
            parts.digest(what, selection);
        }
        for (number, copied) in copied.iter().enumerate() {
            let nth = if number == 0 { String::new() } else { format!(" ({})", number + 1) };
            parts.digest(format!("the files that are copied{nth}"), copied);
        }
        parts
    }

    /// Those of WORKDIR.
    pub(crate) fn of_workdir(below: &Digest, operation: &WorkdirOp) -> Self {
        let mut parts = Self::default();
        parts.digest(BELOW, below);
        parts.add(INSTRUCTION, |hash| {
            hash.field(&operation.path);
        });
        parts.add("the user", |hash| {
            hash.field(operation.user.as_bytes());
        });
        parts
    }

    /// As a record keeps them.
    pub(crate) fn to_text(&self) -> String {
        self.0.iter().map(|(name, digest)| format!("{name}\t{digest}\n")).collect()
    }

    fn parse(text: &str) -> Self {
        let line =
            |line: &str| line.split_once('\t').map(|(name, digest)| (name.to_owned(), digest.to_owned()));
        Self(text.lines().filter_map(line).collect())
    }

    /// The names of what is not the same in both, what people look for first coming first.
    fn differences(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys().filter(|name| !self.0.contains_key(*name)));
        let mut names: Vec<String> =
            names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect();
        names.sort_by_key(|name| match name.as_str() {
            INSTRUCTION => 0,
            BELOW => 2,
            _ => 1,
        });
        names
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A step of an earlier build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PastStep {
    /// Its name.
    pub name: String,
    /// Its key then.
    pub key: Option<String>,
}

impl PastStep {
    /// Those in the first line of what is remembered of a build.
    #[must_use]
    pub fn all(head: &Value) -> Vec<Self> {
        let text = |step: &Value, name: &str| step.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let steps = head.get("steps").and_then(Value::as_array).into_iter().flatten();
        steps
            .map(|step| Self { name: text(step, "name").unwrap_or_default(), key: text(step, "key") })
            .collect()
    }
}

/// The last build of the same thing, read when a step is first missed.
#[derive(Debug)]
pub(crate) struct Past<'a> {
    store: &'a Store,
    plan: &'a Plan,
    subject: Option<Digest>,
    /// For each step of the plan what was in its place; none when no build is remembered.
    steps: OnceLock<Option<Vec<Option<PastStep>>>>,
}

impl<'a> Past<'a> {
    pub(crate) const fn new(store: &'a Store, plan: &'a Plan, subject: Option<Digest>) -> Self {
        Self { store, plan, subject, steps: OnceLock::new() }
    }

    /// Why `step`, which is made of `parts` and has this key, is not known.
    pub(crate) fn why(&self, step: &Step, key: &Digest, parts: &Parts) -> Why {
        if step.no_cache {
            return Why::NoCache;
        }
        let Some(steps) = self.steps.get_or_init(|| self.read()) else { return Why::First };
        let Some(past) = steps.get(step.id.0).and_then(Option::as_ref) else { return Why::New };
        let Some(past_key) = past.key.as_ref().and_then(|key| key.parse::<Digest>().ok()) else {
            return Why::Unknown;
        };
        if past_key == *key {
            return Why::Gone;
        }
        // What cannot be read tells nothing; that is no reason to fail.
        let Ok(Some(record)) = self.store.record(&past_key) else { return Why::Unknown };
        let Some(made_of) = &record.made_of else { return Why::Unknown };
        let parts = parts.differences(&Parts::parse(made_of));
        if parts.is_empty() {
            return Why::Unknown;
        }
        let (_, before) = split(&past.name);
        let before = Some(before.to_owned()).filter(|before| before != split(&step.name).1);
        Why::Changed { parts, before, layer: Some(record.layer.to_string()) }
    }

    /// Whether the last build had `step`, whatever went into its key.
    pub(crate) fn knows(&self, step: &Step) -> bool {
        let steps = self.steps.get_or_init(|| self.read()).as_ref();
        steps.is_some_and(|steps| steps.get(step.id.0).is_some_and(Option::is_some))
    }

    fn read(&self) -> Option<Vec<Option<PastStep>>> {
        let build = self.store.last_build(self.subject.as_ref()?).ok()??;
        let head = self.store.build_head(&build).ok()??;
        let past = PastStep::all(&serde_json::from_slice(&head).ok()?);
        let now: Vec<&str> = self.plan.steps.iter().map(|step| step.name.as_str()).collect();
        Some(matched(&now, &past))
    }
}

/// `[builder 3/6] RUN make` as `builder` and `RUN make`.
#[must_use]
pub fn split(name: &str) -> (&str, &str) {
    let inside = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let Some((inside, text)) = inside else { return ("", name) };
    let group = inside.rsplit_once(' ').map_or("", |(group, _)| group.trim_end());
    (group, text)
}

/// For each of the steps `now` the one that was in its place: in the same stage the one with the same words, else the one
/// with the same number whose words are gone.
fn matched(now: &[&str], past: &[PastStep]) -> Vec<Option<PastStep>> {
    let mut by_words: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    let mut by_number: HashMap<(&str, usize), usize> = HashMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (index, step) in past.iter().enumerate() {
        let (group, text) = split(&step.name);
        by_words.entry((group, text)).or_default().push(index);
        let count = counts.entry(group).or_default();
        by_number.insert((group, *count), index);
        *count += 1;
    }
    by_words.values_mut().for_each(|indexes| indexes.reverse());
    let mut found: Vec<Option<usize>> =
        now.iter().map(|name| by_words.get_mut(&split(name)).and_then(Vec::pop)).collect();
    let taken: std::collections::HashSet<usize> = found.iter().flatten().copied().collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (name, found) in now.iter().zip(&mut found) {
        let (group, _) = split(name);
        let count = counts.entry(group).or_default();
        *found =
            found.or_else(|| by_number.get(&(group, *count)).copied().filter(|index| !taken.contains(index)));
        *count += 1;
    }
    found.into_iter().map(|index| past.get(index?).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(names: &[&str]) -> Vec<PastStep> {
        names.iter().map(|name| PastStep { name: (*name).to_owned(), key: None }).collect()
    }

    fn names(now: &[&str], before: &[&str]) -> Vec<Option<String>> {
        matched(now, &past(before)).into_iter().map(|step| step.map(|step| step.name)).collect()
    }

    #[test]
    fn names_come_apart() {
        assert_eq!(split("[builder  3/12] RUN make"), ("builder", "RUN make"));
        assert_eq!(split("[2/3] COPY . ."), ("", "COPY . ."));
        assert_eq!(split("[linux/arm64 stage-1 1/2] WORKDIR /"), ("linux/arm64 stage-1", "WORKDIR /"));
        assert_eq!(split("FROM golang"), ("", "FROM golang"));
    }

    #[test]
    fn a_step_is_found_by_its_words_else_by_its_number() {
        let found =
            names(&["[1/3] FROM a", "[2/3] RUN new", "[3/3] RUN b"], &["[1/2] FROM a", "[2/2] RUN b"]);
        assert_eq!(found, [Some("[1/2] FROM a".to_owned()), None, Some("[2/2] RUN b".to_owned())]);
        let found = names(&["[1/2] FROM a", "[2/2] RUN c"], &["[1/2] FROM a", "[2/2] RUN b"]);
        assert_eq!(found[1].as_deref(), Some("[2/2] RUN b"));
        assert_eq!(names(&["[x 1/1] RUN b"], &["[y 1/1] RUN b"]), [None]);
    }

    #[test]
    fn parts_come_back_and_tell_what_differs() {
        let mut one = Parts::default();
        one.digest(BELOW, &Digest::blake3(b"a"));
        one.add("variable A\tB\n", |hash| {
            hash.field(b"1");
        });
        one.add("the user", |_| ());
        assert_eq!(Parts::parse(&one.to_text()), one);
        let mut other = one.clone();
        other.digest(BELOW, &Digest::blake3(b"b"));
        other.add(INSTRUCTION, |_| ());
        other.0.remove("the user");
        assert_eq!(one.differences(&other), [INSTRUCTION, "the user", BELOW]);
        assert_eq!(one.differences(&one), Vec::<String>::new());
    }
}
