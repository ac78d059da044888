//! The graph of stages: each a box, in the column after all that it needs.

use std::collections::{BTreeMap, BTreeSet};

use galley_engine::{events::StepKind, why::split};

use super::{
    Page,
    text::{cut, escape},
    units::{count, time},
};
use crate::story::{StepView, Way};

/// With more stages than this, a picture shows nothing.
const NODES_MAX: usize = 150;
/// More dots than this do not fit into a box.
const DOTS_MAX: usize = 22;
/// A box, and the gaps between boxes.
const WIDTH: i64 = 196;
const HEIGHT: i64 = 76;
const ACROSS: i64 = 64;
const DOWN: i64 = 20;
/// A graph up to this width is made smaller to fit.
const FIT_MAX: i64 = 1700;
/// Room around all.
const MARGIN: i64 = 6;
/// Characters of a title.
const TITLE_MAX: usize = 24;

/// The steps of one stage.
#[derive(Default)]
struct Node {
    title: String,
    /// Numbers of steps.
    steps: Vec<usize>,
    needs: BTreeSet<usize>,
    /// Those of `needs` that no other of them needs.
    direct: BTreeSet<usize>,
    column: usize,
    line: usize,
}

impl Page<'_> {
    pub(super) fn graph(&mut self) {
        let nodes = layout(&self.model.steps);
        if nodes.len() < 2 || nodes.len() > NODES_MAX {
            return;
        }
        let keys = self.legend(&[("run", "executed"), ("found", "found"), ("base", "base")]);
        let note = format!(
            "An arrow leads from what is needed to what needs it; what is needed through others has none. A dot is a step.{keys}"
        );
        self.section("stages", "Stages", &note);
        let extent = |last: usize, size: i64, gap: i64| (last as i64 + 1) * (size + gap) - gap + 2 * MARGIN;
        let last = |part: fn(&Node) -> usize| nodes.iter().map(part).max().unwrap_or_default();
        let width = extent(last(|node| node.column), WIDTH, ACROSS);
        let height = extent(last(|node| node.line), HEIGHT, DOWN);
        let fit = if width <= FIT_MAX { "graph fit" } else { "graph" };
        self.out.raw(format_args!("<div class=\"scroll\"><svg class=\"{fit}\" data-keys role=\"group\" aria-labelledby=\"stages\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n"));
        for node in &nodes {
            for from in node.direct.iter().filter_map(|need| nodes.get(*need)) {
                let markup = self.edge(from, node);
                self.out.raw(markup);
            }
        }
        for (number, node) in nodes.iter().enumerate() {
            let markup = self.node(number, node);
            self.out.raw(markup);
        }
        self.out.raw("</svg></div>\n</section>\n");
    }

    fn edge(&self, from: &Node, to: &Node) -> String {
        let (x1, y1) = (x(from) + WIDTH, y(from) + HEIGHT / 2);
        let (x2, y2) = (x(to), y(to) + HEIGHT / 2);
        // Over other columns it goes straight, on the line that is kept free for it.
        let turn = x2 - ACROSS;
        let bend = ACROSS / 2;
        let critical = if self.is_critical(from) && self.is_critical(to) { " critical" } else { "" };
        format!(
            "<path class=\"edge{critical}\" d=\"M{x1} {y1}H{turn}C{} {y1} {} {y2} {x2} {y2}\"/>\
             <path class=\"tip{critical}\" d=\"M{x2} {y2}l-7 -4v8z\"/>\n",
            turn + bend,
            x2 - bend,
        )
    }

    fn node(&self, number: usize, node: &Node) -> String {
        let steps = || node.steps.iter().filter_map(|step| self.model.steps.get(*step));
        let took = steps().map(StepView::took).sum();
        let (first, critical) = (node.steps.first().copied().unwrap_or_default(), self.is_critical(node));
        let class = if critical { "node critical" } else { "node" };
        let said = if critical { ", on the critical path" } else { "" };
        let sub = format!("{} · {}", count(node.steps.len() as u64, "step"), time(took));
        let dots: String = steps().take(DOTS_MAX).enumerate().map(|(at, step)| dot(at, step)).collect();
        let title = escape(&cut(&node.title, TITLE_MAX));
        let whole = escape(&node.title);
        format!(
            "<a class=\"{class}\" href=\"#step-{first}\" data-node=\"{number}\" aria-label=\"{whole}, {sub}{said}\" \
             transform=\"translate({} {})\"><title>{whole}</title><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\
             <text class=\"title\" x=\"12\" y=\"24\">{title}</text><text class=\"sub\" x=\"12\" y=\"43\">{sub}</text>\
             {dots}</a>\n",
            x(node),
            y(node),
        )
    }

    fn is_critical(&self, node: &Node) -> bool {
        node.steps.iter().any(|step| self.is_waited_for(*step))
    }
}

