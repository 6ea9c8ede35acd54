//! Local ports that run out.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tcp_trace::api::Finding;

use super::{OLD, Ward, pid, until};

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
