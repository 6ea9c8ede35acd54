//! One end of a conversation: where its socket must stand, and what that makes of the table's events.

use std::num::NonZeroU64;

use super::sequence::{after, follows, later};
use crate::core::{
    clock::Ts,
    errno,
    event::{
        Body, Event, Flow, LifeEvent, LifeStep, Origin, Protocol, SockFlags, SocketId, StateChange,
        Transfer,
    },
    segment::{SegmentEvent, SegmentHeader, Travel, Witness},
    tcp_state::TcpState as S,
};

/// Where events go, and when they happen.
pub(super) struct Out<'a> {
    pub(super) at: Ts,
    pub(super) events: &'a mut Vec<Event>,
    /// Number of the last socket made up.
    pub(super) last_socket: &'a mut u64,
}

/// One end.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) flow: Flow,
    /// Number of its socket or its last one; 0 where there was none yet.
    pub(super) socket: u64,
    /// Where the socket stands. `NewSynRecv`: a listener's request; `TimeWait`: a mini-socket, which
    /// the table ends; `Close`: none is there.
    pub(super) state: S,
    pub(super) sent: Sent,
    pub(super) got: Got,
    /// When the peer's last SYN passed.
    pub(super) asked: Option<Ts>,
    /// When the answer to its own last SYN passed.
    pub(super) answered: Option<Ts>,
    /// Whether anything that it sent was captured.
    pub(super) heard: bool,
}

/// What an end has sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Its initial sequence number, where that is known.
    pub(super) initial: Option<u32>,
    /// Oldest number that the peer has not acknowledged.
    pub(super) una: u32,
    /// Number after the last that was sent.
    pub(super) next: u32,
    /// Number of its FIN.
    pub(super) fin: Option<u32>,
    /// Whether the FIN, sent again, waits for another ACK.
    pub(super) fin_again: bool,
    /// Sequence space acknowledged.
    pub(super) acked: u64,
    /// Segments sent again.
    pub(super) retransmits: u32,
}

/// What an end has got.
#[derive(Debug, Default)]
pub(super) struct Got {
    /// Number after the last that came in order.
    pub(super) next: u32,
    /// Sequence space received, without the SYN.
    pub(super) bytes: u64,
    /// Whether the peer's FIN is among it.
    pub(super) fin: bool,
    /// When the peer's FIN passed, while nothing yet shows that it has arrived.
    pub(super) fin_passed: Option<Ts>,
}

impl Got {
    fn upto(&mut self, end: u32) {
        if after(end, self.next) {
            self.bytes += u64::from(end.wrapping_sub(self.next));
            self.next = end;
        }
    }
}

impl Endpoint {
    pub(super) fn new(flow: Flow) -> Self {
        let (sent, got) = (Sent::default(), Got::default());
        let (asked, answered) = (None, None);
        Self { flow, socket: 0, state: S::Close, sent, got, asked, answered, heard: false }
    }

    /// Whether a socket, mini-socket or request is there.
    pub(super) fn is_there(&self) -> bool {
        self.state != S::Close
    }

    /// Whether the connection is open or closing, by a full socket that has seen the peer's SYN.
    pub(super) fn is_synchronized(&self) -> bool {
        !matches!(self.state, S::Close | S::SynSent | S::NewSynRecv | S::TimeWait)
    }

    /// Its SYN is seen for the first time.
    pub(super) fn connect(&mut self, initial: u32, end: u32, out: &mut Out<'_>) {
        self.renew(out);
        self.state = S::Close;
        self.sent = Sent { initial: Some(initial), una: initial, next: end, ..Sent::default() };
        self.got = Got::default();
        self.answered = None;
        self.change(S::SynSent, 0, None, out);
    }

    /// It answers a SYN: a listener's request, no socket yet.
    pub(super) fn request(&mut self, initial: u32, next: u32, out: &mut Out<'_>) {
        self.renew(out);
        self.state = S::NewSynRecv;
        self.began(initial.wrapping_add(1), next);
        self.sent.initial = Some(initial);
        let at = self.asked.take().unwrap_or(out.at);
        let event = self.event(at, LifeStep::Request);
        out.events.push(event);
    }

