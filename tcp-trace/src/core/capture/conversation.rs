//! Two ends, and what each of their segments tells of both.

use tcp_trace_common::{TCP_ACK, TCP_FIN, TCP_RST};

use super::{
    endpoint::{Endpoint, Out},
    sequence::{after, follows, later, near},
};
use crate::core::{
    clock::Ts,
    event::{Flow, LifeStep, TimeWaitEnd},
    segment::{SegmentHeader, Travel},
    tcp_state::TcpState as S,
};

/// Two ends.
#[derive(Debug)]
pub(super) struct Conversation {
    ends: [Endpoint; 2],
    /// When its last segment passed.
    pub(super) last: Ts,
}

/// How long both ends must be silent before what comes belongs to a connection of its own.
const SILENCE: std::time::Duration = std::time::Duration::from_mins(2);

impl Conversation {
    /// `flow` as its first end sees it.
    pub(super) fn new(flow: Flow, at: Ts) -> Self {
        let back = Flow { local: flow.remote, remote: flow.local };
        Self { ends: [Endpoint::new(flow), Endpoint::new(back)], last: at }
    }

    /// Whether nothing of it is there any more but a mini-socket, which the table ends by itself.
    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| matches!(end.state, S::Close | S::TimeWait))
    }

    /// Whether this end has sent a SYN that has no answer.
    pub(super) fn is_asking(&self, end: usize) -> bool {
        self.ends.get(end).is_some_and(|end| end.state == S::SynSent)
    }

    /// The kernel or the process has given its SYN up.
    pub(super) fn give_up(&mut self, end: usize, error: i32, out: &mut Out<'_>) {
        if let Some(end) = self.ends.get_mut(end) {
            end.change(S::Close, error, None, out);
        }
    }

    /// Says where its sockets stand at the end.
    pub(super) fn tell(&self, out: &mut Out<'_>) {
        for end in &self.ends {
            end.tell(out);
        }
    }

    /// A segment of the first or the second end; returns whether it belongs to anything.
    pub(super) fn take(&mut self, second: bool, header: SegmentHeader, out: &mut Out<'_>) -> bool {
        let [first, other] = &mut self.ends;
        let (from, to) = if second { (other, first) } else { (first, other) };
        let silent = out.at.since(self.last) > SILENCE;
        self.last = out.at;
        from.heard = true;
        let mut passing = Passing { from, to, header, out };
        let flags = header.flags;
        if flags.has(TCP_RST) {
            passing.reset()
        } else if flags.is_syn() {
            passing.syn();
            true
        } else if flags.is_syn_ack() {
            passing.syn_ack()
        } else if flags.has(TCP_ACK) {
            passing.other(silent)
        } else {
            // Past the handshake every segment has an ACK; who sends others only looks for holes.
            false
        }
    }
}

/// A segment on its way.
struct Passing<'a, 'b> {
    from: &'a mut Endpoint,
    to: &'a mut Endpoint,
    header: SegmentHeader,
    out: &'a mut Out<'b>,
}

impl Passing<'_, '_> {
    /// Shows it at both ends.
    fn show(&mut self) {
        self.from.segment(Travel::Out, self.header, self.out);
        self.to.segment(Travel::In, self.header, self.out);
    }

    fn syn(&mut self) {
        let SegmentHeader { seq, .. } = self.header;
        if self.from.is_there() && self.from.sent.initial == Some(seq) {
            self.from.sent.retransmits += 1;
            if self.from.state == S::SynSent {
                self.from.life(LifeStep::Retransmit(S::SynSent), self.out);
            }
        } else {
            self.from.connect(seq, self.header.sequence_end(), self.out);
        }
        self.to.asked = Some(self.out.at);
        self.show();
    }

    fn syn_ack(&mut self) -> bool {
        let SegmentHeader { seq, ack, .. } = self.header;
        let again = self.from.is_there() && self.from.sent.initial == Some(seq);
        let fits = match self.to.sent.initial {
            Some(initial) if self.to.is_there() => {
                after(ack, initial) && !after(ack, self.to.sent.next)
            }
            // Its SYN was not captured.
            _ => !self.to.is_there(),
        };
        if !fits {
            return false;
        }
        match self.from.state {
            S::SynSent if again => {
                // SYNs have crossed: it got the other's and answers its own way.
                self.from.got.next = first_byte(self.to).unwrap_or(self.to.sent.next);
                self.from.change(S::SynRecv, 0, None, self.out);
            }
            S::NewSynRecv if again => {
                self.from.sent.retransmits += 1;
                let count = self.from.sent.retransmits;
                self.from.life(LifeStep::SynAckRetransmit(count), self.out);
            }
            _ if again => self.from.sent.retransmits += u32::from(self.from.state != S::SynRecv),
            _ => {
                if !self.to.is_there() {
                    let initial = ack.wrapping_sub(1);
                    self.to.found(S::SynSent, initial, 0, self.out);
                    self.to.sent.initial = Some(initial);
                    self.to.sent.next = ack;
                }
                self.from.request(seq, ack, self.out);
            }
        }
        self.show();
        self.to.answered = Some(self.out.at);
        if self.to.state == S::SynRecv {
            self.to.acknowledged(ack, self.out);
            self.to.change(S::Established, 0, None, self.out);
        }
        true
    }

