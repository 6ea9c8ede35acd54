//! The records of one life, as the kernel's programs make them.

use std::time::Duration;

use tcp_trace_common as wire;
use zerocopy::FromZeros as _;

use crate::core::{clock::Ts, decode::Record, tcp_state::TcpState as S};

/// Which hooks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// That of state changes alone.
    States,
    /// Calls, requests and `TIME_WAIT` as well.
    Calls,
    /// And segments.
    All,
    /// Each life in one record; none of them stays.
    Folded,
}

/// What a life is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// A listener, which stays.
    Listener(u16),
    /// Connects, and closes first.
    Client { stays: bool },
    /// Is accepted, and closes second.
    Server { stays: bool },
}

/// One life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) number: u64,
    pub(super) role: Role,
}

/// Services on this host; each has a process of its own, and as many processes connect.
pub(super) const SERVICES: u16 = 16;
/// Ports that the ends of one address use.
const PORTS: u64 = 20_000;

const FIN: u8 = wire::TCP_FIN;
const SYN: u8 = wire::TCP_SYN;
const ACK: u8 = wire::TCP_ACK;

/// A record to be.
#[derive(Clone, Copy)]
enum Told {
    State(S, S),
    Call(u16, S),
    Request,
    Born,
    Ended,
    Sent(u8),
    Got(u8),
    /// Stays so.
    Stays,
}

use Told::{Born, Call, Ended, Got, Request, Sent, State, Stays};

const CLIENT: &[Told] = &[
    State(S::Close, S::SynSent),
    Call(wire::KIND_CONNECT, S::SynSent),
    Sent(SYN),
    Got(SYN | ACK),
    State(S::SynSent, S::Established),
    Sent(ACK),
    Stays,
    Call(wire::KIND_CLOSE, S::Established),
    State(S::Established, S::FinWait1),
    Sent(FIN | ACK),
    Got(ACK),
    State(S::FinWait1, S::FinWait2),
    Got(FIN | ACK),
    Born,
    State(S::FinWait2, S::Close),
    Sent(ACK),
    Ended,
];

const SERVER: &[Told] = &[
    Got(SYN),
    Request,
    Sent(SYN | ACK),
    Got(ACK),
    State(S::Listen, S::SynRecv),
    State(S::SynRecv, S::Established),
    Call(wire::KIND_ACCEPT, S::Established),
    Stays,
    Got(FIN | ACK),
    State(S::Established, S::CloseWait),
    Sent(ACK),
    Call(wire::KIND_CLOSE, S::CloseWait),
    State(S::CloseWait, S::LastAck),
    Sent(FIN | ACK),
    Got(ACK),
    State(S::LastAck, S::Close),
];

impl Told {
    fn is_in(self, mix: Mix) -> bool {
        match self {
            State(..) | Stays => true,
            Call(..) | Request | Born | Ended => matches!(mix, Mix::Calls | Mix::All),
            Sent(_) | Got(_) => mix == Mix::All,
        }
    }

    /// Until what comes next: answers come from near by, `TIME_WAIT` is cut short by the next one.
    fn pause(self) -> Duration {
        match self {
            State(S::FinWait2, S::Close) => Duration::from_secs(1),
            State(S::SynSent, S::Established) | Call(wire::KIND_ACCEPT, _) => {
                Duration::from_millis(5)
            }
            Got(_) | Sent(_) | Born | Request => Duration::from_micros(2),
            _ => Duration::from_micros(40),
        }
    }
}

impl Life {
    /// The record of the life's step number `step` and how long it is until the next; `None` where
    /// it is over, or stays as it is.
    pub(super) fn record(self, mix: Mix, step: usize, at: Ts) -> Option<(Record, Duration)> {
        let (steps, stays): (&[Told], _) = match self.role {
            Role::Listener(_) => (&[State(S::Close, S::Listen), Stays], true),
            Role::Client { stays } => (CLIENT, stays),
            Role::Server { stays } => (SERVER, stays),
        };
        let told = steps.iter().take_while(|told| !(stays && matches!(told, Stays)));
        let mut told = told.filter(|told| told.is_in(mix) && !matches!(told, Stays));
        let told = told.nth(step)?;
        Some((self.make(*told, at), told.pause()))
    }

    fn make(self, told: Told, at: Ts) -> Record {
        match told {
            State(old, new) => self.state(at, old, new).into(),
            Sent(flags) => self.segment(at, flags, true).into(),
            Got(flags) => self.segment(at, flags, false).into(),
            told => self.life(at, told).into(),
        }
    }

    /// Address and port of this end and of the other.
    fn ends(self) -> [([u8; 16], u16); 2] {
        let service = |number| 8_000 + number;
        let here = address(10, 0);
        let low = |number: u64| u16::try_from(number).unwrap_or(0);
        match self.role {
            Role::Listener(number) => [(here, service(number)), ([0; 16], 0)],
            Role::Client { .. } => {
                let port = low(30_000 + self.number / 2 % PORTS);
                [(here, port), (address(20, self.number / 2 / PORTS), 443)]
            }
            Role::Server { .. } => {
                let port = low(40_000 + self.number / 2 % PORTS);
                let service = service(low(self.number / 2 % u64::from(SERVICES)));
                [(here, service), (address(30, self.number / 2 / PORTS), port)]
            }
        }
    }

    pub(super) fn process(self) -> (u32, [u64; 2]) {
        let (word, number) = match self.role {
            Role::Listener(number) => (*b"server-\0", u64::from(number)),
            Role::Server { .. } => (*b"server-\0", self.number / 2 % u64::from(SERVICES)),
            Role::Client { .. } => (*b"client-\0", self.number / 2 % u64::from(SERVICES)),
        };
        let [first, second] = [number / 10, number % 10].map(|digit| u64::from(b'0') + digit);
        let mut name = word;
        name[7] = u8::try_from(first).unwrap_or(b'?');
        let pid = 1_000 + u32::try_from(number).unwrap_or(0) + u32::from(word[0]) * 100;
        (pid, [u64::from_le_bytes(name), second])
    }

