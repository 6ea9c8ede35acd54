//! Connections and events as objects of the API.

use std::{net::SocketAddr, time::Duration};

use super::{
    ClosedEvent, Connection, Endpoint, Event, LostEvent, Owner, RecvQueue, StateEvent, Step, Task,
};
use crate::core::{
    clock::{Ts, WallOffset},
    connection::Connection as Known,
    errno,
    event::StateChange,
    sentence,
    table::Stepped,
    timeline::{Call, Mark, StepKind},
};

/// A moment in RFC 3339 with nanoseconds, in UTC.
pub(crate) fn rfc3339(wall: WallOffset, at: Ts) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(wall.wall_ns(at)))
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |at| format!("{at:.9}"))
}

fn endpoint(end: SocketAddr) -> Endpoint {
    Endpoint { addr: end.ip(), port: end.port() }
}

/// A connection as it stands at `now`, with its timeline where asked for.
pub(crate) fn connection(
    known: &Known,
    now: Ts,
    wall: WallOffset,
    loss_epoch: u64,
    timeline: bool,
) -> Connection {
    let end = known.closed.map_or(now, |closed| closed.at);
    let transfer = known.transfer.filter(|_| !known.is_listener());
    Connection {
        id: known.id.to_string(),
        netns: known.netns,
        family: if known.flow.local.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned(),
        local: endpoint(known.flow.local),
        remote: endpoint(known.flow.remote),
        direction: known.direction.name().to_owned(),
        state: known.state.name().to_owned(),
        state_since: rfc3339(wall, known.state_since),
        state_age_seconds: end.max(now).since(known.state_since).as_secs_f64(),
        age_is_lower_bound: known.found && known.state_since == known.opened_at,
        opened_at: Some(rfc3339(wall, known.opened_at)),
        closed_at: known.closed.map(|closed| rfc3339(wall, closed.at)),
        closed_by: match known.closed {
            Some(closed) => closed.verdict.by,
            None => known.first_fin.map(|(by, _)| by),
        }
        .map(|by| by.name().to_owned()),
        close_reason: known
            .closed
            .filter(|_| !known.is_listener())
            .map(|closed| closed.verdict.reason.name().to_owned()),
        error: known.closed.and_then(|closed| errno_text(closed.verdict.error)),
        owner: known.owner.map(owner),
        recv_queue: known
            .unread_bytes()
            .filter(|_| transfer.is_some())
            .map(|unread_bytes| RecvQueue { unread_bytes, fin_read: known.fin_read() }),
        bytes_sent: transfer.and_then(|_| known.bytes_sent()),
        bytes_received: transfer.and_then(|_| known.bytes_received()),
        srtt_us: transfer.map(|transfer| transfer.srtt_us),
        retransmits: transfer.map(|transfer| transfer.retransmits),
        complete: known.is_complete(loss_epoch),
        timeline: timeline.then(|| steps(known, wall)),
    }
}

fn errno_text(error: i32) -> Option<String> {
    (error != 0).then(|| errno::name(error).map_or_else(|| format!("errno {error}"), str::to_owned))
}

fn owner(owner: crate::core::owner::Owner) -> Owner {
    Owner {
        pid: owner.pid,
        comm: owner.comm.text().into_owned(),
        exe: None,
        cgroup: None,
        container: None,
        unit: None,
        source: owner.source.name().to_owned(),
    }
}

fn steps(known: &Known, wall: WallOffset) -> Vec<Step> {
    let start = known.timeline.steps().first().map_or(Ts(0), |step| step.at);
    let mut steps: Vec<_> = known
        .timeline
        .steps()
        .iter()
        .map(|step| {
            let mut out = Step {
                at: rfc3339(wall, step.at),
                offset_us: micros(step.at.since(start)),
                text: sentence::of_step(known, step),
                ..Step::default()
            };
            match step.kind {
                StepKind::State { from, to, .. } => {
                    "state".clone_into(&mut out.kind);
                    out.from = Some(from.name().to_owned());
                    out.to = Some(to.name().to_owned());
                }
                StepKind::Call { call: Call::Close, .. } => {
                    "call".clone_into(&mut out.kind);
                    out.call = Some("close".to_owned());
                }
                StepKind::Mark(mark) => {
                    "mark".clone_into(&mut out.kind);
                    out.mark = Some(mark_name(mark).to_owned());
                }
            }
            out
        })
        .collect();
    if let Some(last) = steps.last().filter(|_| known.timeline.omitted() > 0) {
        let text = format!("{} more steps were not kept", known.timeline.omitted());
        let mark = Some("omitted".to_owned());
        steps.push(Step { kind: "mark".to_owned(), mark, text, ..last.clone() });
    }
    steps
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn mark_name(mark: Mark) -> &'static str {
    match mark {
        Mark::Found(_) => "found",
        Mark::Missed { .. } => "missed",
        Mark::Illegal { .. } => "illegal",
        Mark::Reused => "reused",
        Mark::Reconciled => "reconciled",
    }
}

/// The event of a step just taken.
pub(crate) fn state_event(
    known: &Known,
    stepped: Stepped,
    change: &StateChange,
    at: Ts,
    wall: WallOffset,
    loss_epoch: u64,
) -> Event {
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds to seconds, for a person")]
    let seconds = |ns: u64| ns as f64 / 1e9;
    let last = known.timeline.steps().last();
    Event::State(Box::new(StateEvent {
        at: rfc3339(wall, at),
        connection: connection(known, at, wall, loss_epoch, false),
        from: stepped.from.name().to_owned(),
        to: stepped.to.name().to_owned(),
        in_state_seconds: stepped.stood_ns.map(seconds),
        current: change.current.map(|task| Task {
            pid: task.pid,
            tid: task.tid,
            comm: task.comm.text().into_owned(),
        }),
        socket: format!("{:x}", change.socket.sk),
        text: last.map(|step| sentence::of_step(known, step)).unwrap_or_default(),
    }))
}

/// The event of a connection that has just ended.
pub(crate) fn closed_event(known: &Known, at: Ts, wall: WallOffset, loss_epoch: u64) -> Event {
    Event::Closed(Box::new(ClosedEvent {
        connection: connection(known, at, wall, loss_epoch, true),
        lifetime_seconds: at.since(known.opened_at).as_secs_f64(),
    }))
}

/// The event of a loss.
pub(crate) fn lost_event(at: Ts, wall: WallOffset, stage: &str, count: u64) -> Event {
    Event::Lost(LostEvent { at: rfc3339(wall, at), stage: stage.to_owned(), count })
}
