//! `galley report`: a build as one page of HTML that needs nothing else. All of it is written here; the script only opens
//! and closes, and moves the focus.
//!
//! Everything foreign (names, logs, paths) goes through [`text::escape`], and the page allows no script and no style but its
//! own two, by their digests, and nothing from the network.

mod graph;
mod layers;
mod overview;
mod steps;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod treemap;
mod units;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use galley_oci::Digest;
use galley_store::Store;

use self::text::{Html, escape};
use crate::story::{CriticalPath, Head, Model, Way};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A page being written.
struct Page<'a> {
    head: &'a Head,
    model: &'a Model,
    /// Sizes of layers and what changed in them come from here.
    store: Option<&'a Store>,
    path: CriticalPath,
    out: Html,
}

/// The page about a build.
pub(crate) fn page(head: &Head, model: &Model, store: Option<&Store>) -> String {
    let path = CriticalPath::new(model);
    let mut page = Page { head, model, store, path, out: Html::default() };
    page.begin();
    page.overview();
    page.timeline();
    page.graph();
    page.steps();
    page.layers();
    page.traffic();
    page.warnings();
    page.end();
    page.out.0
}

fn digest(text: &str) -> String {
    BASE64_STANDARD.encode(Digest::sha256(text.as_bytes()).bytes())
}

impl Page<'_> {
    /// What the page is called: the first name of the result, else where it came from.
    fn title(&self) -> String {
        let name = self.head.names.first().or_else(|| self.model.images.first()?.names.first());
        name.cloned().unwrap_or_else(|| match self.head.context.as_str() {
            "" => "a build".to_owned(),
            context => format!("{} in {context}", self.head.dockerfile),
        })
    }

    fn begin(&mut self) {
        let (style, script, title) = (digest(STYLE), digest(SCRIPT), escape(&self.title()));
        self.out.raw(format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'; \
             script-src 'sha256-{script}'; img-src data:; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <link rel=\"icon\" href=\"data:,\">\n\
             <title>{title} – galley report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <a class=\"skip\" href=\"#steps\">Skip to the steps</a>\n<main>\n",
        ));
    }

    fn end(&mut self) {
        self.out.raw("</main>\n<footer>");
        let program = if self.head.program.is_empty() { "galley" } else { &self.head.program };
        self.out.raw("Written by ").text(program);
        self.out.raw(". <span class=\"keys\"><kbd>Tab</kbd> walks, <kbd>↑</kbd> <kbd>↓</kbd> move within a chart, <kbd>Enter</kbd> opens a step, <kbd>Esc</kbd> closes it.</span></footer>\n");
        self.out.raw(format_args!("<script>{SCRIPT}</script>\n</body>\n</html>\n"));
    }

    /// Whether a step was executed on the critical path.
    fn is_waited_for(&self, step: usize) -> bool {
        self.path.has(step) && self.model.steps.get(step).is_some_and(|step| step.ran.is_some())
    }

    /// What colours mean: class and word of each; failures only where there is one.
    fn legend(&self, colours: &[(&str, &str)]) -> String {
        let failed = self.model.steps.iter().any(|step| matches!(step.way, Way::Failed(_)));
        let bad = failed.then_some(("bad", "failed"));
        let key = |(class, word): (&str, &str)| format!(" <span class=\"key {class}\">{word}</span>");
        let keys: String = colours.iter().copied().chain(bad).map(key).collect();
        format!("<span class=\"legend\">{keys}</span>")
    }

    fn section(&mut self, id: &str, heading: &str, note: &str) {
        self.out.raw(format_args!(
            "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\" tabindex=\"-1\">{heading}</h2>\n"
        ));
        if !note.is_empty() {
            self.out.raw(format_args!("<p class=\"note\">{note}</p>\n"));
        }
    }
}