    /// Address of its socket: slabs give them out anew, but never to two that live.
    fn sk(self) -> u64 {
        0xffff_8880_0000_0000 + self.number * 2_304
    }

    fn cookie(self) -> u64 {
        self.number + 1
    }

    pub(super) fn state(self, at: Ts, old: S, new: S) -> wire::StateRecord {
        let mut record = wire::StateRecord::new_zeroed();
        let [(local_addr, local_port), (remote_addr, remote_port)] = self.ends();
        let newborn = (old, new) == (S::Listen, S::SynRecv);
        let unread = u32::from(new == S::CloseWait);
        record.kind = wire::KIND_STATE;
        record.len = length(wire::STATE_RECORD_LEN);
        record.valid = wire::VALID_TCP | wire::VALID_CURRENT | wire::VALID_FLAGS;
        record.valid |= wire::VALID_NETNS | if newborn { 0 } else { wire::VALID_COOKIE };
        record.protocol = 6;
        (record.time_ns, record.cookie, record.sk) = (at.0, self.cookie(), self.sk());
        (record.local_addr, record.local_port) = (local_addr, local_port);
        // A newborn child has its listener's ends.
        (record.remote_addr, record.remote_port) =
            if newborn { ([0; 16], 0) } else { (remote_addr, remote_port) };
        if (old, new) == (S::Close, S::SynSent) {
            // The port is chosen a moment later.
            record.local_port = 0;
        }
        record.family = 2;
        (record.old_state, record.new_state) = (number(old), number(new));
        record.netns = 4_026_531_840;
        (record.rcv_nxt, record.copied_seq) = (5_002, 5_002 - unread);
        (record.snd_una, record.write_seq) = (9_003, 9_003);
        (record.srtt_us_x8, record.bytes_acked, record.bytes_received) = (800, 3, 2);
        (record.pid, record.comm) = self.process();
        record.tid = record.pid;
        record.sock_flags = if newborn { 0 } else { wire::SOCK_ATTACHED };
        if matches!(new, S::CloseWait | S::LastAck) || old == S::LastAck || old == S::FinWait2 {
            record.sock_flags |= wire::SOCK_FLAG_FIN_RECEIVED;
        }
        record
    }

    fn life(self, at: Ts, told: Told) -> wire::LifeRecord {
        let mut record = wire::LifeRecord::new_zeroed();
        let [(local_addr, local_port), (remote_addr, remote_port)] = self.ends();
        record.len = length(wire::LIFE_RECORD_LEN);
        record.valid = wire::VALID_COOKIE | wire::VALID_NETNS;
        record.protocol = 6;
        (record.time_ns, record.cookie, record.sk) = (at.0, self.cookie(), self.sk());
        (record.local_addr, record.local_port) = (local_addr, local_port);
        (record.remote_addr, record.remote_port) = (remote_addr, remote_port);
        (record.family, record.netns) = (2, 4_026_531_840);
        match told {
            Call(kind, state) => {
                record.kind = kind;
                record.valid |= wire::VALID_CURRENT;
                (record.old_state, record.new_state) = (number(state), number(state));
                (record.pid, record.comm) = self.process();
                (record.tid, record.process_started_ns) = (record.pid, 7_000_000_000);
                record.cgroup = 4_711;
            }
            Born => {
                record.kind = wire::KIND_TIME_WAIT_BORN;
                (record.old_state, record.new_state) = (number(S::FinWait2), number(S::TimeWait));
                (record.sk, record.other) = (self.sk() + 1_024, self.sk());
            }
            Ended => {
                record.kind = wire::KIND_TIME_WAIT_ENDED;
                (record.old_state, record.new_state) = (number(S::TimeWait), number(S::TimeWait));
                (record.sk, record.value) = (self.sk() + 1_024, wire::TIME_WAIT_END_REUSED);
            }
            _ => {
                record.kind = wire::KIND_REQUEST;
                record.valid = wire::VALID_NETNS;
                record.sk = self.sk() + 512;
            }
        }
        record
    }

    fn segment(self, at: Ts, flags: u8, sent: bool) -> wire::SegmentRecord {
        let mut record = wire::SegmentRecord::new_zeroed();
        let [here, there] = self.ends();
        let (from, to) = if sent { (here, there) } else { (there, here) };
        record.kind = wire::KIND_SEGMENT;
        record.len = length(wire::SEGMENT_RECORD_LEN);
        record.valid = wire::VALID_NETNS;
        record.time_ns = at.0;
        (record.source_addr, record.source_port) = from;
        (record.destination_addr, record.destination_port) = to;
        let begins = flags & SYN != 0;
        record.seq = if begins { 5_000 } else { 5_001 } + u32::from(sent) * 4_000;
        record.ack = if flags & ACK == 0 { 0 } else { 9_001 - u32::from(sent) * 4_000 };
        (record.window, record.netns, record.interface) = (502, 4_026_531_840, 2);
        record.flags = flags;
        record.hook = if sent { wire::SEGMENT_HOOK_TC_OUT } else { wire::SEGMENT_HOOK_XDP };
        record
    }
}

/// `10.x.y.z` as IPv6 writes it.
fn address(second: u8, number: u64) -> [u8; 16] {
    let [.., third, fourth] = number.to_be_bytes();
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, second, third, fourth]
}

fn number(state: S) -> u8 {
    u8::try_from(state.index()).unwrap_or(0)
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
