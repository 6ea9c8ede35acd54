//! The comparison with the host, again and again.

use std::os::fd::AsFd as _;

use super::{
    counters::Script,
    daemon::{Daemon, Metrics},
    deadline::until,
    namespaces::Named,
    netns::Netns,
    sock::loopback,
    truth,
};

/// The ratios that are not 1, of all that are told.
fn ratios(metrics: &Metrics) -> (usize, Vec<(String, f64)>) {
    let all = metrics.values("tcp_trace_coverage_ratio");
    let odd = all.iter().filter(|(_, ratio)| (ratio - 1.0).abs() > 1e-9).cloned().collect();
    (all.len(), odd)
}

#[test]
#[ignore = "needs root"]
fn what_is_counted_is_what_the_kernel_counts() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = Daemon::reconciling(&[&netns], 100, &[]);
    let (told, odd) = ratios(&daemon.metrics());
    assert!(told >= 4 && odd.is_empty(), "from the first scrape: {odd:?}");

    let before = truth::mib(&netns, "Tcp", "PassiveOpens");
    let mut script = Script::new(&client, &server);
    script.client_closes(100);
    script.client_resets(60);
    let passive = truth::mib(&netns, "Tcp", "PassiveOpens") - before;
    let series = "tcp_trace_kernel_counts_total{group=\"Tcp\",name=\"PassiveOpens\"}";
    until(
        || format!("{} and not {passive}", daemon.metrics().count(series)),
        || (daemon.metrics().count(series) == passive).then_some(()),
    );
    until(
        || format!("{:?}", ratios(&daemon.metrics())),
        || ratios(&daemon.metrics()).1.is_empty().then_some(()),
    );
    let resets = "tcp_trace_kernel_counts_total{group=\"Tcp\",name=\"EstabResets\"}";
    assert_eq!(daemon.metrics().count(resets), 120, "both ends of each");
    script.end();
}

/// Whatever is traced, a namespace made later is, too; and what it counted stays counted.
#[test]
#[ignore = "needs root"]
fn a_namespace_made_while_tracing_is_compared_from_zero() {
    let daemon = Daemon::reconciling(&[], 100, &[]);
    let gone = daemon.metrics().count("tcp_trace_namespaces_gone_total");
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let mut script = Script::new(&client, &server);
    script.client_closes(50);
    let series = "tcp_trace_kernel_counts_total{group=\"Tcp\",name=\"PassiveOpens\"}";
    until(
        || format!("{}", daemon.metrics().count(series)),
        || (daemon.metrics().count(series) >= 50).then_some(()),
    );
    script.end();
    drop((client, server));
    drop(netns);
    until(
        || format!("the namespace is not gone:\n{}", daemon.log()),
        || (daemon.metrics().count("tcp_trace_namespaces_gone_total") > gone).then_some(()),
    );
    assert!(daemon.metrics().count(series) >= 50);
}

#[test]
#[ignore = "needs root"]
fn ip_netns_add_while_tracing_is_traced() {
    let daemon = Daemon::reconciling(&[], 100, &[]);
    let named = Named::new("kt-added");
    named.ip(&["link", "set", "lo", "up"]);
    let inode = named.inode();
    let path = named.path();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let inside = std::thread::spawn(move || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        let file = std::fs::File::open(path).unwrap();
        rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // Holds both ends until the sender is gone.
        ended.recv().unwrap_err();
    });
    let in_it = || daemon.open().into_iter().filter(|c| c.netns == Some(inode)).count();
    until(|| format!("{} in it", in_it()), || (in_it() == 3).then_some(()));
    drop(end);
    inside.join().unwrap();
}

/// An accepted connection belongs to its listener's owner until the process that holds it is seen.
#[test]
#[ignore = "needs root"]
fn the_holder_of_an_accepted_connection_is_found() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = Daemon::reconciling(&[&netns], 100, &[]);
    let listener = server.listen(loopback(true));
    let (first, second) = (client.connect(listener.local()), listener.accept());
    let source = || {
        let open = daemon.open();
        let child = open.iter().find(|c| c.direction == "inbound")?;
        let owner = child.owner.as_ref()?;
        assert_eq!(owner.pid, server.pid());
        Some(owner.source.clone())
    };
    let is_known = |source: &String| ["descriptor", "accept"].contains(&source.as_str());
    until(|| format!("{:?}", source()), || source().filter(is_known));
    first.close();
    second.close();
}
