//! Connections as hooks see them, and the programs' side of folding them.

use std::num::NonZeroU64;

use proptest::prelude::*;
use tcp_trace_common::{
    FOLD_ACCEPT, FOLD_CLOSE, FOLD_CLOSER, FOLD_CONNECT, FOLD_ON, FOLD_OPENER, FOLD_STEPS,
    FOLDED_RECORD_LEN, FoldCaller, FoldStep, FoldedRecord, KIND_FOLDED, SOCK_ATTACHED,
    VALID_COOKIE, VALID_FLAGS, VALID_NETNS, fold_code,
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::core::{
    clock::Ts,
    event::{
        Body, Caller, Comm, Event, Flow, LifeEvent, LifeStep, Origin, Protocol, SockFlags,
        SocketId, StateChange, Task, TimeWaitEnd,
    },
    tcp_state::TcpState as S,
};

/// Where the address of a mini-socket lies, beside that of its full socket.
const MINI: u64 = 1_000;

fn id(sk: u64) -> SocketId {
    SocketId { cookie: NonZeroU64::new(1_000 + sk % MINI), sk }
}

fn flow(sk: u64) -> Flow {
    let port = u16::try_from(1_000 + sk % MINI).unwrap();
    Flow { local: ([10, 0, 0, 1], port).into(), remote: ([10, 0, 0, 2], 443).into() }
}

pub(super) fn caller(pid: u32) -> Caller {
    let task = Task { pid, tid: pid + 1, comm: Comm::from_text("java") };
    Caller { task, started_ns: NonZeroU64::new(9), cgroup: NonZeroU64::new(4) }
}

const OPENER: u32 = 70;
const CLOSER: u32 = 80;

/// Who makes a change: told only where it runs in the context of a process.
fn maker(old: S, new: S) -> Option<u32> {
    match (old, new) {
        (S::Close, S::SynSent) => Some(OPENER),
        (_, S::FinWait1 | S::LastAck) => Some(CLOSER),
        _ => None,
    }
}

pub(super) fn change(sk: u64, old: S, new: S) -> Body {
    Body::State(StateChange {
        socket: id(sk),
        origin: Origin::Live,
        old,
        new,
        flow: flow(sk),
        protocol: Protocol::Tcp,
        netns: Some(7),
        error: 0,
        transfer: None,
        flags: Some(SockFlags { attached: true, ..SockFlags::default() }),
        current: maker(old, new).map(|pid| caller(pid).task),
        silent: None,
    })
}

fn life(sk: u64, what: LifeStep) -> Body {
    let (socket, flow) = (id(sk), flow(sk));
    Body::Life(LifeEvent { socket, flow, protocol: Protocol::Tcp, netns: Some(7), what })
}

/// What hooks see of a connection, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    Change(S, S),
    Connect,
    Accept,
    Close(S),
    /// Told at once, and tells of what is folded first.
    Reset,
    MiniBorn(S),
    /// Of sockets that are never folded.
    Request,
    MiniEnded(S),
}

use Seen::{Accept, Change, Connect, MiniBorn, MiniEnded, Request, Reset};

impl Seen {
    pub(super) fn event(self, sk: u64) -> Body {
        match self {
            Change(old, new) => change(sk, old, new),
            Connect => life(sk, LifeStep::Connect(Some(caller(OPENER)))),
            Accept => life(sk, LifeStep::Accept(Some(caller(OPENER)))),
            Seen::Close(state) => life(sk, LifeStep::Close(Some(caller(CLOSER)), state)),
            Reset => life(sk, LifeStep::ResetSent { reason: None, unasked: false }),
            MiniBorn(substate) => life(sk + MINI, LifeStep::TimeWaitBorn { substate, from: sk }),
            Request => life(sk, LifeStep::Request),
            MiniEnded(substate) => {
                let why = TimeWaitEnd::Expired;
                life(sk + MINI, LifeStep::TimeWaitEnded { substate, why })
            }
        }
    }
}

const CLIENT: &[Seen] = &[
    Change(S::Close, S::SynSent),
    Connect,
    Change(S::SynSent, S::Established),
    Seen::Close(S::Established),
    Change(S::Established, S::FinWait1),
    Change(S::FinWait1, S::FinWait2),
    MiniBorn(S::TimeWait),
    Change(S::FinWait2, S::Close),
    MiniEnded(S::TimeWait),
];
const SERVER: &[Seen] = &[
    Request,
    Change(S::Listen, S::SynRecv),
    Change(S::SynRecv, S::Established),
    Accept,
    Change(S::Established, S::CloseWait),
    Seen::Close(S::CloseWait),
    Change(S::CloseWait, S::LastAck),
    Change(S::LastAck, S::Close),
];
const CROSSED: &[Seen] = &[
    Change(S::Close, S::SynSent),
    Change(S::SynSent, S::Established),
    Change(S::Established, S::FinWait1),
    Change(S::FinWait1, S::Closing),
    MiniBorn(S::TimeWait),
    Change(S::Closing, S::Close),
];
pub(super) const RESET: &[Seen] = &[
    Request,
    Change(S::Listen, S::SynRecv),
    Change(S::SynRecv, S::Established),
    Accept,
    Seen::Close(S::Established),
    Change(S::Established, S::Close),
    Reset,
];
const RESET_AS_AN_ORPHAN: &[Seen] = &[
    Change(S::Close, S::SynSent),
    Connect,
    Change(S::SynSent, S::Established),
    Seen::Close(S::Established),
    Change(S::Established, S::FinWait1),
    Reset,
    Change(S::FinWait1, S::Close),
];
pub(super) const REFUSED: &[Seen] =
    &[Change(S::Close, S::SynSent), Connect, Change(S::SynSent, S::Close)];