    /// The handshake is over: the listener's child is born.
    pub(super) fn birth(&mut self, out: &mut Out<'_>) {
        self.state = S::Listen;
        self.change(S::SynRecv, 0, None, out);
        self.change(S::Established, 0, None, out);
    }

    /// It was there before the capture began.
    pub(super) fn found(&mut self, state: S, next: u32, expected: u32, out: &mut Out<'_>) {
        self.renew(out);
        self.state = state;
        self.began(next, expected);
        let found = self.state_change(Origin::Snapshot, state, 0, None);
        out.events.push(Event { at: out.at, body: Body::State(found) });
    }

    /// Where a full socket stands at the end of the capture.
    pub(super) fn tell(&self, out: &mut Out<'_>) {
        if self.is_synchronized() {
            let row = self.state_change(Origin::Snapshot, self.state, 0, None);
            out.events.push(Event { at: out.at, body: Body::State(row) });
        }
    }

    /// Both streams begin here.
    fn began(&mut self, next: u32, expected: u32) {
        self.sent = Sent { una: next, next, ..Sent::default() };
        self.got = Got { next: expected, ..Got::default() };
    }

    /// Another socket takes this end; the end of the one before was not captured.
    fn renew(&mut self, out: &mut Out<'_>) {
        if !matches!(self.state, S::Close | S::TimeWait | S::NewSynRecv) {
            self.life(LifeStep::Destroyed, out);
        }
        *out.last_socket += 1;
        self.socket = *out.last_socket;
    }

    /// Changes its state, and says so.
    pub(super) fn change(
        &mut self,
        new: S,
        error: i32,
        flags: Option<SockFlags>,
        out: &mut Out<'_>,
    ) {
        let change = self.state_change(Origin::Live, new, error, flags);
        out.events.push(Event { at: out.at, body: Body::State(change) });
        self.state = new;
    }

    /// Both FINs are through, and ours went first or crossed theirs.
    pub(super) fn time_wait(&mut self, out: &mut Out<'_>) {
        let flags = SockFlags { dead: true, shutdown: 3, ..fin_flags() };
        self.change(S::Close, 0, Some(SockFlags { attached: false, ..flags }), out);
        self.state = S::TimeWait;
    }

    /// The peer has acknowledged all before `ack`.
    pub(super) fn acknowledged(&mut self, ack: u32, out: &mut Out<'_>) {
        if after(ack, self.sent.una) && follows(ack, self.sent.una) {
            self.sent.acked += u64::from(ack.wrapping_sub(self.sent.una));
            self.sent.una = ack;
            // What was acknowledged was sent, captured or not.
            self.sent.next = later(self.sent.next, ack);
        }
        let covered = self.sent.fin.is_some_and(|fin| after(self.sent.una, fin));
        match self.state {
            S::FinWait1 if covered => self.change(S::FinWait2, 0, None, out),
            S::Closing if covered => self.time_wait(out),
            S::LastAck if covered => self.change(S::Close, 0, None, out),
            _ => {}
        }
    }

    /// Payload has come.
    pub(super) fn received(&mut self, seq: u32, end: u32) {
        // Behind a gap it waits until this end's ACK tells that the gap is filled.
        if !after(seq, self.got.next) && follows(end, self.got.next) {
            self.got.upto(end);
        }
    }

    /// By its own word it has all before `ack`, `fin` being the number of the peer's FIN.
    pub(super) fn has_all_before(&mut self, ack: u32, fin: Option<u32>, out: &mut Out<'_>) {
        if follows(ack, self.got.next) {
            let payload = fin.filter(|fin| after(ack, *fin)).unwrap_or(ack);
            self.got.upto(payload);
        }
        if let Some(fin) = fin.filter(|fin| after(ack, *fin)) {
            let at = self.got.fin_passed.unwrap_or(out.at);
            let now = std::mem::replace(&mut out.at, at);
            self.fin_came(fin, out);
            out.at = now;
        }
    }

    /// The peer's FIN, at `fin`, passes. An end that has not closed may still send its own FIN before
    /// it gets this one, and one that has may answer the data before it with a RST: its next segment
    /// will tell.
    pub(super) fn fin_passes(&mut self, fin: u32, with_data: bool, out: &mut Out<'_>) {
        let open = match self.state {
            S::Established | S::SynRecv => true,
            S::FinWait1 | S::FinWait2 => with_data,
            _ => false,
        };
        if self.heard && open {
            self.got.fin_passed = Some(out.at);
        } else {
            self.fin_came(fin, out);
        }
    }

