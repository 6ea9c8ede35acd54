//! Short connections told in one record: with all their steps, and long ones as ever.

use std::{thread::sleep, time::Duration};

use tcp_trace::api::Diagnosis;

use super::{
    counters::{Script, judge_gauges, until_counted},
    daemon::Daemon,
    deadline::until,
    netns::Netns,
    sock::loopback,
    story::changes,
};

const FOLDED: [&str; 1] = ["--mode=folded"];

fn count(daemon: &Daemon, series: &str) -> u64 {
    daemon.metrics().count(series)
}

fn is_folding(daemon: &Daemon) -> bool {
    count(daemon, "tcp_trace_mode{mode=\"folded\"}") == 1
}

/// A namespace whose daemon folds from the first connection on.
fn folding(netns: &Netns) -> Daemon {
    let daemon = Daemon::start(&[netns], &FOLDED);
    until(|| "it never begins to fold".to_owned(), || is_folding(&daemon).then_some(()));
    daemon
}

#[test]
#[ignore = "needs root"]
fn whoever_is_folded_is_counted_and_told_to_the_last_step() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = folding(&netns);
    let mut script = Script::new(&client, &server);
    script.client_closes(200);
    script.server_closes(150);
    script.client_resets(250);
    let open: Vec<_> = (0..5).map(|_| script.open()).collect();
    let half: Vec<_> = (0..3).map(|_| script.half_close()).collect();

    until_counted(&daemon, &script.caused);
    judge_gauges(&daemon, &netns);
    let caused = script.caused.transitions();
    let told = || count(&daemon, "tcp_trace_events_total{kind=\"state\"}");
    until(|| format!("{} events, {caused} caused", told()), || (told() == caused).then_some(()));
    let metrics = daemon.metrics();
    assert_eq!(metrics.nonzero("tcp_trace_connections_closed_total"), script.caused.ends);
    assert!(metrics.nonzero("tcp_trace_events_lost_total").is_empty());
    assert_eq!(metrics.count("tcp_trace_incomplete_timelines_total"), 0);
    assert_eq!(metrics.count("tcp_trace_illegal_transitions_total"), 0);
    assert_eq!(metrics.count("tcp_trace_late_records_total"), 0);
    assert_eq!(metrics.count("tcp_trace_folded_connections_total"), 2 * script.caused.connections);
    assert_eq!(daemon.status().folding.connections, 2 * script.caused.connections);
    assert_eq!((open.len(), half.len()), (5, 3));
}

#[test]
#[ignore = "needs root"]
fn a_folded_timeline_is_the_same_and_says_so() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = folding(&netns);
    let listener = server.listen(loopback(true));
    let near = client.connect(listener.local());
    let far = listener.accept();
    let (local, remote) = (near.local(), listener.local());
    near.close();
    far.read_to_end(b"");
    far.close();
    for (ends, path, owner) in [
        (
            (local, remote),
            "close>syn_sent syn_sent>established established>fin_wait1 fin_wait1>fin_wait2",
            "kt-client",
        ),
        (
            (remote, local),
            "listen>syn_recv syn_recv>established established>close_wait close_wait>last_ack \
             last_ack>close",
            "kt-server",
        ),
    ] {
        let known = until(
            || format!("{:#?}", daemon.stories(ends.0, ends.1)),
            || daemon.stories(ends.0, ends.1).into_iter().next(),
        );
        assert!(changes(&known).starts_with(path), "{known:#?}");
        assert_eq!(known.owner.as_ref().unwrap().comm, owner);
        assert!(known.complete);
        let steps = known.timeline.as_deref().unwrap();
        let remark = steps.iter().find(|step| step.text.contains("told in one record"));
        assert!(remark.is_some(), "{steps:#?}");
    }
}

/// A connection that lasts is told while it does, with its birth, and so is a socket that is never
/// closed.
#[test]
#[ignore = "needs root"]
fn who_lives_long_is_told_while_alive() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = folding(&netns);
    let mut script = Script::new(&client, &server);
    let (near, far) = script.open();
    let (local, remote) = (near.local(), far.local());
    let story = |from, to| daemon.stories(from, to).into_iter().next();
    let known = until(
        || format!("{:#?}", daemon.open()),
        || story(local, remote).filter(|known| known.state == "established"),
    );
    assert_eq!(changes(&known), "close>syn_sent syn_sent>established");
    assert!(known.complete, "{known:#?}");

    // From here on it is told as it goes on.
    far.close();
    let known = until(
        || format!("{:#?}", daemon.open()),
        || story(local, remote).filter(|known| known.state == "close_wait"),
    );
    assert_eq!(changes(&known), "close>syn_sent syn_sent>established established>close_wait");
    assert_eq!(known.owner.as_ref().unwrap().comm, "kt-client");

    // One whose peer closes at once, and which is never closed itself.
    let leaks: Vec<_> = (0..4).map(|_| script.half_close()).collect();
    let found = || daemon.open().iter().filter(|known| known.state == "close_wait").count();
    until(|| format!("{:#?}", daemon.open()), || (found() == 1 + leaks.len()).then_some(()));
    assert_eq!(count(&daemon, "tcp_trace_incomplete_timelines_total"), 0);
}

