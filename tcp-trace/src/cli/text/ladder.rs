//! The ladder of `show`: this host's end on the left, the peer on the right, segments between them.

use std::time::Duration;

use self::rungs::{Rung, has, rungs};
use super::{
    page::Page,
    show,
    style::{Paint, Style},
    words,
};
use crate::{
    api::{Connection, Step, Wire},
    core::sentence::{bytes_text, span_text},
};

mod peer;
mod rungs;

/// Columns of a state's name, and the space after it.
const STATE: usize = 13;
/// Columns between the bars: where the terminal is narrow, and where it is wide.
const NARROW: usize = 24;
const WIDE: usize = 56;
/// Around a label: a space and a dash on either side, and the head of the arrow.
const SHAFT: usize = 5;

/// Where things stand.
struct Grid {
    offset_end: usize,
    state: usize,
    left: usize,
    right: usize,
    /// The peer's state, where there is room for it.
    peer: Option<usize>,
}

impl Grid {
    fn new(offset_end: usize, style: &Style) -> Self {
        let state = offset_end + 2;
        let left = state + STATE;
        // Both bars, and the peer's state after two spaces.
        let room = style.width.saturating_sub(left + 2 + STATE);
        let (between, peer) = if room < NARROW {
            let all = style.width.saturating_sub(left + 2);
            (all.max(NARROW), false)
        } else {
            (room.min(WIDE), true)
        };
        let right = left + 1 + between;
        Self { offset_end, state, left, right, peer: peer.then_some(right + 3) }
    }

    fn between(&self) -> usize {
        self.right - self.left - 1
    }

    fn end(&self) -> usize {
        self.peer.map_or(self.right + 1, |peer| peer + STATE - 2)
    }
}

/// Draws the story of a connection whose segments were seen.
pub(super) fn draw(page: &mut Page<'_>, connection: &Connection, steps: &[Step], style: &Style) {
    let rungs = rungs(connection, steps);
    let offsets = show::offsets(rungs.iter().map(|rung| rung.step.offset_us));
    let grid = Grid::new(show::offset_end(&offsets, style), style);
    page.wrap(Paint::Dim, &format!("{}{}", numbers(steps), show::key(&offsets, "; ")), 0).newline();
    heading(page, connection, &grid, style);
    let mut before: Option<u64> = None;
    let (data, rest) = rest(connection, &rungs, data_before(&rungs));
    for ((rung, offset), data) in rungs.iter().zip(&offsets).zip(data) {
        let at = rung.step.offset_us;
        let pause = at.saturating_sub(before.unwrap_or(at));
        if let Some(text) = between(rung.step, data, pause) {
            show::aside(page, Paint::Dim, &text, grid.state);
        }
        draw_rung(page, rung, offset, &grid, style);
        before = Some(at);
    }
    if let Some(text) = amounts(rest) {
        show::aside(page, Paint::Dim, &text, grid.state);
    }
    show::waiting(page, connection, grid.state);
}

/// From where sequence numbers are counted.
fn numbers(steps: &[Step]) -> String {
    let wires = || steps.iter().filter_map(|step| step.wire.as_ref());
    let initial = |dir: &str| {
        let own = wires()
            .filter(|wire| wire.dir == dir)
            .find_map(|wire| Some(wire.seq.wrapping_sub(wire.seq_relative?)));
        own.or_else(|| {
            let others = wires().filter(|wire| wire.dir != dir);
            others.into_iter().find_map(|wire| Some(wire.ack?.wrapping_sub(wire.ack_relative?)))
        })
    };
    match (initial("out"), initial("in")) {
        (Some(local), Some(remote)) => {
            format!("sequence numbers count from {local} (local) and {remote} (remote)")
        }
        (Some(local), None) => {
            format!("sequence numbers count from {local} (local); the remote's are as sent")
        }
        (None, Some(remote)) => {
            format!("sequence numbers count from {remote} (remote); the local ones are as sent")
        }
        (None, None) => "sequence numbers are as sent: no SYN was seen".to_owned(),
    }
}

