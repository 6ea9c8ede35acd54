//! Ten minutes in the life of a host whose programs are well, under a virtual clock and at the
//! thresholds that hold where nobody sets any; and the same host with one program that is not. They
//! are the programs of `tests/kernel/leakers.rs`, which has the real ones, and a few of their sort.

use std::{collections::BTreeMap, time::Duration};

use super::{scene::*, *};
use crate::core::tcp_state::TcpState as S;

const TEN_MINUTES: Duration = Duration::from_mins(10);

/// What is to be done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// The peer closes.
    Fin,
    /// The process reads what there is.
    Read,
    /// It closes what the peer has closed.
    Close,
    /// It closes first.
    CloseFirst,
    /// The mini-socket of that is gone.
    Expire,
    /// A half-closed stream sends something.
    Send,
}

/// A program of the host, by the number of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Program {
    /// Answers and closes at once.
    Lines = 7,
    /// Answers once the client has shut down its side.
    HalfOpen = 8,
    /// A client whose server closes first.
    Client = 9,
    /// A proxy: what comes in is closed once what goes out is answered.
    Proxy = 10,
    /// Keeps connections for their next request, and closes them when none comes.
    KeepAlive = 11,
    /// A client with a pool, which looks after idle connections every now and then.
    Pool = 12,
    /// Sends on for minutes to clients that have shut down their side.
    Stream = 13,
    /// Reads for minutes what clients sent at once.
    SlowReader = 14,
}

use Program::{Client, HalfOpen, KeepAlive, Lines, Pool, Proxy, SlowReader, Stream};

const SERVERS: [Program; 6] = [Lines, HalfOpen, Proxy, KeepAlive, Stream, SlowReader];

impl Program {
    fn port(self) -> u16 {
        8_000 + u16::try_from(self as u32).unwrap()
    }

    fn service(self) -> String {
        match self {
            Client => "10.0.0.2:443".to_owned(),
            Pool => "10.0.0.3:443".to_owned(),
            server => format!("port {}", server.port()),
        }
    }
}

/// A host and what is still to happen on it.
struct Host {
    scene: Scene,
    due: BTreeMap<u64, Vec<(u64, Act)>>,
    /// The one that forgets what it should do about connections that the peer has closed.
    forgets: Option<Program>,
}

impl Host {
    fn new(forgets: Option<Program>) -> Self {
        let mut scene = Scene::new();
        for server in SERVERS {
            scene.listens(server as u32, server.port());
        }
        Self { scene, due: BTreeMap::new(), forgets }
    }

    fn accept(&mut self, program: Program) -> u64 {
        self.scene.accepts(program as u32, program.port())
    }

    /// Lets `acts` happen to a connection of the program's, each so many seconds from now.
    fn plan(&mut self, second: u64, program: Program, id: u64, acts: &[(u64, Act)]) {
        for (after, act) in acts {
            if self.forgets == Some(program) && *act == Act::Close {
                continue;
            }
            self.due.entry(second + after).or_default().push((id, *act));
        }
    }

    /// What the programs do in one second.
    fn live(&mut self, second: u64) {
        for _ in 0..3 {
            let id = self.accept(Lines);
            self.plan(second, Lines, id, &[(1, Act::Fin), (1, Act::Read), (1, Act::Close)]);
            let id = self.accept(HalfOpen);
            self.plan(second, HalfOpen, id, &[(0, Act::Fin), (0, Act::Read), (2, Act::Close)]);
            let id = self.scene.connects(Client as u32, "10.0.0.2:443");
            self.plan(second, Client, id, &[(0, Act::Fin), (1, Act::Read), (1, Act::Close)]);
        }
        // Of two requests one is given up, whose client nobody looks for until its answer is there.
        let (kept, given_up) = (self.accept(Proxy), self.accept(Proxy));
        self.plan(second, Proxy, kept, &[(5, Act::Fin), (5, Act::Read), (5, Act::Close)]);
        self.plan(second, Proxy, given_up, &[(1, Act::Fin), (8, Act::Read), (8, Act::Close)]);
        for answered in [5, 8] {
            let id = self.scene.connects(Proxy as u32, "10.0.0.4:9000");
            let acts = [(answered, Act::Fin), (answered, Act::Read), (answered, Act::Close)];
            self.plan(second, Proxy, id, &acts);
        }
        if second.is_multiple_of(2) {
            let id = self.accept(KeepAlive);
            self.plan(second, KeepAlive, id, &[(75, Act::CloseFirst), (135, Act::Expire)]);
            let id = self.accept(KeepAlive);
            self.plan(second, KeepAlive, id, &[(40, Act::Fin), (41, Act::Read), (41, Act::Close)]);
        }
        if second.is_multiple_of(10) {
            // Idle for half a minute, closed by the server, and looked after within another.
            let id = self.scene.connects(Pool as u32, "10.0.0.3:443");
            let looked = 60 - second % 30;
            self.plan(second, Pool, id, &[(30, Act::Fin), (looked, Act::Close)]);
        }
        if second.is_multiple_of(20) {
            let id = self.accept(Stream);
            let sends: Vec<_> = (1..10).map(|time| (25 * time, Act::Send)).collect();
            self.plan(second, Stream, id, &[(1, Act::Fin), (1, Act::Read), (250, Act::Close)]);
            self.plan(second, Stream, id, &sends);
            let id = self.accept(SlowReader);
            let reads: Vec<_> = (1..10).map(|time| (25 * time, Act::Read)).collect();
            self.plan(second, SlowReader, id, &[(1, Act::Fin), (250, Act::Close)]);
            self.plan(second, SlowReader, id, &reads);
        }
        for (id, act) in self.due.remove(&second).unwrap_or_default() {
            self.happen(id, act);
        }
    }

