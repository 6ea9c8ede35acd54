//! Bounds of the kernel's, near and passed.

use super::{Apart, Traced, Ward, diagnosis, sockstat, truth, until};

#[test]
#[ignore = "needs root"]
fn mini_sockets_near_their_limit_and_beyond_it_are_told() {
    let ward = Ward::new(&[("ipv4/tcp_max_tw_buckets", "10")]);
    let listener = ward.listen();
    let close = |times: u64| {
        for _ in 0..times {
            let client = ward.client.connect(listener.local());
            let server = listener.accept();
            client.close();
            server.read_to_end(b"");
            server.close();
        }
    };
    close(8);
    let minis = || sockstat(&ward.netns, "tw");
    until(|| format!("{} of 8", minis()), || (minis() == 8).then_some(()));
    let found = ward.finds("time_wait_buckets", |found| found.count == 8);
    assert_eq!((found.severity.as_str(), found.counts["refused"]), ("warning", 0), "{found:#?}");
    let bound = found.exhaustion.as_ref().unwrap();
    assert_eq!((bound.used, bound.limit), (8, 10));

    close(7);
    let refused = || truth::mib(&ward.netns, "TcpExt", "TCPTimeWaitOverflow");
    until(|| format!("{} of 5", refused()), || (refused() == 5).then_some(()));
    let found = ward.finds("time_wait_buckets", |found| {
        found.count == minis() && found.counts["refused"] == refused()
    });
    assert_eq!((found.severity.as_str(), found.count), ("serious", 10), "{found:#?}");
    assert_eq!(ward.diagnosis().findings.len(), 1);
}

/// `tcp_max_orphans` is the whole host's, and is left as it is: what is near is a question of the
/// share that is asked for.
#[test]
#[ignore = "needs root"]
fn orphans_near_their_limit_are_told_once_for_the_whole_host() {
    let limit = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_max_orphans").unwrap();
    let limit: u64 = limit.trim().parse().unwrap();
    // A hundredth, and some that other processes of the host may end meanwhile.
    let many = limit / 100 + 20;
    let apart = Apart::new(Traced::Both, &[]);
    apart.client.allow_descriptors();
    apart.server.allow_descriptors();
    let listener = apart.listen();
    let share = || diagnosis(&apart.daemon, "share=1").findings;
    let is = |found: &tcp_trace::api::Finding| {
        found.exhaustion.as_ref().is_some_and(|bound| bound.of == "orphans")
    };
    for _ in 0..many {
        apart.pair(listener);
    }
    // They have a process.
    assert!(!share().iter().any(is), "{:#?}", share());
    apart.wire.lose();
    let Apart { wire, client, server: _server, daemon } = apart;
    let owner = client.pid();
    // None of its FINs arrives.
    client.kill();
    let orphans = || sockstat(&wire.left, "orphan");
    until(|| format!("{} orphans", orphans()), || (orphans() >= many).then_some(()));
    let told = || diagnosis(&daemon, "share=1").findings;
    let found = until(
        || format!("{} orphans, and told {:#?}", orphans(), told()),
        || told().into_iter().find(|found| is(found) && found.count == orphans()),
    );
    assert_eq!((found.kind.as_str(), found.severity.as_str()), ("orphans", "serious"));
    assert_eq!(found.exhaustion.map(|bound| bound.limit), Some(limit));
    // Whose they were.
    let stuck = until(
        || format!("{:#?}", told()),
        || told().into_iter().find(|found| found.kind == "last_ack_stuck" && found.count == many),
    );
    assert_eq!(super::pid(&stuck), Some(owner));
}