fn heading(page: &mut Page<'_>, connection: &Connection, grid: &Grid, style: &Style) {
    let (own, other) = match connection.direction.as_str() {
        "inbound" => (" (server)", " (client)"),
        "outbound" => (" (client)", " (server)"),
        _ => ("", ""),
    };
    // Addresses stand above; here they would not fit.
    let local = format!("local {}{own}", connection.local.port);
    let remote = format!("remote {}{other}", connection.remote.port);
    page.right(grid.offset_end, Paint::Bold, "offset").at(grid.state).put(Paint::Bold, &local);
    let middle = grid.end().saturating_sub(style.columns(&remote)).min(grid.right);
    page.at(middle).put(Paint::Bold, &remote).newline();
}

/// The data that passed before each rung, in and out. It is counted where a segment tells of it; what
/// our own FIN tells of had passed when the process closed.
fn data_before(rungs: &[Rung<'_>]) -> Vec<[u64; 2]> {
    let mut data = vec![[0; 2]; rungs.len()];
    for (place, rung) in rungs.iter().enumerate() {
        let Some(wire) = &rung.step.wire else { continue };
        let ours = wire.dir == "out" && wire.flags.split(',').any(|flag| flag == "FIN");
        let closes = |rung: &&Rung<'_>| ours && rung.step.wire.is_none() && is_our_close(rung.step);
        let calls = rungs[..place].iter().rev().take_while(closes).count();
        data[place - calls] = [wire.data_in, wire.data_out];
    }
    data
}

/// Adds the data that no segment told of, though the socket did: before a RST, which need not say
/// where its sender stands, or, of one that is open, after the last rung; that is returned apart.
fn rest(
    connection: &Connection,
    rungs: &[Rung<'_>],
    mut data: Vec<[u64; 2]>,
) -> (Vec<[u64; 2]>, [u64; 2]) {
    let wires = || rungs.iter().filter_map(|rung| rung.step.wire.as_ref());
    // What passed before the first rung of one that was there before is not known.
    let whole = wires().next().is_some_and(|wire| has(&wire.flags, "SYN"));
    let moved = [connection.bytes_received, connection.bytes_sent].map(Option::unwrap_or_default);
    if !whole || connection.mini {
        return (data, [0; 2]);
    }
    let mut left = [0; 2];
    for (place, dir) in ["in", "out"].into_iter().enumerate() {
        let own = wires().filter(|wire| wire.dir == dir && !wire.retransmit);
        let shown: u64 = own.map(|wire| u64::from(wire.len)).sum();
        let between: u64 = data.iter().map(|known| known[place]).sum();
        left[place] = moved[place].saturating_sub(shown + between);
    }
    let is_rst = |rung: &Rung<'_>| rung.step.wire.as_ref().is_some_and(|w| has(&w.flags, "RST"));
    match rungs.iter().position(is_rst) {
        Some(reset) => {
            // Before the words that stand with it.
            let words = |rung: &Rung<'_>| {
                rung.step.wire.is_none() && rung.step.to.as_deref() == Some("close")
            };
            let above = reset.checked_sub(1).filter(|above| rungs.get(*above).is_some_and(words));
            let reset = above.unwrap_or(reset);
            for (known, more) in data[reset].iter_mut().zip(left) {
                *known += more;
            }
            (data, [0; 2])
        }
        None if connection.closed_at.is_none() => (data, left),
        None => (data, [0; 2]),
    }
}

/// Whether it is what sends our FIN.
fn is_our_close(step: &Step) -> bool {
    step.call.as_deref() == Some("close")
        || matches!(step.to.as_deref(), Some("fin_wait1" | "last_ack"))
}

/// What went on since the line before: data, and time.
fn between(step: &Step, data: [u64; 2], pause_us: u64) -> Option<String> {
    let wire = step.wire.as_ref();
    let mut parts: Vec<_> = amounts(data).into_iter().collect();
    // What is sent again says itself how much later.
    let says = wire.is_some_and(|wire| wire.again_after_us.is_some());
    if pause_us > show::PAUSE_US && !says {
        parts.push(span_text(Duration::from_micros(pause_us)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Bytes in and out; `None` where there are none.
fn amounts(data: [u64; 2]) -> Option<String> {
    let ways = data.into_iter().zip(["in", "out"]).filter(|(bytes, _)| *bytes > 0);
    let texts: Vec<_> = ways.map(|(bytes, way)| format!("{} {way}", bytes_text(bytes))).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn draw_rung(page: &mut Page<'_>, rung: &Rung<'_>, offset: &str, grid: &Grid, style: &Style) {
    let step = rung.step;
    page.right(grid.offset_end, Paint::Dim, offset).at(grid.state);
    if step.kind == "mark" {
        show::aside(page, Paint::Yellow, &step.text, grid.state);
        return;
    }
    if let Some(state) = rung.local {
        page.put(words::state_paint(state), &words::state(state));
    }
    page.at(grid.left).put(Paint::Dim, "│");
    if let Some(wire) = &step.wire {
        arrow(page, wire, rung.remote, grid, style);
    } else {
        let column = grid.left + 2;
        let lines = page.lines(&step.text, style.width.saturating_sub(column));
        for (place, line) in lines.iter().enumerate() {
            if place > 0 {
                page.newline().at(grid.left).put(Paint::Dim, "│");
            }
            page.at(column).put(Paint::Plain, line);
        }
    }
    page.newline();
}

/// An arrow with as much of its label as fits; the rest stands under it.
fn arrow(page: &mut Page<'_>, wire: &Wire, remote: Option<&str>, grid: &Grid, style: &Style) {
    let room = grid.between().saturating_sub(2 + SHAFT);
    let paint = label_paint(wire);
    let mut label = style.cut(&wire.flags, room);
    let mut rest = Vec::new();
    for (place, part) in [Some(figures(wire)), again(wire)].into_iter().flatten().enumerate() {
        let separator = if place == 0 { "  " } else { ", " };
        let longer = format!("{label}{separator}{part}");
        if rest.is_empty() && style.columns(&longer) <= room {
            label = longer;
        } else {
            rest.push(part);
        }
    }
    let dashes = room.saturating_sub(style.columns(&label)) + 2;
    let [before, after] = [dashes / 2, dashes - dashes / 2].map(|count| "─".repeat(count));
    page.at(grid.left + 2);
    if wire.dir == "in" {
        page.put(Paint::Dim, &format!("◀{before}")).put(Paint::Plain, " ").put(paint, &label);
        page.put(Paint::Dim, &format!(" {after}"));
    } else {
        page.put(Paint::Dim, &format!("{before} ")).put(paint, &label);
        page.put(Paint::Dim, &format!(" {after}▶"));
    }
    page.at(grid.right).put(Paint::Dim, "│");
    if let (Some(column), Some(state)) = (grid.peer, remote) {
        page.at(column).put(words::state_paint(state), &words::state(state));
    }
    for part in rest {
        let column = grid.left + 1 + grid.between().saturating_sub(style.columns(&part)) / 2;
        page.newline().at(grid.left).put(Paint::Dim, "│");
        page.at(column).put(paint, &part).at(grid.right).put(Paint::Dim, "│");
    }
}

fn label_paint(wire: &Wire) -> Paint {
    if wire.retransmit {
        Paint::Yellow
    } else if has(&wire.flags, "RST") {
        Paint::Red
    } else {
        Paint::Bold
    }
}

/// Sequence numbers, counted where that is possible, and the length of what has one.
fn figures(wire: &Wire) -> String {
    let mut text = format!("seq={}", wire.seq_relative.unwrap_or(wire.seq));
    if let Some(ack) = wire.ack_relative.or(wire.ack) {
        text = format!("{text} ack={ack}");
    }
    if wire.len > 0 {
        text = format!("{text} len={}", wire.len);
    }
    text
}

fn again(wire: &Wire) -> Option<String> {
    let after = span_text(Duration::from_micros(wire.again_after_us?));
    Some(format!("again after {after}"))
}

#[cfg(test)]
mod tests;
