//! Stacks, which are told some time after the call that they were taken at.

use super::{Outcome, Table, ending::Held};
use crate::core::{
    connection::Connection,
    event::SocketId,
    stack::{StackEvent, Stacks},
};

/// Closed connections that are looked through, latest first: a stack comes within moments.
const CLOSED: usize = 1024;

impl Table {
    /// The stacks of its connections.
    #[must_use]
    pub fn stacks(&self) -> &Stacks {
        &self.stacks
    }

    /// Likewise, to say whether they are asked for.
    pub fn stacks_mut(&mut self) -> &mut Stacks {
        &mut self.stacks
    }

    pub(super) fn stack_told(&mut self, news: &StackEvent) -> Outcome {
        let id = self.stacks.keep(&news.stack);
        let live = self.locate(news.socket).and_then(|slot| self.live.get_mut(slot));
        let live = live.filter(|known| known.opened_at <= news.called);
        let held = self.held.iter_mut().map(Held::connection_mut);
        let over = || held.chain(self.closed.iter_mut().rev().take(CLOSED));
        match live.or_else(|| over().find(|known| is_of(known, news))) {
            Some(known) => known.stack = Some(id),
            None => self.stacks.stranger(),
        }
        Outcome::Nothing
    }
}

/// Whether the call was made on this very connection, which has ended since.
fn is_of(known: &Connection, news: &StackEvent) -> bool {
    let SocketId { cookie, sk } = known.socket;
    let named = match (news.socket.cookie, cookie) {
        (Some(theirs), Some(own)) => theirs == own,
        _ => sk != 0 && sk == news.socket.sk,
    };
    named && known.opened_at <= news.called && known.last_event >= news.called
}
