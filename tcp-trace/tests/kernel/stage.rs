//! Where a scenario is played: its namespaces, with a daemon, a `watch` and a `record` looking on.

use std::{
    collections::BTreeSet,
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tcp_trace::core::tcp_state::TcpState;

use super::{
    actor::Actor,
    daemon::Daemon,
    deadline::until,
    keep,
    life::{self, Life},
    netns::Netns,
    replayed,
    sock::{Sock, loopback},
    streams::{Record, Watch},
    truth::{self, Row},
    wire::Wire,
};

/// How the two ends address each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4 on both ends.
    V4,
    /// IPv6 on both ends.
    V6,
    /// A listener on `[::]`, and a client that connects over IPv4.
    Dual,
}

impl Family {
    /// Each.
    pub(crate) const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Dual];

    /// Whether the client speaks IPv4.
    pub(crate) fn is_v4(self) -> bool {
        self != Self::V6
    }

    /// Any port of loopback.
    pub(crate) fn loopback(self) -> SocketAddr {
        loopback(self.is_v4())
    }

    /// Where a server listens that is to be reached at `reached`.
    pub(crate) fn listens(self, reached: IpAddr) -> SocketAddr {
        let on = if self == Self::Dual { Ipv6Addr::UNSPECIFIED.into() } else { reached };
        SocketAddr::new(on, 0)
    }
}

/// Both ends of a socket, and its state; `None` where it is no full socket any more.
pub(crate) type Standing = (SocketAddr, SocketAddr, Option<TcpState>);

/// Namespaces and those who look on.
#[derive(Debug)]
pub(crate) struct Stage {
    // Dropped in this order: who asks the daemon ends before it.
    watch: Watch,
    record: Record,
    daemon: Daemon,
    directory: tempfile::TempDir,
}

impl Stage {
    fn new(netns: &[&Netns]) -> Self {
        let directory = super::program::open_directory();
        let daemon = Daemon::start(netns, &[]);
        let record = Record::start(&directory.path().join("recording"), netns);
        let watch = Watch::start(&daemon.socket(), netns);
        Self { watch, record, daemon, directory }
    }

    /// The daemon.
    pub(crate) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// A stable point: waits until the kernel shows these sockets in these states, then until the
    /// daemon shows the same sockets as the kernel, every one of them.
    #[track_caller]
    fn stands(&self, netns: &[&Netns], sockets: &[Standing]) {
        let all = || netns.iter().flat_map(|netns| truth::sockets(netns)).collect::<BTreeSet<_>>();
        let is = |rows: &BTreeSet<Row>, &(local, remote, state): &Standing| {
            let mut found = rows.iter().filter(|row| (row.local, row.remote) == (local, remote));
            found.next().map(|row| row.state) == state
        };
        until(
            || format!("the kernel should show {sockets:#?}, and shows {:#?}", all()),
            || {
                let rows = all();
                sockets.iter().all(|socket| is(&rows, socket)).then_some(())
            },
        );
        let with_minis = || netns.iter().flat_map(|netns| truth::with_minis(netns));
        let hooked = self.daemon.sees_time_wait();
        let knowable = |row: Row| if hooked { row } else { row.without_substate() };
        let known = || with_minis().map(portless).map(knowable).collect::<BTreeSet<_>>();
        let told =
            || self.daemon.rows().into_iter().map(portless).map(knowable).collect::<BTreeSet<_>>();
        // A probe that the kernel skipped, or a record that came late, would explain a difference.
        let excuses = || {
            let metrics = self.daemon.get("/metrics");
            let tells = |line: &&str| {
                line.contains("_misses_total{") || line.contains("_late_records_total ")
            };
            metrics.lines().filter(tells).collect::<Vec<_>>().join("; ")
        };
        until(
            || {
                let rows = told();
                format!("the daemon shows {rows:#?}, the kernel {:#?}; {}", known(), excuses())
            },
            || (told() == known()).then_some(()),
        );
    }

