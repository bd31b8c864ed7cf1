//! Aligned tables for people: measured in columns, not bytes, and never wider than they need be.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

/// On which side a column's cells are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lays rows out under a header, two spaces between columns, no trailing spaces.
pub fn layout(header: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        cells.chain([header[column].0.width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(widest).collect();
    let mut out = String::new();
    let titles: Vec<String> = header.iter().map(|(title, _)| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.width()));
            let gap = if column == 0 { "" } else { "  " };
            let _ = match header[column].1 {
                Align::Left => write!(line, "{gap}{cell}{pad}"),
                Align::Right => write!(line, "{gap}{pad}{cell}"),
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_without_spaces() {
        let rows = vec![vec!["a".into(), "1.5".into(), "x".into()], vec!["long".into(), "12".into(), String::new()]];
        let text = layout(&[("name", Align::Left), ("ms", Align::Right), ("why", Align::Left)], &rows);
        assert_eq!(text, "name   ms  why\na     1.5  x\nlong   12\n");
    }
}
