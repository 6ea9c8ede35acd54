//! Beginnings and ends of the daemon.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
};

use rustix::process::Signal;
use tcp_trace::api::{Event, Status};

use super::{
    daemon::Daemon,
    life::{Told, by_connection},
    netns::Netns,
    program::{Ran, program, run, unprivileged},
    programs::held_by,
    sock::loopback,
    streams::Watch,
};

/// Runs `serve` where it cannot last.
fn serve(netns: &Netns, socket: &std::path::Path, address: &str) -> Ran {
    let mut command = program();
    command.arg("--socket").arg(socket).args(["serve", "--web.listen-address", address]);
    run(command.arg(format!("--netns={}", netns.path())))
}

#[test]
#[ignore = "needs root"]
fn a_second_daemon_names_the_first() {
    let netns = Netns::new();
    let daemon = Daemon::start(&[&netns], &[]);
    let second = serve(&netns, &daemon.socket(), "127.0.0.1:0");
    let (socket, pid) = (daemon.socket().display().to_string(), daemon.pid().to_string());
    second.failed(1, &["another tcp-trace", &pid, &socket, "--socket"]);
    // And leaves it alone.
    assert_eq!(daemon.get("/readyz"), "ready\n");
    assert!(daemon.socket().exists());
}

#[test]
#[ignore = "needs root"]
fn a_command_may_not_tell_a_daemon_how_to_trace() {
    let netns = Netns::new();
    let daemon = Daemon::start(&[&netns], &[]);
    let socket = daemon.socket().display().to_string();
    let ran = run(program().args(["--socket", &socket, "list", "--netns=self"]));
    ran.failed(2, &["a daemon answers", "--in-netns"]);
    run(program().args(["--socket", &socket, "list", "--in-netns", &netns.path()])).good();
}

#[test]
#[ignore = "needs root"]
fn only_root_may_ask() {
    let netns = Netns::new();
    let daemon = Daemon::start(&[&netns], &[]);
    let mode = fs::symlink_metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let socket = daemon.socket().display().to_string();
    for command in [&["list"][..], &["watch"], &["show", "1"], &["status"]] {
        let ran = run(unprivileged().args(["--socket", &socket]).args(command));
        ran.failed(4, &[&socket, "only root may ask it", "sudo"]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_in_use_is_named() {
    let netns = Netns::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    serve(&netns, &socket, &address).failed(1, &[&address, "in use", "--web.listen-address"]);
    assert!(!socket.exists(), "nothing stays behind");
}

#[test]
#[ignore = "needs root"]
fn sigterm_and_sigint_end_it_in_order() {
    let netns = Netns::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start(&[&netns], &[]);
        let held = held_by(daemon.pid());
        held.judge_attached();
        daemon.signal(signal);
        let status = daemon.wait();
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", daemon.log());
        assert!(!daemon.socket().exists());
        held.until_gone();
        assert!(daemon.log().contains("everything is detached"), "{}", daemon.log());
    }
}

#[test]
#[ignore = "needs root"]
fn sigkill_leaves_nothing_in_the_way() {
    let netns = Netns::new();
    let mut daemon = Daemon::start(&[&netns], &[]);
    let held = held_by(daemon.pid());
    held.judge_attached();
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.wait().signal(), Some(Signal::KILL.as_raw()));
    held.until_gone();
    assert!(daemon.socket().exists(), "nobody was left to remove it");
    daemon.restart(&[&netns]);
    assert!(daemon.log().contains("removing the socket of a daemon that is gone"));
    held_by(daemon.pid()).judge_attached();
    let status: Status = serde_json::from_str(&daemon.get("/api/v1/status")).unwrap();
    assert_eq!(status.netns, [netns.inode()]);
    assert_eq!((status.pid, status.source.as_str()), (daemon.pid(), "live"));
}

#[test]
#[ignore = "needs root"]
fn watch_sees_the_same_without_a_daemon() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = Daemon::start(&[&netns], &[]);
    let alone = Watch::start(&daemon.socket().with_file_name("nobody"), &[&netns]);
    let through_daemon = Watch::start(&daemon.socket(), &[&netns]);
    for v4 in [true, false] {
        let listener = server.listen(loopback(v4));
        let first = client.connect(listener.local());
        let accepted = listener.accept();
        first.close();
        accepted.read_to_end(b"");
        accepted.close();
        let second = client.connect(listener.local());
        second.abort();
        listener.close();
    }
    let seen = [&alone, &through_daemon].map(|watch| {
        watch.catch_up(&netns);
        plain(watch.events())
    });
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].len(), 10, "two listeners, four connections with two ends each");
}

/// What is told about each connection, in order, without what two tracers see each in its own way:
/// their numbers and their readings of the clock.
fn plain(events: Vec<Event>) -> Vec<Vec<String>> {
    let of_one = |told: Told| {
        let changes = told.changes.iter().map(|event| {
            let connection = &event.connection;
            let (owner, current) = (&connection.owner, &event.current);
            let (local, remote) = (&connection.local, &connection.remote);
            let (from, to, socket, text) = (&event.from, &event.to, &event.socket, &event.text);
            format!("{local:?} {remote:?} {owner:?} {current:?} {from} {to} {socket} {text}")
        });
        let ends = told.closed.iter().map(|event| {
            let steps = event.connection.timeline.iter().flatten();
            let texts: Vec<_> = steps.map(|step| step.text.as_str()).collect();
            let (reason, by) = (&event.connection.close_reason, &event.connection.closed_by);
            format!("{reason:?} {by:?} {texts:?} {}", event.connection.complete)
        });
        changes.chain(ends).collect()
    };
    by_connection(events).into_values().map(of_one).collect()
}
