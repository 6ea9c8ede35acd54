//! One socket's life as it must be told: what a scenario promises.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace::api::{ClosedEvent, Connection, Endpoint, Event, StateEvent, Step};

use super::{actor::Actor, sock::Sock};

/// What must be told of one life.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// For messages.
    pub(crate) name: &'static str,
    /// This end, `None` where the port was never to be known from outside.
    pub(crate) local: Option<SocketAddr>,
    /// The other end; of a listener, unspecified.
    pub(crate) remote: SocketAddr,
    /// `inbound`, `outbound` or `unknown`.
    pub(crate) direction: &'static str,
    /// States from first to last, apart by spaces. The same twice is a `close()` that changed
    /// nothing.
    pub(crate) path: &'static str,
    /// Why it ended; `None` of a listener.
    pub(crate) reason: Option<&'static str>,
    /// Who closed first.
    pub(crate) by: Option<&'static str>,
    /// The error the process gets.
    pub(crate) error: Option<&'static str>,
    /// Process and how it is known.
    pub(crate) owner: (u32, String, &'static str),
    /// Bytes never read, where the scenario knows.
    pub(crate) unread: Option<u32>,
    /// Bytes sent and received, where the scenario knows.
    pub(crate) moved: Option<(u64, u64)>,
    /// What the sentence about the change to a state must hold.
    pub(crate) said: Vec<(&'static str, &'static str)>,
}

impl Life {
    fn new(
        name: &'static str,
        direction: &'static str,
        owner: &Actor,
        source: &'static str,
    ) -> Self {
        Self {
            name,
            local: None,
            remote: "0.0.0.0:0".parse().unwrap(),
            direction,
            path: "",
            reason: None,
            by: None,
            error: None,
            owner: (owner.pid(), owner.name().to_owned(), source),
            unread: None,
            moved: None,
            said: Vec::new(),
        }
    }

    /// Of the end that called `connect()`.
    pub(crate) fn client(sock: &Sock<'_>, remote: SocketAddr) -> Self {
        let new = Self::new("client", "outbound", sock.actor(), "connect");
        Self { local: Some(sock.local()), remote, ..new }
    }

    /// Of a `connect()` that failed: its port is nobody's any more.
    pub(crate) fn failed(owner: &Actor, remote: SocketAddr) -> Self {
        Self { remote, ..Self::new("failed", "outbound", owner, "connect") }
    }

    /// Of the other end of `client`, which came in through a listener of `owner`.
    pub(crate) fn server(client: &Self, owner: &Actor) -> Self {
        let new = Self::new("server", "inbound", owner, "listener");
        Self { local: Some(client.remote), remote: client.local.unwrap(), ..new }
    }

    /// Of a listener, from its beginning to its end.
    pub(crate) fn listener(sock: &Sock<'_>) -> Self {
        let local = sock.local();
        let remote = if local.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Self {
            local: Some(local),
            remote: remote.parse().unwrap(),
            path: "close listen close",
            by: Some("local"),
            ..Self::new("listener", "unknown", sock.actor(), "listen")
        }
    }

