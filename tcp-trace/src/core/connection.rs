//! One connection (or listener) and what is known of its life.

use std::{fmt, num::ParseIntError, str::FromStr, time::Duration};

use super::{
    clock::Ts,
    close::{self, CloseReason, ClosedBy, Verdict},
    direction::Direction,
    event::{Flow, Origin, Protocol, SockFlags, SocketId, StateChange, Transfer},
    owner::Owner,
    processes::ProcessSlot,
    tcp_state::TcpState,
    timeline::{Call, Detail, Mark, StepKind, Timeline},
};

/// Number of a connection: in the order in which the table met them, written in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:x}", self.0))
    }
}

impl FromStr for ConnectionId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// One life of one socket.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// Its socket.
    pub socket: SocketId,
    /// Inode of its network namespace.
    pub netns: Option<u32>,
    /// Both ends.
    pub flow: Flow,
    /// Kind of socket.
    pub protocol: Protocol,
    /// Which side opened it.
    pub direction: Direction,
    /// Where it stands.
    pub state: TcpState,
    /// Since when.
    pub state_since: Ts,
    /// When its first event came.
    pub opened_at: Ts,
    /// Whether it was there before that, so that ages are lower bounds.
    pub found: bool,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// Where its process is counted, while it is in the table.
    pub process: Option<ProcessSlot>,
    /// What it had moved at its last change.
    pub transfer: Option<Transfer>,
    /// Whose hands it was in at its last change.
    pub flags: Option<SockFlags>,
    /// Who sent the first FIN, and when it was sent or came.
    pub first_fin: Option<(ClosedBy, Ts)>,
    /// Its end.
    pub closed: Option<Closed>,
    /// What happened.
    pub timeline: Timeline,
    /// Whether steps are known to be missing.
    pub gap: bool,
    /// Losses that had been noticed when its last event came; see [`Connection::is_complete`].
    pub loss_epoch: u64,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When.
    pub at: Ts,
    /// Why and by whom.
    pub verdict: Verdict,
}

impl Connection {
    /// A new life, begun by `change`.
    #[must_use]
    pub fn open(id: ConnectionId, at: Ts, change: &StateChange, loss_epoch: u64) -> Self {
        let snapshot = change.origin == Origin::Snapshot;
        Self {
            id,
            socket: SocketId {
                // The kernel gives a newborn child the cookie it will keep only after this change.
                cookie: change.socket.cookie.filter(|_| !is_birth_of_child(change)),
                ..change.socket
            },
            netns: change.netns,
            flow: change.flow,
            protocol: change.protocol,
            direction: direction(change),
            state: change.old,
            state_since: at,
            opened_at: at,
            found: snapshot,
            owner: None,
            process: None,
            transfer: None,
            flags: None,
            first_fin: ClosedBy::first_fin(change.old).map(|by| (by, at)),
            closed: None,
            timeline: Timeline::default(),
            gap: snapshot,
            loss_epoch,
        }
    }

    /// Takes a change that leads from where the connection stands; returns how long it stood there.
    pub fn step(&mut self, at: Ts, change: &StateChange, loss_epoch: u64) -> Duration {
        let stood = at.since(self.state_since);
        self.learn(change);
        self.loss_epoch = loss_epoch;
        if change.old == change.new {
            let by = change.current;
            self.timeline.push(at, StepKind::Call { call: Call::Close, by });
            return stood;
        }
        let detail = detail(change);
        self.timeline.push(at, StepKind::State { from: change.old, to: change.new, detail });
        if self.first_fin.is_none() {
            self.first_fin = ClosedBy::first_fin(change.new).map(|by| (by, at));
        }
        if change.new == TcpState::Closing {
            // Our FIN was out when theirs came: both closed, whoever was first by a hair.
            self.first_fin = self.first_fin.map(|(_, since)| (ClosedBy::Both, since));
        }
        self.state = change.new;
        self.state_since = at;
        stood
    }

    /// Notes that steps between where it stood and `actual` were not seen.
    pub fn jump(&mut self, at: Ts, actual: TcpState) {
        self.timeline.push(at, StepKind::Mark(Mark::Missed { known: self.state, actual }));
        self.gap = true;
        self.state = actual;
        self.state_since = at;
        if self.first_fin.is_none() {
            self.first_fin = ClosedBy::first_fin(actual).map(|by| (by, at));
        }
    }

    /// Keeps what `change` tells of the socket beyond its state.
    pub fn learn(&mut self, change: &StateChange) {
        // A newborn child still carries its listener's address, and a connecting socket no port.
        if change.flow.remote.port() != 0 || self.flow.remote.port() == 0 {
            let local_port_gone = change.flow.local.port() == 0 && self.flow.local.port() != 0;
            if !local_port_gone {
                self.flow = change.flow;
            }
        }
        if change.socket.cookie.is_some() && !is_birth_of_child(change) {
            self.socket = change.socket;
        }
        self.netns = change.netns.or(self.netns);
        self.flags = change.flags.or(self.flags);
        // The child's figures are its listener's until its own are set.
        if change.old != TcpState::Listen {
            self.transfer = change.transfer.or(self.transfer);
        }
    }

