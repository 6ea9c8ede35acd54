//! Local ports that run out.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tcp_trace::api::Finding;

use super::{OLD, Ward, finds, pid, until};

#[test]
#[ignore = "needs root"]
fn ports_that_run_out_are_foretold_and_their_want_is_counted() {
    let range = ("ipv4/ip_local_port_range", "50001 50060");
    let ward = Ward::new(&[range, ("ipv4/tcp_tw_reuse", "0")]);
    let at = SocketAddr::from(([127, 0, 0, 1], 8099));
    let listener = ward.server.listen(at);
    let mut told = None;
    let mut failures = 0;
    for round in 0..200 {
        let sock = ward.client.socket(at);
        match sock.connect(at) {
            Ok(()) => {
                let server = listener.accept();
                sock.close();
                server.read_to_end(b"");
                server.close();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
                sock.close();
                failures += 1;
            }
        }
        if failures == 0 && told.is_none() {
            std::thread::sleep(Duration::from_millis(100));
            let pressed = |found: &Finding| found.kind == "port_pressure";
            told = ward.diagnosis().findings.into_iter().find(pressed).map(|f| (round, f));
        }
        if failures == 7 {
            break;
        }
    }
    let (round, found) = told.expect("it was not foretold");
    assert!(round < 58, "told after {round} connections of 60");
    let bound = found.exhaustion.as_ref().unwrap();
    assert_eq!((bound.limit, found.service.as_deref()), (60, Some("127.0.0.1:8099")));
    assert_eq!(pid(&found), Some(ward.client.pid()), "{found:#?}");

    assert_eq!(failures, 7);
    let found = ward.finds("no_port_left", |found| found.counts["total"] == failures);
    assert_eq!(pid(&found), Some(ward.client.pid()), "{found:#?}");
    let counted = "tcp_trace_connect_errors_total{error=\"eaddrnotavail\"}";
    assert_eq!(ward.daemon.metrics().count(counted), failures);
    let ratios = || ward.daemon.metrics().values("tcp_trace_time_wait_port_usage_ratio");
    until(
        || format!("{:?}", ratios()),
        || ratios().iter().any(|(of, share)| of.contains("8099") && *share >= 0.9).then_some(()),
    );

    // The ports to another destination are others: there is room, and nothing to tell.
    let other = SocketAddr::from(([127, 0, 0, 2], 8099));
    let elsewhere = ward.server.listen(other);
    let sock = ward.client.connect(other);
    elsewhere.accept();
    std::thread::sleep(OLD);
    let about: Vec<_> = ward.diagnosis().findings.into_iter().map(|found| found.service).collect();
    assert!(about.iter().all(|service| *service == Some(at.to_string())), "{about:?}");
    sock.close();
}

/// Three in a second, each for ten: thirty of sixty.
#[test]
#[ignore = "needs root"]
fn ports_that_the_kernel_takes_back_after_fin_timeout_do_not_run_out() {
    let settings = [
        ("ipv4/ip_local_port_range", "50001 50060"),
        ("ipv4/tcp_tw_reuse", "0"),
        ("ipv4/tcp_fin_timeout", "10"),
    ];
    let ward = Ward::new(&settings);
    let at = SocketAddr::from(([127, 0, 0, 1], 8098));
    let listener = ward.server.listen(at);
    let (begun, mut most) = (Instant::now(), 0);
    for number in 0..75 {
        let sock = ward.client.connect(at);
        // It is accepted, and never closed.
        listener.accept();
        sock.close();
        let due = begun + Duration::from_millis(333) * (number + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let told = ward.diagnosis();
        let pressed = told.findings.iter().find(|found| found.kind == "port_pressure");
        assert!(pressed.is_none(), "after {:?}: {pressed:#?}", begun.elapsed());
        most = most.max(there(&ward));
    }
    assert!(most >= 16, "it was not for want of ports: {most}");
}

/// How many stand in `FIN_WAIT2` without a process.
fn there(ward: &Ward) -> usize {
    let is = |row: &&super::truth::Row| row.mini && row.state == super::TcpState::FinWait2;
    super::truth::with_minis(&ward.netns).iter().filter(is).count()
}

#[test]
#[ignore = "needs root"]
fn a_want_of_ports_is_over_when_its_process_has_ended() {
    let range = ("ipv4/ip_local_port_range", "50001 50004");
    let ward = Ward::new(&[range, ("ipv4/tcp_tw_reuse", "0")]);
    let at = SocketAddr::from(([127, 0, 0, 1], 8097));
    let _listener = ward.server.listen(at);
    for _ in 0..4 {
        ward.client.connect(at);
    }
    let sock = ward.client.socket(at);
    assert_eq!(sock.connect(at).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    sock.close();
    let found = ward.finds("no_port_left", |found| found.count == 1);
    assert_eq!((found.severity.as_str(), pid(&found)), ("serious", Some(ward.client.pid())));
    let Ward { netns: _netns, client, server: _server, daemon } = ward;
    client.kill();
    let over = finds(&daemon, "", "no_port_left", |found| found.severity == "warning");
    assert!(over.says.starts_with("has ended; it found no local port"), "{over:#?}");
}
