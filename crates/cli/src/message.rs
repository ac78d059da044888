//! The one place that draws errors: heading, the Dockerfile's line, causes, and hints last.

use std::{io, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use galley_engine::{Error, ErrorKind, Place};
use galley_store::StoreError;

use crate::{display::text, failure::Failure};

const REPORT: &str = "this is a bug of galley: please report it with the command and the Dockerfile";
const FULL: &str = "free some space (`galley system prune`), or give another directory with --root";
const REPAIR: &str =
    "`galley system check --repair` removes what is damaged, so that it is made or fetched again";
/// Longer chains repeat themselves.
const CAUSES_MAX: usize = 8;

/// Prints why the command ends, unless that was said already.
pub(crate) fn print(failure: &Failure) {
    match failure {
        Failure::Error(error) | Failure::Coded(_, error) => {
            anstream::eprintln!("{}", draw(error, &Renderer::styled()));
        }
        Failure::Arguments(error) => drop(error.print()),
        Failure::Code(_) | Failure::BrokenPipe => {}
    }
}

/// Prints a warning that stands apart from a build.
pub(crate) fn warn(message: &str, help: Option<&str>) {
    let group = Group::with_title(Level::WARNING.primary_title(text::clean(message)));
    let help = help.map_or_else(String::new, |help| format!("\n  help: {}", text::clean(help)));
    anstream::eprintln!("{}{help}", Renderer::styled().render(&[group]));
}

/// Prints as a warning what went wrong and does not keep the command from the rest.
pub(crate) fn warn_of(error: &Error) {
    anstream::eprintln!("{}", draw_as(Level::WARNING, error, &Renderer::styled()));
}

/// Prints a warning on its line, if it has one.
pub(crate) fn warn_at(message: &str, place: Option<&Place>, help: Option<&str>) {
    let Some(place) = place else { return warn(message, help) };
    let title = Level::WARNING.primary_title(text::clean(message));
    let group = Group::with_title(title).element(snippet(place, None));
    anstream::eprintln!("{}", with_help(group, help, &Renderer::styled()));
}

/// A place of the Dockerfile, and what to do there.
pub(crate) fn draw_place(place: &Place, help: Option<&str>, renderer: &Renderer) -> String {
    with_help(Group::with_level(Level::WARNING).element(snippet(place, None)), help, renderer)
}

fn with_help<'a>(group: Group<'a>, help: Option<&str>, renderer: &Renderer) -> String {
    let help = help.map(text::clean_lines);
    renderer.render(&[group.elements(help.map(|help| Level::NOTE.with_name("help").message(help)))])
}

/// The whole text of an error.
pub(crate) fn draw(error: &Error, renderer: &Renderer) -> String {
    draw_as(Level::ERROR, error, renderer)
}

fn draw_as(level: Level<'static>, error: &Error, renderer: &Renderer) -> String {
    let group = Group::with_title(level.primary_title(text::clean_lines(&error.message)));
    let notes = notes(error);
    let Some(place) = &error.place else {
        // Without a source line there is no margin to hang notes on.
        let notes = notes.iter().map(|(name, note)| format!("\n  {name}: {note}"));
        return renderer.render(&[group]) + &notes.collect::<String>();
    };
    let mut group = group.element(snippet(place, error.label.as_deref()));
    for (name, note) in notes {
        group = group.element(Level::NOTE.with_name(name).message(note));
    }
    renderer.render(&[group])
}

/// Causes first, hints last.
fn notes(error: &Error) -> Vec<(&'static str, String)> {
    let mut notes: Vec<_> = causes(error).into_iter().map(|cause| ("because", cause)).collect();
    if error.kind == ErrorKind::Internal {
        notes.push(("note", REPORT.to_owned()));
    }
    notes.extend(error.help.iter().map(|help| ("help", text::clean_lines(help))));
    if disk_is_full(error) {
        notes.push(("help", FULL.to_owned()));
    }
    if store_is_damaged(error) {
        notes.push(("help", REPAIR.to_owned()));
    }
    notes
}

fn disk_is_full(error: &Error) -> bool {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    };
    all_causes(error).any(full)
}

fn store_is_damaged(error: &Error) -> bool {
    all_causes(error).any(|cause| matches!(cause.downcast_ref(), Some(StoreError::Damaged { .. })))
}

fn all_causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}

