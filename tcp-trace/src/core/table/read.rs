//! Looking into the table.

use super::{Key, Limits, Place, Stepped, Table};
use crate::core::{
    clock::Ts,
    connection::{Connection, ConnectionId},
    event::SocketId,
    half_open::{FlowKey, HalfOpen, HalfOpenCounts},
    listeners::Listeners,
    population::{Matrix, Population},
    processes::Processes,
    sources::Sources,
    statistics::Statistics,
    tcp_state::TcpState,
    time_wait::TimeWaitCounters,
};

impl Table {
    /// The connection with this number, open or closed not long ago. Walks the table: for a person's
    /// question, not for every event.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let held = self.held.iter().map(super::ending::Held::connection);
        let mut all = self.live().chain(held).chain(self.closed());
        all.find(|connection| connection.id == id)
    }

    /// The connection that has just taken `step`.
    #[must_use]
    pub fn after(&self, step: Stepped) -> Option<&Connection> {
        match step.place {
            Place::Live(slot) => self.live.get(slot),
            Place::Held => self.held.back().map(super::ending::Held::connection),
            Place::Closed => self.closed.back(),
        }
    }

    /// Open connections and listeners, in no order.
    pub fn live(&self) -> impl Iterator<Item = &Connection> {
        self.live.iter().map(|(_, connection)| connection)
    }

    /// Closed connections, latest first.
    #[must_use]
    pub fn closed(&self) -> impl ExactSizeIterator<Item = &Connection> {
        self.closed.iter().rev()
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// How many of those listen.
    #[must_use]
    pub fn listening(&self) -> u64 {
        self.census.listening
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

    /// When a loss was last noticed: what was told until then may have changed unseen.
    #[must_use]
    pub fn lost_at(&self) -> Ts {
        self.lost_at
    }

    pub(super) fn births_may_be_missing(&self) -> bool {
        self.loss_epoch > 0 || self.statistics.refused > 0
    }

    /// The full socket's connection, by the name that an event has for it.
    #[must_use]
    pub fn of_socket(&self, socket: SocketId) -> Option<&Connection> {
        let by_cookie = socket.cookie.and_then(|cookie| self.index.get(Key::Cookie(cookie.get())));
        let by_address = || self.index.get(Key::Address(socket.sk)).filter(|_| socket.sk != 0);
        self.live.get(by_cookie.or_else(by_address)?).filter(|known| known.is_full())
    }

    /// What reaches it as events.
    #[must_use]
    pub fn sources(&self) -> Sources {
        self.sources
    }

    /// Requests that wait for the handshake's last ACK, and what became of others.
    #[must_use]
    pub fn half_open(&self) -> HalfOpenCounts {
        self.half_open.counts()
    }

    /// Sockets by state: exact, given the kernel's own counters.
    #[must_use]
    pub fn gauges(&self, matrix: &Matrix, minis: &TimeWaitCounters) -> [u64; 13] {
        let minis = Some(minis).filter(|_| self.sources.time_wait);
        let mut gauges = self.census.population.gauges(matrix, minis);
        if let Some(gauge) = gauges.get_mut(TcpState::NewSynRecv.index()) {
            *gauge = self.half_open().open;
        }
        gauges
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

    /// Who listens where.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.census.listeners
    }

    /// Requests that wait for the handshake's last ACK, in no order.
    pub fn requests(&self) -> impl Iterator<Item = (FlowKey, &HalfOpen)> {
        self.half_open.iter()
    }

    /// Counters and histograms.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }
}
