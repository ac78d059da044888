//! The steps, each with what is known of it, folded.

use galley_engine::{events::StepKind, why::Why};
use galley_oci::{Digest, Kind, Tree};
use galley_store::Store;

use super::{
    Page,
    graph::group,
    text::{Html, cut, escape, escape_lines},
    units::{count, time},
};
use crate::{
    human,
    story::{LogText, StepView, Way},
};

/// Changed files that are named.
const CHANGES_MAX: usize = 8;
/// Characters of a name in a heading.
const NAME_MAX: usize = 300;
/// Bytes of a log that are shown.
const LOG_BYTES_MAX: usize = 128 << 10;

impl Page<'_> {
    pub(super) fn steps(&mut self) {
        self.section("steps", "Steps", "");
        self.out.raw("<div class=\"tools\" hidden><button type=\"button\" data-open=\"all\">Open all</button> <button type=\"button\" data-open=\"none\">Close all</button></div>\n");
        let mut last = None;
        for number in 0..self.model.steps.len() {
            let title = group(&self.model.steps[number]);
            if last.as_ref() != Some(&title) {
                self.out.raw("<h3>").text(&title).raw("</h3>\n");
            }
            last = Some(title);
            self.step(number);
        }
        self.out.raw("</section>\n");
    }

    fn step(&mut self, number: usize) {
        let Some(step) = self.model.steps.get(number) else { return };
        let (class, word) = badge(step);
        let critical = if self.is_waited_for(number) { " critical" } else { "" };
        // What failed is what the page is looked at for.
        let open = if class == "bad" { " open" } else { "" };
        let name = escape(&cut(&step.info.name, NAME_MAX));
        let took = step.ran.map(|span| time(span.took())).unwrap_or_default();
        let size = if step.bytes > 0 { human::size(step.bytes) } else { String::new() };
        self.out.raw(format_args!(
            "<details class=\"step{critical}\"{open}><summary><span class=\"badge {class}\">{word}</span> \
             <code class=\"name\">{name}</code> <span class=\"n\">{size}</span> <span class=\"n\">{took}</span></summary>\n\
             <div class=\"body\" id=\"step-{number}\">\n"
        ));
        let facts = self.facts_of(number, step);
        self.out.raw(facts.0);
        let log = log(&step.log);
        self.out.raw(log).raw("</div></details>\n");
    }

    fn facts_of(&self, number: usize, step: &StepView) -> Html {
        let mut out = Html::default();
        out.raw("<dl>\n");
        out.item("Result", &result(step));
        if let Some(why) = &step.why {
            out.item("Why", &self.why(step, why));
        } else if step.info.kind == StepKind::Fetch && step.ran.is_some() {
            out.item("Why", "what is at the address now is not in the store");
        }
        if let Some(place) = &step.info.place {
            out.item("Place", &escape(place));
        }
        let waited: Vec<String> = step.needs.iter().map(|need| self.link(*need)).collect();
        out.item("Waited for", &waited.join("<br>"));
        if let (true, Some(span)) = (step.ran.is_some(), step.span()) {
            out.item("Began", &format!("{} after the build", time(span.start)));
        }
        out.item("Key", &code(step.key.as_deref()));
        out.item("Layer", &code(step.layer.as_deref()));
        if self.is_waited_for(number) {
            out.item("Path", "on the critical path");
        }
        out.raw("</dl>\n");
        out
    }

    fn link(&self, number: usize) -> String {
        let name = self.model.steps.get(number).map(|step| escape(&cut(&step.info.name, 80)));
        format!("<a href=\"#step-{number}\">{}</a>", name.unwrap_or_default())
    }

    fn why(&self, step: &StepView, why: &Why) -> String {
        match why {
            Why::NoCache => "<code>--no-cache</code>: nothing was looked for".to_owned(),
            Why::First => {
                "no record has these inputs, and no earlier build of this Dockerfile is remembered".to_owned()
            }
            Why::New => "no record has these inputs: the last build had no such step".to_owned(),
            Why::Gone => "nothing changed; the store does not have the result any more".to_owned(),
            Why::Unknown => {
                "no record has these inputs; what they were in the last build is not remembered".to_owned()
            }
            Why::Changed { parts, before, layer } => {
                self.changed(step, parts, before.as_deref(), layer.as_deref())
            }
        }
    }

    fn changed(
        &self,
        step: &StepView,
        parts: &[String],
        before: Option<&str>,
        layer: Option<&str>,
    ) -> String {
        let mut out = Html::default();
        let parts: Vec<String> =
            parts.iter().map(|part| format!("<strong>{}</strong>", escape(part))).collect();
        out.raw("changed since the last build: ").raw(parts.join(", "));
        if let Some(before) = before {
            out.raw("<br>it was <code>").text(&cut(before, NAME_MAX)).raw("</code>");
        }
        let executed = |number: &&usize| {
            self.model.steps.get(**number).is_some_and(|need| matches!(need.way, Way::Executed))
        };
        let causes: Vec<String> = step.needs.iter().filter(executed).map(|need| self.link(*need)).collect();
        if !causes.is_empty() {
            out.raw("<br>executed before it: ").raw(causes.join(", "));
        }
        if let Some(changes) = self.store.and_then(|store| changes(store, step, layer?)) {
            out.raw(changes);
        }
        out.0
    }
}

