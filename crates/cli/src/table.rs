//! Columns as docker's tables have them: at least ten wide, three spaces apart, the last one ragged.

use unicode_width::UnicodeWidthStr;

const WIDTH_MIN: usize = 10;
const GAP: usize = 3;

/// Aligns rows of cells that are separated by tabs.
pub(crate) fn align(rows: &[String]) -> String {
    aligned(rows, WIDTH_MIN)
}

/// The same with columns that are so wide at least.
pub(crate) fn aligned(rows: &[String], width_min: usize) -> String {
    let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            if widths.len() <= column {
                widths.push(width_min);
            }
            if let Some(width) = widths.get_mut(column) {
                *width = (*width).max(cell.width() + GAP);
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let width = widths.get(column).copied().unwrap_or_default();
                out.push_str(&" ".repeat(width.saturating_sub(cell.width())));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_like_dockers() {
        let rows = ["REPOSITORY\tTAG\tSIZE".to_owned(), "gcr.io/distroless\tlatest\t2MB".to_owned()];
        assert_eq!(align(&rows), "REPOSITORY          TAG       SIZE\ngcr.io/distroless   latest    2MB\n");
        assert_eq!(align(&[]), "");
    }
}
