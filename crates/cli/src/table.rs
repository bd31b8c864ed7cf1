//! Aligned tables for people: measured in columns, not bytes, and never wider than they need be.
//!
//! On a terminal that is too narrow the last column is wrapped below itself, and if that is not enough the widest columns
//! of text are cut, with dots. What goes into a file or a pipe is never cut.

use std::fmt::Write as _;

use crate::report::printable;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns that the last column keeps at least when it is wrapped, and others when they are cut.
const WRAPPED_MIN: usize = 24;
const CUT_MIN: usize = 12;

/// On which side a column's cells are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lays rows out under a header, two spaces between columns, no trailing spaces; not wider than the terminal, if there is
/// one.
pub fn layout(header: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell).into_owned()).collect()).collect();
    match terminal_columns(libc::STDOUT_FILENO) {
        Some(columns) => wide(header, &fitted(header, &rows, columns)),
        None => wide(header, &rows),
    }
}

/// Columns of the terminal that a descriptor is.
pub fn terminal_columns(descriptor: libc::c_int) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request fills one `winsize`, which lives through the call; on anything but a terminal it fails.
    let got = unsafe { libc::ioctl(descriptor, libc::TIOCGWINSZ, &raw mut size) };
    (got == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Rows that fit: the last column wrapped into rows of its own, others cut.
fn fitted(header: &[(&str, Align)], rows: &[Vec<String>], columns: usize) -> Vec<Vec<String>> {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        cells.chain([header[column].0.width()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..header.len()).map(widest).collect();
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    let Some(last) = header.len().checked_sub(1).filter(|_| total(&widths) > columns) else { return rows.to_vec() };
    let excess = total(&widths) - columns;
    if header[last].1 == Align::Left {
        widths[last] = widths[last].saturating_sub(excess).max(WRAPPED_MIN.min(widths[last]));
    }
    while total(&widths) > columns {
        let texts = (0..last).filter(|column| header[*column].1 == Align::Left && widths[*column] > CUT_MIN);
        let Some(column) = texts.max_by_key(|column| widths[*column]) else { break };
        widths[column] -= 1;
    }
    let mut fitted = Vec::with_capacity(rows.len());
    for row in rows {
        let mut cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| cut(cell, *width)).collect();
        let pieces = row.get(last).map_or_else(Vec::new, |cell| wrapped(cell, widths[last]));
        if let (Some(cell), Some(first)) = (cells.get_mut(last), pieces.first()) {
            cell.clone_from(first);
        }
        fitted.push(cells);
        for piece in pieces.into_iter().skip(1) {
            fitted.push((0..last).map(|_| String::new()).chain([piece]).collect());
        }
    }
    fitted
}

/// A cell's beginning, with dots where something is missing.
fn cut(cell: &str, width: usize) -> String {
    if cell.width() <= width {
        return cell.to_owned();
    }
    let mut out = String::new();
    for c in cell.chars() {
        if out.width() + c.width().unwrap_or(0) > width.saturating_sub(2) {
            break;
        }
        out.push(c);
    }
    out + ".."
}

/// A cell in lines that are not wider, broken between words where there are any.
pub fn wrapped(cell: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in cell.split(' ') {
        let line = lines.last().map_or(0, |line| line.width());
        if line > 0 && line + 1 + word.width() > width {
            lines.push(String::new());
        } else if line > 0
            && let Some(line) = lines.last_mut()
        {
            line.push(' ');
        }
        for c in word.chars() {
            if lines.last().is_some_and(|line| line.width() + c.width().unwrap_or(0) > width) {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
        }
    }
    lines
}

fn wide(header: &[(&str, Align)], rows: &[Vec<String>]) -> String {
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
    fn a_narrow_terminal_wraps_the_last_column_and_cuts_names() {
        let header = [("from", Align::Left), ("ms", Align::Right), ("path", Align::Left)];
        let name = "a-node-with-quite-a-long-name";
        let rows = vec![vec![name.into(), "12.5".into(), format!("{name} > hub > another-node-far-away")]];
        let text = wide(&header, &fitted(&header, &rows, 60));
        assert!(text.lines().all(|line| line.width() <= 60), "{text}");
        assert_eq!(text.split_whitespace().filter(|word| *word == "hub").count(), 1);
        let text = wide(&header, &fitted(&header, &rows, 45));
        assert!(text.lines().all(|line| line.width() <= 45) && text.contains("a-node-with"), "{text}");
        assert_eq!(fitted(&header, &rows, 200), rows);
        assert_eq!(wrapped("ab cd efghij", 5), ["ab cd", "efghi", "j"]);
    }

    #[test]
    fn columns_align_and_lines_end_without_spaces() {
        let rows = vec![vec!["a".into(), "1.5".into(), "x".into()], vec!["long".into(), "12".into(), String::new()]];
        let text = layout(&[("name", Align::Left), ("ms", Align::Right), ("why", Align::Left)], &rows);
        assert_eq!(text, "name   ms  why\na     1.5  x\nlong   12\n");
    }
}
