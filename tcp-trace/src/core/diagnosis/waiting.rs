//! What a process waits for: whom it has asked, and who does not answer. Nothing is wrong with a
//! connection on which an answer takes its time; but where a process leaks those that it serves, it
//! is often somebody else who keeps it.

use std::{collections::BTreeSet, num::NonZeroU64, time::Duration};

use rustc_hash::FxHashSet;

use super::{
    Casebook,
    finding::Line,
    group::keep_oldest,
    service::{self, Key, Service},
    survey::{Listening, Sight, Survey, cookie},
    talk,
};
use crate::core::{
    clock::Ts,
    connection::{Connection, ConnectionId},
    listeners::Listeners,
    table::Table,
    tcp_state::TcpState,
};

/// Connections of one process to one service that wait for an answer, and have for long.
#[derive(Clone, Debug, Default)]
pub struct Unanswered {
    /// How many.
    pub count: u64,
    /// Since when the longest.
    pub oldest: Option<Ts>,
    /// Those.
    pub examples: Vec<(Ts, ConnectionId)>,
}

impl Unanswered {
    pub(super) fn add(&mut self, since: Ts, id: ConnectionId) {
        self.count += 1;
        self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
        keep_oldest(&mut self.examples, (since, id));
    }
}

/// Whether it is of the sort on which an answer may be due: open both ways, and ours.
pub(super) fn may_wait(known: &Connection, listeners: &Listeners) -> bool {
    known.state == TcpState::Established
        && known.is_full()
        && known.owner().is_some()
        && !service::is_inbound(known, listeners)
}

/// Since when an answer is due on a connection that the host was asked about: what was sent last was
/// ours, and nothing has come since.
///
/// The kernel tells both times by its ticks, so a first request may seem to be as old as the
/// connection, and an answer as its request.
pub(super) fn due_since(known: &Connection, sight: &Sight<'_>) -> Option<Ts> {
    let idle = sight.host.sockets.get(&cookie(known)?)?.idle?;
    let sent = known.bytes_sent().unwrap_or(0) > 0;
    let never = known.bytes_received() == Some(0);
    let due = sent && (idle.sent < idle.received || never);
    let since = sight.host.at.back(idle.sent);
    (due && sight.at.since(since) >= sight.older_than).then_some(since)
}

/// What a process that leaks is waiting for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits<'a> {
    /// The service.
    pub(super) service: Service,
    unanswered: &'a Unanswered,
    /// Who listens there, of this host's own.
    listening: Option<&'a Listening>,
    /// How many wait for its `accept()`.
    unaccepted: u32,
}

/// The one on which process and namespace of `leak` wait most, if that goes for half of the `leaked`
/// connections at least.
pub(super) fn of<'a>(
    book: &Casebook,
    survey: &'a Survey,
    leak: &Key,
    leaked: u64,
) -> Option<Waits<'a>> {
    let same = |key: &Key| leak.pid != 0 && (key.pid, key.netns) == (leak.pid, leak.netns);
    let (key, unanswered) = survey
        .unanswered
        .iter()
        .filter(|(key, unanswered)| same(key) && unanswered.count.saturating_mul(2) >= leaked)
        .max_by_key(|(key, unanswered)| (unanswered.count, **key))?;
    let Service::Of(remote) = key.service else { return None };
    let here = |listening: &&Listening| {
        let local = listening.local;
        listening.netns == key.netns
            && local.port() == remote.port()
            && (local.ip() == remote.ip() || local.ip().is_unspecified())
    };
    let listening = survey.listeners.iter().find(here);
    let queue = |cookie: NonZeroU64| book.host.listeners.get(&cookie);
    let queue = listening.and_then(|listening| listening.cookie).and_then(queue);
    let unaccepted = queue.map_or(0, |queue| queue.waiting);
    Some(Waits { service: key.service, unanswered, listening, unaccepted })
}

impl Waits<'_> {
    /// Where and, if that is known, who.
    pub(super) fn whom(&self) -> String {
        let owner = self.listening.and_then(|listening| listening.owner);
        owner.map_or_else(
            || self.service.to_string(),
            |owner| format!("{} ({} here)", self.service, talk::process(owner.comm, owner.pid)),
        )
    }

    /// How many wait for each of the `leaked`: one at most, for what goes beyond is not theirs.
    #[expect(clippy::cast_precision_loss, reason = "connections: far below 2^53")]
    pub(super) fn share(&self, leaked: u64) -> f64 {
        (self.unanswered.count as f64 / leaked.max(1) as f64).min(1.0)
    }

    /// The line of evidence.
    pub(super) fn line(&self, now: Ts) -> Line {
        let Unanswered { count, oldest, examples } = self.unanswered;
        let oldest = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        let mut text = format!(
            "{}: {} not answered, the oldest for {}",
            self.whom(),
            talk::counted(*count, "request"),
            talk::about(oldest),
        );
        if self.unaccepted > 0 {
            text += "; ";
            text += &talk::counted(u64::from(self.unaccepted), "connection");
            text += " there wait for accept()";
        }
        let connections = examples.iter().map(|(_, id)| *id).collect();
        Line { connections, ..Line::new("waits for", text) }
    }
}

