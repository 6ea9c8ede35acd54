//! A daemon that starts again, and one that misses ten seconds: nothing is found that was not
//! there, and what was there is found again.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tcp_trace::api::{Diagnosis, Finding};

use super::{
    Actor, Daemon, MANY, Netns, OLD, OLDER_THAN, SOON, Sock, Ward, diagnosis, finds, loopback,
    no_leak::{LONG, Pool, Streams, nothing_is_found},
    pid, port, stopped, until,
};

/// For how long nobody reads.
const UNREAD: Duration = Duration::from_secs(10);

/// Sockets that the server never closes.
fn leak<'a>(client: &'a Actor, listener: Sock<'a>) {
    for _ in 0..MANY {
        let client = client.connect(listener.local());
        let server = listener.accept();
        client.close();
        server.read_to_end(b"");
    }
}

fn restart(daemon: &mut Daemon, netns: &Netns) {
    daemon.signal(Signal::KILL);
    daemon.wait();
    daemon.restart_with(&[netns], &OLDER_THAN);
}

/// Seconds into the day of an RFC 3339 time.
fn seconds(text: &str) -> f64 {
    let time = text.split_once('T').unwrap().1.trim_end_matches('Z');
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// How long ago the oldest of these came to stand still, by the daemon's own clock.
fn age(told: &Diagnosis, found: &Finding) -> f64 {
    let since = found.since.as_deref().unwrap();
    (seconds(&told.at) - seconds(since)).rem_euclid(86_400.0)
}

#[test]
#[ignore = "needs root"]
fn a_restart_makes_no_leak_of_what_is_none() {
    let Ward { netns, client, server, mut daemon } = Ward::new(&[]);
    let (pools, streams) = (server.listen(loopback(true)), server.listen(loopback(true)));
    let mut pool = Pool::at_its_plateau(&client, pools);
    let streams = Streams::new(&client, streams);
    let mut turn = || {
        pool.turn();
        streams.carry();
    };
    nothing_is_found(&daemon, OLD, &mut turn);
    restart(&mut daemon, &netns);
    nothing_is_found(&daemon, LONG, &mut turn);
}

#[test]
#[ignore = "needs root"]
fn a_leak_is_found_again_after_a_restart_and_no_older_than_it_is() {
    let Ward { netns, client, server, mut daemon } = Ward::new(&[]);
    let listener = server.listen(loopback(true));
    leak(&client, listener);
    let begun = Instant::now();
    finds(&daemon, "", "close_wait_leak", |found| found.count == MANY);
    restart(&mut daemon, &netns);
    let is = |found: &Finding| found.kind == "close_wait_leak" && found.count == MANY;
    let again = Instant::now();
    let (told, found) = until(
        || format!("{:#?}", diagnosis(&daemon, "")),
        || {
            let told = diagnosis(&daemon, "");
            let found = told.findings.iter().find(|found| is(found))?.clone();
            Some((told, found))
        },
    );
    assert!(again.elapsed() < OLD + SOON, "it took {:?}", again.elapsed());
    assert_eq!(told.findings.len(), 1, "{told:#?}");
    let expected = (Some(server.pid()), port(listener.local()), Some("not_closed"));
    assert_eq!((pid(&found), found.service.clone(), found.cause.as_deref()), expected);
    assert!(found.since_or_earlier, "{found:#?}");
    // The kernel's own clocks go by the tick.
    let (said, truth) = (age(&told, &found), begun.elapsed().as_secs_f64() + 0.1);
    assert!(said <= truth && said >= OLD.as_secs_f64(), "{said} s, and it is {truth} s");
}

#[test]
#[ignore = "needs root"]
fn ten_seconds_of_lost_events_make_no_leak_and_hide_none() {
    let ward = Ward::with(&[], &["--buffer-size=65536"]);
    let (listener, pools) = (ward.listen(), ward.listen());
    let mut pool = Pool::at_its_plateau(&ward.client, pools);
    let streams = Streams::new(&ward.client, ward.listen());
    let mut turn = || {
        pool.turn();
        streams.carry();
    };
    let traffic = |span: Duration, turn: &mut dyn FnMut()| {
        let begun = Instant::now();
        while begun.elapsed() < span {
            for _ in 0..50 {
                let client = ward.client.connect(listener.local());
                let server = listener.accept();
                server.close();
                client.read_to_end(b"");
                client.close();
            }
            turn();
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    nothing_is_found(&ward.daemon, OLD, &mut turn);

    stopped::stop(&ward.daemon);
    traffic(UNREAD, &mut turn);
    ward.daemon.signal(Signal::CONT);
    nothing_is_found(&ward.daemon, LONG, &mut turn);
    let lost = ward.diagnosis().lost;
    assert!(lost > 1_000, "{lost} lost");

    // What nobody was told of is seen when the host is looked at again.
    stopped::stop(&ward.daemon);
    traffic(OLD * 2, &mut turn);
    leak(&ward.client, listener);
    ward.daemon.signal(Signal::CONT);
    let is = |found: &Finding| found.kind == "close_wait_leak" && found.count == MANY;
    let begun = Instant::now();
    let found = until(
        || format!("{:#?}", ward.diagnosis()),
        || {
            turn();
            let findings = ward.diagnosis().findings;
            assert!(findings.iter().all(is), "{findings:#?}");
            findings.into_iter().next()
        },
    );
    assert!(begun.elapsed() < OLD + SOON, "it took {:?}", begun.elapsed());
    assert!(ward.diagnosis().lost > lost, "its events were not lost");
    let expected = (Some(ward.server.pid()), port(listener.local()), Some("not_closed"));
    assert_eq!((pid(&found), found.service.clone(), found.cause.as_deref()), expected);
}
