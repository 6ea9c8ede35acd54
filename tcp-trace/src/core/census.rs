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
    /// Enrols a newcomer with its process and counts it.
    pub fn welcome(&mut self, connection: &mut Connection) {
        connection.process = connection.owner.map(|owner| self.processes.enroll(owner.comm));
        self.enter(connection);
    }

    /// Takes back what [`welcome`](Self::welcome) and every step since have counted.
    pub fn dismiss(&mut self, connection: &mut Connection) {
        self.leave(connection);
        if let Some(process) = connection.process.take() {
            self.processes.dismiss(process);
        }
    }

    /// Counts a connection as it stands.
    pub fn enter(&mut self, connection: &Connection) {
        self.population.enter(connection.state);
        let (Some(process), Some(owner)) = (connection.process, connection.owner) else { return };
        self.processes.add(process, connection.state, connection.state_since, connection.id);
        if connection.state == TcpState::Listen {
            self.listeners.add(connection.netns, connection.flow.local, owner);
        }
    }

    /// Takes back what [`enter`](Self::enter) counted; the connection must stand as it did then.
    pub fn leave(&mut self, connection: &Connection) {
        self.population.leave(connection.state);
        let (Some(process), Some(owner)) = (connection.process, connection.owner) else { return };
        self.processes.remove(process, connection.state, connection.state_since, connection.id);
        if connection.state == TcpState::Listen {
            self.listeners.remove(connection.netns, connection.flow.local, owner);
        }
    }
}
