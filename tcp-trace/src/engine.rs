//! The tracer: one thread that owns the table, and the handle through which others ask it.
//!
//! Live events and recordings take the same path: `take` a record, `release` it in order of time,
//! apply it to the table, publish what it did. Questions are answered between two drains.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use thiserror::Error;
use tokio::sync::{broadcast, oneshot};

use crate::{
    api,
    core::{connection::ConnectionId, diagnosis::Asked, query::Query},
};

pub mod bench;
pub mod figures;
pub(crate) mod live;
mod losses;
pub(crate) mod recorder;
pub(crate) mod replay;
mod residence;
mod taken;
pub(crate) mod tracer;
mod waker;
mod wall;

use figures::Figures;
use waker::Waker;

/// Events a subscriber may fall behind before it misses some.
const SUBSCRIBER_BACKLOG: usize = 8192;
/// Questions that may wait for an answer.
const QUESTIONS: usize = 256;

/// The tracer is no longer there to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the tracer has stopped")]
pub struct Gone;

/// A question to the tracer.
pub(crate) enum Request {
    /// How it stands.
    Status(oneshot::Sender<api::Status>),
    /// Connections that pass a filter.
    Connections {
        query: Query,
        limit: usize,
        closed: bool,
        reply: oneshot::Sender<api::ConnectionList>,
    },
    /// One connection with its timeline.
    Connection { id: ConnectionId, reply: oneshot::Sender<Option<api::Connection>> },
    /// What is wrong, by these thresholds, else by the tracer's own.
    Diagnosis { asked: Asked, reply: oneshot::Sender<api::Diagnosis> },
    /// Everything the metrics show.
    Figures(oneshot::Sender<Box<Figures>>),
    /// Detach and end.
    Stop,
}

/// Asks the tracer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::SyncSender<Request>,
    waker: Arc<Waker>,
    events: broadcast::Sender<Arc<api::Event>>,
    lagged: Arc<AtomicU64>,
}

impl Handle {
    /// How the tracer stands.
    ///
    /// # Errors
    /// Where the tracer has stopped.
    pub async fn status(&self) -> Result<api::Status, Gone> {
        self.ask(Request::Status).await
    }

    /// Connections that pass `query`, oldest in their state first; at most `limit` (0: all), those
    /// closed not long ago included where `closed`.
    ///
    /// # Errors
    /// Where the tracer has stopped.
    pub async fn connections(
        &self,
        query: Query,
        limit: usize,
        closed: bool,
    ) -> Result<api::ConnectionList, Gone> {
        self.ask(|reply| Request::Connections { query, limit, closed, reply }).await
    }

    /// One connection with its timeline.
    ///
    /// # Errors
    /// Where the tracer has stopped.
    pub async fn connection(&self, id: ConnectionId) -> Result<Option<api::Connection>, Gone> {
        self.ask(|reply| Request::Connection { id, reply }).await
    }

    /// What is wrong, by these thresholds, else by the tracer's own.
    ///
    /// # Errors
    /// Where the tracer has stopped.
    pub async fn diagnosis(&self, asked: Asked) -> Result<api::Diagnosis, Gone> {
        self.ask(|reply| Request::Diagnosis { asked, reply }).await
    }

    /// Everything the metrics show.
    ///
    /// # Errors
    /// Where the tracer has stopped.
    pub async fn figures(&self) -> Result<Figures, Gone> {
        self.ask(Request::Figures).await.map(|figures| *figures)
    }

    /// Everything that happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<api::Event>> {
        self.events.subscribe()
    }

    /// Counts events that a subscriber missed because it was too slow.
    pub fn lagged(&self, missed: u64) {
        self.lagged.fetch_add(missed, Ordering::Relaxed);
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        // A full queue means the tracer is that far behind: as good as gone for this question.
        self.requests.try_send(request(reply)).map_err(|_| Gone)?;
        self.waker.wake();
        answer.await.map_err(|_| Gone)
    }
}

/// The running tracer; dropping it detaches everything.
#[derive(Debug)]
pub(crate) struct Engine {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    /// Its other end falls with the thread, however that ends.
    ended: oneshot::Receiver<()>,
}

/// The tracer's end of a [`Handle`].
pub(crate) struct Inbox {
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) events: broadcast::Sender<Arc<api::Event>>,
    pub(crate) lagged: Arc<AtomicU64>,
}

impl Engine {
    /// Both ends of the conversation.
    fn channel() -> std::io::Result<(Handle, Inbox)> {
        let (sender, requests) = mpsc::sync_channel(QUESTIONS);
        let (events, _) = broadcast::channel(SUBSCRIBER_BACKLOG);
        let waker = Arc::new(Waker::new()?);
        let lagged = Arc::new(AtomicU64::new(0));
        let handle = Handle {
            requests: sender,
            waker: Arc::clone(&waker),
            events: events.clone(),
            lagged: Arc::clone(&lagged),
        };
        Ok((handle, Inbox { requests, waker, events, lagged }))
    }

    /// The way to ask it.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts the tracer's thread.
    fn start(handle: Handle, work: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let (alive, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("tracer".to_owned()).spawn(move || {
            let _alive: oneshot::Sender<()> = alive;
            work();
        })?;
        Ok(Self { handle, thread: Some(thread), ended })
    }

    /// Returns when the thread has ended by itself, for good or for bad. To be asked once.
    pub(crate) async fn ended(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.ended).await;
    }

    /// Detaches, writes out what is left, and waits for the end.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Sending waits where the queue is full, and fails where the tracer has ended already.
        let _ = self.handle.requests.send(Request::Stop);
        self.handle.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_ends_or_dies_says_so() {
        for panics in [false, true] {
            let (handle, inbox) = Engine::channel().unwrap();
            let (go, told) = mpsc::channel::<()>();
            let work = move || {
                let _inbox = inbox;
                let _ = told.recv();
                assert!(!panics, "the tracer dies, as this test wants it");
            };
            let mut engine = Engine::start(handle, work).unwrap();
            let soon = std::time::Duration::from_millis(20);
            assert!(tokio::time::timeout(soon, engine.ended()).await.is_err());
            go.send(()).unwrap();
            let late = std::time::Duration::from_secs(10);
            assert!(tokio::time::timeout(late, engine.ended()).await.is_ok());
        }
    }
}
