//! A survey for people: a summary with the largest first, or a list of everything.

use std::{collections::BTreeMap, fmt::Write as _};

use galley_engine::survey::{Item, ItemKind, Survey};

use crate::human;

/// How deep the summary goes into folders.
const DEPTH_MAX: usize = 3;
/// How many entries of one folder the summary shows.
const SHOWN_MAX: usize = 10;
/// What is smaller than this part of the whole is not shown below the top.
const SMALL_PART: u64 = 20;

/// A folder or file with all that is in it.
#[derive(Default)]
struct Node {
    files: u64,
    bytes: u64,
    folder: bool,
    below: BTreeMap<Vec<u8>, Node>,
}

impl Node {
    fn of<'a>(items: impl Iterator<Item = &'a Item>) -> Self {
        let mut root = Self::default();
        for item in items.filter(|item| item.files > 0) {
            let mut node = &mut root;
            node.add(item);
            for name in item.path.split(|&byte| byte == b'/') {
                node.folder = true;
                node = node.below.entry(name.to_vec()).or_default();
                node.add(item);
            }
            node.folder |= item.kind == ItemKind::Folder;
        }
        root
    }

    fn add(&mut self, item: &Item) {
        self.files += item.files;
        self.bytes = self.bytes.saturating_add(item.bytes);
    }

    /// Lines for what is in it, the largest first.
    fn show(&self, whole: u64, depth: usize, out: &mut String) {
        let mut below: Vec<_> = self.below.iter().collect();
        below.sort_by(|(a_name, a), (b_name, b)| {
            (b.bytes, b.files).cmp(&(a.bytes, a.files)).then_with(|| a_name.cmp(b_name))
        });
        let worth = |node: &Node| depth == 0 || node.bytes.saturating_mul(SMALL_PART) >= whole.max(1);
        let shown = below.iter().take(SHOWN_MAX).take_while(|(_, node)| worth(node)).count();
        let (shown, rest) = below.split_at(shown);
        for (name, node) in shown {
            let slash = if node.folder { "/" } else { "" };
            let files = if node.folder { files(node.files) } else { String::new() };
            let name = format!("{:indent$}{}{slash}", "", printable(name), indent = depth * 2);
            line(out, node.bytes, &files, &name);
            if node.folder && depth + 1 < DEPTH_MAX {
                node.show(whole, depth + 1, out);
            }
        }
        if depth == 0 && !rest.is_empty() {
            let sum = |of: fn(&Node) -> u64| rest.iter().map(|(_, node)| of(node)).sum::<u64>();
            line(
                out,
                sum(|node| node.bytes),
                &files(sum(|node| node.files)),
                &format!("in {} others", rest.len()),
            );
        }
    }
}

fn line(out: &mut String, bytes: u64, files: &str, name: &str) {
    // ok: writing to a String cannot fail
    let _ = writeln!(out, "  {:>8}  {files:>12}  {name}", human::size(bytes));
}

fn files(count: u64) -> String {
    format!("{count} {}", if count == 1 { "file" } else { "files" })
}

/// A name from the disk, without what a terminal would obey.
fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// What there is to know at a glance.
pub(super) fn summary(survey: &Survey, context: &str) -> String {
    let mut out = String::new();
    let sum = |of: &dyn Fn(&Item) -> bool| {
        let (count, bytes) = survey.sum(of);
        format!("{}, {}", files(count), human::size(bytes))
    };
    let part = |of: &dyn Fn(&Item) -> bool| {
        let mut lines = String::new();
        let root = Node::of(survey.items.iter().filter(|item| of(item)));
        root.show(root.bytes, 0, &mut lines);
        lines
    };
    out += &format!("the context {context} has {}\n{}", sum(&|item| item.kept), part(&|item| item.kept));
    if let Some(name) = &survey.ignore {
        out +=
            &format!("\n{} drops {}\n{}", printable(name.as_bytes()), sum(&|item| !item.kept), rules(survey));
    }
    if let Some(instructions) = survey.instructions.as_ref().filter(|all| !all.is_empty()) {
        out += "\ninstructions take\n";
        for one in instructions {
            let name = format!("{} {}", one.place, one.text);
            line(&mut out, one.bytes, &files(one.files), &printable(name.as_bytes()));
        }
    }
    if survey.items.iter().any(|item| survey.is_unused(item) && item.files > 0) {
        let unused = |item: &Item| survey.is_unused(item);
        out += &format!("\nno instruction uses {}\n{}", sum(&unused), part(&unused));
    }
    out += &secrets(survey);
    for note in &survey.notes {
        out += &format!("\nnote: {}\n", printable(note.as_bytes()));
    }
    out
}

