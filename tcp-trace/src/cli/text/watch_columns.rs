//! Columns of `watch`.
//!
//! Lines come one at a time, so the columns follow from the width alone. A cell that is longer than
//! its column first takes room from the process's name, then pushes its neighbour on.

use super::{
    page::Page,
    style::{Paint, Style},
    words,
};
use crate::api::Connection;

/// Columns of `HH:MM:SS.mmm`.
const TIME: usize = 12;
/// The longest name a process can have, and a number.
const PROCESS_MAX: usize = 23;
/// Fewer than this and names become guesswork.
const PROCESS_MIN: usize = 9;

/// Where each column starts, and how its cells are written.
pub(super) struct Layout {
    /// Where the process starts, and every line that goes on from the one above.
    pub(super) process: usize,
    /// Where this host's end starts.
    pub(super) local: usize,
    /// Where the other end starts, after the arrow.
    pub(super) remote: usize,
    /// Where the states start.
    pub(super) state: usize,
    /// Where the right-aligned time in the old state ends.
    pub(super) in_state: usize,
    /// On a narrow terminal this host's end is its port alone: its address is the better known one.
    port_only: bool,
    /// Around the arrow between two states.
    pub(super) space: &'static str,
}

impl Layout {
    /// The columns that this width allows.
    pub(super) fn of(style: &Style) -> Self {
        // Columns of: gap, local end, remote end, two states, time in state.
        let (gap, local, remote, states, in_state) = match style.width {
            ..100 if style.unicode => (1, 6, 16, 22, 8),
            ..100 => (1, 6, 14, 23, 8),
            100..120 => (1, 15, 18, 23, 10),
            _ => (2, 21, 21, 25, 11),
        };
        let (port_only, space) = (style.width < 100, if style.width < 120 { "" } else { " " });
        let arrow = style.columns("→") + 2;
        let fixed = TIME + 4 * gap + local + arrow + remote + states + in_state;
        let process = style.width.saturating_sub(fixed).clamp(PROCESS_MIN, PROCESS_MAX);
        let local_at = TIME + gap + process + gap;
        let remote_at = local_at + local + arrow;
        let state_at = remote_at + remote + gap;
        Self {
            process: TIME + gap,
            local: local_at,
            remote: remote_at,
            state: state_at,
            in_state: state_at + states + gap + in_state,
            port_only,
            space,
        }
    }

    fn local_text(&self, connection: &Connection) -> String {
        if self.port_only {
            format!(":{}", connection.local.port)
        } else {
            words::endpoint(&connection.local)
        }
    }

    /// The time in the old state as its column can take it.
    pub(super) fn in_state_text(&self, seconds: Option<f64>) -> String {
        let text = seconds.map_or_else(|| words::UNKNOWN.to_owned(), words::span);
        // `12 min 34 s` still fits where its spaces do not.
        if self.port_only && text.chars().count() > 8 { text.replace(' ', "") } else { text }
    }

    /// Time, process and both ends.
    pub(super) fn ends(
        &self,
        page: &mut Page<'_>,
        at: &str,
        connection: &Connection,
        style: &Style,
    ) {
        let (local, remote) = (self.local_text(connection), words::endpoint(&connection.remote));
        let arrow_at = self.remote - 1 - style.columns("→");
        // A remote end that is too long starts earlier, in what the local one leaves free or more.
        let early = (style.columns(&remote) + 1).saturating_sub(self.state - self.remote);
        let excess = (style.columns(&local) + 1 + early).saturating_sub(arrow_at - self.local);
        let process = self.process_text(connection, excess, style);
        let free = (self.local - 1 - self.process).saturating_sub(style.columns(&process));
        page.put(Paint::Dim, &words::clock(at, style));
        page.at(self.process).put(Paint::Plain, &process);
        page.at(self.local - excess.min(free)).put(Paint::Plain, &local);
        page.at(arrow_at.saturating_sub(early)).put(Paint::Dim, words::arrow(connection));
        page.at(self.remote.saturating_sub(early)).put(Paint::Plain, &remote);
    }

    /// The process, shortened where that makes room for addresses `excess` columns too long: as
    /// far as it takes to keep the columns, or else to keep the line within the width.
    fn process_text(&self, connection: &Connection, excess: usize, style: &Style) -> String {
        let room = self.local - 1 - self.process;
        let owner = connection.owner.as_ref();
        let whole = words::process(owner, room, style);
        let columns = style.columns(&whole);
        let wanted = excess.saturating_sub(room.saturating_sub(columns));
        let spare = columns.saturating_sub(PROCESS_MIN);
        let cut = if wanted <= spare {
            wanted
        } else {
            (self.in_state + wanted).saturating_sub(style.width).min(spare)
        };
        if cut == 0 { whole } else { words::process(owner, columns - cut, style) }
    }
}
