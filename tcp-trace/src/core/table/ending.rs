//! How lives end: judged at the full socket's CLOSE, carried on by a mini-socket, undecided for a
//! moment, never seen, or overdue.

use std::time::Duration;

use super::{Place, Table, index::Names};
use crate::core::{
    clock::Ts,
    close::{self, CloseReason, ClosedBy, Verdict},
    connection::{Connection, ConnectionId},
    direction::Direction,
    errno,
    event::{SocketId, StateChange},
    half_open::HalfOpens,
    reconcile::RecentEnds,
    sources::Sources,
    tcp_state::TcpState,
    time_wait::{self, Mini},
    timeline::{Detail, Mark, Segment, Step, StepKind},
};

/// How long an end waits for the RST that explains it.
pub(super) const UNDECIDED: Duration = Duration::from_millis(5);
/// Ends that wait at once.
const HELD_LIMIT: usize = 1024;

/// What becomes of a connection whose full socket ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// A mini-socket carries it on.
    Mini(Mini),
    /// It is over; a RST sent right after would be the reason.
    Undecided,
    /// It is over.
    Over,
}

/// An end whose reason is still to come.
#[derive(Debug)]
pub(super) struct Held {
    connection: Connection,
    from: TcpState,
}

impl Held {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Judges the end of `connection`'s full socket.
pub(super) fn fate(
    connection: &mut Connection,
    at: Ts,
    change: &StateChange,
    sources: Sources,
) -> Fate {
    let first_fin = connection.first_fin().map(|(by, _)| by);
    let inbound = connection.direction != Direction::Outbound;
    let verdict = close::verdict(change, first_fin, inbound);
    connection.judge(at, verdict);
    if let Some(mini) = connection.mini() {
        return Fate::Mini(*mini);
    }
    let orderly = matches!(verdict.reason, CloseReason::FinActive | CloseReason::Simultaneous);
    // A parent of MPTCP has none, and no RST of its own: its subflows have.
    let may_have_mini = !sources.time_wait && connection.is_counted();
    if let Some(substate) =
        time_wait::inferred_substate(change).filter(|_| orderly && may_have_mini)
    {
        return Fate::Mini(Mini::inferred(at, substate));
    }
    if sources.resets && connection.is_counted() && may_have_reset(connection, change) {
        Fate::Undecided
    } else {
        Fate::Over
    }
}

/// Whether it is an orphan that data may have ended, or the kernel for want of room: the change
/// first, then the RST. Data that does not acknowledge our FIN goes through `tcp_reset()`, which
/// leaves the error of a RST received.
fn may_have_reset(connection: &Connection, change: &StateChange) -> bool {
    // All steps are gone through for this, so it is asked last.
    let refused = || {
        connection.timeline.steps().any(|step| step.kind == StepKind::Mark(Mark::TimeWaitRefused))
    };
    [0, errno::ECONNRESET].contains(&change.error)
        && matches!(change.old, TcpState::FinWait1 | TcpState::FinWait2)
        && change.flags.is_some_and(|flags| !flags.attached && !flags.fin_received)
        && !refused()
}

/// Gives a child, once both its ends are known, the story of the request it was.
pub(super) fn complete_handshake(
    half_open: &mut HalfOpens,
    recent: &mut RecentEnds,
    connection: &mut Connection,
    at: Ts,
    change: &StateChange,
) {
    let child = change.old == TcpState::SynRecv && connection.direction != Direction::Outbound;
    if !child || !connection.has_both_ends() {
        return;
    }
    let Some(request) = half_open.take(&connection.pair()) else { return };
    recent.note(at, connection.netns, None, connection.ends());
    let begun = connection.opened_at;
    let again = Step {
        at: request.last.min(begun),
        kind: StepKind::Segment {
            segment: Segment::SynAckAgain,
            count: request.retransmits,
            last: request.last,
        },
    };
    let syn = request.since.map(|since| {
        let kind = StepKind::Segment { segment: Segment::SynReceived, count: 1, last: since };
        Step { at: since, kind }
    });
    connection
        .timeline
        .prepend(syn.into_iter().chain(Some(again).filter(|_| request.retransmits > 0)));
    if let Some(since) = request.since.filter(|since| *since <= begun && !connection.found) {
        connection.opened_at = since;
        connection.syn_seen = true;
    }
}

impl Table {
    /// The full socket in `slot` has ended.
    pub(super) fn end_full(
        &mut self,
        slot: usize,
        at: Ts,
        change: &StateChange,
        fate: Fate,
    ) -> Place {
        match fate {
            Fate::Mini(mini) => {
                self.count_end(slot, change.old);
                self.after_full(slot, at, mini)
            }
            Fate::Over => {
                self.count_end(slot, change.old);
                self.retire(slot, at);
                Place::Closed
            }
            Fate::Undecided => {
                self.hold(slot, at, change.old);
                Place::Held
            }
        }
    }