fn badge(step: &StepView) -> (&'static str, &'static str) {
    match step.way {
        Way::Waiting => ("base", "not reached"),
        Way::Base => ("base", "base"),
        Way::Cached(_) => ("found", "found"),
        Way::Executed => ("run", "executed"),
        Way::Cut => ("bad", "cut off"),
        Way::Failed(_) => ("bad", "failed"),
    }
}

fn result(step: &StepView) -> String {
    match &step.way {
        Way::Waiting => "the build was over before its turn".to_owned(),
        Way::Base => "a base image; its layers come when something needs their files".to_owned(),
        Way::Cached(None) => "found in the store under its key".to_owned(),
        Way::Cached(Some(from)) => format!("found in the cache <code>{}</code>", escape(from)),
        Way::Cut => format!("was being executed for {} when the build ended", time(step.took())),
        Way::Failed(message) => format!("<span class=\"error\">{}</span>", escape_lines(message)),
        Way::Executed if step.files > 0 => {
            let (files, bytes) = (count(step.files, "file"), human::size(step.bytes));
            format!("executed in {}; it made {files} of {bytes}", time(step.took()))
        }
        Way::Executed => format!("executed in {}; it made no files", time(step.took())),
    }
}

fn code(text: Option<&str>) -> String {
    text.map(|text| format!("<code>{}</code>", escape(text))).unwrap_or_default()
}

/// What a step wrote, the beginning and the end of it.
fn log(log: &LogText) -> String {
    let mut text = Vec::new();
    for (skipped, bytes) in &log.pieces {
        if let Some(skipped) = skipped {
            text.extend_from_slice(format!("\n… {} are not kept …\n", human::size(*skipped)).as_bytes());
        }
        text.extend_from_slice(bytes);
    }
    if text.is_empty() {
        return String::new();
    }
    let start = text.len().saturating_sub(LOG_BYTES_MAX);
    let text = String::from_utf8_lossy(&text[start..]).into_owned();
    let text =
        if start > 0 { format!("… {} are left out …\n{text}", human::size(start as u64)) } else { text };
    format!(
        "<pre class=\"log\" tabindex=\"0\" role=\"region\" aria-label=\"Output\">{}</pre>\n",
        escape_lines(text.trim_end())
    )
}

/// Which files are not what they were: the layer that the step made then beside the one that it made now.
fn changes(store: &Store, step: &StepView, before: &str) -> Option<String> {
    if step.info.kind != StepKind::Copy {
        return None;
    }
    let tree = |id: &str| store.layer(&id.parse::<Digest>().ok()?).ok()??.tree().ok();
    let (old, new) = (tree(before)?, tree(step.layer.as_deref()?)?);
    let (changed, total) = differences(&old, &new);
    if total == 0 {
        return Some(
            "<br>it made the same files again: what follows is not executed for its sake".to_owned(),
        );
    }
    let files = changed.iter().map(|(mark, path)| {
        format!(
            "<li><span class=\"mark\">{mark}</span> <code>/{}</code></li>",
            escape(&String::from_utf8_lossy(path))
        )
    });
    let more = total - changed.len();
    let more = if more > 0 { format!("<li>and {}</li>", count(more as u64, "other")) } else { String::new() };
    Some(format!("<ul class=\"changes\">{}{more}</ul>", files.collect::<String>()))
}

/// The first files that differ, and how many do. Folders are not counted.
fn differences<'a>(old: &'a Tree, new: &'a Tree) -> (Vec<(&'static str, &'a [u8])>, usize) {
    let (mut found, mut total) = (Vec::new(), 0);
    let mut add = |mark: &'static str, path: &'a [u8]| {
        total += 1;
        if found.len() < CHANGES_MAX {
            found.push((mark, path));
        }
    };
    let folder = |kind: &Kind| matches!(kind, Kind::Directory { .. });
    let known: std::collections::HashMap<&[u8], _> =
        old.entries().iter().map(|entry| (&*entry.path, entry)).collect();
    for entry in new.entries().iter().filter(|entry| !folder(&entry.kind)) {
        match known.get(&*entry.path) {
            None => add("new", &entry.path),
            Some(before) if before.kind != entry.kind => add("changed", &entry.path),
            Some(_) => {}
        }
    }
    let now: std::collections::HashSet<&[u8]> = new.entries().iter().map(|entry| &*entry.path).collect();
    for entry in old.entries().iter().filter(|entry| !folder(&entry.kind) && !now.contains(&*entry.path)) {
        add("gone", &entry.path);
    }
    (found, total)
}
