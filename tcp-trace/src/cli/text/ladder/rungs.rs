//! The rungs of a ladder: which step stands on which line, with which state of either side.

use super::peer::Peer;
use crate::api::{Connection, Step, Wire};

/// A socket's change of state follows the segment that causes it at once, unless a process holds the
/// socket: then it follows when the process lets go.
const CAUSED_US: u64 = 200_000;
/// A segment goes out this soon after the change that sends it, unless data is to go before.
const SENT_US: u64 = 1_000;
/// Records of one moment may stand the wrong way round by as much.
const BLUR_US: u64 = 100;

/// A line.
#[derive(Debug)]
pub(super) struct Rung<'s> {
    /// What it shows.
    pub(super) step: &'s Step,
    /// State of this host's end after it, where it changes.
    pub(super) local: Option<&'s str>,
    /// State of the peer that it proves, where that changes.
    pub(super) remote: Option<&'static str>,
}

/// The lines of a story. A change of state stands on the line of the segment that made it, or that
/// it made; where a call is behind it that has no line, it has one itself.
pub(super) fn rungs<'s>(connection: &Connection, steps: &'s [Step]) -> Vec<Rung<'s>> {
    let homes: Vec<_> = (0..steps.len()).map(|place| home(steps, place)).collect();
    let mut peer = Peer::default();
    let mut rungs = Vec::with_capacity(steps.len());
    let mut shown: Option<&str> = None;
    for (place, step) in steps.iter().enumerate() {
        let at_home = homes.get(place).copied().flatten().is_some();
        let remote = step.wire.as_ref().and_then(|wire| peer.after(wire));
        if at_home && !needs_words(connection, steps, place) {
            continue;
        }
        let mut local = step.to.as_deref().filter(|_| !at_home && step.kind == "state");
        if let Some(wire) = &step.wire {
            let mut changes = homes.iter().zip(steps).filter(|(home, _)| **home == Some(place));
            local = changes.next_back().and_then(|(_, change)| change.to.as_deref());
            if local.is_none() && shown.is_none_or(|state| state != "established") {
                local = of_request(connection, steps, wire).filter(|state| shown != Some(*state));
            }
        }
        shown = local.or(shown);
        rungs.push(Rung { step, local, remote });
    }
    rungs
}

/// Where an inbound connection stands before its own socket is born: the listener has a request.
fn of_request(connection: &Connection, steps: &[Step], wire: &Wire) -> Option<&'static str> {
    let first = steps.iter().find(|step| step.kind == "state");
    let born = first.is_none_or(|step| step.from.as_deref() == Some("listen"));
    if connection.direction != "inbound" || !born {
        return None;
    }
    match (wire.dir.as_str(), wire.flags.as_str()) {
        ("out", flags) if has(flags, "SYN") && has(flags, "ACK") => Some("syn_recv"),
        ("in", flags) if has(flags, "SYN") => Some("listen"),
        _ => None,
    }
}

/// Whether a flag is among `flags`.
pub(super) fn has(flags: &str, flag: &str) -> bool {
    flags.split(',').any(|known| known == flag)
}

/// Whether the change at `place` tells of a call that no other line tells of.
fn needs_words(connection: &Connection, steps: &[Step], place: usize) -> bool {
    let Some(step) = steps.get(place) else { return false };
    // Where nobody is known to have called, the segment itself says as much.
    let sends = connection.owner.is_some()
        && [Some("fin_wait1"), Some("last_ack"), Some("syn_sent")].contains(&step.to.as_deref());
    let aborts = step.to.as_deref() == Some("close")
        && home(steps, place)
            .and_then(|home| steps.get(home)?.wire.as_ref())
            .is_some_and(|wire| wire.dir == "out");
    let told = |call: &Step| call.kind == "call" && near(call, step, SENT_US);
    (sends || aborts) && !steps.iter().any(told)
}

fn near(one: &Step, other: &Step, span_us: u64) -> bool {
    one.offset_us.abs_diff(other.offset_us) <= span_us
}

/// The segment on whose line the change at `place` stands.
fn home(steps: &[Step], place: usize) -> Option<usize> {
    let step = steps.get(place).filter(|step| step.kind == "state")?;
    let (from, to) = (step.from.as_deref()?, step.to.as_deref()?);
    let (before, after) = (steps.get(..place)?, steps.get(place + 1..)?);
    let fits = |wire: &Wire| is_behind(from, to, wire);
    let caused = before
        .iter()
        .enumerate()
        .rev()
        .take_while(|(_, known)| near(known, step, CAUSED_US) && known.kind != "call")
        .find(|(_, known)| known.wire.as_ref().is_some_and(|wire| wire.dir == "in" && fits(wire)));
    let blurred =
        before.iter().enumerate().rev().take_while(|(_, known)| near(known, step, BLUR_US)).find(
            |(_, known)| known.wire.as_ref().is_some_and(|wire| wire.dir == "out" && fits(wire)),
        );
    let follows = |(_, known): &(usize, &Step)| {
        let span = if known.wire.as_ref().is_some_and(|wire| wire.dir == "in") {
            BLUR_US
        } else {
            SENT_US
        };
        near(known, step, span) && known.wire.as_ref().is_some_and(fits)
    };
    caused.or(blurred).map(|(at, _)| at).or_else(|| {
        let within = after.iter().take_while(|known| near(known, step, SENT_US));
        within.enumerate().find(follows).map(|(at, _)| place + 1 + at)
    })
}

/// Whether a segment can be what leads from one state to the other, or what the change sends.
fn is_behind(from: &str, to: &str, wire: &Wire) -> bool {
    let has = |flag| has(&wire.flags, flag);
    let incoming = wire.dir == "in";
    if has("RST") {
        return to == "close" && from != "time_wait";
    }
    match (from, to) {
        ("close", "syn_sent") => !incoming && has("SYN") && !has("ACK"),
        ("listen", "syn_recv") | ("syn_recv", "established") => incoming,
        ("syn_sent", "established") => incoming && has("SYN") && has("ACK"),
        ("syn_sent", "syn_recv") => incoming && has("SYN"),
        (_, "fin_wait1") | ("close_wait", "last_ack") => !incoming && has("FIN"),
        (_, "close_wait" | "closing") | ("fin_wait2", "time_wait" | "close") => {
            incoming && has("FIN")
        }
        ("fin_wait1", "fin_wait2" | "time_wait")
        | ("closing", "time_wait" | "close")
        | ("last_ack", "close") => incoming && has("ACK") && !has("SYN"),
        _ => false,
    }
}