    fn count_end(&mut self, slot: usize, from: TcpState) {
        if let Some(connection) = self.live.get(slot) {
            self.statistics.ended(connection, from);
        }
    }

    /// Ends a life whose end was not seen.
    pub(super) fn end_unseen(&mut self, slot: usize, at: Ts, mark: Mark) {
        let Some(connection) = self.live.get_mut(slot) else { return };
        if connection.is_counted() {
            if connection.is_full() {
                self.census.population.applied(connection.state, TcpState::Close);
            }
            if let Some(substate) = connection.mini_substate() {
                self.census.population.applied_mini(Some(substate), None);
                self.statistics.time_wait_over(None);
            }
        }
        self.statistics.ended_unseen += 1;
        connection.gap = true;
        connection.timeline.push(at, StepKind::Mark(mark));
        let from = connection.state;
        if connection.judged().is_none() {
            let by = connection.first_fin().map(|(by, _)| by);
            connection.judge(at, Verdict { reason: CloseReason::Unknown, by, error: 0 });
            self.count_end(slot, from);
        }
        self.retire(slot, at);
    }

    /// Moves a connection, which is over, among the closed ones.
    pub(super) fn retire(&mut self, slot: usize, at: Ts) {
        let Some(mut connection) = self.take_out(slot) else { return };
        self.recent.note(at, connection.netns, connection.socket.cookie, connection.ends());
        if let Some(cookie) = connection.row_cookie {
            self.recent.note(at, connection.netns, Some(cookie), connection.ends());
        }
        if connection.is_listener() {
            self.end_listener(&connection, at);
        }
        connection.finish(at);
        self.keep(connection);
    }

    fn end_listener(&mut self, listener: &Connection, at: Ts) {
        let (netns, local) = (listener.netns, listener.flow().local);
        if let Some(owner) = listener.owner() {
            let since = if listener.found { Ts(0) } else { listener.opened_at };
            self.census.listeners.ended(netns, local, owner, (since, at));
        }
        if !self.census.listeners.any_at(netns, local) {
            self.half_open.listener_gone(netns, local, at);
        }
    }

    fn keep(&mut self, mut connection: Connection) {
        self.last_ports.note(&connection);
        if self.closed.len() >= self.limits.closed
            && let Some(oldest) = self.closed.front_mut()
        {
            if let Some(ends) = self.index.ends_mut()
                && let Some(key) = Names::of(oldest).on_wire()
            {
                ends.forgotten(&key, self.forgotten);
            }
            self.forgotten += 1;
            self.rooms.take_back(oldest);
            // Where it lies: it need not be moved to be dropped.
            self.closed.drain(..1);
        }
        if self.limits.closed > 0 {
            let number = self.forgotten + self.closed.len() as u64;
            if let Some(ends) = self.index.ends_mut()
                && let Some(key) = Names::of(&connection).on_wire()
            {
                ends.has_closed(&key, number);
            }
            self.closed.push_back(connection);
        } else {
            self.rooms.take_back(&mut connection);
        }
    }

    fn hold(&mut self, slot: usize, at: Ts, from: TcpState) {
        let Some(connection) = self.take_out(slot) else { return };
        self.recent.note(at, connection.netns, connection.socket.cookie, connection.ends());
        if self.held.len() >= HELD_LIMIT {
            self.decide_first();
        }
        self.held.push_back(Held { connection, from });
    }

    fn decide_first(&mut self) {
        let Some(Held { mut connection, from }) = self.held.pop_front() else { return };
        self.statistics.ended(&connection, from);
        let at = connection.judged().map_or(connection.state_since, |judged| judged.at);
        connection.finish(at);
        if self.decided.len() >= HELD_LIMIT {
            self.decided.pop_front();
        }
        self.decided.push_back(connection.id);
        self.keep(connection);
    }

    /// Decides ends for which no RST has come in time.
    pub(super) fn decide_overdue(&mut self, now: Ts) {
        while let Some(held) = self.held.front() {
            let since = held.connection.judged().map_or(Ts(0), |judged| judged.at);
            if now.since(since) < UNDECIDED {
                break;
            }
            self.decide_first();
        }
    }

