//! A connection's story: the steps of its timeline and the segments that passed, in one order.

use std::time::Duration;

use super::{
    clock::Ts,
    connection::Connection,
    exchange::Exchange,
    reading::{self, Moved, Part, WireSegment},
    segment::Travel,
    timeline::{Segment, Step, StepKind},
};

/// A hook that tells of a segment and the one that sees it run this close together.
const CLOSE: Duration = Duration::from_millis(5);

/// Something in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Ts,
    /// What.
    pub what: What,
}

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A step of the timeline.
    Step(StepKind),
    /// A segment that passed.
    Wire(WireSegment),
    /// More segments passed than were kept.
    Omitted(u32),
}

/// The story of `connection`. Steps stand as they came, segments by their time between them; what a
/// tracing hook told of a segment that a packet hook saw too is told once.
#[must_use]
pub fn tell(connection: &Connection) -> Vec<Told> {
    let steps = connection.timeline.steps();
    let Some(exchange) = connection.timeline.exchange() else {
        return steps.map(as_told).collect();
    };
    let mut wires = of_exchange(connection, exchange).into_iter().peekable();
    let segments: Vec<_> = wires.clone().collect();
    let mut told = Vec::with_capacity(steps.len() + segments.len());
    for step in steps {
        let Some(step) = without_seen(step, &segments) else { continue };
        while let Some(wire) = wires.next_if(|wire| is_before(wire, &step)) {
            told.push(wire);
        }
        told.push(as_told(step));
    }
    told.extend(wires);
    told
}

/// Of one moment, what comes causes the change and what goes out follows it.
fn is_before(wire: &Told, step: &Step) -> bool {
    let causes = matches!(&wire.what, What::Wire(segment) if segment.travel == Travel::In);
    wire.at < step.at || wire.at == step.at && causes
}

fn as_told(step: Step) -> Told {
    Told { at: step.at, what: What::Step(step.kind) }
}

fn of_exchange(connection: &Connection, exchange: &Exchange) -> Vec<Told> {
    let moved = Moved { received: connection.bytes_received(), sent: connection.bytes_sent() };
    let passed: Vec<_> = exchange.passed().collect();
    let read = reading::read(&passed, moved);
    let mut told: Vec<_> = passed
        .iter()
        .zip(read)
        .map(|(passed, read)| Told { at: passed.at, what: What::Wire(read) })
        .collect();
    if let Some((count, before)) = exchange.omitted()
        && let Some(at) = passed.get(before).map(|next| next.at)
    {
        told.insert(before, Told { at, what: What::Omitted(count) });
    }
    told
}

/// The step, less the segments in it that were seen to pass; `None` where nothing is left of it.
fn without_seen(step: Step, segments: &[Told]) -> Option<Step> {
    let StepKind::Segment { segment, count, last } = step.kind else { return Some(step) };
    let seen = |wanted: &dyn Fn(&WireSegment) -> bool| {
        let seen = segments.iter().filter(|told| {
            (step.at.back(CLOSE)..=last.after(CLOSE)).contains(&told.at)
                && matches!(&told.what, What::Wire(segment) if wanted(segment))
        });
        u32::try_from(seen.count()).unwrap_or(u32::MAX)
    };
    let out = |segment: &WireSegment| segment.travel == Travel::Out;
    let seen = match segment {
        Segment::SynReceived => seen(&|s| s.travel == Travel::In && s.part == Part::Syn),
        Segment::SynAckAgain => {
            // It is noted with the time of the last alone.
            let again = |s: &WireSegment| out(s) && s.part == Part::SynAck && s.retransmit;
            let all =
                segments.iter().filter(|told| matches!(&told.what, What::Wire(s) if again(s)));
            u32::try_from(all.count()).unwrap_or(u32::MAX)
        }
        Segment::Retransmit(_) => {
            seen(&|s| out(s) && s.retransmit && matches!(s.part, Part::Syn | Part::Fin { .. }))
        }
        Segment::ResetSent(_) => seen(&|s| out(s) && s.part == Part::Reset),
    };
    let count = count.checked_sub(seen).filter(|left| *left > 0)?;
    Some(Step { kind: StepKind::Segment { segment, count, last }, ..step })
}
