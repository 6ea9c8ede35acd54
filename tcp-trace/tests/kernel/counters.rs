//! The exact tier: what the metrics count equals what was done, cell by cell.

use std::collections::BTreeMap;

use super::{
    actor::Actor,
    daemon::{Daemon, Metrics},
    deadline::until,
    netns::Netns,
    sock::{Sock, loopback},
    truth,
};

/// Counts what a script of connections must cause.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caused {
    /// Transitions, as `from>to`.
    pub(crate) matrix: BTreeMap<String, u64>,
    /// Ends, as the labels of `tcp_trace_connections_closed_total`.
    pub(crate) ends: BTreeMap<String, u64>,
    /// Connections.
    pub(crate) connections: u64,
}

impl Caused {
    /// `times` lives that go through `path`.
    pub(crate) fn lives(&mut self, times: u64, path: &str) {
        let states: Vec<_> = path.split(' ').collect();
        for pair in states.windows(2) {
            *self.matrix.entry(format!("{}>{}", pair[0], pair[1])).or_default() += times;
        }
    }

    /// `times` of them end so.
    pub(crate) fn ends(&mut self, times: u64, reason: &str, by: &str) {
        let labels = format!("reason=\"{reason}\",closed_by=\"{by}\"");
        *self.ends.entry(labels).or_default() += times;
    }

    /// Changes of state together.
    pub(crate) fn transitions(&self) -> u64 {
        self.matrix.values().sum()
    }
}

/// A listener, a client and a server in a namespace.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    client: &'a Actor,
    listener: Sock<'a>,
    /// What has been caused so far.
    pub(crate) caused: Caused,
}

impl<'a> Script<'a> {
    /// Begins to listen.
    pub(crate) fn new(client: &'a Actor, server: &'a Actor) -> Self {
        let mut caused = Caused::default();
        caused.lives(1, "close listen");
        Self { client, listener: server.listen(loopback(true)), caused }
    }

    /// A connection that stays open.
    pub(crate) fn open(&mut self) -> (Sock<'a>, Sock<'a>) {
        let client = self.client.connect(self.listener.local());
        let server = self.listener.accept();
        self.caused.connections += 1;
        self.caused.lives(1, "close syn_sent established");
        self.caused.lives(1, "listen syn_recv established");
        (client, server)
    }

    /// Connections that the client closes in order.
    pub(crate) fn client_closes(&mut self, times: u64) {
        for _ in 0..times {
            let (client, server) = self.open();
            client.close();
            server.read_to_end(b"");
            server.close();
        }
        self.orderly(times);
    }

    /// Connections that the server closes in order.
    pub(crate) fn server_closes(&mut self, times: u64) {
        for _ in 0..times {
            let (client, server) = self.open();
            server.close();
            client.read_to_end(b"");
            client.close();
        }
        self.orderly(times);
    }

    fn orderly(&mut self, times: u64) {
        self.caused.lives(times, "established fin_wait1 fin_wait2 close");
        self.caused.lives(times, "established close_wait last_ack close");
        self.caused.ends(times, "fin_active", "local");
        self.caused.ends(times, "fin_passive", "remote");
    }

    /// Connections that the client resets.
    pub(crate) fn client_resets(&mut self, times: u64) {
        for _ in 0..times {
            let (client, server) = self.open();
            client.abort();
            assert!(server.receive().is_err());
            server.close();
        }
        self.caused.lives(2 * times, "established close");
        self.caused.ends(times, "abort_linger", "local");
        self.caused.ends(times, "rst_received", "remote");
    }

    /// A connection that the client has half closed.
    pub(crate) fn half_close(&mut self) -> (Sock<'a>, Sock<'a>) {
        let (client, server) = self.open();
        client.shutdown();
        server.read_to_end(b"");
        self.caused.lives(1, "established fin_wait1 fin_wait2");
        self.caused.lives(1, "established close_wait");
        (client, server)
    }

    /// Ends the listener.
    pub(crate) fn end(&mut self) {
        self.listener.close();
        self.caused.lives(1, "listen close");
    }
}

/// Waits until the matrix is what was caused.
pub(crate) fn until_counted(daemon: &Daemon, caused: &Caused) -> Metrics {
    until(
        || format!("counted {:#?}, caused {:#?}", daemon.metrics().matrix(), caused.matrix),
        || Some(daemon.metrics()).filter(|metrics| metrics.matrix() == caused.matrix),
    )
}

