//! A namespace with a daemon, and what that tells of one connection from its first step to its last.

use std::net::SocketAddr;

use tcp_trace::api::{Connection, Step};

use super::{
    actor::Actor,
    daemon::Daemon,
    deadline::until,
    needs,
    netns::Netns,
    snapshot::until_gauges,
    sock::{Sock, loopback},
    truth,
};

/// How often a host without hooks for mini-sockets is compared with the kernel, which is what tells
/// of them there. Where there are hooks, they have to tell everything by themselves.
pub(crate) const OFTEN_MS: u32 = 100;

/// This end and the other one.
pub(crate) type Ends = (SocketAddr, SocketAddr);

/// The other one and this end.
pub(crate) fn turned((one, other): Ends) -> Ends {
    (other, one)
}

/// A daemon that looks on, and again every now and then where it has to.
pub(crate) fn looking_on(netns: &[&Netns]) -> Daemon {
    let daemon = Daemon::start(netns, &[]);
    if daemon.sees_time_wait() && daemon.hooks("request_") {
        daemon
    } else {
        Daemon::reconciling(netns, OFTEN_MS, &[])
    }
}

/// A client and a server in one namespace.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The namespace.
    pub(crate) netns: Netns,
    /// Who connects.
    pub(crate) client: Actor,
    /// Who listens.
    pub(crate) server: Actor,
    /// Who looks on.
    pub(crate) daemon: Daemon,
    /// Whether it is told of mini-sockets.
    pub(crate) hooked: bool,
    /// Whether IPv4 is spoken.
    pub(crate) v4: bool,
}

/// An established connection of [`Scene`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    /// The listener.
    pub(crate) listener: Sock<'a>,
    /// The client's end.
    pub(crate) client: Sock<'a>,
    /// The server's end.
    pub(crate) server: Sock<'a>,
    /// The client's view.
    pub(crate) ends: Ends,
}

impl Scene {
    /// Plays `scenario` over IPv4 and IPv6, each time in a new namespace with these settings.
    pub(crate) fn play(settings: &[(&str, &str)], scenario: impl Fn(&Self)) {
        for v4 in [true, false] {
            let netns = Netns::new();
            for (setting, value) in settings {
                netns.set(setting, value);
            }
            let (client, server) = (netns.actor("st-client"), netns.actor("st-server"));
            let daemon = looking_on(&[&netns]);
            let hooked = daemon.sees_time_wait();
            scenario(&Self { netns, client, server, daemon, hooked, v4 });
        }
    }

    /// A listener.
    pub(crate) fn listen(&self) -> Sock<'_> {
        self.server.listen(loopback(self.v4))
    }

    /// A connection.
    pub(crate) fn pair(&self) -> Pair<'_> {
        let listener = self.listen();
        let client = self.client.connect(listener.local());
        let ends = (client.local(), listener.local());
        Pair { listener, client, server: listener.accept(), ends }
    }

    /// See [`tells`].
    #[track_caller]
    pub(crate) fn tells(
        &self,
        ends: Ends,
        what: &str,
        is: impl Fn(&Connection) -> bool,
    ) -> Connection {
        tells(&self.daemon, ends, what, is)
    }

    /// Waits until the kernel shows, of the connection between `ends`, a mini-socket in `substate`,
    /// or none at all.
    #[track_caller]
    pub(crate) fn until_mini(&self, ends: Ends, substate: Option<&str>) {
        let shown = || {
            let rows = truth::with_minis(&self.netns);
            let mut minis = rows.into_iter().filter(|row| row.mini);
            minis.find(|row| (row.local, row.remote) == ends).map(|row| row.state.name())
        };
        until(
            || format!("{ends:?} should be {substate:?} and is {:?}", shown()),
            || (shown() == substate).then_some(()),
        );
    }

    /// A figure of the namespace's extended statistics.
    pub(crate) fn mib(&self, name: &str) -> u64 {
        truth::mib(&self.netns, "TcpExt", name)
    }

    /// Waits until a series has a value.
    #[track_caller]
    pub(crate) fn counts(&self, series: &str, wanted: u64) {
        counts(&self.daemon, series, wanted);
    }
}

/// Waits until the latest connection between `ends` is as it should be.
#[track_caller]
pub(crate) fn tells(
    daemon: &Daemon,
    ends: Ends,
    what: &str,
    is: impl Fn(&Connection) -> bool,
) -> Connection {
    let stories = || daemon.stories(ends.0, ends.1);
    until(|| format!("{what}: {:#?}", stories()), || stories().pop().filter(&is))
}

/// Waits until a series has a value.
#[track_caller]
pub(crate) fn counts(daemon: &Daemon, series: &str, wanted: u64) {
    let told = || daemon.metrics().count(series);
    until(
        || format!("{series} is {} and not {wanted}", told()),
        || (told() == wanted).then_some(()),
    );
}

/// What must hold whatever has happened: the gauges are the kernel's, what should not be is not, and
/// what is counted of mini-sockets is what the kernel counts.
#[track_caller]
pub(crate) fn agrees(scene: &Scene) {
    until_gauges(&scene.daemon, &[&scene.netns]);
    // One that is to go within four seconds counts as the other.
    let kernels = scene.mib("TW") + scene.mib("TWKilled");
    if needs::is_at_least((5, 18)) {
        scene.counts("tcp_trace_time_wait_started_total", kernels);
    } else if scene.hooked {
        // Before 5.18 the kernel counts those whose time runs out, and when it does.
        scene.counts("tcp_trace_time_wait_ended_total{reason=\"expired\"}", kernels);
    }
    let gauges = truth::gauges(&scene.netns);
    let metrics = scene.daemon.metrics();
    let births = metrics.count("tcp_trace_time_wait_started_total");
    let ended: u64 = metrics.nonzero("tcp_trace_time_wait_ended_total").values().sum();
    let minis = truth::with_minis(&scene.netns).iter().filter(|row| row.mini).count() as u64;
    assert_eq!(births - ended, minis, "{gauges:?}, {births} born, {ended} ended");
    assert_eq!(metrics.count("tcp_trace_illegal_transitions_total"), 0);
    assert_eq!(metrics.nonzero("tcp_trace_events_lost_total").len(), 0);
    if scene.hooked {
        let reconciled = metrics.nonzero("tcp_trace_reconciled_total");
        assert!(reconciled.is_empty(), "hooks tell everything: {reconciled:?}");
    }
}

/// The timeline, a word for each step: `from>to`, the call, `~` and the segment, `!` and the mark.
pub(crate) fn words(known: &Connection) -> Vec<String> {
    let word = |step: &Step| match (&step.from, &step.call, &step.segment, &step.mark) {
        (Some(from), ..) => format!("{from}>{}", step.to.as_deref().unwrap_or_default()),
        (_, Some(call), ..) => call.clone(),
        (_, _, Some(segment), _) => format!("~{segment}"),
        (.., Some(mark)) => format!("!{mark}"),
        _ => panic!("{step:?} is no step"),
    };
    known.timeline.as_deref().unwrap().iter().map(word).collect()
}

/// The changes of state among them.
pub(crate) fn changes(known: &Connection) -> String {
    let words = words(known);
    words.iter().filter(|word| word.contains('>')).cloned().collect::<Vec<_>>().join(" ")
}

/// The last sentence.
pub(crate) fn last_words(known: &Connection) -> &str {
    &known.timeline.as_deref().unwrap().last().unwrap().text
}
