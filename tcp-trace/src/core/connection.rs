//! One connection (or listener) and what is known of its life.

use std::{
    fmt,
    num::{NonZeroU64, ParseIntError},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use super::{
    clock::Ts,
    close::{ClosedBy, Verdict},
    direction::Direction,
    event::{Flow, Origin, Protocol, SockFlags, SocketId, StateChange, Transfer},
    owner::Owner,
    processes::ProcessSlot,
    stack::StackId,
    tcp_state::TcpState,
    time_wait::Mini,
    timeline::{Call, Detail, Mark, StepKind, Timeline},
};

mod closing;
mod detail;
mod end;
mod ends;
mod moved;
mod nature;

use detail::detail;
use end::End;

pub use end::Rooms;
pub use ends::{Ends, Pair};

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
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// Its socket.
    pub socket: SocketId,
    /// Inode of its network namespace.
    pub netns: Option<u32>,
    ends: Ends,
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
    /// Whether it was there before that, so that its age in the state it was found in is a lower bound;
    /// see [`Connection::is_age_a_bound`].
    pub found: bool,
    /// The same for all of a process, and kept once.
    owner: Option<Arc<Owner>>,
    /// Where in its program it was opened or accepted, where that was asked for.
    pub stack: Option<StackId>,
    /// Where its process is counted, while it is in the table.
    pub process: Option<ProcessSlot>,
    /// What it had moved at its last change.
    pub transfer: Option<Transfer>,
    /// Whose hands it was in at its last change.
    pub flags: Option<SockFlags>,
    /// Nothing of most that are open.
    end: Option<Box<End>>,
    /// When its last event came; rows of a snapshot are none.
    pub last_event: Ts,
    /// The cookie as snapshots tell it, where its events carry none.
    pub row_cookie: Option<NonZeroU64>,
    /// When the last snapshot was asked for that showed its queues.
    pub row_at: Ts,
    /// When a snapshot last showed that something had moved in it.
    pub moved_at: Ts,
    /// Whether figures took a birth into account that was lost.
    pub made_up: bool,
    /// Number of the last snapshot that showed it.
    pub round: u64,
    /// Whether a hook told of its last `close()`.
    pub close_told: bool,
    /// Whether it was opened when the peer's SYN came: an inbound connection whose SYN was seen.
    pub syn_seen: bool,
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
        let mut connection = Self {
            id,
            socket: SocketId {
                // The kernel gives a newborn child the cookie it will keep only after this change.
                cookie: change.socket.cookie.filter(|_| !is_birth_of_child(change)),
                ..change.socket
            },
            netns: change.netns,
            ends: change.flow.into(),
            protocol: change.protocol,
            direction: direction(change),
            state: change.old,
            state_since: if snapshot { found_since(at, change) } else { at },
            opened_at: at,
            found: snapshot,
            owner: None,
            stack: None,
            process: None,
            transfer: None,
            flags: None,
            end: None,
            last_event: if snapshot { Ts(0) } else { at },
            row_cookie: None,
            row_at: if snapshot { at } else { Ts(0) },
            moved_at: Ts(0),
            made_up: false,
            round: 0,
            close_told: false,
            syn_seen: false,
            timeline: Timeline::default(),
            gap: snapshot,
            loss_epoch,
        };
        connection.fin(at, ClosedBy::first_fin(change.old));
        connection
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.owner.as_deref().copied()
    }

    /// Sets whose it is, or that nobody knows.
    pub fn set_owner(&mut self, owner: Option<Arc<Owner>>) {
        self.owner = owner;
    }

    /// Both ends.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.ends.into()
    }

    /// Both ends as they are kept: to compare them, without unpacking.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// Its network namespace and both ends.
    #[must_use]
    pub fn pair(&self) -> Pair {
        Pair::within(self.netns, self.ends)
    }

    /// The port of this host's end, 0 while it has none: without unpacking the rest.
    #[must_use]
    pub fn local_port(&self) -> u16 {
        self.ends.local_port
    }

    /// Sets both ends.
    pub fn set_flow(&mut self, flow: Flow) {
        self.ends = flow.into();
    }

    /// Takes a change that leads from where the connection stands; returns how long it stood there.
    pub fn step(&mut self, at: Ts, change: &StateChange, loss_epoch: u64) -> Duration {
        let stood = at.since(self.state_since);
        self.learn(change);
        self.loss_epoch = loss_epoch;
        self.last_event = at;
        if change.old == change.new {
            self.note_marker(at, change);
            return stood;
        }
        let detail = detail(change);
        self.timeline.push(at, StepKind::State { from: change.old, to: change.new, detail });
        self.fin(at, ClosedBy::first_fin(change.new));
        if change.new == TcpState::Closing {
            self.fins_crossed();
        }
        self.state = change.new;
        self.state_since = at;
        stood
    }

    /// Notes a `close()` that found nothing to change, unless the call itself was told.
    pub fn note_marker(&mut self, at: Ts, change: &StateChange) {
        // listen() of a parent of MPTCP sets its state twice.
        if !self.close_told && change.old != TcpState::Listen {
            let (call, by, state) = (Call::Close, change.current, change.old);
            self.timeline.push(at, StepKind::Call { call, by, state });
        }
    }

    /// Takes the change to CLOSE of its full socket, where `mini` carries it on.
    pub fn step_to_mini(
        &mut self,
        at: Ts,
        change: &StateChange,
        loss_epoch: u64,
        mini: Mini,
    ) -> Duration {
        let stood = at.since(self.state_since);
        self.learn(change);
        self.loss_epoch = loss_epoch;
        self.last_event = at;
        self.carry_on(at, change.old, mini, detail(change));
        stood
    }

    /// A mini-socket carries it on from here.
    pub fn carry_on(&mut self, at: Ts, from: TcpState, mini: Mini, detail: Detail) {
        let Mini { substate, inferred, .. } = mini;
        self.timeline.push(at, StepKind::MiniBorn { from, substate, inferred, detail });
        self.set_mini(Mini { pending: false, ..mini });
        self.state = substate;
        self.state_since = at;
    }

    /// Notes that steps between where it stood and `actual` were not seen.
    pub fn jump(&mut self, at: Ts, actual: TcpState) {
        self.move_to(at, actual, Mark::Missed { known: self.state, actual });
    }

    /// Stands in `actual` from now on, as `mark` says.
    pub fn move_to(&mut self, at: Ts, actual: TcpState, mark: Mark) {
        self.timeline.push(at, StepKind::Mark(mark));
        self.gap = true;
        self.state = actual;
        self.state_since = at;
        self.fin(at, ClosedBy::first_fin(actual));
    }

    /// Keeps what `change` tells of the socket beyond its state.
    pub fn learn(&mut self, change: &StateChange) {
        // A newborn child still carries its listener's address, and a connecting socket no port.
        if change.flow.remote.port() != 0 || self.ends.remote_port == 0 {
            let local_port_gone = change.flow.local.port() == 0 && self.ends.local_port != 0;
            if !local_port_gone {
                self.ends = change.flow.into();
            }
        }
        self.learn_name(change);
        self.learn_opener(change);
        self.netns = change.netns.or(self.netns);
        self.flags = change.flags.or(self.flags);
        // The child's figures are its listener's until its own are set.
        if change.old != TcpState::Listen {
            self.transfer = change.transfer.or(self.transfer);
        }
    }

    /// Takes figures and flags from a row of a snapshot asked for at `since` and taken at `at`, which
    /// is no event.
    pub fn refresh(&mut self, since: Ts, at: Ts, row: &StateChange) {
        // What moved between its change of state and the first row may have done so at once.
        if let (Some(known), Some(shown)) = (self.transfer, row.transfer)
            && self.row_at >= self.state_since
        {
            // To take notice of a FIN alone is no progress.
            let unread = |transfer: Transfer| transfer.unread_sequence().saturating_sub(1);
            let moved = unread(known) != unread(shown)
                || known.unacknowledged() != shown.unacknowledged()
                || known.bytes_acked < shown.bytes_acked
                || known.bytes_received < shown.bytes_received;
            self.moved_at = if moved { at } else { self.moved_at };
        }
        self.learn_opener(row);
        self.row_at = since;
        if let (Some(flags), Some(shown)) = (&mut self.flags, row.flags) {
            flags.attached = shown.attached;
        }
        self.transfer = match (self.transfer, row.transfer) {
            // A row knows the queues; of the rest only what is not 0.
            (Some(known), Some(row)) => Some(Transfer {
                srtt_us: if row.srtt_us == 0 { known.srtt_us } else { row.srtt_us },
                retransmits: known.retransmits.max(row.retransmits),
                bytes_acked: known.bytes_acked.max(row.bytes_acked),
                bytes_received: known.bytes_received.max(row.bytes_received),
                ..row
            }),
            (known, row) => row.or(known),
        };
        if !self.has_both_ends() {
            self.ends = row.flow.into();
        }
    }

    fn learn_name(&mut self, change: &StateChange) {
        if is_birth_of_child(change) {
            return;
        }
        let SocketId { cookie, sk } = change.socket;
        match (cookie, self.socket.cookie) {
            (Some(cookie), _) => {
                let sk = if sk == 0 { self.socket.sk } else { sk };
                self.socket = SocketId { cookie: Some(cookie), sk };
                // What a row seemed to tell is told now.
                self.row_cookie = None;
            }
            // Found by a snapshot, which knows the cookie; its events know the address alone.
            (None, Some(known)) if self.socket.sk == 0 && sk != 0 => {
                self.row_cookie = Some(known);
                self.socket = change.socket;
            }
            (None, _) => {}
        }
    }
}

fn is_birth_of_child(change: &StateChange) -> bool {
    change.old == TcpState::Listen && change.new == TcpState::SynRecv
}

/// Since when at least a socket that was there before stands where it does. What led to these states
/// came from the peer, so it has been there for as long as nothing has come; to send our FIN, or again
/// what was lost, takes no word of the peer's.
fn found_since(at: Ts, row: &StateChange) -> Ts {
    let led_there_by_peer = matches!(
        row.new,
        TcpState::Established | TcpState::FinWait2 | TcpState::CloseWait | TcpState::Closing
    );
    row.silent.filter(|_| led_there_by_peer).map_or(at, |silent| at.back(silent))
}

fn direction(change: &StateChange) -> Direction {
    match (change.old, change.new) {
        (TcpState::Listen, TcpState::SynRecv | TcpState::Established) => Direction::Inbound,
        (TcpState::Close, TcpState::SynSent) | (TcpState::SynSent, _) => Direction::Outbound,
        _ => Direction::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every open connection costs: a field more is paid a million times.
    #[test]
    fn a_connection_stays_small() {
        assert!(size_of::<Connection>() <= 336, "{} bytes", size_of::<Connection>());
    }
}