    fn happen(&mut self, id: u64, act: Act) {
        let slow = self.scene.sockets.get(&id).is_some_and(|sock| sock.pid == SlowReader as u32);
        match act {
            Act::Fin => self.scene.fin(id, if slow { 1_000_000 } else { 0 }),
            Act::Read => {
                let transfer = self.scene.sockets[&id].transfer;
                let unread = transfer.rcv_nxt - transfer.copied_seq;
                self.scene.read(id, if slow { unread - 100_000 } else { 0 });
            }
            Act::Close => self.scene.close(id),
            Act::CloseFirst => self.scene.close_first(id),
            Act::Expire => self.scene.expires(id),
            Act::Send => {
                let transfer = &mut self.scene.sockets.get_mut(&id).unwrap().transfer;
                transfer.write_seq += 1_000;
                transfer.snd_una += 1_000;
                transfer.bytes_acked += 1_000;
            }
        }
    }

    /// Lets ten minutes pass, and looks at the findings every so many seconds.
    fn pass(&mut self, every: u64, mut look: impl FnMut(u64, &Report)) {
        let mut scene = std::mem::replace(&mut self.scene, Scene::new());
        scene.pass(TEN_MINUTES, |scene, second| {
            std::mem::swap(&mut self.scene, scene);
            self.live(second);
            std::mem::swap(&mut self.scene, scene);
            if second.is_multiple_of(every) {
                look(second, &scene.report());
            }
        });
        self.scene = scene;
    }
}

#[test]
fn programs_that_are_well_raise_nothing_in_ten_minutes() {
    let mut host = Host::new(None);
    host.pass(1, |second, report| assert_eq!(report.findings, [], "{second}: {report:#?}"));
    // It was not for want of sockets that could have been taken for leaks.
    let waits = |sock: &&Sock| sock.state == S::CloseWait;
    let pids: std::collections::BTreeSet<_> =
        host.scene.sockets.values().filter(waits).map(|sock| sock.pid).collect();
    for program in [HalfOpen, Proxy, Stream, SlowReader] {
        assert!(pids.contains(&(program as u32)), "{program:?} has none in CLOSE_WAIT: {pids:?}");
    }
}

#[test]
fn one_that_forgets_to_close_is_found_among_them_and_nobody_else() {
    for program in [Lines, HalfOpen, Client, Proxy, KeepAlive] {
        let mut found_at = None;
        Host::new(Some(program)).pass(5, |second, report| {
            for found in &report.findings {
                let pid = found.who.map(|who| who.pid());
                assert_eq!(pid, Some(program as u32), "{second}: {found:#?}");
                assert_eq!(found.kind, Kind::CloseWaitLeak, "{second}: {found:#?}");
            }
            let its = |found: &&Finding| found.service == Some(program.service());
            if found_at.is_none() {
                found_at = report.findings.iter().find(its).map(|_| second);
            }
        });
        // Once it is old, within two rounds of looking at every socket.
        let latest = 40 + 60 + 2 * ROUND.as_secs();
        assert!(found_at.is_some_and(|at| at <= latest), "{program:?}: {found_at:?}");
    }
}