fn dot(at: usize, step: &StepView) -> String {
    let class = match step.way {
        Way::Executed | Way::Cut => "run",
        Way::Failed(_) => "bad",
        Way::Cached(_) => "found",
        Way::Base | Way::Waiting => "base",
    };
    format!("<circle class=\"{class}\" cx=\"{}\" cy=\"60\" r=\"3\"/>", 15 + at * 8)
}

fn x(node: &Node) -> i64 {
    MARGIN + node.column as i64 * (WIDTH + ACROSS)
}

fn y(node: &Node) -> i64 {
    MARGIN + node.line as i64 * (HEIGHT + DOWN)
}

/// By what steps belong together: their stage, for each platform; what stages only name is its own.
pub(super) fn group(step: &StepView) -> String {
    let (group, text) = split(&step.info.name);
    match (group, step.info.stage.as_str()) {
        ("", "") => text.to_owned(),
        ("", stage) if stage.bytes().all(|byte| byte.is_ascii_digit()) => format!("stage {stage}"),
        ("", stage) => stage.to_owned(),
        (group, _) => group.to_owned(),
    }
}

/// The boxes with their places: columns by the longest way to them, lines in the order of the Dockerfile.
fn layout(steps: &[StepView]) -> Vec<Node> {
    let (mut nodes, mut names) = (Vec::<Node>::new(), BTreeMap::<String, usize>::new());
    let mut node_of = Vec::with_capacity(steps.len());
    for (number, step) in steps.iter().enumerate() {
        let title = group(step);
        let node = *names.entry(title.clone()).or_insert_with(|| {
            nodes.push(Node { title, ..Node::default() });
            nodes.len() - 1
        });
        node_of.push(node);
        // A base of several stages is in the box of the first one, and waits for nothing there.
        let real = |need: &&usize| !steps.get(**need).is_some_and(begins_a_stage);
        let needs = step.needs.iter().filter(real).filter_map(|need| node_of.get(*need)).copied();
        let needs: Vec<usize> = needs.filter(|need| *need != node).collect();
        if let Some(node) = nodes.get_mut(node) {
            node.steps.push(number);
            node.needs.extend(needs);
        }
    }
    place(&mut nodes);
    nodes
}

fn begins_a_stage(step: &StepView) -> bool {
    step.info.kind == StepKind::Base && group(step) != split(&step.info.name).1
}

fn place(nodes: &mut [Node]) {
    // Names of stages may be anything, in a file that was not written by galley too: rounds are bounded.
    for _ in 0..nodes.len().min(NODES_MAX) {
        let mut moved = false;
        for number in 0..nodes.len() {
            let after =
                nodes[number].needs.iter().map(|need| nodes[*need].column + 1).max().unwrap_or_default();
            let after = after.min(nodes.len());
            moved |= after > nodes[number].column;
            nodes[number].column = nodes[number].column.max(after);
        }
        if !moved {
            break;
        }
    }
    for number in 0..nodes.len() {
        nodes[number].direct = direct(nodes, number);
    }
    lines(nodes);
}

/// What a node needs and does not need through another one.
fn direct(nodes: &[Node], number: usize) -> BTreeSet<usize> {
    let needs = &nodes[number].needs;
    let (mut through, mut waiting) = (BTreeSet::new(), Vec::new());
    waiting.extend(needs.iter().flat_map(|need| &nodes[*need].needs).copied());
    while let Some(need) = waiting.pop() {
        if through.insert(need) {
            waiting.extend(&nodes[need].needs);
        }
    }
    needs.difference(&through).copied().collect()
}

/// Beside what it needs, where there is room: an arrow over several columns takes a line in each of them.
fn lines(nodes: &mut [Node]) {
    let mut taken: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|number| (nodes[*number].column, *number));
    for number in order {
        let column = nodes[number].column;
        let beside = nodes[number].direct.iter().map(|need| nodes[*need].line).min().unwrap_or_default();
        let line = (beside..).find(|line| !taken.contains(&(column, *line))).unwrap_or_default();
        let reach = nodes.iter().filter(|other| other.direct.contains(&number)).map(|other| other.column);
        let end = reach.max().unwrap_or_default().max(column + 1);
        taken.extend((column..end).map(|column| (column, line)));
        nodes[number].line = line;
    }
}
