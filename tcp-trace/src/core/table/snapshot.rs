//! Whole snapshots of a namespace: what they find, what they put right, what they end.

use std::collections::HashMap;

use super::{Outcome, Table, row::Match};
use crate::core::{
    clock::Ts,
    connection::{Connection, Pair},
    direction::Direction,
    event::{Flow, LifeEvent, SocketId, StateChange},
    owner::{Owner, OwnerSource},
    reconcile::{GRACE, ROUND_LIMIT, Round},
    tcp_state::TcpState,
    time_wait::{Mini, UNSEEN_END},
    timeline::{Mark, StepKind},
};

/// Of those alike that a snapshot in progress knows, how many of the last are compared with one more.
const NOTED: usize = 16;

/// Whether only its ends tell which row is about it.
fn has_no_name(known: &Connection) -> bool {
    known.socket.cookie.is_none() && known.row_cookie.is_none()
}

impl Table {
    /// The rows of a namespace follow.
    pub(super) fn begin_round(&mut self, at: Ts, netns: Option<u32>, since: Ts) {
        if self.rounds.len() >= ROUND_LIMIT && !self.rounds.contains_key(&netns) {
            return;
        }
        self.last_round += 1;
        let since = since.min(at).back(GRACE);
        let round = Round {
            since,
            read: since,
            number: self.last_round,
            first: !self.seeded.contains(&netns),
            crossed: false,
            by_flow: HashMap::new(),
            incomplete: Vec::new(),
        };
        self.rounds.insert(netns, round);
        for slot in self.slots_where(|known| known.netns == netns && has_no_name(known)) {
            self.note_nameless(slot);
        }
    }

    /// The rows that follow were read later than those before: what had ended by then, and is forgotten, is
    /// none of them.
    pub(super) fn go_on(&mut self, at: Ts, netns: Option<u32>, since: Ts) {
        if let Some(round) = self.rounds.get_mut(&netns) {
            round.read = round.read.max(since.min(at).back(GRACE));
        }
    }

    /// A snapshot in progress has rows find this connection by its ends, where it goes by no cookie.
    pub(super) fn note_nameless(&mut self, slot: usize) {
        let Some(known) = self.live.get(slot) else { return };
        let Some(round) = self.rounds.get_mut(&known.netns).filter(|_| has_no_name(known)) else {
            return;
        };
        if round.by_flow.len() + round.incomplete.len() >= self.limits.live.saturating_mul(2) {
            return;
        }
        let alike = if known.has_both_ends() || known.state == TcpState::Listen {
            round.by_flow.entry(known.flow()).or_default()
        } else {
            &mut round.incomplete
        };
        // Those that have just come stand at the end: the others came once, when it began.
        if !alike.iter().rev().take(NOTED).any(|noted| *noted == slot) {
            alike.push(slot);
        }
    }

    /// A row: a full socket.
    pub(super) fn shown_full(&mut self, at: Ts, change: &StateChange) -> Outcome {
        let (socket, state) = (change.socket, change.new);
        if state == TcpState::Close || self.is_nameless(socket) {
            return Outcome::Nothing;
        }
        let owner = change.current.map(|task| Owner::of_task(task, OwnerSource::Descriptor));
        self.doubt_name(socket, change.flow);
        let row = self.locate_row(socket, change.netns, change.flow, state, false);
        let Some(Match { slot, sure }) = row else {
            return self.found_full(at, change, owner);
        };
        if self.holds(slot, |known| !known.is_full()) {
            // Read before the mini-socket took over, or a later life of the same descriptor.
            let since = self.rounds.get(&change.netns).map_or(at, |round| round.since);
            if self.holds(slot, |known| known.last_event >= since) {
                return Outcome::Nothing;
            }
            return self.found_full(at, change, owner);
        }
        // Of several that it may be, one is as good as another, and keeps its name to itself.
        let differs = self.holds(slot, |known| known.state != state);
        let cookie = socket.cookie.filter(|_| sure || differs);
        let fresh = self.mark_shown(slot, change.netns, cookie);
        // Read off segments, a row is as young as the last of them.
        let fresh = fresh && !change.transfer.is_some_and(|transfer| transfer.outside);
        if let Some(owner) = owner.filter(|_| sure) {
            self.owned(slot, owner);
        }
        if fresh {
            return Outcome::Nothing;
        }
        if differs {
            self.correct_state(slot, at, state);
        }
        if sure || differs {
            let since = self.rounds.get(&change.netns).map_or(at, |round| round.since);
            self.alter(slot, |connection| connection.refresh(since, at, change));
        }
        Outcome::Nothing
    }

    /// A row: a mini-socket.
    pub(super) fn shown_mini(
        &mut self,
        at: Ts,
        life: &LifeEvent,
        substate: TcpState,
        left_ms: u32,
    ) -> Outcome {
        if self.is_nameless(life.socket) {
            return Outcome::Nothing;
        }
        let ends = at.after(std::time::Duration::from_millis(left_ms.into()));
        self.doubt_name(life.socket, life.flow);
        let row = self.locate_row(life.socket, life.netns, life.flow, substate, true);
        let Some(Match { slot, .. }) = row else {
            return self.found_mini(at, life, substate, ends);
        };
        if self.mark_shown(slot, life.netns, life.socket.cookie) {
            return Outcome::Nothing;
        }
        let Some(connection) = self.live.get(slot) else { return Outcome::Nothing };
        let counted = connection.is_counted();
        match connection.mini().copied() {
            Some(mini) if mini.pending => {
                self.close_unseen(slot, at, Mini { substate, ..mini });
                self.statistics.reconciled.state += 1;
                if counted {
                    self.census.population.applied_mini(Some(mini.substate), Some(substate));
                }
            }
            Some(mini) => {
                let known = connection.state;
                // Of an inferred one nothing else tells that the peer's FIN came.
                if self.change_mini(slot, at, substate, false) && !mini.inferred {
                    self.statistics.reconciled.state += 1;
                    self.remark(slot, at, Mark::Corrected { known, actual: substate });
                }
            }
            None => {
                let known = connection.state;
                if counted {
                    self.census.population.applied_mini(None, Some(substate));
                }
                self.statistics.time_wait_started += 1;
                self.remark(slot, at, Mark::Corrected { known, actual: substate });
                self.close_unseen(slot, at, Mini::born(at, life.socket.sk, substate));
                self.statistics.reconciled.state += 1;
                self.watch(slot);
            }
        }
        self.prolong(slot, ends);
        Outcome::Nothing
    }

