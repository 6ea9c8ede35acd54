//! Ladders: the segments that passed between two ends, each beside the changes of state it caused.

use tcp_trace::api::{Connection, Step};

use super::{
    actor::Actor,
    daemon::Daemon,
    deadline::until,
    netns::Netns,
    sock::{Sock, loopback},
    story::{Ends, OFTEN_MS, turned},
    truth,
    wire::Wire,
};

#[path = "ladder/lost.rs"]
mod lost;
#[path = "ladder/opening.rs"]
mod opening;
#[path = "ladder/orderly.rs"]
mod orderly;
#[path = "ladder/reset.rs"]
mod reset;
#[path = "ladder/time_wait.rs"]
mod time_wait;

/// The rungs of a handshake, the client's and the server's.
const CONNECTS: &str = "close>syn_sent | out SYN 0 | in SYN,ACK 0/1 | syn_sent>established | \
                        out ACK 1/1";
const ACCEPTS: &str = "in SYN 0 | out SYN,ACK 0/1 | in ACK 1/1 | listen>syn_recv | \
                       syn_recv>established";

/// A daemon that looks at one namespace, its segments and its states.
fn looking_at(netns: &Netns, interface: &str) -> Daemon {
    let arguments = ["--segments", "on", "--interface", interface];
    let daemon = Daemon::start(&[netns], &arguments);
    if daemon.sees_time_wait() && daemon.hooks("request_") {
        daemon
    } else {
        // Two would get in each other's way: one hook of XDP is all that an interface has.
        drop(daemon);
        Daemon::reconciling(&[netns], OFTEN_MS, &arguments)
    }
}

/// What is known between `ends`, oldest first.
type Stories<'a> = &'a dyn Fn(Ends) -> Vec<Connection>;

/// The rungs of a connection: `from>to` for a change of its full socket; for a segment its way, its
/// flags, its numbers counted from the sender's and the receiver's first, `+n` where it has data,
/// and `again` where it has passed before. Of a mini-socket not every host tells, and not at once:
/// its changes are left out.
fn rungs(known: &Connection) -> Vec<String> {
    let mut rungs: Vec<String> = Vec::new();
    for rung in known.timeline.as_deref().unwrap().iter().filter_map(rung) {
        // How often something is sent again is up to the clock.
        if !(rung.ends_with(" again") && rungs.last() == Some(&rung)) {
            rungs.push(rung);
        }
    }
    rungs
}

fn rung(step: &Step) -> Option<String> {
    if let (Some(from), Some(to)) = (&step.from, &step.to) {
        let of_mini = from == to || [from, to].iter().any(|state| *state == "time_wait");
        return (!of_mini && (from, to) != (&"fin_wait2".to_owned(), &"close".to_owned()))
            .then(|| format!("{from}>{to}"));
    }
    let wire = step.wire.as_ref()?;
    let flags: Vec<_> = wire.flags.split(',').filter(|flag| *flag != "PSH").collect();
    let number = |known: Option<u32>| known.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let ack = flags.contains(&"ACK").then(|| format!("/{}", number(wire.ack_relative)));
    let data = (wire.len > 0).then(|| format!(" +{}", wire.len));
    let again = wire.retransmit.then(|| " again".to_owned());
    let rest = [ack, data, again].into_iter().flatten().collect::<String>();
    Some(format!("{} {} {}{rest}", wire.dir, flags.join(","), number(wire.seq_relative)))
}

/// Waits until the latest connection between `ends` has these rungs and no other, and gives it.
#[track_caller]
fn climbs(stories: Stories<'_>, ends: Ends, wanted: &[&str]) -> Connection {
    let wanted = wanted.join(" | ");
    let wanted: Vec<_> = wanted.split(" | ").map(str::trim).filter(|r| !r.is_empty()).collect();
    let latest = || stories(ends).pop();
    let told = || latest().as_ref().map(rungs);
    until(
        || format!("{ends:?} should have climbed {wanted:#?} and has {:#?}", told()),
        || latest().filter(|known| rungs(known) == wanted),
    )
}

/// Likewise, without what was sent again.
#[track_caller]
fn climbs_in_the_end(stories: Stories<'_>, ends: Ends, wanted: &[&str]) -> Connection {
    let wanted = wanted.join(" | ");
    let wanted: Vec<_> = wanted.split(" | ").map(str::trim).filter(|r| !r.is_empty()).collect();
    let once = |known: &Connection| -> Vec<String> {
        rungs(known).into_iter().filter(|rung| !rung.ends_with(" again")).collect()
    };
    let latest = || stories(ends).pop();
    until(
        || format!("{wanted:#?} and not {:#?}", latest().as_ref().map(rungs)),
        || latest().filter(|known| once(known) == wanted),
    )
}

/// Waits until the latest connection between `ends` has ended for this reason: what decides it may come
/// after the last segment.
#[track_caller]
fn ends_by(stories: Stories<'_>, ends: Ends, reason: &str) {
    let latest = || stories(ends).pop();
    until(
        || format!("{ends:?} should have ended by {reason}: {:#?}", latest()),
        || latest().filter(|known| known.close_reason.as_deref() == Some(reason)),
    );
}

/// Absolute sequence numbers of the segments that went this way, each once.
fn numbers(known: &Connection, way: &str) -> Vec<u32> {
    let wires = known.timeline.as_deref().unwrap().iter().filter_map(|step| step.wire.as_ref());
    wires.filter(|wire| wire.dir == way && !wire.retransmit).map(|wire| wire.seq).collect()
}

