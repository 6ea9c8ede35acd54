//! Two TCP sockets as Linux has them, a wire between that loses segments, and a tap on it.

use std::collections::VecDeque;

use tcp_trace_common::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

use crate::core::{
    close::{CloseReason as R, ClosedBy},
    segment::{SegmentFlags, SegmentHeader},
    tcp_state::TcpState as S,
};

/// One socket, and what it knows of itself.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) state: S,
    initial: u32,
    una: u32,
    next: u32,
    /// Number after what the process has written; its FIN is not among it.
    written: u32,
    closed: bool,
    expected: u32,
    first_fin: Option<ClosedBy>,
    /// Why it ended.
    pub(super) end: Option<(R, Option<ClosedBy>)>,
    pub(super) got: u64,
    peer_fin: bool,
}

impl Socket {
    fn new(state: S, initial: u32) -> Self {
        let next = initial.wrapping_add(1);
        Self {
            state,
            initial,
            una: initial,
            next,
            written: next,
            closed: false,
            expected: 0,
            first_fin: None,
            end: None,
            got: 0,
            peer_fin: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, S::Close | S::TimeWait)
    }

    fn can_send(&self) -> bool {
        matches!(self.state, S::Established | S::CloseWait)
    }

    fn fin(&self) -> u32 {
        self.written
    }

    fn fin_acknowledged(&self) -> bool {
        self.closed && self.una == self.fin().wrapping_add(1)
    }

    fn header(&self, flags: u8, seq: u32, payload: u32) -> SegmentHeader {
        let flags = SegmentFlags(flags);
        SegmentHeader { flags, seq, ack: self.expected, window: 512, payload }
    }

    fn ack(&self) -> SegmentHeader {
        self.header(TCP_ACK, self.next, 0)
    }

    fn over(&mut self, state: S, reason: R, by: ClosedBy) {
        self.state = state;
        self.end = Some((reason, Some(self.first_fin.unwrap_or(by))));
    }

    /// `close()`: a FIN, if there is anything to close.
    fn close(&mut self) -> Option<SegmentHeader> {
        let (state, by) = match self.state {
            S::Established => (S::FinWait1, ClosedBy::Local),
            S::CloseWait => (S::LastAck, ClosedBy::Remote),
            _ => return None,
        };
        self.state = state;
        self.first_fin.get_or_insert(by);
        self.closed = true;
        let fin = self.header(TCP_FIN | TCP_ACK, self.next, 0);
        self.next = self.next.wrapping_add(1);
        Some(fin)
    }

    fn write(&mut self, payload: u32) -> Option<SegmentHeader> {
        self.can_send().then(|| {
            let data = self.header(TCP_ACK, self.next, payload);
            self.next = self.next.wrapping_add(payload);
            self.written = self.next;
            data
        })
    }

    fn abort(&mut self) -> Option<SegmentHeader> {
        matches!(self.state, S::Established | S::CloseWait | S::FinWait1 | S::FinWait2).then(|| {
            self.over(S::Close, R::RstSent, ClosedBy::Local);
            self.header(TCP_RST | TCP_ACK, self.next, 0)
        })
    }

    /// The retransmission timer: all that is not acknowledged, in one segment.
    fn again(&self) -> Option<SegmentHeader> {
        let syn = match self.state {
            S::SynSent => Some(TCP_SYN),
            S::NewSynRecv => Some(TCP_SYN | TCP_ACK),
            _ => None,
        };
        if let Some(flags) = syn {
            let syn = self.header(flags, self.initial, 0);
            return Some(if flags == TCP_SYN { SegmentHeader { ack: 0, ..syn } } else { syn });
        }
        let waits = self.una != self.next && !self.is_over() && self.state != S::Listen;
        waits.then(|| {
            let payload = self.written.wrapping_sub(self.una).min(1 << 20);
            let fin = self.closed && !self.fin_acknowledged();
            let flags = if fin { TCP_ACK | TCP_FIN } else { TCP_ACK };
            self.header(flags, self.una, payload)
        })
    }

    /// A segment has come; what it answers.
    fn take(&mut self, header: SegmentHeader) -> Option<SegmentHeader> {
        let flags = header.flags;
        if flags.has(TCP_RST) {
            return self.reset(header);
        }
        match self.state {
            S::Close => {
                let reset = SegmentFlags(TCP_RST);
                return Some(SegmentHeader {
                    flags: reset,
                    seq: header.ack,
                    ..SegmentHeader::default()
                });
            }
            S::Listen if flags.is_syn() => {
                (self.state, self.expected) = (S::NewSynRecv, header.seq.wrapping_add(1));
                return self.again();
            }
            S::NewSynRecv if flags.is_syn() => return self.again(),
            S::SynSent if flags.is_syn_ack() => {
                (self.state, self.expected) = (S::Established, header.seq.wrapping_add(1));
                self.una = header.ack;
                return Some(self.ack());
            }
            S::Listen | S::SynSent => return None,
            S::NewSynRecv if header.ack == self.next => {
                (self.state, self.una) = (S::Established, self.next);
            }
            _ if flags.has(TCP_SYN) => return Some(self.ack()),
            _ => {}
        }
        if header.ack.wrapping_sub(self.una) <= self.next.wrapping_sub(self.una) {
            self.una = header.ack;
        }
        if self.fin_acknowledged() {
            match self.state {
                S::FinWait1 => self.state = S::FinWait2,
                S::Closing => self.over(S::TimeWait, R::Simultaneous, ClosedBy::Both),
                S::LastAck => self.over(S::Close, R::FinPassive, ClosedBy::Remote),
                _ => {}
            }
        }
        self.receive(header)
    }

