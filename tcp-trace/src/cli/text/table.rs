//! A table whose columns are sized to their content, and what it gives up on a narrow terminal.

use super::{
    page::Page,
    style::{Paint, Style},
};

/// A column: as wide as its widest cell, unless that is an outlier there is no room for.
pub(super) struct Column {
    pub(super) title: &'static str,
    align: Align,
    /// 0 is always there; the higher the number, the sooner it goes where the width does not do.
    pub(super) rank: u8,
    pub(super) cells: Vec<(Paint, String)>,
    width: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Align {
    /// To the left.
    Left,
    /// To the right.
    Right,
    /// To the left; where there is no room, no wider than this: a longer one stands out.
    Address(usize),
    /// An address that may be cut down to its port.
    Local(usize),
}

/// What to give up for width, one attempt after the other.
struct Attempt {
    /// Columns above this rank go.
    rank: u8,
    /// Spaces between columns.
    gap: usize,
    /// The widest the process gets, its name cut short.
    process: usize,
    addresses: Addresses,
}

/// What becomes of long addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Addresses {
    /// Columns have room for them.
    Whole,
    /// They stand out of their columns, and their lines grow.
    StandOut,
    /// As before, and this host's end is its port alone: its address is the better known one.
    RemoteOnly,
}

impl Attempt {
    const fn new(rank: u8, gap: usize, process: usize, addresses: Addresses) -> Self {
        Self { rank, gap, process, addresses }
    }

    /// Columns of a line from which nothing stands out.
    fn width(&self, columns: &[Column]) -> usize {
        let kept = columns.iter().filter(|column| column.rank <= self.rank);
        kept.map(|column| column.width_in(self) + self.gap).sum::<usize>().saturating_sub(self.gap)
    }
}

/// The title of the one column whose cells can be shortened.
pub(super) const PROCESS: &str = "PROCESS";
/// The longest IPv4 address with a port.
pub(super) const ADDRESS: usize = 21;
/// A port with its colon.
const PORT: usize = 6;
/// The last is taken even where it does not do.
const ATTEMPTS: [Attempt; 9] = [
    Attempt::new(3, 2, usize::MAX, Addresses::Whole),
    Attempt::new(2, 2, usize::MAX, Addresses::Whole),
    Attempt::new(2, 1, 16, Addresses::Whole),
    Attempt::new(1, 1, 16, Addresses::Whole),
    Attempt::new(1, 1, 16, Addresses::StandOut),
    Attempt::new(0, 1, 9, Addresses::Whole),
    Attempt::new(0, 1, 9, Addresses::StandOut),
    Attempt::new(0, 1, 16, Addresses::RemoteOnly),
    Attempt::new(0, 1, 9, Addresses::RemoteOnly),
];

impl Column {
    /// As wide as its title and cells.
    pub(super) fn new(
        title: &'static str,
        align: Align,
        rank: u8,
        cells: Vec<(Paint, String)>,
        style: &Style,
    ) -> Self {
        let widths = cells.iter().map(|(_, text)| style.columns(text));
        let width = widths.chain([style.columns(title)]).max().unwrap_or(0);
        Self { title, align, rank, cells, width }
    }

    /// Columns it takes in this attempt.
    fn width_in(&self, attempt: &Attempt) -> usize {
        match (self.align, attempt.addresses) {
            (Align::Local(_), Addresses::RemoteOnly) => self.width.min(PORT),
            (Align::Local(room) | Align::Address(room), Addresses::StandOut)
            | (Align::Address(room), Addresses::RemoteOnly) => self.width.min(room),
            _ if self.title == PROCESS => self.width.min(attempt.process),
            _ => self.width,
        }
    }

    /// Gives up what the attempt asks for.
    fn narrow(&mut self, attempt: &Attempt) {
        self.width = self.width_in(attempt);
        if matches!(self.align, Align::Local(_)) && attempt.addresses == Addresses::RemoteOnly {
            for (_, text) in &mut self.cells {
                text.drain(..text.rfind(':').unwrap_or(0));
            }
        }
    }
}

/// One line, its cells taken from the columns by `cell`.
pub(super) fn row<'c>(
    page: &mut Page<'_>,
    columns: &'c [Column],
    gap: usize,
    cell: impl Fn(&'c Column) -> (Paint, &'c str),
) {
    let mut start = 0;
    for column in columns {
        let (paint, text) = cell(column);
        match column.align {
            Align::Left | Align::Address(_) | Align::Local(_) => page.at(start).put(paint, text),
            Align::Right => page.right(start + column.width, paint, text),
        };
        start += column.width + gap;
    }
    page.newline();
}

/// Drops columns and shortens names until the table is as wide as the terminal, or nothing more
/// can be given up; returns the gap between columns. `shortened` makes the process's column anew.
pub(super) fn fit(
    columns: &mut Vec<Column>,
    style: &Style,
    shortened: impl Fn(usize) -> Column,
) -> usize {
    let [.., last] = &ATTEMPTS;
    let attempt = ATTEMPTS.iter().find(|attempt| attempt.width(columns) <= style.width);
    let attempt = attempt.unwrap_or(last);
    let left = style.width.saturating_sub(attempt.width(columns));
    columns.retain(|column| column.rank <= attempt.rank);
    for column in columns.iter_mut() {
        let width = column.width_in(attempt);
        if column.title == PROCESS && width < column.width {
            *column = shortened(width.saturating_add(left));
        } else {
            column.narrow(attempt);
        }
    }
    attempt.gap
}
