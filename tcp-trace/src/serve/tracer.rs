//! What the server asks of the tracer.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::{
    api::{Connection, ConnectionList, Diagnosis, Event, Status},
    core::{connection::ConnectionId, diagnosis::Asked, query::Query},
    engine::{Gone, Handle, figures::Figures},
};

/// A tracer to ask: the engine's handle, or a made-up one in tests.
pub(crate) trait Tracer: Clone + Send + Sync + 'static {
    /// How it stands.
    fn status(&self) -> impl Future<Output = Result<Status, Gone>> + Send;

    /// Up to `limit` connections that pass `query` (0: all), those that have ended with `closed`.
    fn connections(
        &self,
        query: Query,
        limit: usize,
        closed: bool,
    ) -> impl Future<Output = Result<ConnectionList, Gone>> + Send;

    /// One connection with its timeline; `None` where it is not known.
    fn connection(
        &self,
        id: ConnectionId,
    ) -> impl Future<Output = Result<Option<Connection>, Gone>> + Send;

    /// What is wrong.
    fn diagnosis(&self, asked: Asked) -> impl Future<Output = Result<Diagnosis, Gone>> + Send;

    /// What the metrics are made of.
    fn figures(&self) -> impl Future<Output = Result<Figures, Gone>> + Send;

    /// Events from now on.
    fn events(&self) -> broadcast::Receiver<Arc<Event>>;

    /// Counts events that one reader of [`events`](Self::events) missed.
    fn lagged(&self, missed: u64);
}

impl Tracer for Handle {
    async fn status(&self) -> Result<Status, Gone> {
        Self::status(self).await
    }

    async fn connections(
        &self,
        query: Query,
        limit: usize,
        closed: bool,
    ) -> Result<ConnectionList, Gone> {
        Self::connections(self, query, limit, closed).await
    }

    async fn connection(&self, id: ConnectionId) -> Result<Option<Connection>, Gone> {
        Self::connection(self, id).await
    }

    async fn diagnosis(&self, asked: Asked) -> Result<Diagnosis, Gone> {
        Self::diagnosis(self, asked).await
    }

    async fn figures(&self) -> Result<Figures, Gone> {
        Self::figures(self).await
    }

    fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        Self::events(self)
    }

    fn lagged(&self, missed: u64) {
        Self::lagged(self, missed);
    }
}