/// What each rule drops, the most first, and those that do nothing.
fn rules(survey: &Survey) -> String {
    let mut out = String::new();
    let mut rules: Vec<_> = survey.rules.iter().filter(|rule| !rule.text.starts_with(b"!")).collect();
    rules.sort_by(|a, b| (b.bytes, b.files).cmp(&(a.bytes, a.files)).then(a.line.cmp(&b.line)));
    for rule in rules.iter().filter(|rule| rule.files > 0) {
        let name = format!("line {}: {}", rule.line, printable(&rule.text));
        line(&mut out, rule.bytes, &files(rule.files), &name);
    }
    let idle = survey.rules.iter().filter(|rule| rule.files == 0);
    let idle: Vec<_> = idle.map(|rule| format!("line {}: {}", rule.line, printable(&rule.text))).collect();
    if !idle.is_empty() {
        out += &format!("  decide nothing: {}\n", idle.join(", "));
    }
    out
}

fn secrets(survey: &Survey) -> String {
    let mut out = String::new();
    for item in &survey.items {
        let Some(reason) = item.secret else { continue };
        let used = places(survey, item);
        let used = if used.is_empty() { String::new() } else { format!("; taken by {}", used.join(", ")) };
        out += &format!("  {}: {reason}{used}\n", printable(&item.path));
    }
    if out.is_empty() {
        return out;
    }
    let file = survey.ignore.as_deref().unwrap_or(".dockerignore");
    format!(
        "\nthese may be secrets\n{out}  a step gets a secret with RUN --mount=type=secret; name these in {}\n",
        printable(file.as_bytes())
    )
}

fn places<'a>(survey: &'a Survey, item: &Item) -> Vec<&'a str> {
    let instructions = survey.instructions.as_deref().unwrap_or_default();
    item.used.iter().filter_map(|used| instructions.get(*used)).map(|used| used.place.as_str()).collect()
}

/// A line for each file: `+` is kept, `-` is dropped; then why, and what for.
pub(super) fn list(survey: &Survey) -> String {
    let mut out = String::new();
    for item in &survey.items {
        let sign = if item.kept { '+' } else { '-' };
        let mut path = printable(&item.path);
        if item.kind == ItemKind::Folder {
            path += &format!("/ ({})", files(item.files));
        }
        if let ItemKind::Link(target) = &item.kind {
            path += &format!(" -> {}", printable(target));
        }
        let mut why = Vec::new();
        if let Some((place, rule)) = survey.reason(item) {
            why.push(format!("{place} {}", printable(rule)));
        }
        let used = places(survey, item);
        if !used.is_empty() {
            why.push(format!("used by {}", used.join(", ")));
        }
        if item.own {
            why.push("read by the build".to_owned());
        }
        if survey.is_unused(item) {
            why.push("unused".to_owned());
        }
        why.extend(item.secret.map(|reason| format!("may be a secret: {reason}")));
        let why = if why.is_empty() { String::new() } else { format!("  ({})", why.join("; ")) };
        // ok: writing to a String cannot fail
        let _ = writeln!(out, "{sign} {:>8}  {path}{why}", human::size(item.bytes));
    }
    for note in &survey.notes {
        // ok: writing to a String cannot fail
        let _ = writeln!(out, "note: {}", printable(note.as_bytes()));
    }
    out
}
