//! "Did you mean": the nearest of the known names.

/// Names further away than this many edits are no help.
const MAX_DISTANCE: usize = 2;

/// The known name with the fewest edits, if it is near enough. Letter case counts.
pub fn closest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    // A name cannot be near when it is much longer than every known one; so the work is bounded.
    let longest = known.iter().map(|name| name.len()).max()?;
    if written.len() > longest + MAX_DISTANCE * char::MAX.len_utf8() {
        return None;
    }
    // Nor is it near when nothing of the written word is left.
    let most = MAX_DISTANCE.min(written.chars().count().saturating_sub(1));
    if most == 0 {
        return None;
    }
    // One that is much longer or shorter needs no counting.
    let near = known.iter().filter(|name| name.len().abs_diff(written.len()) <= most * char::MAX.len_utf8());
    let measured = near.map(|name| (distance(written, name), *name));
    measured
        .filter(|&(edits, _)| edits > 0 && edits <= most)
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, name)| name)
}

/// Levenshtein distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, character) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut last = index + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&right) {
            let substituted = diagonal + usize::from(character != *other);
            diagonal = *cell;
            last = substituted.min(last + 1).min(diagonal + 1);
            *cell = last;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{closest, distance};

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "RUN"), 3);
        assert_eq!(distance("CPOY", "COPY"), 2);
        assert_eq!(distance("RUN", "RUN"), 0);
    }

    #[test]
    fn the_nearest_name_wins() {
        assert_eq!(closest("FORM", &["FROM", "RUN"]), Some("FROM"));
        assert_eq!(closest("---", &["RUN", "ADD"]), None);
        assert_eq!(closest("NO", &["ENV", "ADD"]), None);
        assert_eq!(closest(&"x".repeat(1 << 20), &["RUN"]), None);
    }
}
