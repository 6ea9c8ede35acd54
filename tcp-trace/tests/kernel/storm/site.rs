//! Where the clients of a storm connect to: listeners of every kind that leave a connection in one
//! state or another.

use std::net::{IpAddr, SocketAddr};

use crate::{actor::Actor, sock::Sock, stage::Family};

/// `TCP_DEFER_ACCEPT`, seconds: longer than any storm.
const DEFERRED: i32 = 600;

/// A place to connect to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    /// As the client reaches it.
    pub(super) at: SocketAddr,
    /// The listener's descriptor with each of the two servers.
    descriptors: [i64; 2],
}

impl Site {
    /// A listener that both `servers` hold; the first of them has made it.
    fn new(servers: [&Actor; 2], family: Family, reached: IpAddr, backlog: i64) -> Self {
        let address = family.listens(reached);
        let sock = servers[0].socket(address);
        sock.bind(address).unwrap();
        sock.listen(backlog);
        let shared = servers[1].copy(servers[0], sock.descriptor());
        let at = SocketAddr::new(reached, sock.local().port());
        Self { at, descriptors: [sock.descriptor(), shared] }
    }

    /// Takes a connection out of the queue, as the one or the other.
    pub(super) fn accept<'a>(&self, servers: [&'a Actor; 2], which: usize) -> Sock<'a> {
        Sock::at(servers[which], self.descriptors[which]).accept()
    }
}

/// The places of one server and one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sites {
    /// Where connections are accepted.
    pub(super) open: Site,
    /// Where they stay in the queue.
    pub(super) queue: Site,
    /// Where a handshake is not over until data come (`TCP_DEFER_ACCEPT`).
    pub(super) deferred: Site,
    /// Where the queue is full, so that a SYN is dropped.
    pub(super) full: Site,
    /// Where nobody listens, and nobody ever will: the port is taken.
    pub(super) closed: SocketAddr,
}

impl Sites {
    /// Those at `reached`; `client` fills the queue that is to be full.
    pub(super) fn new(
        client: &Actor,
        servers: [&Actor; 2],
        family: Family,
        reached: IpAddr,
    ) -> Self {
        let site = |backlog| Site::new(servers, family, reached, backlog);
        let (open, queue, deferred, full) = (site(4096), site(4096), site(4096), site(1));
        Sock::at(servers[0], deferred.descriptors[0]).set_number(
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            DEFERRED,
        );
        // A queue of one takes two.
        client.connect(full.at);
        client.connect(full.at);
        let taken = servers[0].socket(SocketAddr::new(reached, 0));
        taken.bind(SocketAddr::new(reached, 0)).unwrap();
        Self { open, queue, deferred, full, closed: taken.local() }
    }

    /// All places.
    pub(super) fn addresses(&self) -> [SocketAddr; 5] {
        [self.open.at, self.queue.at, self.deferred.at, self.full.at, self.closed]
    }
}

/// Lets many sockets be open at once.
pub(super) fn allow_many(actors: &[&Actor]) {
    for actor in actors {
        actor.allow_descriptors();
    }
}
