//! What a connection is for: the service at the other end, or the one of ours that it came to.

use std::{fmt, net::SocketAddr};

use crate::core::{
    connection::Connection, direction::Direction, listeners::Listeners, owner::Owner,
};

/// The service that a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// One of another host's, that we connected to.
    Of(SocketAddr),
    /// One of ours, that the peer connected to.
    Ours(u16),
    /// One of those beyond the bound.
    Other,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(remote) => write!(f, "{remote}"),
            Self::Ours(port) => write!(f, "port {port}"),
            Self::Other => f.write_str("other services"),
        }
    }
}

impl Service {
    /// That of `known`.
    #[must_use]
    pub fn of(known: &Connection, listeners: &Listeners) -> Self {
        if is_inbound(known, listeners) {
            Self::Ours(known.local_port())
        } else {
            Self::Of(known.flow().remote)
        }
    }

    /// Whether we connected to it.
    #[must_use]
    pub fn is_outbound(&self) -> bool {
        matches!(self, Self::Of(_))
    }
}

/// The first of the ports that Linux gives out to whoever connects, unless told otherwise.
const GIVEN_OUT: u16 = 32_768;

/// Which side opened it. Of a connection that was there before tracing that is inferred: whoever
/// listens on its port has accepted it.
#[must_use]
pub fn is_inbound(known: &Connection, listeners: &Listeners) -> bool {
    match known.direction {
        Direction::Inbound => true,
        Direction::Outbound => false,
        Direction::Unknown => {
            let (local, remote) = (known.flow().local, known.flow().remote);
            let listens = |end| listeners.any_at(known.netns, end);
            // A capture does not tell who listens.
            let outside = known.transfer.is_some_and(|transfer| transfer.outside);
            let given_out = !outside && local.port() >= GIVEN_OUT;
            // Of two hosts' ports the service's is the lower one, as a rule.
            listens(local) || !listens(remote) && !given_out && local.port() < remote.port()
        }
    }
}

/// Whose it is: what nobody has accepted yet is its listener's.
#[must_use]
pub fn owner_of(known: &Connection, listeners: &Listeners) -> Option<Owner> {
    let inbound = || is_inbound(known, listeners) && known.has_both_ends();
    let of_listener = || listeners.owner_now(known.netns, known.flow().local);
    known.owner().or_else(|| of_listener().filter(|_| inbound()))
}

/// A process and a service, in a network namespace. Of a process the number alone: its threads go by
/// names of their own, and a number that passes on takes none of the sockets along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The process; 0 where it is not known.
    pub pid: u32,
    /// The namespace.
    pub netns: Option<u32>,
    /// The service.
    pub service: Service,
}

impl Key {
    /// That of `known`.
    #[must_use]
    pub fn of(known: &Connection, listeners: &Listeners) -> Self {
        let pid = owner_of(known, listeners).map_or(0, |owner| owner.pid);
        Self { pid, netns: known.netns, service: Service::of(known, listeners) }
    }

    /// The one for all that is beyond the bound.
    pub const OTHER: Self = Self { pid: 0, netns: None, service: Service::Other };
}