    /// Under another name in messages.
    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// It goes through these states.
    pub(crate) fn goes(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// It ends for `reason`, closed by `by`.
    pub(crate) fn ends(self, reason: &'static str, by: &'static str) -> Self {
        Self { reason: Some(reason), by: Some(by).filter(|by| *by != "nobody"), ..self }
    }

    /// The process gets this error.
    pub(crate) fn with_error(self, error: &'static str) -> Self {
        Self { error: Some(error), ..self }
    }

    /// It leaves bytes unread.
    pub(crate) fn leaves_unread(self, bytes: u32) -> Self {
        Self { unread: Some(bytes), ..self }
    }

    /// It moves this many bytes out and in.
    pub(crate) fn moves(self, sent: u64, received: u64) -> Self {
        Self { moved: Some((sent, received)), ..self }
    }

    /// The sentence about the change to `state` holds `words`.
    pub(crate) fn says(mut self, state: &'static str, words: &'static str) -> Self {
        self.said.push((state, words));
        self
    }

    fn is_of(&self, connection: &Connection) -> bool {
        address(&connection.remote) == self.remote
            && connection.direction == self.direction
            && self.local.is_none_or(|local| local == address(&connection.local))
    }

    /// `from` and `to` of each change.
    pub(crate) fn changes(&self) -> Vec<(&'static str, &'static str)> {
        let states: Vec<_> = self.path.split(' ').collect();
        states.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }

    fn judge(&self, changes: &[&StateEvent], closed: &[&ClosedEvent]) {
        let name = self.name;
        let told: Vec<_> =
            changes.iter().map(|event| (event.from.as_str(), event.to.as_str())).collect();
        assert_eq!(told, self.changes(), "{name}: the changes of {self:#?}");
        let last = &changes.last().unwrap().connection;
        for event in changes {
            assert!(event.connection.complete, "{name}: {event:#?}");
            // A mini-socket takes over where the full socket is closed.
            let expected = if event.connection.mini { MINI } else { &[event.to.as_str()] };
            assert!(expected.contains(&event.connection.state.as_str()), "{name}: {event:#?}");
        }
        for (state, words) in &self.said {
            let change = changes.iter().find(|event| event.to == *state).unwrap();
            assert!(change.text.contains(words), "{name}: {words:?} is not in {change:#?}");
        }
        self.judge_end(last);
        if self.reason.is_none() {
            assert!(closed.len() <= 1, "{name}: {closed:#?}");
            return;
        }
        let [closed] = closed else { panic!("{name} ended {} times: {closed:#?}", closed.len()) };
        let mut whole = Connection { timeline: None, ..closed.connection.clone() };
        if last.mini {
            // The socket has ended, and a mini-socket goes on with the connection.
            whole.state.clone_from(&last.state);
            whole.closed_at = None;
        }
        assert_eq!(&whole, last, "{name}: the last change and the end tell the same");
        let steps = closed.connection.timeline.as_deref().unwrap();
        assert_eq!(states(steps), self.states(), "{name}: the timeline's changes");
        self.judge_calls(steps);
    }

    fn judge_end(&self, end: &Connection) {
        let name = self.name;
        let told = end.owner.clone().map(|owner| (owner.pid, owner.comm, owner.source));
        let (pid, comm, source) = self.owner.clone();
        // Where accept() is hooked, it tells what is else known by the listener alone; `owners` has
        // tests of which it must be.
        let accepted = told.as_ref().is_some_and(|(.., told)| told == "accept");
        let source = if source == "listener" && accepted { "accept" } else { source };
        assert_eq!(told, Some((pid, comm, source.to_owned())), "{name}: owner");
        assert_eq!(end.close_reason.as_deref(), self.reason, "{name}: reason in {end:#?}");
        assert_eq!(end.closed_by.as_deref(), self.by, "{name}: closed by, in {end:#?}");
        assert_eq!(end.error.as_deref(), self.error, "{name}: error in {end:#?}");
        let family = if end.local.addr.is_ipv4() { "ipv4" } else { "ipv6" };
        assert_eq!(end.family, family, "{name}");
        assert!(!end.age_is_lower_bound, "{name}: its birth was seen");
        let unread = end.recv_queue.as_ref().map(|queue| queue.unread_bytes);
        assert!(self.unread.is_none_or(|bytes| unread == Some(bytes)), "{name}: unread {unread:?}");
        let moved = end.bytes_sent.zip(end.bytes_received);
        assert!(self.moved.is_none() || moved == self.moved, "{name}: moved {moved:?}");
    }

    /// The timeline's changes of state, in order.
    fn states(&self) -> Vec<(&'static str, &'static str)> {
        self.changes().into_iter().filter(|(from, to)| from != to).collect()
    }

    /// A `close()` that changes nothing is told as a call, once: by the change that is none, or by
    /// the hook of the call.
    fn judge_calls(&self, steps: &[Step]) {
        let closes = steps.iter().filter(|step| step.call.as_deref() == Some("close")).count();
        let marked = self.changes().iter().any(|(from, to)| from == to);
        assert!(closes <= 1 && (closes == 1 || !marked), "{}: calls in {steps:#?}", self.name);
    }
}

/// States of a mini-socket.
const MINI: &[&str] = &["fin_wait2", "time_wait"];

/// The changes among the steps. Where a mini-socket takes over, what the kernel calls CLOSE is
/// told by the state it stands for.
fn states(steps: &[Step]) -> Vec<(&str, &str)> {
    let is_handover =
        |from: &str, to: &str| ["fin_wait2", "closing"].contains(&from) && MINI.contains(&to);
    steps
        .iter()
        .filter_map(|step| Some((step.from.as_deref()?, step.to.as_deref()?)))
        .map(|(from, to)| (from, if is_handover(from, to) { "close" } else { to }))
        .collect()
}

fn address(end: &Endpoint) -> SocketAddr {
    SocketAddr::new(end.addr, end.port)
}

/// Everything told about one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Its changes of state, in the order in which they were told.
    pub(crate) changes: Vec<StateEvent>,
    /// Its end.
    pub(crate) closed: Vec<ClosedEvent>,
}

impl Told {
    /// The connection at its last change.
    pub(crate) fn last(&self) -> &Connection {
        &self.changes.last().unwrap().connection
    }
}

/// Events by the number of the connection they are about, in the order of the numbers.
pub(crate) fn by_connection(events: Vec<Event>) -> BTreeMap<u64, Told> {
    let mut connections = BTreeMap::<u64, Told>::new();
    let number = |connection: &Connection| u64::from_str_radix(&connection.id, 16).unwrap();
    for event in events {
        match event {
            Event::State(event) => {
                connections.entry(number(&event.connection)).or_default().changes.push(*event);
            }
            Event::Closed(event) => {
                connections.entry(number(&event.connection)).or_default().closed.push(*event);
            }
            Event::Lost(event) => panic!("events were lost: {event:?}"),
        }
    }
    connections
}

/// Fails unless just these lives are told, each as it was.
#[track_caller]
pub(crate) fn judge(lives: &[Life], told: &BTreeMap<u64, Told>) {
    let mut left: Vec<_> = lives.iter().collect();
    for (id, told) in told {
        let found = left.iter().position(|life| life.is_of(told.last()));
        let Some(found) = found else { panic!("{id:x} is no life of this test: {told:#?}") };
        let life = left.remove(found);
        let changes: Vec<_> = told.changes.iter().collect();
        life.judge(&changes, &told.closed.iter().collect::<Vec<_>>());
    }
    assert!(left.is_empty(), "nothing was told of {left:#?}");
}