    /// A row: a request.
    pub(super) fn shown_request(&mut self, at: Ts, life: &LifeEvent, retransmits: u32) {
        let round = self.rounds.get(&life.netns);
        let (times, number) =
            round.map_or(((at, at), 0), |round| ((round.since, round.read), round.number));
        if !self.recent.has(times, life.netns, None, life.flow) {
            self.half_open.shown(Pair::of(life.netns, life.flow), at, retransmits, number);
        }
    }

    /// The last row has come: of a whole snapshot, what it did not show is gone.
    pub(super) fn end_round(&mut self, at: Ts, netns: Option<u32>, whole: bool) {
        let Some(round) = self.rounds.remove(&netns) else { return };
        let nobodys =
            |known: &Connection| known.owner().is_none() && known.is_full() && known.found;
        let is_unshown = |known: &Connection| {
            known.round != round.number
                && known.last_event < round.since
                // The next snapshot tells it better.
                && !(round.crossed && has_no_name(known))
                // Those of MPTCP are in another list of the kernel's.
                && known.is_counted()
        };
        // One walk for both: there may be a million.
        let (mut unnamed, mut unshown) = (Vec::new(), Vec::new());
        for (slot, known) in self.live.iter().filter(|(_, known)| known.netns == netns) {
            if nobodys(known) {
                unnamed.push(slot);
            }
            if whole && is_unshown(known) {
                unshown.push(slot);
            }
        }
        self.name_unaccepted(netns, unnamed);
        if !whole {
            return;
        }
        if self.seeded.len() < ROUND_LIMIT {
            self.seeded.insert(netns);
        }
        for slot in unshown {
            if self.holds(slot, |known| known.mini().is_some_and(|mini| mini.inferred)) {
                self.end_mini(slot, at, None);
            } else {
                self.statistics.reconciled.gone += 1;
                self.end_unseen(slot, at, Mark::Reconciled);
            }
        }
        self.half_open.end_unshown(netns, round.since, round.number);
    }

    /// What was found without a descriptor waits for its `accept()`: it is its listener's, whose own row
    /// may have come after it.
    fn name_unaccepted(&mut self, netns: Option<u32>, found: Vec<usize>) {
        for slot in found {
            let Some(known) = self.live.get(slot) else { continue };
            let inbound = known.direction != Direction::Outbound && known.has_both_ends();
            let owner = self.listeners().owner_now(netns, known.flow().local);
            if let Some(owner) = owner.filter(|_| inbound) {
                self.owned(slot, owner);
            }
        }
    }

    /// The namespace is no more.
    pub(super) fn netns_gone(&mut self, at: Ts, netns: Option<u32>) {
        for slot in self.slots_where(|known| known.netns == netns) {
            self.end_unseen(slot, at, Mark::NetnsGone);
        }
        self.half_open.netns_gone(netns);
        self.statistics.segments.strangers += self.pending.netns_gone(netns);
        self.rounds.remove(&netns);
        self.seeded.remove(&netns);
    }

    fn slots_where(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<usize> {
        self.live.iter().filter(|(_, known)| wanted(known)).map(|(slot, _)| slot).collect()
    }

    /// Whether an unknown row is to be taken in; `None` where it is stale, else whether it was there
    /// before tracing began.
    pub(super) fn takes_in(
        &mut self,
        at: Ts,
        socket: SocketId,
        netns: Option<u32>,
        flow: Flow,
    ) -> Option<bool> {
        let round = self.rounds.get(&netns);
        let (times, first) =
            round.map_or(((at, at), true), |round| ((round.since, round.read), round.first));
        if self.recent.has(times, netns, socket.cookie, flow) {
            return None;
        }
        if self.live.len() >= self.limits.live {
            self.statistics.refused += 1;
            return None;
        }
        Some(first)
    }

    fn correct_state(&mut self, slot: usize, at: Ts, actual: TcpState) {
        let Some(connection) = self.live.get(slot) else { return };
        let (known, counted) = (connection.state, connection.is_counted());
        self.statistics.gaps += u64::from(!connection.gap);
        self.alter(slot, |connection| {
            connection.move_to(at, actual, Mark::Corrected { known, actual });
        });
        if counted {
            self.census.population.applied(known, actual);
        }
        self.statistics.reconciled.state += 1;
    }

    fn remark(&mut self, slot: usize, at: Ts, mark: Mark) {
        if let Some(connection) = self.live.get_mut(slot) {
            self.statistics.gaps += u64::from(!connection.gap);
            connection.gap = true;
            connection.timeline.push(at, StepKind::Mark(mark));
        }
    }

    /// The kernel says until when the mini-socket is kept; where its end will be told, that is no
    /// more than a last resort.
    pub(super) fn prolong(&mut self, slot: usize, ends: Ts) {
        let told = self.sources.time_wait;
        if let Some(mini) = self.live.get_mut(slot).and_then(Connection::mini_mut) {
            mini.ends = if told { ends.after(UNSEEN_END) } else { ends };
        }
        self.watch(slot);
    }
}