fn snippet<'a>(place: &'a Place, label: Option<&'a str>) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let mut mark = AnnotationKind::Primary.span(within(&place.text, &place.span));
    if let Some(label) = label {
        mark = mark.label(text::clean(label));
    }
    Snippet::source(&*place.text).path(&*place.file).annotation(mark)
}

/// The first line of a span, inside the text and on character boundaries: the renderer does not forgive others, and
/// an instruction of forty lines is not worth drawing whole.
fn within(source: &str, span: &Range<usize>) -> Range<usize> {
    let floor =
        |at: usize| (0..=at.min(source.len())).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0);
    let start = floor(span.start);
    let end = floor(span.end.max(start)).max(start);
    let marked = source.get(start..end).unwrap_or_default();
    let line = marked.find('\n').map_or(marked, |at| marked.get(..at).unwrap_or_default());
    start..start + line.trim_end().len()
}

/// The chain below the error, without links that only repeat what the one above ends with.
fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut said = error.message.clone();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let message = text::clean_lines(&cause.to_string());
        if !said.contains(&message) && causes.len() < CAUSES_MAX {
            said = message.clone();
            causes.push(message);
        }
        next = cause.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(error: &Error) -> String {
        draw(error, &Renderer::plain())
    }

    fn place(text: &str, span: Range<usize>) -> Place {
        Place { file: "Dockerfile".into(), text: text.into(), span }
    }

    #[test]
    fn an_error_is_drawn_on_its_line() {
        let error = Error::new(ErrorKind::Input, "go.mod is not in the build context")
            .at(&place("FROM scratch\nCOPY go.mod ./\n", 18..24))
            .label("no such file")
            .because(io::Error::new(io::ErrorKind::NotFound, "/ctx/go.mod: not found"))
            .help("did you mean go.sum?");
        let expected = "\
error: go.mod is not in the build context
 --> Dockerfile:2:6
  |
2 | COPY go.mod ./
  |      ^^^^^^ no such file
  |
  = because: /ctx/go.mod: not found
  = help: did you mean go.sum?";
        assert_eq!(drawn(&error), expected);
    }

    #[test]
    fn an_error_without_a_place_is_short() {
        let error = Error::new(ErrorKind::Usage, "--push is not supported yet").help("leave it out");
        assert_eq!(drawn(&error), "error: --push is not supported yet\n  help: leave it out");
    }

    #[test]
    fn a_long_instruction_shows_its_first_line() {
        let text = "FROM a\nRUN a && \\\n  b\n";
        let error = Error::new(ErrorKind::Step, "exit code 1").at(&place(text, 7..text.len()));
        assert!(
            drawn(&error).contains("2 | RUN a && \\\n  | ^^^^^^^^^^\n")
                || drawn(&error).ends_with("2 | RUN a && \\\n  | ^^^^^^^^^^"),
            "{}",
            drawn(&error)
        );
    }

    #[test]
    fn wrong_places_do_not_panic() {
        let backwards = Range { start: 3, end: 1 };
        for span in [0..999, 500..900, backwards, 2..3] {
            drop(drawn(&Error::new(ErrorKind::Input, "x").at(&place("aé\n", span))));
        }
        drop(drawn(&Error::new(ErrorKind::Input, "x").at(&place("", 0..0))));
    }

    #[test]
    fn control_characters_of_others_stay_harmless() {
        let error = Error::new(ErrorKind::NotFound, "no file \x1b[31mred\x07");
        assert_eq!(drawn(&error), "error: no file red");
    }

    #[test]
    fn a_full_disk_gets_advice() {
        let error =
            Error::new(ErrorKind::Store, "cannot write").because(io::Error::from(io::ErrorKind::StorageFull));
        assert!(drawn(&error).ends_with(&format!("\n  help: {FULL}")), "{}", drawn(&error));
    }

    #[test]
    fn a_damaged_store_gets_advice() {
        let (what, path) = ("the content of", "/store/layers/x/etc/passwd".into());
        let damage = StoreError::Damaged { what, path, reason: "it has another digest".to_owned() };
        let error = Error::new(ErrorKind::Store, "cannot write a layer as an archive").because(damage);
        assert!(drawn(&error).ends_with(&format!("\n  help: {REPAIR}")), "{}", drawn(&error));
    }

    #[test]
    fn bugs_ask_for_a_report() {
        let text = drawn(&Error::new(ErrorKind::Internal, "the plan has a hole"));
        assert!(text.contains("please report it"), "{text}");
    }
}