    /// Data, ACKs and FINs.
    fn other(&mut self, silent: bool) -> bool {
        let SegmentHeader { seq, ack, payload, flags, .. } = self.header;
        let (end, fin) = (self.header.sequence_end(), flags.has(TCP_FIN));
        let says = payload > 0 || fin;
        if !self.from.is_synchronized() && !self.to.is_synchronized() {
            let over = |end: &Endpoint| matches!(end.state, S::Close | S::TimeWait);
            if over(self.from) && over(self.to) {
                let far = silent || !near(seq, self.from.sent.next);
                let unknown = self.from.socket == 0 && self.to.socket == 0;
                if !says || !unknown && !far {
                    return self.late();
                }
                self.from.found(S::Established, seq, ack, self.out);
                self.to.found(S::Established, ack, seq, self.out);
            }
        }
        let Some(handshake) = self.prove(says) else { return self.late() };
        if !near(seq, self.from.sent.next) {
            return false;
        }
        self.from.has_all_before(ack, self.to.sent.fin, self.out);
        // A keep-alive probe repeats one byte, or none.
        let probe = payload <= 1 && !fin && end.wrapping_sub(payload) != self.from.sent.next;
        let mut again = says && !after(end, self.from.sent.next) && !probe;
        let mut shown = handshake || fin;
        if fin {
            again |= self.from.finished(end.wrapping_sub(1), self.out);
            if again && matches!(self.from.state, S::FinWait1 | S::LastAck | S::Closing) {
                self.from.life(LifeStep::Retransmit(self.from.state), self.out);
            }
        }
        self.from.sent.retransmits += u32::from(again);
        self.from.sent.next = later(self.from.sent.next, end);
        if let Some(fin) = self.to.sent.fin
            && after(ack, fin)
            && (!after(self.to.sent.una, fin) || self.to.sent.fin_again && !says)
        {
            self.to.sent.fin_again = false;
            shown = true;
        }
        if shown {
            self.show();
        }
        if let Some(theirs) = self.to.sent.fin.filter(|_| self.from.got.fin_passed.is_some()) {
            // Its own FIN went out first: they have crossed.
            let with_data = after(theirs, self.to.sent.una);
            self.from.fin_passes(theirs, with_data, self.out);
        }
        self.arrive(seq, ack);
        true
    }

    /// What the sender must have got to send this, and in which state that leaves it; whether it is
    /// the last of its handshake. `None` where it does not fit.
    fn prove(&mut self, says: bool) -> Option<bool> {
        let SegmentHeader { seq, ack, .. } = self.header;
        let answers = |asked: &Endpoint| {
            // Of an end that is not captured, nobody knows how far it has come.
            asked.sent.initial.is_none_or(|initial| after(ack, initial))
                && (!after(ack, asked.sent.next) || !asked.heard)
        };
        match self.from.state {
            S::SynSent => {
                let own = self.from.sent.initial.is_some_and(|initial| after(seq, initial));
                if !own || self.to.is_there() && !answers(self.to) {
                    return None;
                }
                if !self.to.is_there() {
                    // The SYN-ACK was not captured, or the other way never is.
                    self.to.request(ack.wrapping_sub(1), seq, self.out);
                }
                self.connected(ack);
                Some(true)
            }
            S::NewSynRecv | S::Close if self.to.state == S::SynSent => {
                if !answers(self.to) || self.from.state == S::NewSynRecv && !says {
                    return None;
                }
                if self.from.state == S::Close {
                    self.from.request(seq.wrapping_sub(1), ack, self.out);
                }
                // It goes on, so it has had the handshake's last ACK.
                self.from.birth(self.out);
                std::mem::swap(&mut self.from, &mut self.to);
                self.connected(seq);
                std::mem::swap(&mut self.from, &mut self.to);
                Some(false)
            }
            S::NewSynRecv if says => {
                self.from.birth(self.out);
                Some(false)
            }
            // Ends of mini-sockets answer late FINs; the others have nothing to say.
            S::NewSynRecv | S::Close | S::TimeWait => None,
            _ => Some(false),
        }
    }

    /// The SYN-ACK has come to the sender, whose peer's stream goes on at `next`.
    fn connected(&mut self, next: u32) {
        self.from.got.next = first_byte(self.to).unwrap_or(next);
        let syn = first_byte(self.from).unwrap_or(self.from.sent.una);
        let at = self.from.answered.unwrap_or(self.out.at);
        let now = std::mem::replace(&mut self.out.at, at);
        self.from.acknowledged(syn, self.out);
        self.from.change(S::Established, 0, None, self.out);
        self.out.at = now;
    }

