//! Which connection a row of a snapshot is about.

use std::num::NonZeroU64;

use super::{Key, Table};
use crate::core::{
    connection::Connection,
    event::{Flow, SocketId},
    tcp_state::TcpState,
};

/// Connections whose ends are incomplete that one row is compared with.
const GUESSES: usize = 256;

impl Table {
    /// A row without a cookie could be anybody's.
    pub(super) fn is_nameless(&mut self, socket: SocketId) -> bool {
        self.statistics.unidentified += u64::from(socket.cookie.is_none());
        socket.cookie.is_none()
    }

    /// Takes back a name that an earlier row lent to a connection which turned out to have other ends.
    pub(super) fn doubt_name(&mut self, socket: SocketId, flow: Flow) {
        let named = socket.cookie.and_then(|cookie| self.index.get(Key::Cookie(cookie.get())));
        let Some(slot) = named else { return };
        let wrong = |known: &Connection| {
            known.socket.cookie != socket.cookie && known.has_both_ends() && known.flow() != flow
        };
        if self.holds(slot, wrong) {
            self.alter(slot, |connection| connection.row_cookie = None);
        }
    }

    /// The connection of a row: by cookie, else, among those without any, by its ends.
    pub(super) fn locate_row(
        &mut self,
        socket: SocketId,
        netns: Option<u32>,
        flow: Flow,
        state: TcpState,
        mini: bool,
    ) -> Option<Match> {
        if let Some(cookie) = socket.cookie
            && let Some(slot) = self.index.get(Key::Cookie(cookie.get()))
            && self.holds(slot, |known| !mini || may_be_mini(known))
        {
            return Some(Match { slot, sure: true });
        }
        if mini
            && let Some(slot) = self.index.by_flow(netns, flow)
            && self.holds(slot, |known| known.mini().is_some())
        {
            return Some(Match { slot, sure: true });
        }
        let round = self.rounds.get(&netns)?;
        let times = (round.since, round.read);
        let ended = self.recent.has(times, netns, socket.cookie, flow);
        let round = self.rounds.get(&netns)?;
        let nameless = |slot: &usize, same: &dyn Fn(&Connection) -> bool| {
            self.holds(*slot, |known| {
                known.netns == netns
                    && known.socket.cookie.is_none()
                    && known.row_cookie.is_none()
                    && known.round != round.number
                    && same(known)
            })
        };
        // Listeners that share a port look alike, and so do two lives of the same ends: then none of
        // them is sure.
        let exact = round.by_flow.get(&flow).map_or(&[][..], Vec::as_slice);
        // One that has just changed needs no row to be believed.
        let still = |known: &Connection| known.last_event < round.since;
        let mut alike = exact.iter().filter(|slot| nameless(slot, &|known| known.flow() == flow));
        if let Some(slot) =
            alike.clone().find(|slot| self.holds(**slot, still)).or_else(|| alike.next())
        {
            return Some(Match { slot: *slot, sure: exact.len() == 1 && !ended });
        }
        if mini || ended {
            return None;
        }
        // Those that other rows have taken still count: then none of them is sure.
        let guesses = round.incomplete.iter().take(GUESSES);
        let likely = guesses.filter(|slot| self.holds(**slot, |known| may_be(known, flow, state)));
        let mut open = likely.clone().filter(|slot| nameless(slot, &|_| true));
        let slot = *open.clone().find(|slot| self.holds(**slot, still)).or_else(|| open.next())?;
        Some(Match { slot, sure: likely.count() == 1 })
    }

    /// Notes that a row showed it; returns whether it changed too lately to be judged by that.
    pub(super) fn mark_shown(
        &mut self,
        slot: usize,
        netns: Option<u32>,
        cookie: Option<NonZeroU64>,
    ) -> bool {
        let Some((since, number)) =
            self.rounds.get(&netns).map(|round| (round.since, round.number))
        else {
            return true;
        };
        // Whoever goes by it already keeps it.
        let cookie = cookie.filter(|cookie| self.index.get(Key::Cookie(cookie.get())).is_none());
        if self.holds(slot, |known| known.round == number)
            && let Some(round) = self.rounds.get_mut(&netns)
        {
            round.crossed = true;
        }
        self.alter(slot, |connection| {
            connection.round = number;
            if connection.socket.cookie.is_none() && connection.row_cookie.is_none() {
                connection.row_cookie = cookie;
            }
            connection.last_event >= since
        })
        .unwrap_or(true)
    }
}

/// What a row is about.
pub(super) struct Match {
    /// Where it is held.
    pub(super) slot: usize,
    /// Whether no other connection may be meant.
    pub(super) sure: bool,
}

/// Whether a connection whose ends are not complete may be the one with these, in `state`.
fn may_be(known: &Connection, flow: Flow, state: TcpState) -> bool {
    let Flow { local, remote } = known.flow();
    let early = match known.state {
        TcpState::SynRecv => state != TcpState::SynSent,
        TcpState::SynSent => true,
        _ => false,
    };
    early
        && (local.port() == 0 || local.port() == flow.local.port())
        && (remote.port() == 0 || remote == flow.remote)
        && flow.remote.port() != 0
}

/// Whether a mini-socket may carry this connection on: not where it is a later life of the same
/// descriptor.
fn may_be_mini(known: &Connection) -> bool {
    known.mini().is_some() || known.state != TcpState::Listen && known.state != TcpState::SynSent
}
