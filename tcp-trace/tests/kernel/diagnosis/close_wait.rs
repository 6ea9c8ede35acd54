//! Sockets that a process keeps though their connection is half over, or over.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tcp_trace::api::Finding;

use super::{MANY, Ward, actor::Arg, deadline::until, pid, sock::Sock};

/// What a cause looks like: a finding about four sockets of the server's, with examples that are
/// just those.
#[track_caller]
fn is_found(ward: &Ward, cause: &str, at: SocketAddr) -> Finding {
    let found = ward.finds("close_wait_leak", |found| {
        found.cause.as_deref() == Some(cause) && found.count == MANY && found.counts[cause] == MANY
    });
    assert_eq!(pid(&found), Some(ward.server.pid()), "{found:#?}");
    assert_eq!(found.service, Some(format!("port {}", at.port())), "{found:#?}");
    let examples = &found.evidence[0].connections;
    assert_eq!(examples.len() as u64, MANY, "{found:#?}");
    let known = ward.daemon.open();
    for id in examples {
        let known = known.iter().find(|known| known.id == *id).unwrap();
        assert_eq!((known.state.as_str(), known.local.port), ("close_wait", at.port()));
    }
    let names = format!("process=\"dg-server\",cause=\"{cause}\"");
    let leaked = || ward.daemon.metrics().nonzero("tcp_trace_close_wait_leaked");
    until(|| format!("{:?}", leaked()), || (leaked().get(&names) == Some(&MANY)).then_some(()));
    let total = ward.daemon.metrics().nonzero("tcp_trace_close_wait_leaks_total");
    assert!(total[&names] >= MANY, "{total:?}");
    found
}

#[test]
#[ignore = "needs root"]
fn sockets_that_are_not_closed_are_found() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    let at = listener.local();
    let mut fds = Vec::new();
    for _ in 0..MANY {
        let client = ward.client.connect(at);
        let server = listener.accept();
        client.send(b"ten bytes.");
        client.close();
        server.read_to_end(b"ten bytes.");
        fds.push(server.descriptor());
    }
    let found = is_found(&ward, "not_closed", at);
    // Who holds them, by number.
    let held = || {
        let found = ward.diagnosis().findings.into_iter().find(|f| f.kind == "close_wait_leak")?;
        found.evidence.into_iter().find(|line| line.label == "held by")
    };
    let held = until(|| format!("nobody holds them: {found:#?}"), held);
    let holder = format!("dg-server {} as fd ", ward.server.pid());
    assert!(held.text.starts_with(&holder), "{held:?}");
    for fd in fds {
        let text = held.text.trim_start_matches(&holder);
        assert!(text.split(", ").any(|part| part == fd.to_string()), "{fd} in {held:?}");
    }
    let limit = ward.diagnosis().findings[0].exhaustion.as_ref().map(|bound| bound.limit);
    assert!(limit > Some(0), "RLIMIT_NOFILE is known");
}

#[test]
#[ignore = "needs root"]
fn sockets_that_are_not_read_are_found() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    for _ in 0..MANY {
        let client = ward.client.connect(listener.local());
        listener.accept();
        client.send(b"ten bytes.");
        client.close();
    }
    let found = is_found(&ward, "not_read", listener.local());
    assert!(found.evidence.iter().any(|line| line.text.contains("40 B lie unread")), "{found:#?}");
}

#[test]
#[ignore = "needs root"]
fn sockets_that_are_not_accepted_are_found() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    for _ in 0..MANY {
        ward.client.connect(listener.local()).close();
    }
    let found = is_found(&ward, "not_accepted", listener.local());
    assert_eq!(found.severity, "serious");
}

#[test]
#[ignore = "needs root"]
fn sockets_whose_peer_takes_nothing_are_found() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    for _ in 0..MANY {
        let client = ward.client.socket(listener.local());
        client.set_number(libc::SOL_SOCKET, libc::SO_RCVBUF, 2048);
        client.connect(listener.local()).unwrap();
        let server = listener.accept();
        server.set_number(libc::SOL_SOCKET, libc::SO_SNDBUF, 4096);
        server.set_nonblocking();
        client.shutdown();
        server.read_to_end(b"");
        fill(&server);
    }
    is_found(&ward, "send_blocked", listener.local());
}

