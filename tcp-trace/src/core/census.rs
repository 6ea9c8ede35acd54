//! Who is in the table, counted as they come and go.

use super::{
    connection::Connection, listeners::Listeners, population::Population, processes::Processes,
    tcp_state::TcpState,
};

/// Counts by state, by process and by listening port.
#[derive(Debug, Default)]
pub struct Census {
    /// By state.
    pub population: Population,
    /// By process.
    pub processes: Processes,
    /// By listening port.
    pub listeners: Listeners,
}

impl Census {
    /// Counts a connection as it stands.
    pub fn enter(&mut self, connection: &Connection) {
        self.population.enter(connection.state);
        let Some(owner) = connection.owner else { return };
        let (name, state, since) = (owner.comm, connection.state, connection.state_since);
        self.processes.add(name, state, since, connection.id);
        if state == TcpState::Listen {
            self.listeners.add(connection.netns, connection.flow.local, owner);
        }
    }

    /// Takes back what [`enter`](Self::enter) counted; the connection must stand as it did then.
    pub fn leave(&mut self, connection: &Connection) {
        self.population.leave(connection.state);
        let Some(owner) = connection.owner else { return };
        let (name, state, since) = (owner.comm, connection.state, connection.state_since);
        self.processes.remove(name, state, since, connection.id);
        if state == TcpState::Listen {
            self.listeners.remove(connection.netns, connection.flow.local, owner);
        }
    }
}
