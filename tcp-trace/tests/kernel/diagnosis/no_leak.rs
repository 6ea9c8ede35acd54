//! What only looks like a leak, and what becomes of it once it is one.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tcp_trace::api::Finding;

use super::{Actor, Daemon, MANY, Ward, actor::Arg, diagnosis, pid, port, sock::Sock, until};

/// Connections in a pool.
pub(super) const POOL: usize = 6;
/// How often the oldest of them is replaced, so that each stands in `CLOSE_WAIT` for two seconds and
/// a half.
const REPLACED: Duration = Duration::from_millis(400);
/// For how long nothing must be found: many times as long as old is.
pub(super) const LONG: Duration = Duration::from_secs(6);

/// A client's idle connections, which the server has closed: the oldest is found dead, closed and
/// replaced every now and then.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    client: &'a Actor,
    listener: Sock<'a>,
    idle: VecDeque<Sock<'a>>,
    last: Instant,
    /// How many have been replaced.
    pub(super) replaced: usize,
}

impl<'a> Pool<'a> {
    pub(super) fn new(client: &'a Actor, listener: Sock<'a>) -> Self {
        let last = Instant::now();
        Self { client, listener, idle: VecDeque::new(), last, replaced: 0 }
    }

    /// Fills it, and lets it come round until that shows.
    pub(super) fn at_its_plateau(client: &'a Actor, listener: Sock<'a>) -> Self {
        let mut pool = Self::new(client, listener);
        while pool.replaced < 3 * POOL {
            pool.turn();
            std::thread::sleep(Duration::from_millis(10));
        }
        pool
    }

    /// Does what is due.
    pub(super) fn turn(&mut self) {
        if self.idle.len() >= POOL {
            if self.last.elapsed() < REPLACED {
                return;
            }
            self.last = Instant::now();
            self.replaced += 1;
            self.idle.pop_front().unwrap().close();
        }
        let client = self.client.connect(self.listener.local());
        self.listener.accept().close();
        client.read_to_end(b"");
        self.idle.push_back(client);
    }
}

/// A stream that one side has closed and the other goes on with.
#[derive(Debug)]
pub(super) struct Streams<'a>(Vec<(Sock<'a>, Sock<'a>)>);

impl<'a> Streams<'a> {
    pub(super) fn new(client: &'a Actor, listener: Sock<'a>) -> Self {
        let stream = |_| {
            let client = client.connect(listener.local());
            let server = listener.accept();
            client.shutdown();
            server.read_to_end(b"");
            (client, server)
        };
        Self((0..MANY).map(stream).collect())
    }

    pub(super) fn carry(&self) {
        for (client, server) in &self.0 {
            server.send(b"more");
            client.wait_for(4);
            assert_eq!(client.receive().unwrap(), b"more");
        }
    }
}

/// Does `what` ten times a second for as long; nothing must be found.
#[track_caller]
pub(super) fn nothing_is_found(daemon: &Daemon, span: Duration, mut what: impl FnMut()) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        what();
        let told = diagnosis(daemon, "");
        assert_eq!(told.findings, [], "after {:?}: {told:#?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs root"]
fn a_pool_at_its_plateau_raises_nothing() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    // A pool that fills cannot be told from a leak; one that has come round three times can.
    let mut pool = Pool::at_its_plateau(&ward.client, listener);
    nothing_is_found(&ward.daemon, LONG, || pool.turn());
    let told = ward.diagnosis();
    assert!(told.notes.iter().any(|note| note.contains("pool")), "{told:#?}");
    // The same sockets, once nobody comes back for them, are a leak.
    let leak = |found: &Finding| found.kind == "close_wait_leak" && found.count == POOL as u64;
    let found = until(
        || format!("{:#?}", ward.diagnosis()),
        || ward.diagnosis().findings.into_iter().find(leak),
    );
    assert_eq!(pid(&found), Some(ward.client.pid()));
}

#[test]
#[ignore = "needs root"]
fn a_slow_reader_raises_nothing() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    let slow: Vec<_> = (0..MANY)
        .map(|_| {
            let client = ward.client.connect(listener.local());
            let server = listener.accept();
            client.send(&[b'x'; 400]);
            client.close();
            server
        })
        .collect();
    let mut read = 0;
    nothing_is_found(&ward.daemon, LONG, || {
        read += 4;
        for sock in &slow {
            let arguments = [Arg::Number(sock.descriptor()), Arg::Room(4), Arg::Number(4)];
            assert_eq!(sock.actor().call(libc::SYS_read, &arguments).unwrap().value, 4);
        }
    });
    // He stops, and the rest stays.
    let found = ward.finds("close_wait_leak", |found| {
        found.count == MANY && found.cause.as_deref() == Some("not_read")
    });
    assert_eq!((pid(&found), &found.service), (Some(ward.server.pid()), &port(listener.local())));
    let rest = format!("{} B lie unread", (400 - read) * MANY);
    let text = format!("{:?}", found.evidence).replace(',', "");
    assert!(text.contains(&rest), "{rest}: {found:#?}");
}

#[test]
#[ignore = "needs root"]
fn half_closed_streams_that_carry_data_raise_nothing() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    let streams = Streams::new(&ward.client, listener);
    nothing_is_found(&ward.daemon, LONG, || streams.carry());
    // Once they carry nothing, they are a leak of the one who does not close.
    let found = ward.finds("close_wait_leak", |found| found.count == MANY);
    let expected = (Some("not_closed"), Some(ward.server.pid()), port(listener.local()));
    assert_eq!((found.cause.as_deref(), pid(&found), found.service.clone()), expected);
}
