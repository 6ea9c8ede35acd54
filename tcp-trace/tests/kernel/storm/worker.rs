//! One client and two servers that share their listeners: makes connections of every kind, and notes
//! who made and who accepted each.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{
    random::Random,
    site::{Sites, allow_many},
};
use crate::{actor::Actor, netns::Netns, sock::Sock, stage::Family};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ClientCloses,
    ServerCloses,
    HalfClose,
    ClientResets,
    ServerResets,
    Unread,
    Refused,
    GivenUp,
    LeftOpen,
    LeftHalfClosed,
    LeftByClient,
    LeftInQueue,
    LeftUnanswered,
    LeftDeferred,
}

impl Kind {
    /// What ends, nine times in ten.
    const ENDING: [Self; 8] = [
        Self::ClientCloses,
        Self::ServerCloses,
        Self::HalfClose,
        Self::ClientResets,
        Self::ServerResets,
        Self::Unread,
        Self::Refused,
        Self::GivenUp,
    ];
    const LEFT: [Self; 6] = [
        Self::LeftOpen,
        Self::LeftHalfClosed,
        Self::LeftByClient,
        Self::LeftInQueue,
        Self::LeftUnanswered,
        Self::LeftDeferred,
    ];

    fn any(random: &mut Random) -> Self {
        if random.below(10) == 0 {
            random.one_of(&Self::LEFT)
        } else {
            random.one_of(&Self::ENDING)
        }
    }
}

/// What a worker has done.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    /// How many of each kind.
    pub(super) kinds: BTreeMap<Kind, u64>,
    /// How many `connect()` calls.
    pub(super) connects: u64,
    /// Who accepted, by the server's end and the client's: where both come twice, there are two.
    pub(super) accepted: BTreeMap<(SocketAddr, SocketAddr), Vec<u32>>,
}

/// The processes, and where they meet.
#[derive(Debug)]
pub(super) struct Worker {
    /// Who connects.
    pub(super) client: Actor,
    /// Who listens and accepts, and who only accepts.
    pub(super) servers: [Actor; 2],
    /// The namespaces of both.
    pub(super) netns: (u32, u32),
    /// By family.
    pub(super) sites: Vec<Sites>,
    /// What it has done so far.
    pub(super) made: Made,
    random: Random,
}

/// A connection in the making.
struct Flight<'a> {
    kind: Kind,
    client: Sock<'a>,
    server: Option<Sock<'a>>,
}

impl Worker {
    /// One between these namespaces, whose servers are reached at these addresses, v4 and v6.
    pub(super) fn new(
        from: &Netns,
        to: &Netns,
        reached: impl Fn(bool) -> IpAddr,
        random: Random,
    ) -> Self {
        let client = from.actor("st-client");
        let servers = [to.actor("st-listens"), to.actor("st-accepts")];
        let both = servers.each_ref();
        allow_many(&[&client, both[0], both[1]]);
        let sites: Vec<_> = Family::ALL
            .into_iter()
            .map(|family| Sites::new(&client, both, family, reached(family.is_v4())))
            .collect();
        // Those that fill the queues.
        let made = Made { connects: 2 * 3, ..Made::default() };
        Self { client, servers, netns: (from.inode(), to.inode()), sites, made, random }
    }

    /// Makes `count` connections, several at a time.
    pub(super) fn make(&mut self, count: usize) {
        let Self { client, servers, sites, made, random, .. } = self;
        let servers = servers.each_ref();
        let mut left = count;
        while left > 0 {
            let batch = (1 + random.below(8)).min(left);
            left -= batch;
            let mut flights: Vec<_> =
                (0..batch).filter_map(|_| take_off(client, servers, sites, made, random)).collect();
            random.shuffle(&mut flights);
            flights.into_iter().for_each(land);
        }
    }
}

/// Opens a connection; `None` where there is nothing more to be done with it.
fn take_off<'a>(
    client: &'a Actor,
    servers: [&'a Actor; 2],
    sites: &[Sites],
    made: &mut Made,
    random: &mut Random,
) -> Option<Flight<'a>> {
    let (kind, sites) = (Kind::any(random), random.one_of(sites));
    *made.kinds.entry(kind).or_default() += 1;
    made.connects += 1;
    let connect = |at| client.connect(at);
    match kind {
        Kind::Refused => {
            let sock = client.socket(sites.closed);
            assert!(sock.connect(sites.closed).is_err());
            sock.close();
        }
        Kind::GivenUp => unanswered(client, sites.full.at).close(),
        Kind::LeftUnanswered => drop(unanswered(client, sites.full.at)),
        Kind::LeftInQueue => drop(connect(sites.queue.at)),
        Kind::LeftDeferred => drop(connect(sites.deferred.at)),
        _ => {
            let sock = connect(sites.open.at);
            let which = random.below(2);
            let server = sites.open.accept(servers, which);
            let ends = (sites.open.at, sock.local());
            made.accepted.entry(ends).or_default().push(servers[which].pid());
            return Some(Flight { kind, client: sock, server: Some(server) });
        }
    }
    None
}

/// A `connect()` that goes on.
fn unanswered(client: &Actor, at: SocketAddr) -> Sock<'_> {
    let sock = client.socket(at);
    sock.set_nonblocking();
    let error = sock.connect(at).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}");
    sock
}

/// Brings it to its end, or to where it stays.
fn land(Flight { kind, client, server }: Flight<'_>) {
    let Some(server) = server else { return };
    match kind {
        Kind::ClientCloses => closes_first(client, server),
        Kind::ServerCloses => closes_first(server, client),
        Kind::HalfClose => {
            client.shutdown();
            server.read_to_end(b"");
            server.send(b"12345");
            server.close();
            client.read_to_end(b"12345");
            client.close();
        }
        Kind::ClientResets => resets(client, server),
        Kind::ServerResets => resets(server, client),
        Kind::Unread => {
            client.send(b"1234567890");
            server.wait_for(10);
            server.close();
            assert!(client.receive().is_err());
            client.close();
        }
        Kind::LeftHalfClosed => {
            client.shutdown();
            server.read_to_end(b"");
        }
        Kind::LeftByClient => {
            client.close();
            server.read_to_end(b"");
        }
        Kind::LeftOpen
        | Kind::Refused
        | Kind::GivenUp
        | Kind::LeftInQueue
        | Kind::LeftUnanswered
        | Kind::LeftDeferred => {}
    }
}

fn closes_first(first: Sock<'_>, second: Sock<'_>) {
    first.close();
    second.read_to_end(b"");
    second.close();
}

fn resets(first: Sock<'_>, second: Sock<'_>) {
    first.abort();
    assert!(second.receive().is_err());
    second.close();
}