#[test]
#[ignore = "needs root"]
fn a_storm_folds_and_its_end_unfolds() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = Daemon::start(&[&netns], &["--mode=auto", "--fold-above=300"]);
    assert!(!is_folding(&daemon));
    let mut script = Script::new(&client, &server);
    let old = script.open();
    until(
        || "it never begins to fold".to_owned(),
        || {
            script.client_closes(40);
            script.client_resets(40);
            is_folding(&daemon).then_some(())
        },
    );
    let standing = daemon.status().folding;
    assert!(standing.folding && standing.since.is_some(), "{standing:?}");
    assert_eq!(standing.why.as_deref(), Some("rate"), "{standing:?}");
    assert!(standing.events_per_second > Some(300), "{standing:?}");
    assert_eq!(count(&daemon, "tcp_trace_folding{reason=\"rate\"}"), 1);
    script.server_closes(300);
    let metrics = until_counted(&daemon, &script.caused);
    judge_gauges(&daemon, &netns);
    assert!(metrics.nonzero("tcp_trace_events_lost_total").is_empty());
    until(|| "it never ends".to_owned(), || (!is_folding(&daemon)).then_some(()));
    let folded = count(&daemon, "tcp_trace_folded_connections_total");
    assert!(folded > 100, "{folded}");
    let standing = daemon.status().folding;
    assert_eq!((standing.folding, standing.switches), (false, 2), "{standing:?}");
    assert_eq!(count(&daemon, "tcp_trace_folding{reason=\"rate\"}"), 0);
    // Longer than it drains.
    sleep(Duration::from_secs(2));
    script.client_closes(5);
    old.0.close();
    old.1.read_to_end(b"");
    old.1.close();
    script.caused.lives(1, "established fin_wait1 fin_wait2 close");
    script.caused.lives(1, "established close_wait last_ack close");
    script.caused.ends(1, "fin_active", "local");
    script.caused.ends(1, "fin_passive", "remote");
    until_counted(&daemon, &script.caused);
    let caused = script.caused.transitions();
    let told = || count(&daemon, "tcp_trace_events_total{kind=\"state\"}");
    until(|| format!("{} events, {caused} caused", told()), || (told() == caused).then_some(()));
    let metrics = daemon.metrics();
    assert_eq!(metrics.nonzero("tcp_trace_connections_closed_total"), script.caused.ends);
    assert_eq!(metrics.count("tcp_trace_folded_connections_total"), folded, "calm is not folded");
    assert_eq!(metrics.count("tcp_trace_incomplete_timelines_total"), 0);
}

/// A leak goes on through a storm: of its sockets some are born before, some while connections are
/// folded, some after. Snapshots meanwhile find nobody whom the daemon does not know.
#[test]
#[ignore = "needs root"]
fn a_leak_is_found_whatever_is_folded() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let settings = ["--mode=auto", "--fold-above=300", "--older-than=1s"];
    let daemon = Daemon::reconciling(&[&netns], 300, &settings);
    let mut script = Script::new(&client, &server);
    let mut leaked: Vec<_> = (0..2).map(|_| script.half_close()).collect();
    until(
        || "it never begins to fold".to_owned(),
        || {
            script.client_resets(40);
            is_folding(&daemon).then_some(())
        },
    );
    leaked.extend((0..2).map(|_| script.half_close()));
    until(|| "it never ends".to_owned(), || (!is_folding(&daemon)).then_some(()));
    leaked.extend((0..2).map(|_| script.half_close()));
    let diagnosis = || serde_json::from_str::<Diagnosis>(&daemon.get("/api/v1/diagnosis")).unwrap();
    let found = until(
        || format!("{:#?}", diagnosis().findings),
        || {
            let findings = diagnosis().findings.into_iter();
            let mut leaks = findings.filter(|found| found.kind == "close_wait_leak");
            leaks.find(|found| found.count == leaked.len() as u64)
        },
    );
    assert_eq!(found.process.map(|owner| owner.pid), Some(server.pid()));
    let known = daemon.open();
    let leaks = known.iter().filter(|known| known.state == "close_wait");
    assert!(leaks.clone().all(|known| known.complete), "{known:#?}");
    assert_eq!(daemon.status().reconciled.found, 0);
    assert_eq!(count(&daemon, "tcp_trace_incomplete_timelines_total"), 0);
}
