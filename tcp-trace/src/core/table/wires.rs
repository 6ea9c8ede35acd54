//! Segments: whose they are, before, during and after their connection's time in the table.

use std::time::Duration;

use tcp_trace_common as wire;

use super::{Outcome, Table, ends::Ends, index::Names};
use crate::core::{
    clock::Ts,
    connection::Connection,
    event::TimeWaitEnd,
    exchange::Passed,
    half_open::FlowKey,
    segment::{SegmentEvent, Travel},
    statistics::SegmentCounts,
    tcp_state::TcpState,
};

/// How long after its end a segment is still a connection's: as long as the peer's `TIME_WAIT`
/// may answer.
const LATE: Duration = Duration::from_mins(1);

impl Table {
    /// A segment has passed.
    pub(super) fn segment_passed(&mut self, at: Ts, event: &SegmentEvent) -> Outcome {
        self.index_ends();
        let key = (event.netns, event.flow);
        let segment = Passed::new(at, event);
        let owner = self.owner_of(&key);
        if let Some(slot) = owner.filter(|slot| !self.may_be_anothers(*slot, &key, &segment)) {
            self.join(slot, segment);
            self.fin_seen(slot, at, &segment);
            self.rst_seen(slot, at, &segment);
        } else if is_beginning(&segment) || self.pending.has(&key) {
            let gone = self.pending.hold(key, segment, owner.is_some());
            self.statistics.segments.refused += gone.refused;
            self.statistics.segments.strangers += gone.strangers;
        } else if !self.join_ended(&key, segment) {
            self.statistics.segments.strangers += 1;
        }
        Outcome::Nothing
    }

    /// The live connection with these ends.
    fn owner_of(&self, key: &FlowKey) -> Option<usize> {
        let slot = self.index.ends()?.live(key)?;
        self.holds(slot, |known| (known.netns, known.flow()) == *key).then_some(slot)
    }

    /// Whether a segment on the flow of the connection in `slot` may belong to the one after it.
    fn may_be_anothers(&self, slot: usize, key: &FlowKey, segment: &Passed) -> bool {
        let Some(known) = self.live.get(slot) else { return true };
        let in_handshake = matches!(known.state, TcpState::SynSent | TcpState::SynRecv);
        if known.is_full() && in_handshake {
            return false;
        }
        let repeats =
            known.timeline.exchange().is_some_and(|exchange| exchange.has_begun_with(segment));
        let follows = self.pending.has(key)
            && (segment.header.flags.is_syn_ack() || self.pending.is_followed_by(key, segment));
        !repeats && (is_beginning(segment) || follows)
    }

    fn join(&mut self, slot: usize, segment: Passed) {
        if let Some(connection) = self.live.get_mut(slot) {
            connection.timeline.segment_passed(segment);
            self.statistics.segments.joined += 1;
        }
    }

    /// Where no hook tells of mini-sockets, the peer's FIN does: it turns one in `FIN_WAIT2` to
    /// `TIME_WAIT` if it is the very next thing (`tcp_timewait_state_process()`).
    fn fin_seen(&mut self, slot: usize, at: Ts, segment: &Passed) {
        let waits = |known: &Connection| {
            let next = known.transfer.map(|transfer| transfer.rcv_nxt.wrapping_add(1));
            !known.is_full()
                && known.mini_substate() == Some(TcpState::FinWait2)
                && next == Some(segment.header.sequence_end())
        };
        let is_fin = segment.travel == Travel::In && segment.header.flags.has(wire::TCP_FIN);
        if is_fin && !self.sources.time_wait && self.holds(slot, waits) {
            self.change_mini(slot, at, TcpState::TimeWait, true);
            self.watch(slot);
            self.touch(slot, at);
        }
    }

    /// Likewise, a RST ends one in `FIN_WAIT2`: ours, which answers data that nobody can read, or the
    /// peer's that is the very next thing.
    fn rst_seen(&mut self, slot: usize, at: Ts, segment: &Passed) {
        let ends = |known: &Connection| {
            let next = known.transfer.map(|transfer| transfer.rcv_nxt);
            !known.is_full()
                && known.mini_substate() == Some(TcpState::FinWait2)
                && (segment.travel == Travel::Out || next == Some(segment.header.seq))
        };
        let is_rst = segment.header.flags.has(wire::TCP_RST);
        if is_rst && !self.sources.time_wait && self.holds(slot, ends) {
            // Told behind what ends it.
            self.end_mini(slot, Ts(at.0 + 1), Some(TimeWaitEnd::Reset));
        }
    }

