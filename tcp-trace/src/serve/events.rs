//! Streams of events: a line of JSON each, or server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use futures_util::stream;
use tokio::{
    sync::{
        broadcast::{
            Receiver,
            error::{RecvError, TryRecvError},
        },
        watch,
    },
    time::{Interval, MissedTickBehavior},
};

use super::{Tracer, answer::text_of_type, event_filter, shutdown::stopped};
use crate::{
    api::{Event, LostEvent},
    core::query::Query,
};

/// Stage of a loss that concerns one stream alone: its reader was too slow.
const SUBSCRIBER: &str = "subscriber";
/// Events that have piled up are written together, up to about this many bytes.
const CHUNK: usize = 32 * 1024;
/// Events looked at before other tasks get their turn, however few of them are wanted.
const TURN: usize = 512;
/// Silence after which a comment is sent, so that proxies keep the stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A line of JSON each (NDJSON).
    Lines,
    /// Server-sent events, as browsers read them.
    ServerSent,
}

/// One reader's stream.
struct Subscription<T> {
    tracer: T,
    events: Receiver<Arc<Event>>,
    query: Query,
    format: Format,
    shutdown: watch::Receiver<bool>,
    keep_alive: Interval,
}

/// The answer that streams the tracer's events until `shutdown`, in the format that `headers` ask
/// for.
pub(super) fn answer<T: Tracer>(
    tracer: T,
    query: Query,
    headers: &HeaderMap,
    shutdown: watch::Receiver<bool>,
) -> Response {
    let format = format(headers);
    let mut keep_alive = tokio::time::interval(KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = tracer.events();
    let subscription = Subscription { tracer, events, query, format, shutdown, keep_alive };
    let chunks = stream::unfold(subscription, async |mut subscription| {
        let chunk = subscription.next().await?;
        Some((Ok::<_, Infallible>(chunk), subscription))
    });
    let media_type = match format {
        Format::Lines => "application/x-ndjson",
        Format::ServerSent => "text/event-stream",
    };
    let mut answer = text_of_type(StatusCode::OK, media_type, Body::from_stream(chunks));
    let no_store = axum::http::HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
    answer
}

/// Server-sent events where `Accept` names them, lines otherwise.
fn format(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    let is_event_stream = |range: &str| {
        let media_type = range.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("text/event-stream")
    };
    if ranges.any(is_event_stream) { Format::ServerSent } else { Format::Lines }
}

impl<T: Tracer> Subscription<T> {
    /// The next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let first = tokio::select! {
                biased;
                () = stopped(&mut self.shutdown) => return None,
                received = self.events.recv() => received,
                _ = self.keep_alive.tick(), if self.format == Format::ServerSent => {
                    return Some(b": keep-alive\n\n".to_vec());
                }
            };
            let mut chunk = Vec::new();
            match first {
                Ok(event) => self.write(&event, &mut chunk),
                Err(RecvError::Lagged(count)) => self.write(&self.missed(count), &mut chunk),
                Err(RecvError::Closed) => return None,
            }
            self.write_waiting(&mut chunk);
            if !chunk.is_empty() {
                self.keep_alive.reset();
                return Some(chunk);
            }
        }
    }

    /// Adds what has piled up: one write for a burst, not one for each event.
    fn write_waiting(&mut self, chunk: &mut Vec<u8>) {
        for _ in 0..TURN {
            if chunk.len() >= CHUNK {
                return;
            }
            match self.events.try_recv() {
                Ok(event) => self.write(&event, chunk),
                Err(TryRecvError::Lagged(count)) => self.write(&self.missed(count), chunk),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Tells the tracer and the reader that it was too slow for `count` events.
    fn missed(&self, count: u64) -> Event {
        self.tracer.lagged(count);
        let at = format!("{:.9}", jiff::Timestamp::now());
        Event::Lost(LostEvent { at, stage: SUBSCRIBER.to_owned(), count })
    }

    fn write(&self, event: &Event, chunk: &mut Vec<u8>) {
        if !event_filter::passes(&self.query, event) {
            return;
        }
        let json = match serde_json::to_vec(event) {
            Ok(json) => json,
            Err(error) => return tracing::error!(%error, "an event cannot be written as JSON"),
        };
        // JSON never holds a bare line break, so it is one line in either format.
        match self.format {
            Format::Lines => chunk.extend(json.iter().chain(b"\n")),
            Format::ServerSent => chunk.extend(b"data: ".iter().chain(&json).chain(b"\n\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use axum::http::HeaderValue;

    use super::*;
    use crate::serve::fake::{self, Fake, Mood};

    fn subscription(format: Format) -> (watch::Sender<bool>, Subscription<Fake>) {
        let tracer = Fake::new(Mood::Well);
        let events = tracer.events();
        let keep_alive = tokio::time::interval(KEEP_ALIVE);
        let (stop, shutdown) = watch::channel(false);
        let query = Query::default();
        (stop, Subscription { tracer, events, query, format, shutdown, keep_alive })
    }

    #[test]
    fn the_format_is_what_accept_names() {
        let of = |accept: &'static str| {
            format(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert_eq!(format(&HeaderMap::new()), Format::Lines);
        assert_eq!(of("*/*"), Format::Lines);
        assert_eq!(of("text/event-stream"), Format::ServerSent);
        assert_eq!(of("text/html, Text/Event-Stream;q=0.9"), Format::ServerSent);
        assert_eq!(of("application/x-ndjson"), Format::Lines);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed() {
        let (_stop, mut subscription) = subscription(Format::Lines);
        let tracer = subscription.tracer.clone();
        for _ in 0..11 {
            tracer.sender.send(Arc::new(fake::lost_event())).unwrap();
        }
        let chunk = String::from_utf8(subscription.next().await.unwrap()).unwrap();
        let events: Vec<Event> =
            chunk.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 1 + 8, "what the queue holds, in one write");
        let Some(Event::Lost(lost)) = events.first() else { panic!("{events:?}") };
        assert_eq!((lost.stage.as_str(), lost.count), ("subscriber", 3));
        assert_eq!(tracer.lagged.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_stream_ends_at_shutdown_with_or_without_a_word() {
        for word in [true, false] {
            let (stop, mut subscription) = subscription(Format::Lines);
            subscription.tracer.sender.send(Arc::new(fake::lost_event())).unwrap();
            assert!(subscription.next().await.is_some());
            if word {
                stop.send(true).unwrap();
            } else {
                drop(stop);
            }
            assert_eq!(subscription.next().await, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_for_proxies() {
        let (_stop, mut subscription) = subscription(Format::ServerSent);
        assert_eq!(subscription.next().await.unwrap(), b": keep-alive\n\n");
        let before = tokio::time::Instant::now();
        subscription.next().await.unwrap();
        assert_eq!(before.elapsed(), KEEP_ALIVE);
    }
}
