//! Sockets that were there before tracing began.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use tcp_trace::{
    api::{Connection, ConnectionList},
    core::tcp_state::TcpState as S,
};

use super::{
    counters::{Caused, until_counted},
    daemon::Daemon,
    deadline::until,
    life::by_connection,
    needs,
    netns::Netns,
    program::{program, run},
    sock::loopback,
    streams::Watch,
    truth,
};

type Ends = (SocketAddr, SocketAddr);

/// Waits until the gauges are what the kernel shows: full sockets and mini-sockets in their states.
/// What it shows as `SYN_RECV` are requests here: no child of a listener stays in it.
pub(crate) fn until_gauges(daemon: &Daemon, netns: &[&Netns]) {
    let truth = || {
        let mut sum = BTreeMap::<String, u64>::new();
        for (state, count) in netns.iter().flat_map(|netns| truth::gauges(netns)) {
            *sum.entry(state.to_owned()).or_default() += count;
        }
        if let Some(requests) = sum.remove("syn_recv") {
            sum.insert("new_syn_recv".to_owned(), requests);
        }
        sum
    };
    until(
        || format!("shown {:#?}, there {:#?}", daemon.metrics().gauges(), truth()),
        || (daemon.metrics().gauges() == truth()).then_some(()),
    );
}

/// The open connection between these ends, as `tcp-trace list` shows it.
fn listed(daemon: &Daemon, (local, remote): Ends, state: S) -> Connection {
    let mut command = program();
    command.arg("--socket").arg(daemon.socket());
    command.args(["list", "--json", "--limit=0", "--state", state.name()]);
    let list: ConnectionList = serde_json::from_str(&run(&mut command).good()).unwrap();
    let address = |end: &tcp_trace::api::Endpoint| SocketAddr::new(end.addr, end.port);
    let mut found = list
        .connections
        .iter()
        .filter(|c| (address(&c.local), address(&c.remote)) == (local, remote));
    found.next().unwrap_or_else(|| panic!("no {local} {remote} {state} in {list:#?}")).clone()
}

#[test]
#[ignore = "needs root"]
fn what_was_there_is_found_and_goes_on() {
    if !needs::kernel((5, 12), "cookies in tracing programs, to join what was there before") {
        return;
    }
    for v4 in [true, false] {
        found_and_goes_on(v4);
    }
}

fn found_and_goes_on(v4: bool) {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let listener = server.listen(loopback(v4));
    let at = listener.local();
    let open = (client.connect(at), listener.accept());
    let half = (client.connect(at), listener.accept());
    half.0.send(b"12345");
    half.0.shutdown();
    half.1.wait_for(5);
    let queued = client.connect(at);
    let nobody = SocketAddr::new(if v4 { "0.0.0.0" } else { "::" }.parse().unwrap(), 0);
    let (opened, halved, waiting) = (open.0.local(), half.0.local(), queued.local());
    until(
        || format!("{:#?}", truth::sockets(&netns)),
        || (truth::gauges(&netns).get("fin_wait2") == Some(&1)).then_some(()),
    );

    let since = Instant::now();
    thread::sleep(Duration::from_millis(1_200));
    let daemon = Daemon::start(&[&netns], &[]);
    assert_eq!(daemon.rows(), truth::sockets(&netns));
    until_gauges(&daemon, &[&netns]);
    assert!(daemon.metrics().matrix().is_empty(), "what was there already is no change");

    let rows = [
        ((at, nobody), S::Listen, Some(&server), None),
        ((opened, at), S::Established, Some(&client), Some((0, None))),
        ((at, opened), S::Established, Some(&server), Some((0, None))),
        ((halved, at), S::FinWait2, Some(&client), None),
        ((at, halved), S::CloseWait, Some(&server), Some((5, Some(false)))),
        ((waiting, at), S::Established, Some(&client), Some((0, None))),
        // In the accept queue: no descriptor refers to it, so it is its listener's.
        ((at, waiting), S::Established, Some(&server), Some((0, None))),
    ];
    // Of all of them one has sent something: SYN and FIN are no bytes of its.
    let sent = |ends: Ends| if ends == (halved, at) { 5 } else { 0 };
    for (ends, state, owner, unread) in rows {
        let found = listed(&daemon, ends, state);
        let told = found.owner.map(|owner| (owner.pid, owner.comm, owner.source));
        let source = if ends == (at, waiting) { "listener" } else { "descriptor" };
        let held = owner.map(|actor| (actor.pid(), actor.name().to_owned(), source.to_owned()));
        assert_eq!(told, held, "{ends:?}");
        assert!(found.age_is_lower_bound, "{ends:?}");
        if ends.1 != nobody {
            // The kernel says for how long the peer has been silent, in milliseconds of its own clock.
            let (age, most) = (found.state_age_seconds, since.elapsed().as_secs_f64() + 5.0);
            assert!((1.15..most).contains(&age), "{ends:?}: {age}, at most {most}");
        }
        assert!(!found.complete, "{ends:?}");
        if ends.1 != nobody {
            let direction = if ends.0 == at { "inbound" } else { "outbound" };
            assert_eq!(found.direction, direction, "{ends:?}");
            assert_eq!(found.bytes_sent, Some(sent(ends)), "{ends:?}");
        }
        let queue = found.recv_queue.map(|queue| (queue.unread_bytes, queue.fin_read));
        assert!(unread.is_none() || queue == unread, "{ends:?}: {queue:?}, not {unread:?}");
    }

    let watch = Watch::start(&daemon.socket(), &[&netns]);
    let mut caused = Caused { matrix: daemon.metrics().matrix(), ..Caused::default() };
    open.0.close();
    open.1.read_to_end(b"");
    open.1.close();
    half.1.read_to_end(b"12345");
    half.1.close();
    let late = listener.accept();
    queued.abort();
    assert!(late.receive().is_err());
    listener.close();
    let paths = [
        ((opened, at), "established fin_wait1 fin_wait2 close", Some("fin_active")),
        ((at, opened), "established close_wait last_ack close", Some("fin_passive")),
        ((halved, at), "fin_wait2 close", Some("fin_active")),
        ((at, halved), "close_wait last_ack close", Some("fin_passive")),
        ((waiting, at), "established close", Some("abort_linger")),
        ((at, waiting), "established close", Some("rst_received")),
        ((at, nobody), "listen close", None),
    ];
    // Before `watch` says anything more about the listeners that only signal.
    for (_, path, _) in paths {
        caused.lives(1, path);
    }
    until_counted(&daemon, &caused);
    until_gauges(&daemon, &[&netns]);
    watch.catch_up(&netns);

    let told = by_connection(watch.events());
    assert_eq!(told.len(), paths.len(), "{told:#?}");
    for told in told.values() {
        let last = told.last();
        let ends = (
            SocketAddr::new(last.local.addr, last.local.port),
            SocketAddr::new(last.remote.addr, last.remote.port),
        );
        let (_, path, reason) = paths.iter().find(|(known, ..)| *known == ends).unwrap();
        let states: Vec<_> = path.split(' ').collect();
        let changes: Vec<_> = told.changes.iter().map(|e| (&*e.from, &*e.to)).collect();
        assert_eq!(changes, states.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>());
        assert_eq!(last.close_reason.as_deref(), *reason, "{last:#?}");
        assert!(reason.is_none() || last.bytes_sent == Some(sent(ends)), "{last:#?}");
        assert!(!last.complete, "its beginning was not seen: {last:#?}");
        // How long it had stood there before tracing began, nobody knows.
        assert_eq!(told.changes[0].in_state_seconds, None, "{last:#?}");
    }
}