    /// Adds a segment to the connection that has ended on this flow not long before.
    fn join_ended(&mut self, key: &FlowKey, segment: Passed) -> bool {
        let is_own = |known: &Connection| (known.netns, known.flow()) == *key && known.is_counted();
        let held = self.held.iter_mut().rev().map(super::ending::Held::connection_mut);
        let closed = self
            .index
            .ends()
            .and_then(|ends| ends.closed(key))
            .and_then(|number| usize::try_from(number.checked_sub(self.forgotten)?).ok());
        let ended = held
            .into_iter()
            .find(|known| is_own(known))
            .or_else(|| closed.and_then(|place| self.closed.get_mut(place)));
        let Some(known) = ended.filter(|known| is_own(known)) else { return false };
        let since = known.closed().or(known.judged()).map_or(known.state_since, |end| end.at);
        let repeats =
            known.timeline.exchange().is_some_and(|exchange| exchange.has_begun_with(&segment));
        // Another attempt that came to nothing is not this connection's.
        let fits = repeats || !is_beginning(&segment);
        if segment.at.since(since) > LATE || !fits {
            return false;
        }
        known.timeline.segment_passed(segment);
        self.statistics.segments.after_end += 1;
        true
    }

    /// The connection in `slot` has got its ends: what has passed between them before is its own.
    pub(super) fn claim(&mut self, slot: usize, news: &Names) {
        if self.pending.is_empty() || news.yields() {
            return;
        }
        let Some(key) = news.on_wire() else { return };
        let Some(waiting) = self.pending.take(&key) else { return };
        for segment in waiting.segments {
            self.join(slot, segment);
        }
    }

    /// Segments of a connection that is taken back wait for the one in its place.
    pub(super) fn disown(&mut self, connection: &Connection) {
        let Some(exchange) = connection.timeline.exchange() else { return };
        let key = (connection.netns, connection.flow());
        for segment in exchange.passed() {
            self.statistics.segments.joined -= 1;
            let gone = self.pending.hold(key, segment, false);
            self.statistics.segments.refused += gone.refused;
            self.statistics.segments.strangers += gone.strangers;
        }
    }

    /// Decides about segments that nobody has claimed in time.
    pub(super) fn expire_segments(&mut self, now: Ts) {
        for (key, last_chance) in self.pending.due(now) {
            let owner = self.owner_of(&key);
            if owner.is_none() && !last_chance {
                // The socket that was there has gone, and made room for the next perhaps.
                self.pending.prolong(&key);
                continue;
            }
            let waiting = self.pending.take(&key);
            for segment in waiting.into_iter().flat_map(|waiting| waiting.segments) {
                self.settle(&key, owner, segment);
            }
        }
    }

    /// A segment that no newcomer has claimed: an old one to the socket that was there all the time,
    /// or nobody's.
    fn settle(&mut self, key: &FlowKey, owner: Option<usize>, segment: Passed) {
        // What this host itself begins is never part of something older.
        let foreign = segment.travel == Travel::In || !is_beginning(&segment);
        match owner.filter(|_| foreign) {
            Some(slot) => self.join(slot, segment),
            None if self.join_ended(key, segment) => {}
            None => self.statistics.segments.strangers += 1,
        }
    }

    /// Begins to find connections by their ends, with the first segment: where none are traced, it
    /// costs nothing.
    fn index_ends(&mut self) {
        if self.index.ends().is_some() {
            return;
        }
        let mut ends = Ends::default();
        for (place, known) in self.closed.iter().enumerate() {
            if let Some(key) = Names::of(known).on_wire() {
                ends.has_closed(&key, self.forgotten + place as u64);
            }
        }
        for (slot, known) in &self.live {
            let names = Names::of(known);
            if let Some(key) = names.on_wire() {
                ends.lives(&key, slot, names.yields());
            }
        }
        self.index.set_ends(ends);
    }

    /// What has become of the segments that passed.
    #[must_use]
    pub fn segments(&self) -> SegmentCounts {
        SegmentCounts { pending: self.pending.segments(), ..self.statistics.segments }
    }
}

/// Whether it begins something, and may come before anything is known of it.
fn is_beginning(segment: &Passed) -> bool {
    let flags = segment.header.flags;
    flags.is_syn() || flags.is_syn_ack() && segment.travel == Travel::Out
}
