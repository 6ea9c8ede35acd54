//! Tables that are aligned for a terminal, and are Markdown.

use std::fmt::Write as _;

/// A table with a name first in each row and figures in the others.
pub(super) fn text(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell));
        cells.chain(titles.get(column).map(|title| length(title))).max().unwrap_or(0).max(3)
    };
    let widths: Vec<_> = (0..titles.len()).map(width).collect();
    let rules = widths.iter().enumerate().map(|(column, width)| match column {
        0 => "-".repeat(*width),
        _ => format!("{}:", "-".repeat(width - 1)),
    });
    let mut text = line(titles.iter().map(|title| (*title).to_owned()), &widths);
    text.push_str(&line(rules, &widths));
    for row in rows {
        text.push_str(&line(row.iter().cloned(), &widths));
    }
    text
}

fn line(cells: impl Iterator<Item = String>, widths: &[usize]) -> String {
    let mut text = String::from("|");
    for (column, (cell, width)) in cells.zip(widths).enumerate() {
        let blanks = " ".repeat(width.saturating_sub(length(&cell)));
        let (before, after) = if column == 0 { ("", &*blanks) } else { (&*blanks, "") };
        let _ = write!(text, " {before}{cell}{after} |");
    }
    text.push('\n');
    text
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

/// A share, in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_on_the_left_and_figures_on_the_right() {
        let rows = [("µs", "1"), ("nothing", "12345")];
        let rows = rows.map(|(name, figure)| vec![name.to_owned(), figure.to_owned()]);
        let expected = "\
| who     |  rate |
| ------- | ----: |
| µs      |     1 |
| nothing | 12345 |
";
        assert_eq!(text(&["who", "rate"], &rows), expected);
    }
}