    /// Judges its end.
    pub fn finish(&mut self, at: Ts, verdict: Verdict) {
        self.closed = Some(Closed { at, verdict });
    }

    /// Whether every step is there: no known gap, and no loss since its last event that may have
    /// been one of its own. A later event that leads on from the known state proves there was none.
    #[must_use]
    pub fn is_complete(&self, loss_epoch: u64) -> bool {
        !self.gap
            && self.timeline.omitted() == 0
            && (self.closed.is_some() || self.loss_epoch == loss_epoch)
    }

    /// Whether all that is known comes from a snapshot, and from no event yet.
    #[must_use]
    pub fn is_only_found(&self) -> bool {
        self.found
            && matches!(self.timeline.steps(), [step] if matches!(step.kind, StepKind::Mark(Mark::Found(_))))
    }

    /// Payload bytes the peer has acknowledged. The kernel counts our SYN (of an outbound
    /// connection) and our FIN along.
    #[must_use]
    pub fn bytes_sent(&self) -> Option<u64> {
        let acknowledged = self.transfer?.bytes_acked;
        let syn = self.direction == Direction::Outbound;
        let fin = u64::from(self.is_our_fin_acknowledged());
        Some(acknowledged.saturating_sub(u64::from(syn) + fin))
    }

    /// Told by `FIN_WAIT2`, which nothing else leads to, and by an orderly end.
    fn is_our_fin_acknowledged(&self) -> bool {
        let orderly = self.closed.is_some_and(|closed| {
            matches!(
                closed.verdict.reason,
                CloseReason::FinActive | CloseReason::FinPassive | CloseReason::Simultaneous
            )
        });
        orderly
            || self.timeline.steps().iter().any(|step| match step.kind {
                StepKind::State { from, to, .. } => [from, to].contains(&TcpState::FinWait2),
                StepKind::Mark(Mark::Found(state)) => state == TcpState::FinWait2,
                _ => false,
            })
    }

    /// Payload bytes received. The kernel counts the peer's FIN along.
    #[must_use]
    pub fn bytes_received(&self) -> Option<u64> {
        let received = self.transfer?.bytes_received;
        Some(received.saturating_sub(u64::from(self.fin_received())))
    }

    /// Received payload that nobody had read at the last change.
    #[must_use]
    pub fn unread_bytes(&self) -> Option<u32> {
        let unread = self.transfer?.unread_sequence();
        Some(unread.saturating_sub(u32::from(self.fin_received())))
    }

    /// Whether the process had read up to the peer's FIN at the last change; `None` before a FIN.
    #[must_use]
    pub fn fin_read(&self) -> Option<bool> {
        let transfer = self.transfer?;
        self.fin_received().then(|| transfer.unread_sequence() == 0)
    }

    fn fin_received(&self) -> bool {
        self.flags.is_some_and(|flags| flags.fin_received)
            || matches!(self.state, TcpState::CloseWait | TcpState::LastAck | TcpState::Closing)
    }

    /// Whether this is a listening socket and no connection.
    #[must_use]
    pub fn is_listener(&self) -> bool {
        self.state == TcpState::Listen
            || self.timeline.steps().first().is_some_and(|step| {
                matches!(
                    step.kind,
                    StepKind::State { to: TcpState::Listen, .. }
                        | StepKind::Mark(Mark::Found(TcpState::Listen))
                )
            })
    }
}

fn is_birth_of_child(change: &StateChange) -> bool {
    change.old == TcpState::Listen && change.new == TcpState::SynRecv
}

fn direction(change: &StateChange) -> Direction {
    match (change.old, change.new) {
        (TcpState::Listen, TcpState::SynRecv) => Direction::Inbound,
        (TcpState::Close, TcpState::SynSent) | (TcpState::SynSent, _) => Direction::Outbound,
        _ => Direction::Unknown,
    }
}

fn detail(change: &StateChange) -> Detail {
    Detail {
        error: change.error,
        unread_bytes: close::unread_bytes(change),
        shutdown: change.flags.map(|flags| flags.shutdown),
        attached: change.flags.map(|flags| flags.attached),
        fin_received: change.flags.map(|flags| flags.fin_received),
        caller: change.current.filter(|_| runs_in_caller(change)),
    }
}

/// Whether the kernel makes this change only in the context of the calling process.
///
/// CLOSE to `SYN_SENT` and to LISTEN run inside `connect()` and `listen()`, and the changes that
/// send our FIN inside `close()`, `shutdown()` or the exit of the process.
fn runs_in_caller(change: &StateChange) -> bool {
    matches!(
        (change.old, change.new),
        (TcpState::Close, TcpState::SynSent | TcpState::Listen)
            | (TcpState::Listen, TcpState::Close)
            | (TcpState::Established | TcpState::SynRecv, TcpState::FinWait1)
            | (TcpState::CloseWait, TcpState::LastAck)
    )
}
