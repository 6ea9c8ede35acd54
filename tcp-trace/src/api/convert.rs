//! Connections and events as objects of the API.

use std::{net::SocketAddr, time::Duration};

use super::{
    ClosedEvent, Connection, Endpoint, Event, Hook, LostEvent, RecvQueue, StateEvent, Step, Task,
    owner, segment,
};
use crate::{
    core::{
        clock::{Ts, WallOffset},
        connection::Connection as Known,
        errno,
        event::{Protocol, StateChange},
        sentence,
        story::{self, What},
        table::Stepped,
        tcp_state::TcpState,
        timeline::{Mark, Segment, StepKind},
    },
    kernel::segments::{PROGRAMS, Standing},
};

/// A moment in RFC 3339 with nanoseconds, in UTC.
pub(crate) fn rfc3339(wall: WallOffset, at: Ts) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(wall.wall_ns(at)))
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |at| format!("{at:.9}"))
}

/// The packet programs, attached or not.
pub(crate) fn packet_hooks(standing: &Standing) -> impl Iterator<Item = Hook> + '_ {
    PROGRAMS.iter().map(|program| {
        let attached = standing.is_attached(program.name);
        Hook {
            program: program.name.to_owned(),
            hook: program.hook.to_owned(),
            backend: program.backend.to_owned(),
            attached,
            reason: (!attached).then(|| standing.why_not(program.name)),
        }
    })
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
    let end = known.closed().map_or(now, |closed| closed.at);
    // A mini-socket ends where its connection does, whatever it stood in before.
    let since = known.closed().map_or(known.state_since, |closed| closed.at);
    let transfer = known.transfer.filter(|_| !known.is_listener());
    Connection {
        id: known.id.to_string(),
        netns: known.netns,
        family: if known.flow().local.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned(),
        local: endpoint(known.flow().local),
        remote: endpoint(known.flow().remote),
        direction: known.direction.name().to_owned(),
        state: state(known).name().to_owned(),
        mini: !known.is_full() && known.closed().is_none(),
        mptcp: mptcp(known),
        state_since: rfc3339(wall, since),
        state_age_seconds: end.max(now).since(since).as_secs_f64(),
        age_is_lower_bound: known.is_age_a_bound(),
        opened_at: Some(rfc3339(wall, known.opened_at)),
        closed_at: known.closed().map(|closed| rfc3339(wall, closed.at)),
        closed_by: match known.judged() {
            Some(judged) => judged.verdict.by,
            None => known.first_fin().map(|(by, _)| by),
        }
        .map(|by| by.name().to_owned()),
        close_reason: known
            .judged()
            .filter(|_| !known.is_listener())
            .map(|judged| judged.verdict.reason.name().to_owned()),
        peer_closed: known.peer_closed().filter(|_| !known.is_listener()),
        error: known.judged().and_then(|judged| errno_text(judged.verdict.error)),
        owner: known.owner().map(owner::owner),
        holders: Vec::new(),
        recv_queue: known
            .unread_bytes()
            .filter(|unread| transfer.is_some() && (*unread > 0 || !known.may_receive_unseen(now)))
            .map(|unread_bytes| RecvQueue { unread_bytes, fin_read: known.fin_read() }),
        bytes_sent: transfer
            .and_then(|_| known.bytes_sent())
            .filter(|bytes| *bytes > 0 || !known.may_send_unseen(now)),
        bytes_received: transfer
            .and_then(|_| known.bytes_received())
            .filter(|bytes| *bytes > 0 || !known.may_receive_unseen(now)),
        srtt_us: transfer.map(|transfer| transfer.srtt_us),
        retransmits: transfer.map(|transfer| transfer.retransmits),
        complete: known.is_complete(loss_epoch),
        stack: None,
        timeline: timeline.then(|| steps(known, wall)),
    }
}

/// What is over is closed, whatever a mini-socket stood in last.
fn state(known: &Known) -> TcpState {
    if known.closed().is_some() && known.mini().is_some() { TcpState::Close } else { known.state }
}

fn mptcp(known: &Known) -> Option<String> {
    let subflow = known.flags.is_some_and(|flags| flags.subflow);
    match known.protocol {
        Protocol::Mptcp => Some("parent".to_owned()),
        Protocol::Tcp | Protocol::Other(_) => subflow.then(|| "subflow".to_owned()),
    }
}

