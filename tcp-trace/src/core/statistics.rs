//! Figures over all connections, kept up to date with each change.

use std::time::Duration;

use super::{
    clock::Ts,
    close::{CloseReason, ClosedBy},
    connection::{Closed, Connection},
    errno,
    event::{StateChange, TimeWaitEnd},
    histogram::Histogram,
    reconcile::Reconciled,
    tcp_state::TcpState,
};

/// Counters and histograms of everything the table has seen.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Time spent in each state, by [`TcpState::index`] of the state left.
    pub state_durations: [Histogram; 13],
    /// From SYN to ESTABLISHED of outbound connections.
    pub outbound_handshakes: Histogram,
    /// From the peer's SYN to ESTABLISHED of inbound connections whose SYN was seen. One that came
    /// with a SYN cookie has none.
    pub inbound_handshakes: Histogram,
    /// From the first FIN to CLOSE, by who closed first (in the order of [`ClosedBy::ALL`]).
    pub teardowns: [Histogram; 3],
    /// Ends by reason (in the order of [`CloseReason::ALL`]) and by who closed first, with
    /// "nobody" last.
    pub closed: [[u64; 4]; 16],
    /// Failed `connect()`s in the order of [`errno::CONNECT_ERRORS`], any other error last.
    pub connect_errors: [u64; errno::CONNECT_ERRORS.len() + 1],
    /// Connections that were told in one record.
    pub folded: u64,
    /// Changes that Linux does not make.
    pub illegal_transitions: u64,
    /// Connections whose steps were not all seen.
    pub gaps: u64,
    /// Connections not taken in because the table was full.
    pub refused: u64,
    /// Changes of a socket with neither cookie nor address.
    pub unidentified: u64,
    /// Connections whose end was inferred.
    pub ended_unseen: u64,
    /// Mini-sockets that took a connection over, told or inferred.
    pub time_wait_started: u64,
    /// Their ends in the order of [`TimeWaitEnd::ALL`], those for an unknown reason last.
    pub time_wait_ended: [u64; TimeWaitEnd::ALL.len() + 1],
    /// Mini-sockets that could not be had.
    pub time_wait_refused: u64,
    /// SYN-ACKs sent again.
    pub synack_retransmits: u64,
    /// RSTs sent.
    pub resets_sent: u64,
    /// Connections that a RST ended.
    pub resets_received: u64,
    /// SYNs and FINs sent again.
    pub retransmits: u64,
    /// Calls, mini-sockets and segments of sockets that are not in the table.
    pub of_strangers: u64,
    /// What snapshots have put right.
    pub reconciled: Reconciled,
    /// Segments that packet hooks saw; see [`super::table::Table::segments`].
    pub segments: SegmentCounts,
}

/// What has become of segments: each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentCounts {
    /// In the timeline of the connection that they passed on.
    pub joined: u64,
    /// In that of a connection that had ended before.
    pub after_end: u64,
    /// Of no socket of this host: forwarded, or nobody listened.
    pub strangers: u64,
    /// Not kept until their connection was known, for want of room.
    pub refused: u64,
    /// Waiting for their connection.
    pub pending: u64,
}

impl Statistics {
    /// `connection` has taken a step; it had stood in the state before for `stood`, where known.
    pub fn stepped(
        &mut self,
        connection: &Connection,
        at: Ts,
        change: &StateChange,
        stood: Option<Duration>,
    ) {
        if !connection.is_counted() {
            return;
        }
        if let Some(stood) = stood.filter(|_| change.old != change.new) {
            self.stood(change.old, stood);
        }
        let established = change.new == TcpState::Established;
        if connection.syn_seen && established && !connection.gap {
            self.inbound_handshakes.observe(at.since(connection.opened_at));
        }
        let connected = change.old == TcpState::SynSent && change.new == TcpState::Established;
        if connected && !connection.gap {
            self.outbound_handshakes.observe(at.since(connection.opened_at));
        }
    }

    /// A connection has stood in `state` for `span`.
    pub fn stood(&mut self, state: TcpState, span: Duration) {
        if let Some(histogram) = self.state_durations.get_mut(state.index()) {
            histogram.observe(span);
        }
    }

    /// A mini-socket has ended.
    pub fn time_wait_over(&mut self, why: Option<TimeWaitEnd>) {
        let slot = why.map_or(TimeWaitEnd::ALL.len(), |why| why as usize);
        if let Some(count) = self.time_wait_ended.get_mut(slot) {
            *count += 1;
        }
    }

    /// The end of `connection`'s full socket, from `from`, has been judged. The end of a listener is
    /// no end of a connection.
    pub fn ended(&mut self, connection: &Connection, from: TcpState) {
        let Some(Closed { at, verdict }) = connection.judged() else { return };
        if from == TcpState::Listen || connection.is_listener() || !connection.is_counted() {
            return;
        }
        let by_reset = [errno::ECONNRESET, errno::EPIPE, errno::ECONNREFUSED];
        self.resets_received += u64::from(by_reset.contains(&verdict.error));
        let by = verdict.by.map_or(ClosedBy::ALL.len(), |by| by as usize);
        let row = self.closed.get_mut(verdict.reason as usize);
        if let Some(count) = row.and_then(|row| row.get_mut(by)) {
            *count += 1;
        }
        if from == TcpState::SynSent && verdict.error != 0 {
            self.connect_failed(verdict.error);
        }
        if let (Some((by, since)), false) = (connection.first_fin(), connection.gap)
            && let Some(histogram) = self.teardowns.get_mut(by as usize)
        {
            histogram.observe(at.since(since));
        }
    }

    fn connect_failed(&mut self, error: i32) {
        let known = errno::CONNECT_ERRORS.iter().position(|(number, _)| *number == error);
        let slot = known.unwrap_or(errno::CONNECT_ERRORS.len());
        if let Some(count) = self.connect_errors.get_mut(slot) {
            *count += 1;
        }
    }

    /// Ends for `reason` by `by`.
    #[must_use]
    pub fn closed_count(&self, reason: CloseReason, by: Option<ClosedBy>) -> u64 {
        let by = by.map_or(ClosedBy::ALL.len(), |by| by as usize);
        self.closed.get(reason as usize).and_then(|row| row.get(by)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arrays_follow_the_order_of_their_names() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, by) in ClosedBy::ALL.into_iter().enumerate() {
            assert_eq!(by as usize, index);
        }
    }

    #[test]
    fn a_failed_connect_is_counted_under_its_error() {
        let mut statistics = Statistics::default();
        statistics.connect_failed(errno::ECONNREFUSED);
        statistics.connect_failed(4711);
        let index = errno::CONNECT_ERRORS.iter().position(|(_, n)| *n == "ECONNREFUSED").unwrap();
        assert_eq!(statistics.connect_errors[index], 1);
        assert_eq!(statistics.connect_errors.last(), Some(&1));
    }
}
