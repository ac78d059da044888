//! The time line: a row for each thing that took time, in the order in which they began.

use std::time::Duration;

use super::{
    Page,
    text::{cut, escape},
    units::time,
};
use crate::story::{Span, StepView, Way};

/// So many rows at most: the longest ones.
const ROWS_MAX: usize = 60;
/// Width of a row in its own units.
const WIDTH: f64 = 1000.0;
/// The narrowest bar.
const BAR_MIN: f64 = 2.0;
/// Characters of a name.
const NAME_MAX: usize = 160;

/// A row.
struct Row<'a> {
    name: &'a str,
    /// The step that it leads to.
    step: Option<usize>,
    class: &'static str,
    span: Span,
    looked: Option<Span>,
    critical: bool,
}

impl Page<'_> {
    pub(super) fn timeline(&mut self) {
        let (rows, left_out) = self.rows();
        if rows.is_empty() {
            return;
        }
        let markup: String = rows.iter().map(|row| self.row(row)).collect();
        let keys = self.legend(&[("look", "looking"), ("run", "executing"), ("other", "all else")]);
        let note = format!(
            "What took time, in the order in which it began. <b class=\"crit\">The critical path</b> is what the build waited for: only what is faster there makes the build faster.{keys}"
        );
        self.section("timeline", "Time line", &note);
        let quarters = (1..=4).map(|quarter| time(self.model.took * quarter / 4));
        let axis: String = quarters.map(|text| format!("<span>{text}</span>")).collect();
        let axis = format!("<span>0</span>{axis}");
        self.out.raw(format_args!("<div class=\"axis\" aria-hidden=\"true\"><div>{axis}</div></div>\n"));
        self.out.raw("<ol class=\"gantt\" data-keys>\n").raw(markup).raw("</ol>\n");
        if left_out > 0 {
            self.out.raw(format_args!("<p class=\"note\">{left_out} shorter ones are left out here.</p>\n"));
        }
        self.out.raw("</section>\n");
    }

    /// The longest ones, and how many others there are.
    fn rows(&self) -> (Vec<Row<'_>>, usize) {
        let others = self.model.others.iter().map(|other| (other.name.as_str(), other.span));
        let contexts = self.model.contexts.iter().map(|context| ("read the build context", context.span));
        let mut rows: Vec<Row<'_>> =
            others.chain(contexts).map(|(name, span)| Row::other(name, span)).collect();
        let steps = self.model.steps.iter().enumerate();
        rows.extend(steps.filter_map(|(number, step)| Row::step(number, step, self.path.has(number))));
        rows.sort_by_key(|row| std::cmp::Reverse((row.critical, row.span.took())));
        let left_out = rows.len().saturating_sub(ROWS_MAX);
        rows.truncate(ROWS_MAX);
        rows.sort_by_key(|row| (row.span.start, row.span.end));
        (rows, left_out)
    }

    fn row(&self, row: &Row<'_>) -> String {
        let (name, took) = (escape(&cut(row.name, NAME_MAX)), time(row.span.took()));
        let bar = |class: &str, span: Span| {
            let (x, width) = self.place(span);
            format!("<rect class=\"{class}\" x=\"{x:.1}\" y=\"2\" width=\"{width:.1}\" height=\"12\"/>")
        };
        let looked = row.looked.filter(|span| self.is_visible(*span)).map(|span| bar("look", span));
        let bars = looked.unwrap_or_default() + &bar(row.class, row.span);
        let critical = if row.critical { " class=\"critical\"" } else { "" };
        let said = if row.critical { ", on the critical path" } else { "" };
        let cells = format!(
            "<span class=\"name\">{name}</span><svg viewBox=\"0 0 1000 16\" preserveAspectRatio=\"none\" \
             aria-hidden=\"true\">{bars}</svg><span class=\"took\">{took}<span class=\"sr\">{said}</span></span>"
        );
        match row.step {
            Some(step) => format!("<li{critical}><a href=\"#step-{step}\">{cells}</a></li>\n"),
            None => format!("<li{critical}><span class=\"line\">{cells}</span></li>\n"),
        }
    }

    /// Where a span begins and how wide it is.
    fn place(&self, span: Span) -> (f64, f64) {
        let whole = self.model.took.max(Duration::from_micros(1)).as_secs_f64();
        let x = (span.start.as_secs_f64() / whole * WIDTH).clamp(0.0, WIDTH - BAR_MIN);
        let width = (span.took().as_secs_f64() / whole * WIDTH).clamp(BAR_MIN, WIDTH - x);
        (x, width)
    }

    fn is_visible(&self, span: Span) -> bool {
        span.took().as_secs_f64() * WIDTH >= self.model.took.as_secs_f64()
    }
}

impl<'a> Row<'a> {
    const fn other(name: &'a str, span: Span) -> Self {
        Self { name, step: None, class: "other", span, looked: None, critical: false }
    }

    /// Steps that were executed; others have a row in the list of steps alone.
    fn step(number: usize, step: &'a StepView, critical: bool) -> Option<Self> {
        let class = match step.way {
            Way::Failed(_) => "bad",
            Way::Executed | Way::Cut => "run",
            Way::Waiting | Way::Base | Way::Cached(_) => return None,
        };
        let (span, name) = (step.ran?, step.info.name.as_str());
        Some(Self { name, step: Some(number), class, span, looked: step.looked, critical })
    }
}
