//! Which connections a question is about.

use std::time::Duration;

use super::{
    address::AddressFilter, clock::Ts, connection::Connection, diagnosis::evidence::Descriptor,
    event::Comm, owner::Owner, tcp_state::TcpState,
};

/// A filter over connections; what is empty lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// In one of these states.
    pub states: Vec<TcpState>,
    /// In its state for at least this long.
    pub older_than: Option<Duration>,
    /// Owned or held by this process.
    pub pid: Option<u32>,
    /// Owned or held by a process of this name.
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
    /// Whether `connection` passes at the moment `now`; `holders` have it open, as far as is known.
    #[must_use]
    pub fn matches(&self, connection: &Connection, holders: &[Descriptor], now: Ts) -> bool {
        (self.states.is_empty() || self.states.contains(&connection.state))
            && self.older_than.is_none_or(|age| now.since(connection.state_since) >= age)
            && self.matches_ends(connection)
            && self.matches_process(connection.owner(), holders)
            && self.netns.is_none_or(|netns| connection.netns == Some(netns))
    }

    fn matches_ends(&self, connection: &Connection) -> bool {
        let flow = connection.flow();
        self.local.is_none_or(|filter| filter.matches(&flow.local))
            && self.remote.is_none_or(|filter| filter.matches(&flow.remote))
            && self.port.is_none_or(|port| [flow.local.port(), flow.remote.port()].contains(&port))
    }

    /// One and the same process is to have both.
    fn matches_process(&self, owner: Option<Owner>, holders: &[Descriptor]) -> bool {
        let fits = |pid: u32, comm: Comm| {
            self.pid.is_none_or(|wanted| pid == wanted)
                && self.process.as_ref().is_none_or(|name| comm.text().as_ref() == name.as_str())
        };
        self.pid.is_none() && self.process.is_none()
            || owner.is_some_and(|owner| fits(owner.pid, owner.comm))
            || holders.iter().any(|holder| fits(holder.pid, holder.comm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{event::Task, owner::OwnerSource};

    #[test]
    fn a_process_is_found_by_what_it_owns_and_by_what_it_holds() {
        let comm = Comm::from_text;
        let task = |pid, name| Task { pid, tid: pid, comm: comm(name) };
        let owner = Some(Owner::of_task(task(10, "parent"), OwnerSource::Accept));
        let held = [Descriptor { pid: 12, comm: comm("worker"), fd: 6 }];
        let query = |pid: Option<u32>, process: Option<&str>| Query {
            pid,
            process: process.map(str::to_owned),
            ..Query::default()
        };
        for (pid, process, found) in [
            (None, None, true),
            (Some(10), None, true),
            (Some(12), None, true),
            (Some(11), None, false),
            (Some(12), Some("worker"), true),
            (Some(10), Some("worker"), false),
            (None, Some("parent"), true),
            (None, Some("other"), false),
        ] {
            let query = query(pid, process);
            assert_eq!(query.matches_process(owner, &held), found, "{pid:?} {process:?}");
            let known = pid.is_none() && process.is_none();
            assert_eq!(query.matches_process(None, &[]), known, "{pid:?} {process:?}");
        }
    }
}
