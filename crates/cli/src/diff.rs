//! Unified diffs of texts that are nearly equal, as `diff -u` writes them and `patch` reads them.

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// How far two texts may be apart before equal lines are no longer looked for. It bounds the time for hostile texts.
const APART_MAX: usize = 1000;

/// What a line of a diff is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The names of the files.
    Name,
    /// `@@ -1,2 +1,3 @@`
    Place,
    /// In both texts.
    Same,
    /// In the old text only.
    Old,
    /// In the new text only.
    New,
    /// `\ No newline at end of file`
    Note,
}

/// A line of a diff, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// A line of one of the texts, with its line end.
type Change<'a> = (Kind, &'a str);

/// The difference; nothing when there is none.
pub(crate) fn unified(name: &str, old: &str, new: &str) -> Vec<Line> {
    let changes = changes(&lines(old), &lines(new));
    let hunks = hunks(&changes);
    if hunks.is_empty() {
        return Vec::new();
    }
    let line = |sign: &str| Line { kind: Kind::Name, text: format!("{sign} {name}") };
    let mut all = vec![line("---"), line("+++")];
    for hunk in hunks {
        let (before, hunk) =
            (changes.get(..hunk.start).unwrap_or_default(), changes.get(hunk).unwrap_or_default());
        all.push(place(before, hunk));
        all.extend(hunk.iter().flat_map(|change| drawn(*change)));
    }
    all
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// All lines of both texts, in order.
fn changes<'a>(mut old: &[&'a str], mut new: &[&'a str]) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    while !(old.is_empty() && new.is_empty()) {
        let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        changes.extend(old.iter().take(same).map(|line| (Kind::Same, *line)));
        (old, new) = (old.get(same..).unwrap_or_default(), new.get(same..).unwrap_or_default());
        let (gone, added) = until_same(old, new);
        changes.extend(old.iter().take(gone).map(|line| (Kind::Old, *line)));
        changes.extend(new.iter().take(added).map(|line| (Kind::New, *line)));
        (old, new) = (old.get(gone..).unwrap_or_default(), new.get(added..).unwrap_or_default());
    }
    changes
}

/// How many lines of each to step over until both go on with the same line, or end: as few as can be.
fn until_same(old: &[&str], new: &[&str]) -> (usize, usize) {
    for apart in 0..=(old.len() + new.len()).min(APART_MAX) {
        let least = apart.saturating_sub(new.len());
        let found = (least..=apart.min(old.len())).find(|gone| old.get(*gone) == new.get(apart - gone));
        if let Some(gone) = found {
            return (gone, apart - gone);
        }
    }
    (old.len().min(APART_MAX), new.len().min(APART_MAX))
}

/// The ranges of changes that are shown together.
fn hunks(changes: &[Change<'_>]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    let different = changes.iter().enumerate().filter(|(_, (kind, _))| *kind != Kind::Same);
    for (at, _) in different {
        let (start, end) = (at.saturating_sub(CONTEXT), (at + 1 + CONTEXT).min(changes.len()));
        match hunks.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

/// `@@ -first,count +first,count @@`
fn place(before: &[Change<'_>], hunk: &[Change<'_>]) -> Line {
    let count =
        |changes: &[Change<'_>], without: Kind| changes.iter().filter(|(kind, _)| *kind != without).count();
    let range = |without: Kind| {
        let (skipped, shown) = (count(before, without), count(hunk, without));
        // A range without lines is named by the line before it.
        let first = if shown == 0 { skipped } else { skipped + 1 };
        if shown == 1 { first.to_string() } else { format!("{first},{shown}") }
    };
    Line { kind: Kind::Place, text: format!("@@ -{} +{} @@", range(Kind::New), range(Kind::Old)) }
}

fn drawn((kind, line): Change<'_>) -> Vec<Line> {
    let sign = match kind {
        Kind::Old => '-',
        Kind::New => '+',
        _ => ' ',
    };
    let mut lines = vec![Line { kind, text: format!("{sign}{}", line.strip_suffix('\n').unwrap_or(line)) }];
    if !line.ends_with('\n') {
        lines.push(Line { kind: Kind::Note, text: r"\ No newline at end of file".to_owned() });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(old: &str, new: &str) -> String {
        unified("f", old, new).into_iter().map(|line| line.text + "\n").collect()
    }

    #[test]
    fn a_change_has_context_and_a_place() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n";
        let expected = "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        assert_eq!(shown(old, new), expected);
        assert_eq!(shown(old, old), "");
    }

    #[test]
    fn changes_that_are_far_apart_stand_apart() {
        let old: String = (0..30).map(|number| format!("{number}\n")).collect();
        let new = old.replace("\n2\n", "\n").replace("\n25\n", "\n25\nx\n");
        let places: Vec<_> =
            unified("f", &old, &new).into_iter().filter(|line| line.kind == Kind::Place).collect();
        let texts: Vec<_> = places.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["@@ -1,6 +1,5 @@", "@@ -24,6 +23,7 @@"]);
    }

    #[test]
    fn texts_without_a_last_line_end() {
        assert_eq!(
            shown("a\nb", "a\nc\n"),
            "--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n"
        );
        assert_eq!(shown("", "a\n"), "--- f\n+++ f\n@@ -0,0 +1 @@\n+a\n");
    }

    #[test]
    fn texts_with_nothing_in_common_end_too() {
        let text = |what: &str| (0..5000).map(|number| format!("{what}{number}\n")).collect::<String>();
        let diff = unified("f", &text("a"), &text("b"));
        assert_eq!(diff.iter().filter(|line| line.kind == Kind::Old).count(), 5000);
        assert_eq!(diff.iter().filter(|line| line.kind == Kind::New).count(), 5000);
    }

    proptest! {
        /// The lines that are kept and the old ones are the old text; with the new ones they are the new text.
        #[test]
        fn both_texts_are_in_it(old in "[ab\n]{0,30}", new in "[ab\n]{0,30}") {
            let (old_lines, new_lines) = (lines(&old), lines(&new));
            let changes = changes(&old_lines, &new_lines);
            let text = |without: Kind| -> String {
                changes.iter().filter(|(kind, _)| *kind != without).map(|(_, line)| *line).collect()
            };
            prop_assert_eq!(text(Kind::New), old.as_str());
            prop_assert_eq!(text(Kind::Old), new.as_str());
        }
    }
}
