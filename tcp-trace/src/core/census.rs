//! Who is in the table, counted as they come and go.

use super::{
    connection::Connection,
    event::Comm,
    listeners::Listeners,
    owner::{Owner, Owners},
    population::Population,
    processes::Processes,
    tcp_state::TcpState,
};

/// The process name under which connections without a known owner are counted.
pub const NOBODY: &str = "unknown";

/// Counts by state, by process and by listening port.
#[derive(Debug, Default)]
pub struct Census {
    /// By state.
    pub population: Population,
    /// By process.
    pub processes: Processes,
    /// By listening port.
    pub listeners: Listeners,
    /// Listening sockets, those without an owner and those of MPTCP among them.
    pub listening: u64,
    /// Each of them once.
    owners: Owners,
}

impl Census {
    /// Enrols a newcomer with its process and counts it.
    pub fn welcome(&mut self, connection: &mut Connection) {
        let name = connection.owner().map_or(Comm::from_text(NOBODY), |owner| owner.comm);
        connection.process = Some(self.processes.enroll(name));
        self.enter(connection);
    }

    /// Takes back what [`welcome`](Self::welcome) and every step since have counted.
    pub fn dismiss(&mut self, connection: &mut Connection) {
        self.leave(connection);
        if let Some(process) = connection.process.take() {
            self.processes.dismiss(process);
        }
    }

    /// Names the owner of a connection that is not enrolled yet.
    pub fn name(&mut self, connection: &mut Connection, owner: Option<Owner>) {
        connection.set_owner(owner.map(|owner| self.owners.share(owner)));
    }

    /// Gives a connection another owner, and moves it to the new one's process.
    pub fn hand_over(&mut self, connection: &mut Connection, owner: Owner) {
        let known = connection.owner();
        if known == Some(owner) {
            return;
        }
        let shared = Some(self.owners.share(owner));
        if known.map(|known| known.comm) == Some(owner.comm) {
            // A listener is found by its owner's pid: counted anew where that has changed.
            self.leave(connection);
            connection.set_owner(shared);
            self.enter(connection);
            return;
        }
        self.dismiss(connection);
        connection.set_owner(shared);
        self.welcome(connection);
    }

    /// Counts a connection as it stands.
    pub fn enter(&mut self, connection: &Connection) {
        self.listening += u64::from(connection.state == TcpState::Listen);
        if !connection.is_counted() {
            return;
        }
        if connection.is_full() {
            self.population.enter(connection.state);
        }
        if let Some(substate) = connection.mini_substate() {
            self.population.enter_mini(substate);
        }
        if let Some(process) = connection.process {
            self.processes.add(process, connection.state, connection.state_since, connection.id);
        }
        if connection.state == TcpState::Listen
            && let Some(owner) = connection.owner()
        {
            let since = if connection.found { super::clock::Ts(0) } else { connection.opened_at };
            self.listeners.add(connection.netns, connection.flow().local, owner, since);
        }
    }

    /// Takes back what [`enter`](Self::enter) counted; the connection must stand as it did then.
    pub fn leave(&mut self, connection: &Connection) {
        self.listening -= u64::from(connection.state == TcpState::Listen).min(self.listening);
        if !connection.is_counted() {
            return;
        }
        if connection.is_full() {
            self.population.leave(connection.state);
        }
        if let Some(substate) = connection.mini_substate() {
            self.population.leave_mini(substate);
        }
        if let Some(process) = connection.process {
            self.processes.remove(process, connection.state, connection.state_since, connection.id);
        }
        if connection.state == TcpState::Listen
            && let Some(owner) = connection.owner()
        {
            self.listeners.remove(connection.netns, connection.flow().local, owner);
        }
    }
}