    /// What comes of it where it arrives.
    fn arrive(&mut self, seq: u32, ack: u32) {
        let covers = self
            .to
            .sent
            .initial
            .is_some_and(|initial| after(ack, initial) && follows(ack, initial));
        match self.to.state {
            S::NewSynRecv if covers => self.to.birth(self.out),
            S::SynRecv if covers => {
                self.to.acknowledged(ack, self.out);
                self.to.change(S::Established, 0, None, self.out);
            }
            S::NewSynRecv | S::SynSent => return,
            _ => {}
        }
        self.to.acknowledged(ack, self.out);
        self.to.received(seq, seq.wrapping_add(self.header.payload));
        if let Some(fin) = self.from.sent.fin {
            let with_data = after(fin, self.from.sent.una);
            self.to.fin_passes(fin, with_data, self.out);
        }
    }

    /// What comes now took the same way as the sender's FIN, if that has passed, and comes behind it.
    fn fin_came_before(&mut self) {
        if let (Some(at), Some(fin)) = (self.to.got.fin_passed, self.from.sent.fin) {
            let now = std::mem::replace(&mut self.out.at, at);
            self.to.fin_came(fin, self.out);
            self.out.at = now;
        }
    }

    /// Something for a connection that is over at one end at least: a FIN sent again and its ACK.
    fn late(&mut self) -> bool {
        let SegmentHeader { seq, ack, flags, .. } = self.header;
        let again =
            flags.has(TCP_FIN) && self.from.sent.fin.is_some() && near(seq, self.from.sent.next);
        let answers =
            self.to.sent.fin.is_some_and(|fin| after(ack, fin)) && near(ack, self.to.sent.next);
        let awaited = self.to.sent.fin_again || !after(self.to.sent.una, ack.wrapping_sub(1));
        self.from.sent.fin_again |= again;
        if again || answers && awaited {
            self.show();
        }
        if answers {
            self.to.sent.fin_again = false;
            self.to.acknowledged(ack, self.out);
        }
        again || answers
    }

    fn reset(&mut self) -> bool {
        if !self.from.is_there() && !self.to.is_there() {
            return false;
        }
        let (sender, receiver) = (self.ends_sender(), self.ends_receiver());
        if !sender && !receiver {
            return false;
        }
        let SegmentHeader { ack, flags, .. } = self.header;
        if sender && self.from.state == S::SynSent && flags.has(TCP_ACK) {
            // It had the answer and was connected: without a socket, the kernel sends no ACK along.
            self.connected(ack);
        }
        self.from.segment(Travel::Out, self.header, self.out);
        if sender {
            if self.from.is_synchronized() {
                self.from.aborted(self.out);
            } else if self.from.state == S::SynSent {
                // The process had given up before the answer came.
                self.from.change(S::Close, 0, None, self.out);
            } else {
                self.from.state = S::Close;
            }
        }
        self.to.segment(Travel::In, self.header, self.out);
        if receiver {
            self.fin_came_before();
            match self.to.state {
                // By that FIN it is a mini-socket now, which heeds no number but the next.
                S::TimeWait if self.header.seq != self.to.got.next => {}
                S::TimeWait => {
                    let (substate, why) = (S::TimeWait, TimeWaitEnd::Reset);
                    self.to.life(LifeStep::TimeWaitEnded { substate, why }, self.out);
                    self.to.state = S::Close;
                }
                // Only a request goes, which is no socket yet.
                S::NewSynRecv => self.to.state = S::Close,
                _ => self.to.was_reset(self.out),
            }
        }
        true
    }

    /// Whether the sender of a RST is at its end with it.
    fn ends_sender(&self) -> bool {
        let SegmentHeader { seq, ack, flags, .. } = self.header;
        match self.from.state {
            S::Close | S::TimeWait => false,
            // Before the handshake is over, RSTs also answer what does not fit.
            S::SynSent | S::NewSynRecv => {
                let Some(first) = first_byte(self.from) else { return false };
                // What it sent before the RST may not have been captured.
                let connected = flags.has(TCP_ACK) && first_byte(self.to) == Some(ack);
                self.to.is_there() && (first == seq || connected && follows(seq, first))
            }
            _ => near(seq, self.from.sent.next),
        }
    }

    /// Whether the receiver of a RST heeds it.
    fn ends_receiver(&self) -> bool {
        let SegmentHeader { seq, ack, flags, .. } = self.header;
        match self.to.state {
            S::Close => false,
            S::SynSent => {
                let initial = self.to.sent.initial.unwrap_or(self.to.sent.una);
                flags.has(TCP_ACK) && after(ack, initial) && !after(ack, self.to.sent.next)
            }
            S::TimeWait | S::NewSynRecv => seq == self.to.got.next,
            // In the window, which a capture does not tell in full; what passed may not have arrived.
            _ => follows(seq, self.to.got.next) || follows(seq, self.from.sent.una),
        }
    }
}

/// Number of the first byte behind an end's SYN.
fn first_byte(end: &Endpoint) -> Option<u32> {
    end.sent.initial.map(|initial| initial.wrapping_add(1))
}