/// What one end sent is what the other one got, number by number.
#[track_caller]
fn mirrors(one: &Connection, other: &Connection) {
    assert_eq!(numbers(one, "out"), numbers(other, "in"), "{one:#?} {other:#?}");
    assert_eq!(numbers(one, "in"), numbers(other, "out"), "{one:#?} {other:#?}");
}

/// A client and a server on one loopback interface.
struct Near {
    netns: Netns,
    client: Actor,
    server: Actor,
    daemon: Daemon,
    v4: bool,
}

/// An established connection; the client's view of its ends.
struct Pair<'a> {
    client: Sock<'a>,
    server: Sock<'a>,
    ends: Ends,
}

impl Near {
    /// Plays `scenario` over IPv4 and IPv6, each time in a new namespace with these settings.
    fn play(settings: &[(&str, &str)], scenario: impl Fn(&Self)) {
        Self::play_over(&[true, false], settings, scenario);
    }

    /// Likewise, over IPv4 or IPv6 alone.
    fn play_over(families: &[bool], settings: &[(&str, &str)], scenario: impl Fn(&Self)) {
        for &v4 in families {
            let netns = Netns::new();
            for (setting, value) in settings {
                netns.set(setting, value);
            }
            let (client, server) = (netns.actor("la-client"), netns.actor("la-server"));
            let daemon = looking_at(&netns, "lo");
            let near = Self { netns, client, server, daemon, v4 };
            scenario(&near);
            is_sound(&near.daemon);
        }
    }

    fn listen(&self) -> Sock<'_> {
        self.server.listen(loopback(self.v4))
    }

    fn pair(&self) -> Pair<'_> {
        let listener = self.listen();
        let client = self.client.connect(listener.local());
        let ends = (client.local(), listener.local());
        Pair { client, server: listener.accept(), ends }
    }

    fn stories(&self, ends: Ends) -> Vec<Connection> {
        self.daemon.stories(ends.0, ends.1)
    }

    #[track_caller]
    fn climbs(&self, ends: Ends, wanted: &[&str]) -> Connection {
        climbs(&|ends| self.stories(ends), ends, wanted)
    }
}

/// A client left of a wire, a server right of it, and a daemon at either end.
struct Far {
    wire: Wire,
    client: Actor,
    server: Actor,
    daemons: [Daemon; 2],
    v4: bool,
}

impl Far {
    fn play(settings: &[(&str, &str)], scenario: impl Fn(&Self)) {
        for v4 in [true, false] {
            let wire = Wire::new();
            for (setting, value) in settings {
                wire.left.set(setting, value);
                wire.right.set(setting, value);
            }
            let (client, server) = (wire.left.actor("la-client"), wire.right.actor("la-server"));
            let daemons = [looking_at(&wire.left, "wire"), looking_at(&wire.right, "wire")];
            let far = Self { wire, client, server, daemons, v4 };
            scenario(&far);
            far.daemons.iter().for_each(is_sound);
        }
    }

    fn listen(&self) -> Sock<'_> {
        self.server.listen((Wire::right_address(self.v4), 0).into())
    }

    fn pair(&self) -> Pair<'_> {
        let listener = self.listen();
        let client = self.client.connect(listener.local());
        let ends = (client.local(), listener.local());
        Pair { client, server: listener.accept(), ends }
    }

    /// A `connect()` that goes on by itself.
    fn begin(&self, listener: Sock<'_>) -> (Sock<'_>, Ends) {
        let client = self.client.socket(listener.local());
        client.set_nonblocking();
        client.connect(listener.local()).unwrap_err();
        (client, (client.local(), listener.local()))
    }

    fn stories(&self, ends: Ends) -> Vec<Connection> {
        let [left, right] = &self.daemons;
        let is_left = ends.0.ip() == Wire::left_address(self.v4);
        (if is_left { left } else { right }).stories(ends.0, ends.1)
    }

    #[track_caller]
    fn climbs(&self, ends: Ends, wanted: &[&str]) -> Connection {
        climbs(&|ends| self.stories(ends), ends, wanted)
    }

    #[track_caller]
    fn climbs_in_the_end(&self, ends: Ends, wanted: &[&str]) -> Connection {
        climbs_in_the_end(&|ends| self.stories(ends), ends, wanted)
    }

    #[track_caller]
    fn ends_by(&self, ends: Ends, reason: &str) {
        ends_by(&|ends| self.stories(ends), ends, reason);
    }

    /// Waits until the kernel of an end (the left one is 0) has sent something again.
    fn until_sent_again(&self, end: usize) {
        let netns = [&self.wire.left, &self.wire.right][end];
        let again = || truth::mib(netns, "Tcp", "RetransSegs");
        until(|| "nothing is sent again".to_owned(), || (again() > 0).then_some(()));
    }
}

/// Nothing was lost on the way, and nothing contradicts what Linux does.
#[track_caller]
fn is_sound(daemon: &Daemon) {
    let metrics = daemon.metrics();
    assert_eq!(metrics.count("tcp_trace_illegal_transitions_total"), 0);
    assert_eq!(metrics.nonzero("tcp_trace_events_lost_total").len(), 0);
    assert_eq!(metrics.nonzero("tcp_trace_segments_folded_total").len(), 0);
}