    /// The peer's FIN, at `fin`, is there; it counts once all before it is.
    pub(super) fn fin_came(&mut self, fin: u32, out: &mut Out<'_>) {
        if self.got.fin || after(fin, self.got.next) {
            return;
        }
        self.got.fin = true;
        self.got.upto(fin.wrapping_add(1));
        match self.state {
            S::Established | S::SynRecv => {
                self.change(S::CloseWait, 0, Some(fin_flags()), out);
            }
            S::FinWait1 => self.change(S::Closing, 0, Some(fin_flags()), out),
            S::FinWait2 => self.time_wait(out),
            _ => {}
        }
    }

    /// It has sent a FIN, which stands at `fin`; returns whether it is the same again.
    pub(super) fn finished(&mut self, fin: u32, out: &mut Out<'_>) -> bool {
        if self.sent.fin.is_some() {
            self.sent.fin_again = true;
            return true;
        }
        self.sent.fin = Some(fin);
        match self.state {
            S::Established | S::SynRecv => self.change(S::FinWait1, 0, None, out),
            S::CloseWait => self.change(S::LastAck, 0, None, out),
            _ => {}
        }
        false
    }

    /// It has sent a RST: the connection is no more.
    pub(super) fn aborted(&mut self, out: &mut Out<'_>) {
        self.life(LifeStep::ResetSent { reason: None, unasked: false }, out);
        self.change(S::Close, 0, None, out);
    }

    /// A RST has come that it must heed.
    pub(super) fn was_reset(&mut self, out: &mut Out<'_>) {
        let error = match self.state {
            S::SynSent => errno::ECONNREFUSED,
            S::CloseWait => errno::EPIPE,
            _ => errno::ECONNRESET,
        };
        self.change(S::Close, error, None, out);
    }

    pub(super) fn life(&self, what: LifeStep, out: &mut Out<'_>) {
        out.events.push(self.event(out.at, what));
    }

    pub(super) fn segment(&self, travel: Travel, header: SegmentHeader, out: &mut Out<'_>) {
        let (flow, witness) = (self.flow, Witness::Capture);
        let event = SegmentEvent { flow, netns: None, travel, witness, header };
        out.events.push(Event { at: out.at, body: Body::Segment(event) });
    }

    fn event(&self, at: Ts, what: LifeStep) -> Event {
        let (socket, flow, protocol) = (self.id(), self.flow, Protocol::Tcp);
        let life = LifeEvent { socket, flow, protocol, netns: None, what };
        Event { at, body: Body::Life(life) }
    }

    fn id(&self) -> SocketId {
        SocketId { cookie: NonZeroU64::new(self.socket), sk: self.socket }
    }

    fn state_change(
        &self,
        origin: Origin,
        new: S,
        error: i32,
        flags: Option<SockFlags>,
    ) -> StateChange {
        // Before its first segment of its own, a socket has no figures.
        let bare = matches!(self.state, S::Close | S::Listen)
            || self.state == S::SynSent && new != S::Established;
        StateChange {
            socket: self.id(),
            origin,
            old: self.state,
            new,
            flow: self.flow,
            protocol: Protocol::Tcp,
            netns: None,
            error,
            transfer: (!bare).then(|| self.transfer()),
            flags,
            current: None,
            silent: None,
        }
    }

    fn transfer(&self) -> Transfer {
        Transfer {
            rcv_nxt: self.got.next,
            copied_seq: self.got.next,
            snd_una: self.sent.una,
            write_seq: self.sent.next,
            srtt_us: 0,
            retransmits: self.sent.retransmits,
            bytes_acked: self.sent.acked,
            bytes_received: self.got.bytes,
            syn_acked: None,
            outside: true,
        }
    }
}

/// All that is known of whose hands a socket is in: that the peer's FIN has come.
fn fin_flags() -> SockFlags {
    SockFlags { attached: true, fin_received: true, shutdown: 1, ..SockFlags::default() }
}