/// The gauges are the kernel's own counts: at once where everything is hooked. Elsewhere the two
/// states of mini-sockets are counted together, and what a loss hid of them is known after the
/// snapshot that follows it.
pub(crate) fn judge_gauges(daemon: &Daemon, netns: &Netns) {
    let truth = || -> BTreeMap<_, _> {
        truth::gauges(netns).into_iter().map(|(state, n)| (state.to_owned(), n)).collect()
    };
    if daemon.sees_time_wait() {
        // The two are read one after the other: a mini-socket may move in between.
        let both = || (daemon.metrics().gauges(), truth());
        until(
            || format!("told and true: {:#?}", both()),
            || {
                let (told, truth) = both();
                (told == truth).then_some(())
            },
        );
        return;
    }
    let fold = |mut gauges: BTreeMap<String, u64>| {
        let minis =
            gauges.remove("fin_wait2").unwrap_or(0) + gauges.remove("time_wait").unwrap_or(0);
        (gauges, minis)
    };
    let both = || (fold(daemon.metrics().gauges()), fold(truth()));
    until(
        || format!("told and true: {:#?}", both()),
        || {
            let (told, truth) = both();
            assert_eq!(told.0, truth.0);
            (told.1 == truth.1).then_some(())
        },
    );
}

fn opened(metrics: &Metrics, direction: &str) -> u64 {
    metrics.count(&format!("tcp_trace_connections_opened_total{{direction=\"{direction}\"}}"))
}

#[test]
#[ignore = "needs root"]
fn two_thousand_connections_are_counted_to_the_last() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = Daemon::start(&[&netns], &[]);
    let mibs = || ["ActiveOpens", "PassiveOpens"].map(|name| truth::mib(&netns, "Tcp", name));

    // The daemon has connected to itself by now, and must not show it.
    let before = (daemon.metrics(), mibs());
    assert!(before.1.iter().all(|opens| *opens > 0), "the self-check connects: {before:?}");
    assert!(before.0.matrix().is_empty(), "{before:#?}");
    assert!(before.0.gauges().is_empty(), "{before:#?}");
    for name in ["connections_opened_total", "connections_closed_total", "events_total"] {
        let shown = before.0.nonzero(&format!("tcp_trace_{name}"));
        assert!(shown.is_empty(), "{name}: {shown:?}");
    }
    assert_eq!(
        daemon.get("/api/v1/connections?closed=true"),
        r#"{"connections":[],"total":0,"folding":false}"#
    );

    let mut script = Script::new(&client, &server);
    script.client_closes(700);
    script.server_closes(500);
    script.client_resets(800);
    let open: Vec<_> = (0..20).map(|_| script.open()).collect();
    let half: Vec<_> = (0..7).map(|_| script.half_close()).collect();

    let metrics = until_counted(&daemon, &script.caused);
    judge_gauges(&daemon, &netns);
    for (state, count) in [("close_wait", 7), ("established", 40), ("listen", 1)] {
        assert_eq!(metrics.gauges()[state], count, "{state}");
    }
    assert_eq!((open.len(), half.len()), (20, 7));

    let opens = mibs();
    let [active, passive] = [opens[0] - before.1[0], opens[1] - before.1[1]];
    assert_eq!((active, passive), (script.caused.connections, script.caused.connections));
    assert_eq!(opened(&metrics, "outbound"), active);
    assert_eq!(opened(&metrics, "inbound"), passive);
    assert_eq!(opened(&metrics, "unknown"), 0);

    // Events lag behind the counters by the reorder window.
    let told = || daemon.metrics().count("tcp_trace_events_total{kind=\"state\"}");
    let caused = script.caused.transitions();
    until(|| format!("{} events, {caused} caused", told()), || (told() == caused).then_some(()));
    let metrics = daemon.metrics();
    assert_eq!(metrics.nonzero("tcp_trace_connections_closed_total"), script.caused.ends);
    assert!(metrics.nonzero("tcp_trace_events_lost_total").is_empty());
    assert_eq!(metrics.count("tcp_trace_late_records_total"), 0);
    assert_eq!(metrics.count("tcp_trace_incomplete_timelines_total"), 0);
    assert_eq!(metrics.count("tcp_trace_illegal_transitions_total"), 0);
    // The second program reports what the kernel skipped the first for, which is rare.
    let caught = metrics.count("tcp_trace_probe_caught_total");
    assert!(caught * 50 <= caused, "{caught} of {caused} were left to the second program");

    script.end();
    until_counted(&daemon, &script.caused);
}

#[test]
#[ignore = "needs root"]
fn what_happens_in_other_namespaces_does_not_count() {
    let (netns, other) = (Netns::new(), Netns::new());
    let [client, server] = ["kt-client", "kt-server"].map(|name| netns.actor(name));
    let [other_client, other_server] = ["kt-other", "kt-others"].map(|name| other.actor(name));
    let daemon = Daemon::start(&[&netns], &[]);
    let mut elsewhere = Script::new(&other_client, &other_server);
    elsewhere.client_closes(50);
    elsewhere.open();
    let mut script = Script::new(&client, &server);
    script.client_resets(50);
    script.open();
    until_counted(&daemon, &script.caused);
    judge_gauges(&daemon, &netns);
    until(
        || format!("{:#?}", daemon.rows()),
        || (daemon.rows() == truth::sockets(&netns)).then_some(()),
    );
    assert_eq!(daemon.metrics().matrix(), script.caused.matrix);
}