pub(super) fn any_life() -> impl Strategy<Value = &'static [Seen]> {
    proptest::sample::select(vec![CLIENT, SERVER, CROSSED, RESET, RESET_AS_AN_ORPHAN, REFUSED])
}

/// The programs' side of folding, as `tcp-trace-ebpf/src/fold.rs` does it.
#[derive(Default)]
pub(super) struct Programs {
    pub(super) order: u32,
    pub(super) longest_ns: u64,
    pub(super) places: std::collections::BTreeMap<u64, FoldedRecord>,
}

pub(super) enum Report {
    Plain(Event),
    Folded(Box<FoldedRecord>),
}

impl Programs {
    pub(super) fn see(&mut self, at: u64, sk: u64, seen: Seen, out: &mut Vec<Report>) {
        let (code, is_last) = match seen {
            Change(old, new) => (fold_code(old as u8, new as u8), new == S::Close),
            Connect => (FOLD_CONNECT, false),
            Accept => (FOLD_ACCEPT, false),
            Seen::Close(_) => (FOLD_CLOSE, false),
            Reset | MiniBorn(_) => (0, false),
            Request | MiniEnded(_) => return out.push(plain(at, sk, seen)),
        };
        self.take_place(sk, seen);
        let fits = code != 0 && self.note(at, sk, seen, code);
        if !fits {
            if let Some(place) = self.places.remove(&sk) {
                out.push(finished(place, at - 1, sk));
            }
            out.push(plain(at, sk, seen));
        } else if is_last && let Some(place) = self.places.remove(&sk) {
            out.push(finished(place, at, sk));
        }
    }

    fn take_place(&mut self, sk: u64, seen: Seen) {
        let newborn = matches!(seen, Change(S::Close, S::SynSent) | Change(S::Listen, S::SynRecv));
        if newborn && self.order == FOLD_ON {
            let mut record = FoldedRecord::new_zeroed();
            record.state.kind = KIND_FOLDED;
            record.state.len = u16::try_from(FOLDED_RECORD_LEN).unwrap();
            record.state.sk = sk;
            self.places.insert(sk, record);
        }
    }

    /// Whether it is noted: there is a place, and time and room for another step.
    fn note(&mut self, at: u64, sk: u64, seen: Seen, code: u8) -> bool {
        let Some(place) = self.places.get_mut(&sk) else { return false };
        let count = usize::try_from(place.count).unwrap();
        let young = count == 0 || at - place.steps[0].time_ns <= self.longest_ns;
        if self.order != FOLD_ON || !young || count >= FOLD_STEPS {
            return false;
        }
        let sock_flags = SOCK_ATTACHED;
        place.steps[count] = FoldStep { time_ns: at, code, sock_flags, ..FoldStep::default() };
        place.count += 1;
        match seen {
            Change(S::Close, _) | Connect | Accept => place.callers[FOLD_OPENER] = by(OPENER),
            Change(_, S::FinWait1 | S::LastAck) | Seen::Close(_) => {
                place.callers[FOLD_CLOSER] = by(CLOSER);
            }
            _ => {}
        }
        true
    }

    /// What the daemon reads off the places: of all before a snapshot, else of those that are old.
    pub(super) fn look(&self, now: u64, all: bool, out: &mut Vec<Report>) {
        for (sk, place) in &self.places {
            if all || now - place.steps[0].time_ns > self.longest_ns {
                out.push(finished(FoldedRecord { unfinished: 1, ..*place }, now, *sk));
            }
        }
    }
}

fn plain(at: u64, sk: u64, seen: Seen) -> Report {
    Report::Plain(Event { at: Ts(at), body: seen.event(sk) })
}

fn by(pid: u32) -> FoldCaller {
    let Caller { task, started_ns, cgroup } = caller(pid);
    let mut comm = [0; 2];
    comm.as_mut_bytes().copy_from_slice(&task.comm.0);
    let number = |number: Option<NonZeroU64>| number.map_or(0, NonZeroU64::get);
    let (cgroup, process_started_ns) = (number(cgroup), number(started_ns));
    FoldCaller { cgroup, process_started_ns, pid: task.pid, tid: task.tid, comm }
}

fn finished(mut record: FoldedRecord, at: u64, sk: u64) -> Report {
    let octets = |end: std::net::SocketAddr| match end.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    };
    let Flow { local, remote } = flow(sk);
    record.state.time_ns = at;
    record.state.cookie = id(sk).cookie.unwrap().get();
    record.state.protocol = 6;
    record.state.netns = 7;
    record.state.valid = VALID_COOKIE | VALID_FLAGS | VALID_NETNS;
    (record.state.local_addr, record.state.local_port) = (octets(local), local.port());
    (record.state.remote_addr, record.state.remote_port) = (octets(remote), remote.port());
    Report::Folded(Box::new(record))
}

/// The record of a client that is refused, as the programs would send it.
pub(super) fn refused() -> FoldedRecord {
    let mut programs = Programs { order: FOLD_ON, longest_ns: 1_000, ..Programs::default() };
    let mut out = Vec::new();
    for (number, seen) in REFUSED.iter().enumerate() {
        programs.see(5 + 2 * number as u64, 1, *seen, &mut out);
    }
    let Some(Report::Folded(record)) = out.pop() else { panic!("one record") };
    assert!(out.is_empty());
    *record
}