    /// Judges what was told of these lives, live and replayed, and keeps the recording if asked to.
    fn judge(self, name: &str, netns: &[&Netns], lives: &[Life]) {
        for netns in netns {
            self.watch.catch_up(netns);
        }
        let metrics = self.daemon.metrics();
        // First, since it would explain whatever else is wrong.
        assert_eq!(metrics.count("tcp_trace_late_records_total"), 0);
        let live = life::by_connection(self.watch.events());
        life::judge(lives, &live);
        assert_eq!(metrics.count("tcp_trace_illegal_transitions_total"), 0);
        assert_eq!(metrics.nonzero("tcp_trace_events_lost_total").len(), 0);

        let file = self.record.interrupt();
        replayed::judge(&file, &live);
        keep::keep(name, &file);
        drop(self.directory);
    }
}

/// The families to play `name` over: each; where a way of hooking is forced, one of them, by the
/// name. All ways read all families alike, and the scenarios together try every family.
fn families(name: &str) -> Vec<Family> {
    let forced = env::var("TCP_TRACE_TEST_BACKEND").is_ok_and(|backend| backend != "auto");
    let one = Family::ALL[name.len() % Family::ALL.len()];
    if forced { vec![one] } else { Family::ALL.into() }
}

/// A connecting socket goes to `SYN_SENT` before its port is chosen, and passes no other change
/// until it is answered: until then its port is known only where `connect()` is hooked.
fn portless(row: Row) -> Row {
    let port = if row.state == TcpState::SynSent { 0 } else { row.local.port() };
    Row { local: SocketAddr::new(row.local.ip(), port), ..row }
}

/// A client and a server in one namespace, with their stage.
#[derive(Debug)]
pub(crate) struct Loopback {
    /// The namespace.
    pub(crate) netns: Netns,
    /// Who connects.
    pub(crate) client: Actor,
    /// Who listens.
    pub(crate) server: Actor,
    /// How they address each other.
    pub(crate) family: Family,
    stage: Stage,
}

/// An established connection of [`Loopback`].
#[derive(Clone, Debug)]
pub(crate) struct Pair<'a> {
    /// The listener.
    pub(crate) listener: Sock<'a>,
    /// The client's end.
    pub(crate) client: Sock<'a>,
    /// The server's end.
    pub(crate) server: Sock<'a>,
    /// Where the client is.
    pub(crate) client_at: SocketAddr,
    /// Where the server is.
    pub(crate) server_at: SocketAddr,
    listener_life: Life,
}

impl Loopback {
    /// Plays `scenario` over each family; it gives back the lives that must have been told.
    pub(crate) fn play(name: &str, scenario: impl Fn(&Self) -> Vec<Life>) {
        let netns = Netns::new();
        let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
        let stage = Stage::new(&[&netns]);
        let mut all = Self { netns, client, server, family: Family::V4, stage };
        let mut lives = Vec::new();
        for family in families(name) {
            all.family = family;
            lives.extend(scenario(&all));
        }
        all.stage.judge(name, &[&all.netns], &lives);
    }

    /// The daemon.
    pub(crate) fn daemon(&self) -> &Daemon {
        self.stage.daemon()
    }

    /// A listener, and where a client reaches it.
    pub(crate) fn listen(&self) -> (Sock<'_>, SocketAddr) {
        let reached = self.family.loopback().ip();
        let listener = self.server.listen(self.family.listens(reached));
        (listener, SocketAddr::new(reached, listener.local().port()))
    }

