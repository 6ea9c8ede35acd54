//! Since when a socket stands still.

use crate::core::{clock::Ts, connection::Connection, diagnosis::evidence::SocketFacts};

/// Since when nothing has moved in a socket whose state should pass, and whether that is a bound.
///
/// One that is read from slowly, or that sends into a half-closed connection, does not stand still.
/// Of one that was there before tracing, the kernel tells how long the peer has been silent: for as
/// long at least its FIN has been here.
pub(super) fn still_since(
    known: &Connection,
    facts: Option<&SocketFacts>,
    asked: Ts,
) -> (Ts, bool) {
    let found = known.is_age_a_bound();
    let idle = facts.and_then(|facts| facts.idle);
    let blocked = known.transfer.is_some_and(|transfer| transfer.unacknowledged() > 0);
    let mut since = known.state_since;
    if let Some(idle) = idle {
        if found {
            since = since.min(asked.back(idle.heard));
        }
        // What is sent again and again was not sent.
        if !blocked && idle.sent < asked.since(since) {
            since = since.max(asked.back(idle.sent));
        }
    }
    (since.max(known.moved_at), found && known.moved_at < known.state_since)
}
