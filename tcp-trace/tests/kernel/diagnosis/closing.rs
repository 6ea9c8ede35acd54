//! Connections that we have closed and that do not end.
//!
//! Whose peer is seen from here, too, is told as that one's leak: these have theirs elsewhere.

use tcp_trace::{api::Finding, core::tcp_state::TcpState};

use super::{
    Apart, MANY, Traced, Ward, diagnosis, finds, pid, port, sockstat, truth, until, until_calm,
    until_there_are,
};

/// Mini-sockets that are worth a finding, and some.
const MINIS: usize = 110;

fn says(found: &Finding, cause: &str) -> bool {
    found.evidence.iter().any(|line| line.label == "cause" && line.text.contains(cause))
}

/// Its examples are in this state.
#[track_caller]
fn is_about(apart: &Apart, found: &Finding, state: TcpState) {
    let known = apart.daemon.open();
    let examples = &found.evidence[0].connections;
    assert!(!examples.is_empty(), "{found:#?}");
    for id in examples {
        assert_eq!(known.iter().find(|known| known.id == *id).unwrap().state, state.name());
    }
}

#[test]
#[ignore = "needs root"]
fn peers_that_never_close_keep_a_process_waiting() {
    for traced in [Traced::Client, Traced::Server] {
        let apart = Apart::new(traced, &[]);
        let listener = apart.listen();
        let pairs: Vec<_> = (0..MANY).map(|_| apart.pair(listener)).collect();
        let ours = traced == Traced::Client;
        for (client, server) in &pairs {
            (if ours { client } else { server }).shutdown();
        }
        let netns = if ours { &apart.wire.left } else { &apart.wire.right };
        until_there_are(netns, pairs.len(), TcpState::FinWait2, false);
        let found = apart.finds("fin_wait2_held", |found| {
            found.count == MANY && says(found, "its descriptor open")
        });
        let (who, service) = if ours {
            (apart.client.pid(), Some(listener.local().to_string()))
        } else {
            (apart.server.pid(), port(listener.local()))
        };
        assert_eq!((pid(&found), &found.service), (Some(who), &service), "{found:#?}");
        is_about(&apart, &found, TcpState::FinWait2);
        assert_eq!(diagnosis(&apart.daemon, "").findings.len(), 1);
        for (client, server) in pairs {
            client.close();
            server.close();
        }
        until_calm(&apart.daemon);
    }
}

/// `close()` leaves a full socket where `tcp_fin_timeout` is long.
#[test]
#[ignore = "needs root"]
fn peers_that_never_close_keep_orphans() {
    let apart = Apart::new(Traced::Client, &[("ipv4/tcp_fin_timeout", "180")]);
    let listener = apart.listen();
    let before = sockstat(&apart.wire.left, "orphan");
    for _ in 0..MANY {
        apart.pair(listener).0.close();
    }
    until_there_are(&apart.wire.left, 4, TcpState::FinWait2, false);
    let orphans = || sockstat(&apart.wire.left, "orphan");
    until(|| format!("{} orphans", orphans()), || (orphans() >= before + MANY).then_some(()));
    let found = apart.finds("fin_wait2_held", |found| found.count == MANY);
    assert!(says(&found, "never sent its own"), "{found:#?}");
    assert_eq!(pid(&found), Some(apart.client.pid()), "{found:#?}");
    assert_eq!(found.service, Some(listener.local().to_string()));
    is_about(&apart, &found, TcpState::FinWait2);
}

/// Else a mini-socket, which goes by itself: only very many are worth a word.
#[test]
#[ignore = "needs root"]
fn peers_that_never_close_keep_mini_sockets() {
    let apart = Apart::new(Traced::Client, &[]);
    let listener = apart.listen();
    for count in [MINIS / 10, MINIS] {
        let there = truth::with_minis(&apart.wire.left).len();
        for _ in there..count {
            apart.pair(listener).0.close();
        }
        until_there_are(&apart.wire.left, count, TcpState::FinWait2, true);
        if count < MINIS {
            std::thread::sleep(super::OLD * 2);
            assert_eq!(diagnosis(&apart.daemon, "").findings, []);
        }
    }
    let found = apart.finds("fin_wait2_held", |found| found.count == MINIS as u64);
    assert_eq!(pid(&found), Some(apart.client.pid()), "{found:#?}");
    assert_eq!(found.service, Some(listener.local().to_string()));
}

/// Both ends are here: whoever does not close is told of, and nobody who waits for him.
#[test]
#[ignore = "needs root"]
fn whoever_waits_for_a_leak_on_this_host_is_not_told_of() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    for _ in 0..MANY {
        let client = ward.client.connect(listener.local());
        let server = listener.accept();
        client.shutdown();
        server.read_to_end(b"");
    }
    until_there_are(&ward.netns, 4, TcpState::FinWait2, false);
    let found = ward.finds("close_wait_leak", |found| found.count == MANY);
    assert_eq!(pid(&found), Some(ward.server.pid()));
    assert_eq!(ward.diagnosis().findings.len(), 1, "{:#?}", ward.diagnosis());
}

#[test]
#[ignore = "needs root"]
fn fins_that_nobody_acknowledges_are_found_and_counted_as_they_are_sent_again() {
    const VANISHED: u64 = 8;
    let apart = Apart::new(Traced::Server, &[]);
    let listener = apart.listen();
    let pairs: Vec<_> = (0..VANISHED).map(|_| apart.pair(listener)).collect();
    for (client, server) in &pairs {
        client.close();
        server.read_to_end(b"");
    }
    // The peer's host is gone, or the way there.
    apart.wire.lose();
    for (_, server) in pairs {
        server.close();
    }
    until_there_are(&apart.wire.right, 8, TcpState::LastAck, false);
    let found = apart.finds("last_ack_stuck", |found| found.count == VANISHED);
    let who = (Some(apart.server.pid()), port(listener.local()));
    assert_eq!((pid(&found), found.service.clone()), who, "{found:#?}");
    is_about(&apart, &found, TcpState::LastAck);

    // Nothing else was sent again in this namespace.
    let again = || truth::mib(&apart.wire.right, "Tcp", "RetransSegs");
    let found = finds(&apart.daemon, "failures=2", "retransmits", |found| {
        found.count == again() && found.count > VANISHED
    });
    assert_eq!((found.cause.as_deref(), pid(&found)), (Some("fin"), who.0), "{found:#?}");
    assert_eq!(found.service, who.1);
    assert_eq!(found.evidence[0].connections.len() as u64, VANISHED, "{found:#?}");
}
