//! Sockets of one process and service that stand in one state: how many, since when, and why.

use std::time::Duration;

use super::{
    close_wait::Cause,
    evidence::{Descriptor, SocketFacts},
    origins::Origins,
    still::still_since,
    survey::{Sight, cookie},
};
use crate::core::{
    clock::Ts,
    connection::{Connection, ConnectionId},
    owner::Owner,
    tcp_state::TcpState,
};

/// Connections named as examples.
const EXAMPLES: usize = 8;
/// Holders named as examples.
const HOLDERS: usize = 8;

/// What the last looks know of a group, so that this one can tell what has come and gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// When the last look was.
    pub looked: Ts,
    /// Sockets there since then are old.
    pub old: Ts,
}

/// Those of one process and service in one state.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The oldest's owner.
    pub owner: Option<Owner>,
    /// All of them.
    pub count: u64,
    /// Those that came since the last look.
    pub arrived: u64,
    /// Those of the last mark that are there still.
    pub marked: u64,
    /// Those that nothing has shown since a loss: they may be gone by now.
    pub doubtful: u64,
    /// Those that have stood still for long, by cause; of states without causes the first.
    pub piles: [Pile; Cause::ALL.len()],
}

/// Sockets that have stood still for long, for one and the same reason.
#[derive(Clone, Debug, Default)]
pub struct Pile {
    /// How many.
    pub count: u64,
    /// Since when the oldest has.
    pub oldest: Option<Ts>,
    /// Whether that is a bound: it may be longer.
    pub or_earlier: bool,
    /// Payload that nobody has read.
    pub unread_bytes: u64,
    /// Those with nothing to read but the peer's FIN.
    pub fin_only: u64,
    /// Bytes written that the peer has not taken.
    pub unsent_bytes: u64,
    /// Bytes that they have received, and sent.
    pub moved: (u64, u64),
    /// Those whose queues no snapshot has shown since they came to this state.
    pub unlooked: u64,
    /// Those that a capture tells of: nobody knows what of them was read.
    pub outside: u64,
    /// The longest for which the kernel itself says that one of them has heard nothing.
    pub silent: Option<Duration>,
    /// Those of which only a mini-socket is left, which ends by itself.
    pub minis: u64,
    /// Those held by more than one descriptor.
    pub shared: u64,
    /// Those whose owner does not hold them, and others do.
    pub elsewhere: u64,
    /// Descriptors.
    pub holders: Vec<Descriptor>,
    /// Whether any were looked for.
    pub holders_known: bool,
    /// The oldest.
    pub examples: Vec<(Ts, ConnectionId)>,
    /// Where in the code they come from.
    pub origins: Origins,
}

impl Group {
    pub(super) fn add(
        &mut self,
        known: &Connection,
        owner: Option<Owner>,
        mark: Mark,
        sight: &Sight<'_>,
    ) {
        self.count += 1;
        self.arrived += u64::from(known.state_since > mark.looked);
        self.marked += u64::from(known.state_since <= mark.old);
        let facts = cookie(known).and_then(|cookie| sight.host.sockets.get(&cookie));
        let (since, or_earlier) = still_since(known, facts, sight.host.at);
        let oldest = self.piles.iter().filter_map(|pile| pile.oldest).min();
        if self.owner.is_none() || oldest.is_none_or(|oldest| since < oldest) {
            self.owner = owner.or(self.owner);
        }
        let doubtful = known.last_event.max(known.row_at) < sight.lost;
        self.doubtful += u64::from(doubtful);
        // Its queue as of the FIN's coming tells nothing of what has been read since: where the host is
        // asked, its cause waits for the answer.
        let asked = sight.host.at > Ts::default();
        let unlooked = known.state == TcpState::CloseWait && known.row_at < known.state_since;
        if doubtful || asked && unlooked || sight.at.since(since) < sight.older_than {
            return;
        }
        let cause = match known.state {
            TcpState::CloseWait => Cause::of(known) as usize,
            _ => 0,
        };
        if let Some(pile) = self.piles.get_mut(cause) {
            pile.add(known, facts, since, or_earlier);
        }
    }

    /// Those that have stood still for long, whatever the cause.
    #[must_use]
    pub fn old(&self) -> u64 {
        self.piles.iter().map(|pile| pile.count).sum()
    }

    /// Since when the oldest has.
    #[must_use]
    pub fn oldest(&self) -> Option<Ts> {
        self.piles.iter().filter_map(|pile| pile.oldest).min()
    }
}

impl Pile {
    fn add(
        &mut self,
        known: &Connection,
        facts: Option<&SocketFacts>,
        since: Ts,
        or_earlier: bool,
    ) {
        self.count += 1;
        if self.oldest.is_none_or(|oldest| since < oldest) {
            self.oldest = Some(since);
            self.or_earlier = or_earlier;
        }
        if let Some(transfer) = known.transfer {
            let unread = u64::from(known.unread_bytes().unwrap_or(0));
            self.unread_bytes += unread;
            self.fin_only += u64::from(unread == 0 && transfer.unread_sequence() > 0);
            self.unsent_bytes += u64::from(transfer.unacknowledged());
            self.outside += u64::from(transfer.outside);
            self.moved.0 = self.moved.0.saturating_add(known.bytes_received().unwrap_or(0));
            self.moved.1 = self.moved.1.saturating_add(known.bytes_sent().unwrap_or(0));
        }
        self.unlooked += u64::from(known.row_at < known.state_since);
        self.minis += u64::from(!known.is_full());
        keep_oldest(&mut self.examples, (since, known.id));
        self.origins.add(known.stack);
        let Some(facts) = facts else { return };
        self.silent = self.silent.max(facts.idle.map(|idle| idle.heard));
        self.holders_known |= facts.holders_count > 0;
        self.shared += u64::from(facts.holders_count > 1);
        let owner = known.owner().map(|owner| owner.pid);
        let others = facts.holders.iter().any(|holder| Some(holder.pid) != owner);
        let own = facts.holders.iter().any(|holder| Some(holder.pid) == owner);
        // Whose it is must be known to say that he is done with it.
        self.elsewhere += u64::from(owner.is_some() && others && !own);
        let room = HOLDERS.saturating_sub(self.holders.len());
        self.holders.extend(facts.holders.iter().take(room).copied());
    }

    /// Examples, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<ConnectionId> {
        self.examples.iter().map(|(_, id)| *id).collect()
    }
}

/// Keeps the few oldest, in order.
pub(super) fn keep_oldest(examples: &mut Vec<(Ts, ConnectionId)>, example: (Ts, ConnectionId)) {
    if examples.len() >= EXAMPLES && examples.last().is_some_and(|last| *last <= example) {
        return;
    }
    let place = examples.partition_point(|known| *known < example);
    examples.insert(place, example);
    examples.truncate(EXAMPLES);
}