fn errno_text(error: i32) -> Option<String> {
    (error != 0).then(|| errno::name(error).map_or_else(|| format!("errno {error}"), str::to_owned))
}

fn steps(known: &Known, wall: WallOffset) -> Vec<Step> {
    let story = story::tell(known);
    let start = story.first().map_or(Ts(0), |told| told.at);
    let mut steps: Vec<_> = story
        .iter()
        .map(|told| {
            let mut out = Step {
                at: rfc3339(wall, told.at),
                offset_us: micros(told.at.since(start)),
                text: sentence::of_told(known, told),
                ..Step::default()
            };
            match &told.what {
                What::Step(kind) => describe(&mut out, *kind),
                What::Wire(passed) => {
                    "segment".clone_into(&mut out.kind);
                    out.segment = Some(passed.part.name().to_owned());
                    out.count = Some(1);
                    out.wire = Some(segment::wire(passed));
                }
                What::Omitted(_) => {
                    "mark".clone_into(&mut out.kind);
                    out.mark = Some("segments_omitted".to_owned());
                }
            }
            out
        })
        .collect();
    if let Some(last) = steps.last().filter(|_| known.timeline.omitted() > 0) {
        let text = format!("{} more steps were not kept", known.timeline.omitted());
        let mark = Some("omitted".to_owned());
        let (segment, count, wire) = (None, None, None);
        let kind = "mark".to_owned();
        steps.push(Step { kind, segment, count, wire, mark, text, ..last.clone() });
    }
    steps
}

/// The kind of a step, and what belongs to it.
fn describe(out: &mut Step, kind: StepKind) {
    let mut state = |from: TcpState, to: TcpState| {
        out.from = Some(from.name().to_owned());
        out.to = Some(to.name().to_owned());
    };
    let kind = match kind {
        StepKind::State { from, to, .. } => {
            state(from, to);
            "state"
        }
        StepKind::MiniBorn { from, substate, .. } => {
            state(from, substate);
            "state"
        }
        StepKind::MiniEnded { substate, .. } => {
            state(substate, TcpState::Close);
            "state"
        }
        StepKind::Call { call, .. } => {
            out.call = Some(call.name().to_owned());
            "call"
        }
        StepKind::Segment { segment, count, .. } => {
            out.segment = Some(segment_name(segment).to_owned());
            out.count = Some(count);
            "segment"
        }
        StepKind::Mark(mark) => {
            out.mark = Some(mark_name(mark).to_owned());
            "mark"
        }
    };
    kind.clone_into(&mut out.kind);
}

fn segment_name(segment: Segment) -> &'static str {
    match segment {
        Segment::SynReceived => "syn",
        Segment::SynAckAgain => "syn_ack",
        Segment::Retransmit(_) => "retransmit",
        Segment::ResetSent(_) => "rst",
    }
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
        Mark::Reconciled | Mark::Corrected { .. } => "reconciled",
        Mark::NetnsGone => "netns_gone",
        Mark::Overdue => "overdue",
        Mark::TimeWaitRefused => "time_wait_refused",
        Mark::Folded(_) => "folded",
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
        text: last.map(|step| sentence::of_step(known, &step)).unwrap_or_default(),
    }))
}

/// The event of a connection whose full socket has just ended; a mini-socket may go on.
pub(crate) fn closed_event(known: &Known, at: Ts, wall: WallOffset, loss_epoch: u64) -> Event {
    let ended = known.judged().map_or(at, |judged| judged.at);
    let mut connection = connection(known, at, wall, loss_epoch, true);
    connection.closed_at = Some(rfc3339(wall, ended));
    TcpState::Close.name().clone_into(&mut connection.state);
    let lifetime_seconds = ended.since(known.opened_at).as_secs_f64();
    Event::Closed(Box::new(ClosedEvent { connection, lifetime_seconds }))
}

/// The event of a loss.
pub(crate) fn lost_event(at: Ts, wall: WallOffset, stage: &str, count: u64) -> Event {
    Event::Lost(LostEvent { at: rfc3339(wall, at), stage: stage.to_owned(), count })
}