    /// Whether `change` shows the port of the life before: a socket that connects again still has it,
    /// and has another only a moment later. So one that it was bound to is not shown at once, either.
    pub(super) fn shows_stale_port(&self, change: &StateChange) -> bool {
        let connects = (change.old, change.new) == (TcpState::Close, TcpState::SynSent);
        let port = change.flow.local.port();
        connects && port != 0 && self.last_ports.of(change.socket) == port
    }

    /// A RST has been sent for a socket that has ended just before: it explains an undecided end.
    pub(super) fn late_reset(
        &mut self,
        socket: SocketId,
        at: Ts,
        reason: Option<u32>,
        unasked: bool,
    ) -> bool {
        let segment = Segment::ResetSent(reason);
        let same = |known: &Connection| match (known.socket.cookie, socket.cookie) {
            (Some(known), Some(cookie)) => known == cookie,
            _ => socket.sk != 0 && known.socket.sk == socket.sk,
        };
        let held = self.held.iter().position(|held| same(&held.connection));
        if let Some(mut held) = held.and_then(|index| self.held.remove(index)) {
            let connection = &mut held.connection;
            connection.timeline.push_segment(at, segment, 1);
            if let Some(verdict) = connection.verdict_mut() {
                verdict.reason =
                    if unasked { CloseReason::OrphanKilled } else { CloseReason::RstSent };
                // No RST is answered with a RST, so none has come.
                verdict.error = 0;
                verdict.by = verdict.by.or(Some(ClosedBy::Local));
            }
            self.held.push_front(held);
            self.decide_first();
            return true;
        }
        let fresh = |known: &Connection| {
            known.closed().is_some_and(|closed| at.since(closed.at) < UNDECIDED)
        };
        let closed =
            self.closed.iter_mut().rev().take(32).find(|known| same(known) && fresh(known));
        closed.map(|known| known.timeline.push_segment(at, segment, 1)).is_some()
    }

    /// What time alone brings about; to be called about once a second.
    pub fn tick(&mut self, now: Ts) {
        self.decide_overdue(now);
        self.half_open.expire(now);
        self.expire_segments(now);
        self.recent.expire(now);
        while let Some((slot, id)) = self.deadlines.due(now) {
            self.look_at_deadline(slot, id, now);
        }
        let live = &self.live;
        let bound = self.limits.live.saturating_mul(2).saturating_add(1024);
        self.deadlines.bound(bound, |slot, id| live.get(slot).is_some_and(|known| known.id == id));
    }

    fn look_at_deadline(&mut self, slot: usize, id: ConnectionId, now: Ts) {
        let Some(connection) = self.live.get(slot).filter(|known| known.id == id) else { return };
        let Some(mini) = connection.mini().filter(|mini| !mini.pending).copied() else { return };
        if mini.ends > now {
            self.deadlines.push(mini.ends, slot, id);
        } else if mini.inferred || !self.sources.time_wait {
            self.end_mini(slot, mini.ends, Some(crate::core::event::TimeWaitEnd::Expired));
        } else {
            self.end_unseen(slot, now, Mark::Overdue);
        }
    }

    /// Decides all that is undecided: no more events come.
    pub fn finish(&mut self) {
        self.half_open.finish();
        while !self.held.is_empty() {
            self.decide_first();
        }
    }

    /// A connection whose end has been decided after its last step, one at a time.
    pub fn next_decided(&mut self) -> Option<&Connection> {
        let id = self.decided.pop_front()?;
        self.closed().find(|connection| connection.id == id)
    }

    /// A mini-socket unknown until now carries on the full socket in `slot`, whose own end was lost.
    pub(super) fn close_unseen(&mut self, slot: usize, at: Ts, mini: Mini) {
        let Some(connection) = self.live.get_mut(slot) else { return };
        let (from, counted) = (connection.state, connection.is_counted());
        let by = connection.first_fin().map_or(ClosedBy::Local, |(by, _)| by);
        let reason = match by {
            ClosedBy::Both => CloseReason::Simultaneous,
            ClosedBy::Local | ClosedBy::Remote => CloseReason::FinActive,
        };
        self.statistics.gaps += u64::from(!connection.gap);
        self.alter(slot, |connection| {
            connection.gap = true;
            if connection.judged().is_none() {
                connection.judge(at, Verdict { reason, by: Some(by), error: 0 });
            }
            connection.carry_on(at, from, mini, Detail::default());
        });
        if counted {
            self.census.population.applied(from, TcpState::Close);
        }
        self.count_end(slot, from);
    }
}