/// Writes until nothing more goes.
fn fill(sock: &Sock<'_>) {
    let bytes = [b'x'; 400];
    let arguments = [Arg::Number(sock.descriptor()), Arg::Bytes(&bytes), Arg::Number(400)];
    for _ in 0..100_000 {
        if let Err(error) = sock.actor().call(libc::SYS_write, &arguments) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            return;
        }
    }
    panic!("the peer takes everything");
}

#[test]
#[ignore = "needs root"]
fn descriptors_of_dead_connections_are_found() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    let mut sockets = Vec::new();
    for _ in 0..MANY {
        let client = ward.client.connect(listener.local());
        sockets.push(listener.accept());
        client.abort();
    }
    let found = ward.finds("closed_descriptors", |found| {
        found.count == MANY && found.evidence.iter().any(|line| line.label == "held as")
    });
    assert_eq!(pid(&found), Some(ward.server.pid()));
    for sock in sockets {
        sock.close();
    }
    let gone = || ward.diagnosis().findings.into_iter().all(|f| f.kind != "closed_descriptors");
    until(|| format!("{:#?}", ward.diagnosis().findings), || gone().then_some(()));
}

#[test]
#[ignore = "needs root"]
fn sockets_that_a_child_inherited_are_its_own_to_close() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    let clients: Vec<_> = (0..MANY).map(|_| ward.client.connect(listener.local())).collect();
    let servers: Vec<_> = (0..MANY).map(|_| listener.accept()).collect();
    let child = ward.server.fork("dg-child");
    for sock in servers {
        sock.close();
    }
    for client in clients {
        client.close();
    }
    let holder = format!("dg-child {}", child.pid());
    let held = |found: &Finding| {
        let held = |line: &tcp_trace::api::Line| line.text.contains(&holder);
        found.count == MANY && found.evidence.iter().any(held)
    };
    let found = until(
        || format!("{:#?}", ward.diagnosis().findings),
        || ward.diagnosis().findings.into_iter().find(held),
    );
    // Whoever accepted them is done with them, where that is known; else they are the child's.
    let expected = if found.kind == "held_after_fork" { ward.server.pid() } else { child.pid() };
    assert_eq!(pid(&found), Some(expected), "{found:#?}");
}

/// Ten in a second for half a minute, and no more.
#[test]
#[ignore = "needs root"]
fn a_leak_that_stops_is_said_to_have_stopped() {
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    let begun = Instant::now();
    for number in 0..300 {
        let client = ward.client.connect(listener.local());
        listener.accept();
        client.close();
        let due = begun + Duration::from_millis(100) * (number + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let (grew, stopped) = (begun.elapsed().as_secs_f64(), Instant::now());
    let rate = 300.0 / grew;
    let leak = || ward.diagnosis().findings.into_iter().find(|f| f.kind == "close_wait_leak");
    let growth = leak().unwrap().growth.unwrap();
    assert!((growth.per_second / rate - 1.0).abs() < 0.05, "{rate}: {growth:?}");
    let over = until(
        || format!("{:#?}", leak()),
        || leak().filter(|found| found.growth.is_none() && found.grown.is_some()),
    );
    assert!(stopped.elapsed() < Duration::from_secs(40), "after {:?}", stopped.elapsed());
    let grown = over.grown.as_ref().unwrap();
    assert!((grown.per_second / rate - 1.0).abs() < 0.05, "{rate}: {grown:?}");
    assert_eq!((over.severity.as_str(), over.count), ("warning", 300), "{over:#?}");
    assert!(over.exhaustion.unwrap().seconds_left.is_none());
    assert!(over.evidence[0].text.contains(" ago, not growing since"), "{:?}", over.evidence);
}
