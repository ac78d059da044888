//! The head of the page, and the tables at its end: contexts, transfers, outputs, warnings.

use std::collections::BTreeMap;

use galley_engine::events::{Direction, TransferState};
use galley_oci::Time;

use super::{
    Page,
    text::{Html, escape},
    units::{count, percent, time},
};
use crate::{human, story::Way};

impl Page<'_> {
    pub(super) fn overview(&mut self) {
        let failed = self.failed();
        let (class, word) = if failed.is_some() { ("bad", "failed") } else { ("good", "built") };
        let title = self.title();
        self.out.raw("<header>\n<p class=\"eyebrow\">galley report</p>\n<h1>").text(&title);
        self.out.raw(format_args!("</h1>\n<p class=\"facts\"><span class=\"badge {class}\">{word}</span>"));
        for fact in self.facts() {
            self.out.raw(format_args!(" <span>{fact}</span>"));
        }
        self.out.raw("</p>\n<dl class=\"tiles\">\n");
        for (term, value, note) in self.tiles() {
            self.out.raw(format_args!("<div><dt>{term}</dt><dd>{value}<small>{note}</small></dd></div>\n"));
        }
        self.out.raw("</dl>\n");
        if let Some(message) = failed {
            self.out.raw("<p class=\"error\">").text(&message).raw("</p>\n");
        }
        self.out.raw("</header>\n");
    }

    fn failed(&self) -> Option<String> {
        let step = self.model.steps.iter().find_map(|step| match &step.way {
            Way::Failed(message) => Some(format!("{}: {message}", step.info.name)),
            _ => None,
        });
        step.or_else(|| self.head.error.clone())
    }

    fn facts(&self) -> Vec<String> {
        let mut facts = Vec::new();
        if self.head.began.0 > 0 {
            let began = Time { seconds: self.head.began.0, nanoseconds: self.head.began.1 };
            let text = human::timestamp(began).replace(" +0000 UTC", " UTC");
            facts.push(format!("<time>{text}</time>"));
        }
        if !self.head.context.is_empty() {
            facts.push(format!("<code>{}</code>", escape(&self.head.dockerfile)));
            facts.push(format!("context <code>{}</code>", escape(&self.head.context)));
        }
        if let Some(target) = &self.head.target {
            facts.push(format!("target <code>{}</code>", escape(target)));
        }
        facts.extend(self.model.images.iter().map(|image| {
            let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
            format!("{} <code>{}</code>", escape(&image.platform), escape(&id))
        }));
        facts
    }

    fn tiles(&self) -> Vec<(&'static str, String, String)> {
        let model = self.model;
        let executed =
            model.steps.iter().filter(|step| matches!(step.way, Way::Executed | Way::Failed(_) | Way::Cut));
        let (executed, found) =
            (executed.count(), model.steps.iter().filter(|step| matches!(step.way, Way::Cached(_))).count());
        let made: u64 = model.steps.iter().map(|step| step.bytes).fold(0, u64::saturating_add);
        let passed = |direction| -> u64 {
            let moved = model.transfers.iter().filter(|one| one.direction == direction);
            let moved = moved.filter(|one| one.state != TransferState::Present);
            moved.map(|one| one.bytes).fold(0, u64::saturating_add)
        };
        let share = format!("{} % of it", percent(self.path.took, model.took));
        let mut tiles = vec![
            ("Time", time(model.took), String::new()),
            ("Critical path", time(self.path.took), share),
            ("Executed", executed.to_string(), format!("of {}", count(model.steps.len() as u64, "step"))),
            ("Found", found.to_string(), "in the cache".to_owned()),
            ("Files made", human::size(made), String::new()),
        ];
        for (direction, name) in [(Direction::Pull, "Fetched"), (Direction::Push, "Pushed")] {
            if model.transfers.iter().any(|one| one.direction == direction) {
                tiles.push((name, human::size(passed(direction)), String::new()));
            }
        }
        tiles
    }

    /// What came and went beside the steps.
    pub(super) fn traffic(&mut self) {
        let model = self.model;
        if model.contexts.is_empty() && model.transfers.is_empty() && model.others.is_empty() {
            return;
        }
        self.section("traffic", "Beside the steps", "");
        self.out.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"traffic\"><table>\n<thead><tr><th scope=\"col\">What</th><th scope=\"col\" class=\"n\">Bytes</th><th scope=\"col\" class=\"n\">Time</th></tr></thead>\n<tbody>\n");
        for context in &model.contexts {
            let name = format!("read the build context {}: {}", context.name, count(context.files, "file"));
            self.out.row(&name, Some(context.bytes), &time(context.span.took()));
        }
        for ((name, direction), (blobs, bytes, taken)) in self.groups() {
            let what = if direction { "fetched from" } else { "pushed to" };
            let name = format!("{what} {name}: {}", count(blobs, "blob"));
            self.out.row(&name, Some(bytes), &time(taken));
        }
        for other in &model.others {
            self.out.row(&other.name, None, &time(other.span.took()));
        }
        self.out.raw("</tbody>\n</table></div>\n</section>\n");
    }

    /// Transfers by what they belong to: blobs, bytes, and the time from the first to the last.
    fn groups(&self) -> BTreeMap<(String, bool), (u64, u64, std::time::Duration)> {
        let mut spans = BTreeMap::new();
        for one in &self.model.transfers {
            let key = (one.name.clone(), one.direction == Direction::Pull);
            let group = spans.entry(key).or_insert((0, 0_u64, one.span));
            (group.0, group.1) = (group.0 + 1, group.1.saturating_add(one.bytes));
            (group.2.start, group.2.end) = (group.2.start.min(one.span.start), group.2.end.max(one.span.end));
        }
        spans.into_iter().map(|(key, (blobs, bytes, span))| (key, (blobs, bytes, span.took()))).collect()
    }

    pub(super) fn warnings(&mut self) {
        if self.model.warnings.is_empty() {
            return;
        }
        self.section("warnings", "Warnings", "");
        self.out.raw("<ul class=\"warnings\">\n");
        for warning in &self.model.warnings {
            self.out.raw("<li>");
            if let Some(rule) = &warning.rule {
                self.out.raw("<strong>").text(rule).raw("</strong> ");
            }
            self.out.text(&warning.message);
            for more in warning.place.iter().chain(&warning.help) {
                self.out.raw(" <span class=\"muted\">").text(more).raw("</span>");
            }
            self.out.raw("</li>\n");
        }
        self.out.raw("</ul>\n</section>\n");
    }
}

impl Html {
    fn row(&mut self, name: &str, bytes: Option<u64>, taken: &str) {
        let bytes = bytes.map(human::size).unwrap_or_default();
        self.raw("<tr><td>").text(name);
        self.raw(format_args!("</td><td class=\"n\">{bytes}</td><td class=\"n\">{taken}</td></tr>\n"));
    }
}
