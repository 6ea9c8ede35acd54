//! Which connections a question is about.

use std::time::Duration;

use super::{address::AddressFilter, clock::Ts, connection::Connection, tcp_state::TcpState};

/// A filter over connections; what is empty lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// In one of these states.
    pub states: Vec<TcpState>,
    /// In its state for at least this long.
    pub older_than: Option<Duration>,
    /// Owned by this process.
    pub pid: Option<u32>,
    /// Owned by a process of this name.
    pub process: Option<String>,
    /// This host's end.
    pub local: Option<AddressFilter>,
    /// The other end.
    pub remote: Option<AddressFilter>,
    /// Either end has this port.
    pub port: Option<u16>,
    /// Network namespace, by inode.
    pub netns: Option<u32>,
}

impl Query {
    /// Whether `connection` passes at the moment `now`.
    #[must_use]
    pub fn matches(&self, connection: &Connection, now: Ts) -> bool {
        (self.states.is_empty() || self.states.contains(&connection.state))
            && self.older_than.is_none_or(|age| now.since(connection.state_since) >= age)
            && self.matches_ends(connection)
            && self.matches_owner(connection)
            && self.netns.is_none_or(|netns| connection.netns == Some(netns))
    }

    fn matches_ends(&self, connection: &Connection) -> bool {
        let flow = connection.flow();
        self.local.is_none_or(|filter| filter.matches(&flow.local))
            && self.remote.is_none_or(|filter| filter.matches(&flow.remote))
            && self.port.is_none_or(|port| [flow.local.port(), flow.remote.port()].contains(&port))
    }

    fn matches_owner(&self, connection: &Connection) -> bool {
        let owner = connection.owner();
        self.pid.is_none_or(|pid| owner.is_some_and(|owner| owner.pid == pid))
            && self.process.as_ref().is_none_or(|name| {
                owner.is_some_and(|owner| owner.comm.text().as_ref() == name.as_str())
            })
    }
}