/// Those of `processes`, which leak, that it takes to tell; as many as there is `room` for.
pub(super) fn suspects(
    processes: &BTreeSet<u32>,
    table: &Table,
    room: usize,
) -> FxHashSet<NonZeroU64> {
    if processes.is_empty() {
        return FxHashSet::default();
    }
    let its =
        |known: &&Connection| known.owner().is_some_and(|owner| processes.contains(&owner.pid));
    let waiting = table.live().filter(|known| known.is_counted()).filter(its);
    let waiting = waiting.filter(|known| may_wait(known, table.listeners()));
    waiting.filter_map(cookie).take(room).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Finding, evidence::*, scene::*},
        *,
    };

    const MINUTE: Duration = Duration::from_mins(1);

    /// A proxy that has been given up by its clients, and has as many connections to its backend, on
    /// which data were last sent and received so long before the last look.
    fn proxy(sent: Duration, received: Duration, moved: (u64, u64)) -> Scene {
        let mut scene = Scene::new();
        scene.listens(7, 80);
        let backend = scene.listens(9, 9_000);
        scene
            .facts
            .listeners
            .insert(NonZeroU64::new(backend).unwrap(), ListenerQueue { waiting: 2, room: 128 });
        for _ in 0..5 {
            let client = scene.accepts(7, 80);
            let id = scene.connects(7, "10.0.0.1:9000");
            asks(&mut scene, id, (sent, received), moved);
            scene.fin(client, 0);
        }
        scene.wait(3 * MINUTE);
        scene
    }

    fn asks(scene: &mut Scene, id: u64, idle: (Duration, Duration), moved: (u64, u64)) {
        let transfer = &mut scene.sockets.get_mut(&id).unwrap().transfer;
        (transfer.bytes_acked, transfer.bytes_received) = moved;
        let idle = Some(Idle { sent: idle.0, received: idle.1, heard: idle.1 });
        let facts = SocketFacts { idle, ..SocketFacts::default() };
        scene.facts.sockets.insert(NonZeroU64::new(id).unwrap(), facts);
    }

    fn sole(scene: &Scene) -> Finding {
        let report = scene.report();
        assert_eq!(report.findings.len(), 1, "{report:#?}");
        report.findings[0].clone()
    }

    fn waits(found: &Finding) -> Option<&Line> {
        found.evidence.iter().find(|line| line.label == "waits for")
    }

    #[test]
    fn whom_a_leaking_proxy_waits_for_is_told() {
        let never = (2 * MINUTE, (100, 0));
        let no_more = (3 * MINUTE, (100, 5_000));
        for (received, moved) in [never, no_more] {
            let scene = proxy(2 * MINUTE, received, moved);
            let found = sole(&scene);
            assert_eq!((found.cause, found.count), (Some("not_read"), 5));
            let line = waits(&found).unwrap();
            let whom = "10.0.0.1:9000 (p9 9 here)";
            let text = format!("{whom}: 5 requests not answered, the oldest for 2 min");
            assert!(line.text.starts_with(&text), "{line:?}");
            assert!(line.text.ends_with("; 2 connections there wait for accept()"), "{line:?}");
            assert_eq!(line.connections.len(), 5);
            let first = format!("{:?}", found.advice[0]);
            assert!(first.contains(whom), "{first}");
            // The host is asked how long each of those has been idle.
            let suspects = scene.book.suspects(&scene.table, scene.now);
            assert_eq!((suspects.waiting.len(), suspects.sockets.len()), (5, 5));
        }
    }

    #[test]
    fn descriptors_run_out_twice_as_fast_where_each_leak_waits_for_somebody() {
        let left = |waits: bool| {
            let mut scene = Scene::new();
            scene.listens(7, 80);
            let facts = ProcessFacts { descriptors: 500, limit: Some(1_000), ..Default::default() };
            scene.facts.processes.insert(7, facts);
            scene.pass(5 * MINUTE, |scene, _| {
                let client = scene.accepts(7, 80);
                scene.fin(client, 0);
                if waits {
                    let id = scene.connects(7, "10.0.0.2:9000");
                    asks(scene, id, (MINUTE * 2, MINUTE * 2), (100, 0));
                }
            });
            sole(&scene).exhaustion.unwrap().left.unwrap().as_secs_f64()
        };
        assert!((450.0..550.0).contains(&left(false)), "{}", left(false));
        assert!((225.0..275.0).contains(&left(true)), "{}", left(true));
    }

    #[test]
    fn connections_on_which_no_answer_is_due_are_waited_for_by_nobody() {
        let answered = (3 * MINUTE, (100, 5_000));
        let at_once = (2 * MINUTE, (100, 5_000));
        let not_asked = (2 * MINUTE, (0, 0));
        let just_asked = (Duration::ZERO, (100, 0));
        for (sent, moved) in [answered, at_once, not_asked, just_asked] {
            let found = sole(&proxy(sent, 2 * MINUTE, moved));
            assert_eq!(waits(&found), None, "{found:#?}");
        }
    }

    #[test]
    fn a_few_that_wait_do_not_explain_many_that_leak() {
        let mut scene = proxy(2 * MINUTE, 2 * MINUTE, (100, 0));
        for _ in 0..6 {
            let client = scene.accepts(7, 80);
            scene.fin(client, 0);
        }
        scene.wait(3 * MINUTE);
        assert_eq!(waits(&sole(&scene)), None);
    }
}