    fn receive(&mut self, header: SegmentHeader) -> Option<SegmentHeader> {
        if header.sequence_len() == 0 || self.state == S::Close {
            return None;
        }
        let old = self.expected.wrapping_sub(header.seq);
        // Data that comes after the process has gone is answered with a RST.
        if self.closed && header.payload > old && self.first_fin == Some(ClosedBy::Local) {
            self.over(S::Close, R::RstSent, ClosedBy::Local);
            let flags = SegmentFlags(TCP_RST);
            return Some(SegmentHeader { flags, seq: header.ack, ..SegmentHeader::default() });
        }
        let length = header.sequence_len();
        if old < length {
            self.got += u64::from(header.payload.saturating_sub(old));
            self.expected = header.sequence_end();
            if header.flags.has(TCP_FIN) && !self.peer_fin {
                self.fin_came();
            }
        }
        Some(self.ack())
    }

    fn fin_came(&mut self) {
        self.peer_fin = true;
        match self.state {
            S::Established => {
                self.state = S::CloseWait;
                self.first_fin = Some(ClosedBy::Remote);
            }
            S::FinWait1 => {
                self.state = S::Closing;
                self.first_fin = Some(ClosedBy::Both);
            }
            S::FinWait2 => self.over(S::TimeWait, R::FinActive, ClosedBy::Local),
            _ => {}
        }
    }

    fn reset(&mut self, header: SegmentHeader) -> Option<SegmentHeader> {
        if self.is_over() || matches!(self.state, S::Listen | S::SynSent) {
            return None;
        }
        if header.seq != self.expected {
            // A challenge: whoever is gone will say so with the right number.
            return Some(self.ack());
        }
        if self.state == S::NewSynRecv {
            self.state = S::Listen;
        } else {
            let reason = if self.first_fin.is_some() { R::ResetAfterFin } else { R::RstReceived };
            let by = if reason == R::RstReceived { Some(ClosedBy::Remote) } else { self.first_fin };
            (self.state, self.end) = (S::Close, Some((reason, by)));
        }
        None
    }
}

/// A client, a server and the wire between.
#[derive(Debug)]
pub(super) struct World {
    pub(super) sockets: [Socket; 2],
    wire: [VecDeque<SegmentHeader>; 2],
    /// Beside which end the tap sits: what that end sends is seen even where it gets lost after.
    tap: usize,
    /// What the tap saw: who sent it, and what.
    pub(super) seen: Vec<(usize, SegmentHeader)>,
    /// Whether a FIN got lost, so that the order in which the ends learn of things is not the tap's.
    pub(super) fin_lost: bool,
}

impl World {
    pub(super) fn new(initial: [u32; 2], tap: usize) -> Self {
        let mut world = Self {
            sockets: [Socket::new(S::SynSent, initial[0]), Socket::new(S::Listen, initial[1])],
            wire: [VecDeque::new(), VecDeque::new()],
            tap,
            seen: Vec::new(),
            fin_lost: false,
        };
        let syn = world.sockets[0].again();
        world.send(0, syn);
        world
    }

    fn send(&mut self, from: usize, header: Option<SegmentHeader>) {
        let Some(header) = header else { return };
        if from == self.tap {
            self.seen.push((from, header));
        }
        self.wire[from].push_back(header);
    }

    fn deliver(&mut self, from: usize) {
        let Some(header) = self.wire[from].pop_front() else { return };
        if from != self.tap {
            self.seen.push((from, header));
        }
        let answer = self.sockets[1 - from].take(header);
        self.send(1 - from, answer);
    }

    fn settle(&mut self) {
        while self.wire.iter().any(|wire| !wire.is_empty()) {
            self.deliver(0);
            self.deliver(1);
        }
    }

    /// Something happens at or near the end `who`.
    pub(super) fn act(&mut self, who: usize, what: u8, size: u32) {
        let socket = &mut self.sockets[who];
        match what {
            0 | 1 => {
                let data = socket.write(size);
                self.send(who, data);
            }
            2 => {
                let fin = socket.close();
                self.send(who, fin);
            }
            3..=6 => self.deliver(who),
            7 => {
                if let Some(lost) = self.wire[who].pop_front() {
                    self.fin_lost |= lost.flags.has(TCP_FIN | TCP_RST);
                }
            }
            8 => {
                let again = socket.again();
                self.send(who, again);
            }
            _ => {
                // What else is on its way must not change who was first.
                self.settle();
                let reset = self.sockets[who].abort();
                self.send(who, reset);
                self.settle();
            }
        }
    }

    /// Nothing more is done or lost: all that is under way comes to its end.
    pub(super) fn rest(&mut self) {
        for _ in 0..8 {
            self.settle();
            for who in 0..2 {
                let again = self.sockets[who].again();
                self.send(who, again);
            }
        }
        self.settle();
    }
}
