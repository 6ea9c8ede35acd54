//! Places for connections, and who gives way when all are taken.
//!
//! Anybody can open connections and say nothing. Where there are no places left, one that has had its
//! time and no answer yet is cut; else one that has had its answer and is idle, whose client loses
//! nothing but the way to come again; else one that has just come. Of several it is the oldest of the
//! address that has most places. Whoever is being answered keeps its place.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not had an answer worth keeping it for.
    New,
    /// A request of it is being answered.
    Busy,
    /// It has had one, and says nothing.
    Idle,
}

/// How long a connection may take to its first request before it gives way to others, a TLS handshake
/// included.
const YOUTH: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Held {
    peer: Option<IpAddr>,
    phase: Phase,
    /// Rises with each change of phase: the lowest is the oldest.
    since: u64,
    come: Instant,
    cut: Arc<Notify>,
    is_cut: bool,
}

#[derive(Debug, Default)]
struct State {
    clock: u64,
    held: BTreeMap<u64, Held>,
}

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    state: Mutex<State>,
    /// Something has changed that may make a place.
    changed: Notify,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default(), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for `peer`, as soon as there is one; for that, somebody may have to go.
    pub(super) async fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Place {
        loop {
            let changed = self.changed.notified();
            if let Some(place) = self.try_take(peer) {
                return place;
            }
            changed.await;
        }
    }

    fn try_take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        let mut state = self.state();
        if state.held.len() >= self.limit {
            state.make_room();
            return None;
        }
        state.clock += 1;
        let (number, cut) = (state.clock, Arc::new(Notify::new()));
        let held = Held {
            peer,
            phase: Phase::New,
            since: number,
            come: Instant::now(),
            cut: Arc::clone(&cut),
            is_cut: false,
        };
        state.held.insert(number, held);
        Some(Place { places: Arc::clone(self), number, cut })
    }
}

impl State {
    /// Cuts one connection, unless one is going already or all are being answered.
    fn make_room(&mut self) {
        if self.held.values().any(|held| held.is_cut) {
            return;
        }
        let mut crowds: HashMap<_, usize> = HashMap::new();
        for held in self.held.values() {
            *crowds.entry(held.peer).or_default() += 1;
        }
        let crowd = |held: &Held| crowds.get(&held.peer).copied().unwrap_or(0);
        let goes = |held: &Held| {
            let rank = match held.phase {
                Phase::New if held.come.elapsed() >= YOUTH => 3,
                Phase::Idle => 2,
                Phase::New => 1,
                Phase::Busy => return None,
            };
            Some((rank, crowd(held), Reverse(held.since)))
        };
        let those = self.held.iter().filter_map(|(number, held)| Some((goes(held)?, *number)));
        let Some((_, number)) = those.max() else { return };
        if let Some(held) = self.held.get_mut(&number) {
            held.is_cut = true;
            held.cut.notify_one();
        }
    }
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    cut: Arc<Notify>,
}

impl Place {
    /// Returns when this connection has to give way.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// From here on, until the end of its answer, this connection keeps its place.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        let before = self.turn(Phase::Busy);
        Answering { place: Arc::clone(self), after: before }
    }

    fn turn(&self, phase: Phase) -> Phase {
        let mut state = self.places.state();
        state.clock += 1;
        let now = state.clock;
        let Some(held) = state.held.get_mut(&self.number) else { return Phase::New };
        let before = std::mem::replace(&mut held.phase, phase);
        // Who has had nothing yet is as old as it was.
        if phase == Phase::Idle {
            held.since = now;
        }
        drop(state);
        self.places.changed.notify_waiters();
        before
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().held.remove(&self.number);
        self.places.changed.notify_waiters();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering {
    place: Arc<Place>,
    after: Phase,
}

impl Answering {
    /// Busy until the end of `body`; idle then, if the answer was `worth` it, else as before.
    pub(super) fn until_the_end_of(mut self, body: Body, worth: bool) -> Body {
        if worth {
            self.after = Phase::Idle;
        }
        Body::new(Answer { body, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.place.turn(self.after);
    }
}

struct Answer {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    async fn is_cut(place: &Place) -> bool {
        timeout(Duration::from_millis(1), place.cut()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_the_largest_crowd_gives_way() {
        let places = Places::new(4);
        let alone = places.take(Some(address(1))).await;
        let first = places.take(Some(address(2))).await;
        let second = places.take(Some(address(2))).await;
        let third = places.take(Some(address(2))).await;
        let next = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take(Some(address(3))).await }
        });
        tokio::task::yield_now().await;
        assert!(is_cut(&first).await);
        assert!(!is_cut(&alone).await && !is_cut(&second).await && !is_cut(&third).await);
        assert!(!next.is_finished(), "the place is not free before it is left");
        drop(first);
        next.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_is_given_time() {
        let places = Places::new(2);
        let idle = Arc::new(places.take(Some(address(1))).await);
        drop(idle.answering().until_the_end_of(Body::empty(), true));
        let young = places.take(Some(address(2))).await;
        assert!(places.try_take(Some(address(3))).is_none());
        assert!(is_cut(&idle).await && !is_cut(&young).await, "the idle one can come again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_had_an_answer_stays_longer_and_who_is_getting_one_stays() {
        let places = Places::new(2);
        let kept = Arc::new(places.take(Some(address(1))).await);
        drop(kept.answering().until_the_end_of(Body::empty(), true));
        let silent = Arc::new(places.take(Some(address(2))).await);
        advance(YOUTH).await;
        assert!(places.try_take(Some(address(3))).is_none());
        assert!(is_cut(&silent).await && !is_cut(&kept).await);
        drop(silent);
        let busy = Arc::new(places.take(Some(address(3))).await);
        let body = busy.answering().until_the_end_of(Body::empty(), false);
        assert!(places.try_take(Some(address(4))).is_none());
        assert!(is_cut(&kept).await && !is_cut(&busy).await);
        drop(kept);
        let other = Arc::new(places.take(Some(address(4))).await);
        let _other = other.answering();
        assert!(places.try_take(Some(address(5))).is_none());
        assert!(!is_cut(&busy).await && !is_cut(&other).await, "both are being answered");
        // An answer that was none is no merit, and a waiting client hears of the change.
        let next = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take(Some(address(5))).await }
        });
        tokio::task::yield_now().await;
        drop(body);
        tokio::task::yield_now().await;
        assert!(is_cut(&busy).await);
        drop(busy);
        next.await.unwrap();
    }
}
