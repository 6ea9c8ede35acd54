//! Looking into the table.

use super::{Limits, Stepped, Table};
use crate::core::{
    connection::{Connection, ConnectionId},
    population::Population,
    processes::Processes,
    statistics::Statistics,
};

impl Table {
    /// The connection with this number, open or closed not long ago. Walks the table: for a person's
    /// question, not for every event.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let mut all = self.live().chain(self.closed());
        all.find(|connection| connection.id == id)
    }

    /// The connection that has just taken `step`.
    #[must_use]
    pub fn after(&self, step: Stepped) -> Option<&Connection> {
        step.slot.map_or(self.closed.back(), |slot| self.live.get(slot))
    }

    /// Open connections and listeners, in no order.
    pub fn live(&self) -> impl Iterator<Item = &Connection> {
        self.live.iter().map(|(_, connection)| connection)
    }

    /// Closed connections, latest first.
    pub fn closed(&self) -> impl Iterator<Item = &Connection> {
        self.closed.iter().rev()
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Its bounds.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many times a loss was noticed.
    #[must_use]
    pub fn loss_epoch(&self) -> u64 {
        self.loss_epoch
    }

    /// Sockets by state.
    #[must_use]
    pub fn population(&self) -> &Population {
        &self.census.population
    }

    /// Connections by process.
    #[must_use]
    pub fn processes(&self) -> &Processes {
        &self.census.processes
    }

    /// Counters and histograms.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }
}