    /// A connection.
    pub(crate) fn pair(&self) -> Pair<'_> {
        let (listener, at) = self.listen();
        let client = self.client.connect(at);
        Pair::new(listener, client, listener.accept(), at)
    }

    /// A stable point; see [`Stage::stands`].
    #[track_caller]
    pub(crate) fn stands(
        &self,
        pair: &Pair<'_>,
        client: Option<TcpState>,
        server: Option<TcpState>,
    ) {
        self.stage.stands(&[&self.netns], &pair.states(client, server));
    }

    /// Likewise, with any ends.
    #[track_caller]
    pub(crate) fn shows(&self, sockets: &[Standing]) {
        self.stage.stands(&[&self.netns], sockets);
    }
}

impl<'a> Pair<'a> {
    /// Both ends of a connection to `at`, and the listener between them.
    pub(crate) fn new(
        listener: Sock<'a>,
        client: Sock<'a>,
        server: Sock<'a>,
        server_at: SocketAddr,
    ) -> Self {
        let (client_at, listener_life) = (client.local(), Life::listener(&listener));
        Self { listener, client, server, client_at, server_at, listener_life }
    }

    /// The client's life so far.
    pub(crate) fn client_life(&self) -> Life {
        Life { local: Some(self.client_at), ..Life::failed(self.client.actor(), self.server_at) }
            .named("client")
    }

    /// The server's life so far.
    pub(crate) fn server_life(&self) -> Life {
        Life::server(&self.client_life(), self.server.actor())
    }

    /// Ends the listener; its life.
    pub(crate) fn end(&self) -> Life {
        self.listener.close();
        self.listener_life.clone()
    }

    fn states(&self, client: Option<TcpState>, server: Option<TcpState>) -> [Standing; 2] {
        let (client_at, server_at) = (self.client_at, self.server_at);
        [(client_at, server_at, client), (server_at, client_at, server)]
    }
}

/// A client left and a server right of a [`Wire`], with their stage.
#[derive(Debug)]
pub(crate) struct Wired {
    /// The wire.
    pub(crate) wire: Wire,
    /// Who connects, on the left.
    pub(crate) client: Actor,
    /// Who listens, on the right.
    pub(crate) server: Actor,
    family: Family,
    stage: Stage,
}

impl Wired {
    /// Plays `scenario` over each family; it gives back the lives that must have been told.
    pub(crate) fn play(name: &str, scenario: impl Fn(&Self) -> Vec<Life>) {
        let wire = Wire::new();
        let (client, server) = (wire.left.actor("kt-client"), wire.right.actor("kt-server"));
        let stage = Stage::new(&[&wire.left, &wire.right]);
        let mut all = Self { wire, client, server, family: Family::V4, stage };
        let mut lives = Vec::new();
        for family in families(name) {
            all.family = family;
            lives.extend(scenario(&all));
            all.wire.release();
        }
        all.stage.judge(name, &[&all.wire.left, &all.wire.right], &lives);
    }

    /// Where nobody listens, on the other side of the wire.
    pub(crate) fn nowhere(&self) -> SocketAddr {
        SocketAddr::new(Wire::right_address(self.family.is_v4()), 9)
    }

    /// A connection.
    pub(crate) fn pair(&self) -> Pair<'_> {
        let reached = Wire::right_address(self.family.is_v4());
        let listener = self.server.listen(self.family.listens(reached));
        let at = SocketAddr::new(reached, listener.local().port());
        let client = self.client.connect(at);
        Pair::new(listener, client, listener.accept(), at)
    }

    /// A stable point; see [`Stage::stands`].
    #[track_caller]
    pub(crate) fn stands(
        &self,
        pair: &Pair<'_>,
        client: Option<TcpState>,
        server: Option<TcpState>,
    ) {
        let netns = [&self.wire.left, &self.wire.right];
        self.stage.stands(&netns, &pair.states(client, server));
    }

    /// Likewise, with any ends.
    #[track_caller]
    pub(crate) fn shows(&self, sockets: &[Standing]) {
        self.stage.stands(&[&self.wire.left, &self.wire.right], sockets);
    }
}

/// Any port of any IPv4 address: for a listener that is not reached.
pub(crate) const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
