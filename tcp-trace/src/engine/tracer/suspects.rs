//! Whom the host is asked about.

use std::{collections::HashSet, num::NonZeroU64};

use super::Tracer;
use crate::core::{
    clock::Ts,
    connection::Connection,
    diagnosis::evidence::Suspects,
    owner::{Owner, OwnerSource},
};

/// Connections without an owner that are told one by one.
const UNOWNED: usize = 1 << 16;

/// Connections whose owner is worth looking for.
pub(crate) enum Unowned {
    /// Those with these cookies.
    Some(HashSet<NonZeroU64>),
    /// Too many to be told.
    Any,
}

impl Tracer {
    /// Whom to look into for the diagnosis.
    pub(crate) fn suspects(&self, now: Ts) -> Suspects {
        self.casebook.suspects(&self.table, now)
    }

    /// Full sockets' connections without an owner, or with one that is only their listener's.
    pub(crate) fn unowned(&self) -> Unowned {
        // Nobody holds a mini-socket. Who was seen to hold a descriptor may have passed it on.
        let unsure = |known: &&Connection| {
            let proven = |owner: Owner| {
                !matches!(owner.source, OwnerSource::Listener | OwnerSource::Descriptor)
            };
            known.is_full() && !known.owner().is_some_and(proven)
        };
        // One without a cookie gets one with the next snapshot, and is told then.
        let cookie = |known: &Connection| known.socket.cookie.or(known.row_cookie);
        let mut cookies = HashSet::new();
        for cookie in self.table.live().filter(unsure).filter_map(cookie) {
            if cookies.len() >= UNOWNED {
                return Unowned::Any;
            }
            cookies.insert(cookie);
        }
        Unowned::Some(cookies)
    }
}
