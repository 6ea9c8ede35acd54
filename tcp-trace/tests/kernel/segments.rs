//! Packet programs on interfaces of the tests' own: what they count, how they are chosen, what they
//! leave alone, and what is left of them.

use std::collections::BTreeMap;

use tcp_trace::kernel::segments::{InterfaceStanding, Way};

use super::{
    actor::Actor, daemon::Daemon, deadline::until, needs, netns::Netns, sock::loopback, wire::Wire,
};

#[path = "segments/beside.rs"]
mod beside;
#[path = "segments/foreign.rs"]
mod foreign;

/// How a program is attached to TC here.
fn tc() -> Way {
    if needs::is_at_least((6, 6)) { Way::Tcx } else { Way::Clsact }
}

/// What sees segments come in on `lo` and tun devices here.
fn ingress() -> Way {
    if needs::is_at_least((6, 9)) { Way::XdpGeneric } else { tc() }
}

/// The names of hook and direction in metrics, for a way in.
fn hook(ingress: Way) -> &'static str {
    if ingress.is_xdp() { r#"hook="xdp",direction="in""# } else { IN }
}

const IN: &str = r#"hook="tc_ingress",direction="in""#;
const OUT: &str = r#"hook="tc_egress",direction="out""#;

/// The row of an interface.
#[track_caller]
fn row(daemon: &Daemon, interface: &str) -> InterfaceStanding {
    let standing = daemon.status().segments;
    let found = standing.interfaces.iter().find(|row| row.name == interface).cloned();
    found.unwrap_or_else(|| panic!("no {interface} in {standing:?}"))
}

/// Waits until an interface is attached to, or is not.
#[track_caller]
fn until_attached(daemon: &Daemon, interface: &str, attached: bool) {
    let stands = || {
        let standing = daemon.status().segments;
        standing.interfaces.iter().any(|row| row.name == interface && row.is_whole())
    };
    until(
        || format!("{interface} should be {attached}: {:?}", daemon.status().segments),
        || (stands() == attached).then_some(()),
    );
}

/// Segments counted, by flag; acknowledgements left out, of which a FIN may carry one or not.
fn counted(daemon: &Daemon, hook: &str) -> BTreeMap<String, u64> {
    let all = daemon.metrics().nonzero("tcp_trace_segments_total");
    let of_hook = |(labels, count): (String, u64)| {
        let flag = labels.strip_prefix(hook)?.strip_prefix(",flag=\"")?.strip_suffix('"')?;
        (flag != "ack" && flag != "other").then(|| (flag.to_owned(), count))
    };
    all.into_iter().filter_map(of_hook).collect()
}

/// Waits until these are counted.
#[track_caller]
fn until_counted(daemon: &Daemon, hook: &str, expected: &[(&str, u64)]) {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(flag, count)| ((*flag).to_owned(), *count)).collect();
    until(
        || {
            let metrics = daemon.get("/metrics");
            let lines = metrics.lines().filter(|line| line.starts_with("tcp_trace_segments"));
            let lines: Vec<_> = lines.collect();
            format!("{hook} should have counted {expected:?}:\n{}", lines.join("\n"))
        },
        || (counted(daemon, hook) == expected).then_some(()),
    );
}

/// Connections opened and closed in order, and some refused, each over both families.
fn talk(client: &Actor, server: &Actor, orderly: u64, refused: u64) {
    for v4 in [true, false] {
        let listener = server.listen(loopback(v4));
        let at = listener.local();
        for _ in 0..orderly {
            let socket = client.connect(at);
            let accepted = listener.accept();
            socket.close();
            accepted.read_to_end(b"");
            accepted.close();
        }
        listener.close();
        for _ in 0..refused {
            let socket = client.socket(at);
            socket.connect(at).unwrap_err();
            socket.close();
        }
    }
}

