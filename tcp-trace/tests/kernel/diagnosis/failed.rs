//! What fails, by destination: refused, unanswered, reset, sent again.

use std::{collections::BTreeMap, io::ErrorKind};

use super::{Apart, Traced, Ward, Wire, finds, pid, port, truth, until};

#[test]
#[ignore = "needs root"]
fn refused_connects_are_told_by_destination() {
    let ward = Ward::new(&[]);
    let nobody = ward.netns.signal();
    for _ in 0..12 {
        let sock = ward.client.socket(nobody);
        assert_eq!(sock.connect(nobody).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        sock.close();
    }
    let found = ward.finds("connect_refused", |found| found.count == 12);
    assert_eq!(pid(&found), Some(ward.client.pid()));
    assert_eq!(found.service, Some(nobody.to_string()));
    let told = ward.diagnosis();
    assert_eq!(told.findings.len(), 1, "{told:#?}");
    assert!(told.calm.len() > 3 && told.lost == 0, "{told:#?}");
}

#[test]
#[ignore = "needs root"]
fn connects_without_an_answer_are_told_by_destination_and_so_are_their_syns() {
    const TRIED: u64 = 12;
    let apart = Apart::new(Traced::Client, &[("ipv4/tcp_syn_retries", "1")]);
    apart.wire.lose();
    let at = (Wire::right_address(true), 9).into();
    let sockets: Vec<_> = (0..TRIED).map(|_| apart.client.socket(at)).collect();
    for sock in &sockets {
        sock.set_nonblocking();
        assert_eq!(sock.connect(at).unwrap_err().raw_os_error(), Some(libc::EINPROGRESS));
    }
    // What the client itself is told in the end.
    let mut told = BTreeMap::<_, u64>::new();
    for sock in sockets {
        let failed = || sock.connect(at).unwrap_err().raw_os_error().unwrap();
        let pending = [libc::EALREADY, libc::EINPROGRESS];
        let error = until(
            || "no time-out".to_owned(),
            || Some(failed()).filter(|error| !pending.contains(error)),
        );
        *told.entry(error).or_default() += 1;
        sock.close();
    }
    assert_eq!(told, BTreeMap::from([(libc::ETIMEDOUT, TRIED)]));
    let found = apart.finds("connect_timeout", |found| found.count == TRIED);
    assert_eq!(found.counts["total"], TRIED);
    assert_eq!(pid(&found), Some(apart.client.pid()), "{found:#?}");
    assert_eq!(found.service, Some(at.to_string()));

    let again = truth::mib(&apart.wire.left, "Tcp", "RetransSegs");
    assert!(again >= TRIED, "each at least once: {again}");
    let syns = finds(&apart.daemon, "failures=6", "retransmits", |found| found.count == again);
    assert_eq!((syns.cause.as_deref(), &syns.service), (Some("syn"), &Some(at.to_string())));
    assert_eq!(pid(&syns), Some(apart.client.pid()), "{syns:#?}");
}

#[test]
#[ignore = "needs root"]
fn resets_are_told_by_reason_and_by_who_sends_them() {
    const EACH: u64 = 40;
    let ward = Ward::new(&[]);
    let listener = ward.listen();
    let at = listener.local();
    let of = |name| truth::mib(&ward.netns, "TcpExt", name);
    let aborts = || (of("TCPAbortOnData"), of("TCPAbortOnClose"));
    // The daemon has tried its hooks.
    let before = aborts();
    for _ in 0..EACH {
        // SO_LINGER 0 at the client.
        let client = ward.client.connect(at);
        let server = listener.accept();
        client.abort();
        assert_eq!(server.receive().unwrap_err().kind(), ErrorKind::ConnectionReset);
        server.close();
        // Data unread at the server.
        let client = ward.client.connect(at);
        let server = listener.accept();
        client.send(b"unread");
        server.wait_for(6);
        server.close();
        assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::ConnectionReset);
        client.close();
    }
    let after = aborts();
    assert_eq!((after.0 - before.0, after.1 - before.1), (EACH, EACH));
    let (client, server) = (ward.client.pid(), ward.server.pid());
    let (to, on) = (Some(at.to_string()), port(at));
    let expected = [
        ("abort_linger", client, &to),
        ("rst_received", server, &on),
        ("abort_unread_data", server, &on),
        ("rst_received", client, &to),
    ];
    for (cause, who, service) in expected {
        let found = finds(&ward.daemon, "failures=4", "reset_storm", |found| {
            (found.cause.as_deref(), pid(found)) == (Some(cause), Some(who)) && found.count == EACH
        });
        assert_eq!(&found.service, service, "{found:#?}");
        assert_eq!(found.counts["total"], EACH);
        assert!(!found.evidence[0].connections.is_empty());
    }
    let storms = super::diagnosis(&ward.daemon, "failures=4").findings;
    assert_eq!(storms.len(), expected.len(), "{storms:#?}");
    // By itself a health check or two is no storm.
    assert_eq!(ward.diagnosis().findings, []);
}
