//! Which connection an event is about.

use super::{Key, Table};
use crate::core::{
    clock::Ts,
    connection::Connection,
    event::{SocketId, StateChange},
    tcp_state::Transition,
};

impl Table {
    /// Where the table holds the socket of an event; one that a snapshot found is known by its ends
    /// alone where events carry no cookie.
    pub(super) fn locate_event(&mut self, change: &StateChange) -> Option<usize> {
        let found = self.locate(change.socket);
        // At its birth a child carries its listener's ends.
        let birth = change.transition() == Transition::Birth;
        if found.is_some() || birth || change.socket.cookie.is_some() {
            return found;
        }
        let slot = self.index.by_flow(change.netns, change.flow)?;
        self.holds(slot, |known| known.is_full() && known.socket.sk == 0).then_some(slot)
    }

    /// Where the table holds this socket. A child is born without a cookie of its own, so its
    /// first event with one is found by address.
    pub(super) fn locate(&mut self, socket: SocketId) -> Option<usize> {
        let mut by_cookie =
            socket.cookie.and_then(|cookie| self.index.get(Key::Cookie(cookie.get())));
        // A name that a row lent to the wrong one of several alike.
        let lent = |known: &Connection| known.socket.cookie.is_none() && known.socket.sk != 0;
        if let Some(slot) = by_cookie
            && socket.sk != 0
            && self
                .holds(slot, |known| lent(known) && known.is_full() && known.socket.sk != socket.sk)
        {
            self.alter(slot, |connection| connection.row_cookie = None);
            by_cookie = None;
        }
        // An entry without a cookie of its own stays under its address.
        if by_cookie.is_some_and(|slot| !self.holds(slot, Connection::is_only_found)) {
            return by_cookie;
        }
        let by_address =
            (socket.sk != 0).then(|| self.index.get(Key::Address(socket.sk))).flatten();
        if let (Some(double), Some(address)) = (by_cookie, by_address)
            && double != address
        {
            // The snapshot met a newborn child by cookie while the child's own birth, which carries
            // none, was still on its way: the one that saw the birth stays.
            self.forget(double);
        }
        by_address.or(by_cookie)
    }

    /// Whether a snapshot that found the mini-socket has overtaken this change of the full one, and
    /// has taken it into account.
    pub(super) fn was_overtaken(
        &self,
        located: Option<usize>,
        at: Ts,
        change: &StateChange,
    ) -> bool {
        let slot = located.or_else(|| self.index.by_flow(change.netns, change.flow));
        slot.is_some_and(|slot| {
            self.holds(slot, |known| !known.is_full() && at < known.state_since)
        })
    }
}