/// What [`talk`] comes to on `lo`, in each direction.
const fn talked(orderly: u64, refused: u64) -> [(&'static str, u64); 4] {
    [
        ("syn", 2 * (orderly + refused)),
        ("syn_ack", 2 * orderly),
        ("fin", 4 * orderly),
        ("rst", 2 * refused),
    ]
}

fn pair(netns: &Netns) -> (Actor, Actor) {
    (netns.actor("kt-client"), netns.actor("kt-server"))
}

/// Two namespaces with an interface `v0` each, at 10.77.0.1 and 10.77.0.2.
fn joined() -> (Netns, Netns) {
    let (left, right) = (Netns::new(), Netns::new());
    let pid = right.home().pid();
    left.ip(&format!("link add v0 type veth peer name v0 netns {pid}"));
    for (netns, host) in [(&left, 1), (&right, 2)] {
        netns.ip(&format!("address add 10.77.0.{host}/24 dev v0"));
        netns.ip("link set v0 up");
    }
    (left, right)
}

#[test]
#[ignore = "needs root"]
fn segments_on_lo_are_counted_exactly_and_none_of_our_own() {
    let netns = Netns::new();
    let (client, server) = pair(&netns);
    let daemon = Daemon::inside(&netns, &["--segments=on"]);
    let lo = row(&daemon, "lo");
    assert_eq!((lo.ingress, lo.egress), (Some(ingress()), Some(tc())), "{lo:?}");
    let status = daemon.status();
    assert!(status.segments.on && status.segments.netns == Some(netns.inode()));
    // The self-check's connection was over before.
    assert!(daemon.metrics().nonzero("tcp_trace_segments_total").is_empty());
    talk(&client, &server, 5, 2);
    for hook in [hook(ingress()), OUT] {
        until_counted(&daemon, hook, &talked(5, 2));
    }
    let metrics = daemon.metrics();
    assert!(metrics.nonzero("tcp_trace_segments_folded_total").is_empty());
    let ways = metrics.nonzero("tcp_trace_segment_interfaces");
    let expected = [("in", ingress()), ("out", tc())]
        .map(|(direction, way)| (format!(r#"direction="{direction}",by="{}""#, way.name()), 1));
    assert_eq!(ways, expected.into());
    let attached = metrics.nonzero("tcp_trace_probe_attached");
    let of_packets: Vec<_> = attached.keys().filter(|key| key.contains("segments_")).collect();
    assert_eq!(of_packets.len(), 2, "{of_packets:?}");
}

#[test]
#[ignore = "needs root"]
fn a_veth_pair_shows_each_direction_once() {
    let (left, right) = joined();
    let (client, server) = (left.actor("kt-client"), right.actor("kt-server"));
    let daemon = Daemon::inside(&left, &["--segments=on", "--interface=v0"]);
    let names: Vec<_> =
        daemon.status().segments.interfaces.into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["v0"], "lo was not named");
    let listener = server.listen("10.77.0.2:0".parse().unwrap());
    for _ in 0..4 {
        let socket = client.connect(listener.local());
        let accepted = listener.accept();
        socket.close();
        accepted.read_to_end(b"");
        accepted.close();
    }
    until_counted(&daemon, OUT, &[("syn", 4), ("fin", 4)]);
    until_counted(&daemon, hook(tc()), &[("syn_ack", 4), ("fin", 4)]);
}

#[test]
#[ignore = "needs root"]
fn an_interface_without_link_header_is_read_from_ip_on() {
    let wire = Wire::new();
    let (client, server) = (wire.left.actor("kt-client"), wire.right.actor("kt-server"));
    let daemon = Daemon::inside(&wire.left, &["--segments=on", "--interface=wire"]);
    assert!(daemon.hooks("segments_out_ip"), "{:?}", daemon.status().hooks);
    let way = row(&daemon, "wire").ingress.unwrap();
    assert_eq!(way, ingress());
    for v4 in [true, false] {
        let listener = server.listen((Wire::right_address(v4), 0).into());
        let socket = client.connect(listener.local());
        let accepted = listener.accept();
        socket.close();
        accepted.read_to_end(b"");
        accepted.close();
        listener.close();
    }
    until_counted(&daemon, OUT, &[("syn", 2), ("fin", 2)]);
    until_counted(&daemon, hook(way), &[("syn_ack", 2), ("fin", 2)]);
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_is_named_is_entered_and_may_end() {
    let netns = Netns::new();
    let (client, server) = pair(&netns);
    let daemon = Daemon::start(&[&netns], &["--segments=on"]);
    assert_eq!(daemon.status().segments.netns, Some(netns.inode()));
    until_attached(&daemon, "lo", true);
    talk(&client, &server, 2, 1);
    until_counted(&daemon, OUT, &talked(2, 1));
    // Those who live in it go; the daemon must not keep it.
    drop((client, server, netns));
    until(
        || format!("{:?}", daemon.status().segments),
        || {
            daemon
                .status()
                .segments
                .reason
                .is_some_and(|why| why.contains("leads to"))
                .then_some(())
        },
    );
    assert!(daemon.status().segments.interfaces.is_empty());
}

#[test]
#[ignore = "needs root"]
fn of_several_namespaces_none_is_entered_and_it_says_why() {
    let (left, right) = (Netns::new(), Netns::new());
    let daemon = Daemon::start(&[&left, &right], &["--segments=on"]);
    let status = daemon.status();
    assert!(!status.segments.on && status.segments.interfaces.is_empty());
    let lack = status.degradations.iter().find(|lack| lack.feature == "segments").unwrap();
    assert!(lack.reason.contains("--netns names several"), "{lack:?}");
    assert!(!daemon.hooks("segments_"));
}

#[test]
#[ignore = "needs root"]
fn off_means_that_nothing_is_attached() {
    let netns = Netns::new();
    let (client, server) = pair(&netns);
    let daemon = Daemon::inside(&netns, &["--segments=off"]);
    assert!(!daemon.hooks("segments_"));
    talk(&client, &server, 1, 1);
    let status = daemon.status();
    assert_eq!(status.segments.reason.as_deref(), Some("--segments off"));
    assert!(!status.degradations.iter().any(|lack| lack.feature == "segments"));
    assert!(daemon.metrics().nonzero("tcp_trace_segments_total").is_empty());
    assert!(!netns.ip("link show dev lo").contains("xdp"));
}

#[test]
#[ignore = "needs root"]
fn interfaces_are_followed_as_they_come_and_go() {
    let netns = Netns::new();
    let daemon = Daemon::inside(&netns, &["--segments=on", "--interface=v9", "--interface=lo"]);
    let absent = row(&daemon, "v9");
    assert!(absent.why.contains("no such interface") && absent.index == 0, "{absent:?}");
    let lack = daemon.status().degradations;
    assert!(lack.iter().any(|lack| lack.reason.starts_with("v9: there is no")), "{lack:?}");
    for _ in 0..2 {
        netns.ip("link add v9 type veth peer name p9");
        until_attached(&daemon, "v9", true);
        netns.ip("link del v9");
        until_attached(&daemon, "v9", false);
    }
    // By another name it is another.
    netns.ip("link add v8 type veth peer name p8");
    netns.ip("link set v8 name v9");
    until_attached(&daemon, "v9", true);
    until_attached(&daemon, "lo", true);
}

#[test]
#[ignore = "needs root"]
fn a_default_route_brings_its_interface() {
    let (left, _right) = joined();
    let daemon = Daemon::inside(&left, &["--segments=on"]);
    until_attached(&daemon, "lo", true);
    until_attached(&daemon, "v0", false);
    left.ip("route add default via 10.77.0.2");
    until_attached(&daemon, "v0", true);
    left.ip("route del default");
    until_attached(&daemon, "v0", false);
    left.ip("-6 route add default dev v0");
    until_attached(&daemon, "v0", true);
}

#[test]
#[ignore = "needs root"]
fn xdp_that_the_driver_does_not_have_is_refused_and_tc_takes_its_place() {
    let netns = Netns::new();
    let daemon = Daemon::inside(&netns, &["--segments=on", "--xdp=lo=native"]);
    let lo = row(&daemon, "lo");
    assert_eq!((lo.ingress, lo.egress), (Some(tc()), Some(tc())), "{lo:?}");
    let refusals = lo.refusals.join("; ");
    assert!(refusals.contains("XDP native: its driver has no such XDP"), "{refusals}");
}

#[test]
#[ignore = "needs root"]
fn xdp_that_is_not_wanted_leaves_its_place_to_tc() {
    let netns = Netns::new();
    let daemon = Daemon::inside(&netns, &["--segments=on", "--xdp=lo=off"]);
    let lo = row(&daemon, "lo");
    assert_eq!((lo.ingress, lo.egress), (Some(tc()), Some(tc())), "{lo:?}");
    assert!(lo.why.contains("--xdp lo=off") && lo.refusals.is_empty(), "{lo:?}");
}

#[test]
#[ignore = "needs root"]
fn xdp_is_native_or_generic_where_it_is_asked_for() {
    let (left, _right) = joined();
    for (wish, way) in [
        ("--xdp=v0=native", Way::XdpNative),
        ("--xdp=v0=generic", Way::XdpGeneric),
        ("--xdp=v0", Way::XdpNative),
    ] {
        let daemon = Daemon::inside(&left, &["--segments=on", "--interface=v0", wish]);
        assert_eq!(row(&daemon, "v0").ingress, Some(way), "{wish}");
    }
}
