//! What is somebody else's stays, what is ours goes, and what somebody removes comes again.

use rustix::process::Signal;

use super::{
    super::{
        daemon::Daemon,
        deadline::until,
        needs,
        netns::Netns,
        program::{program, run},
        programs::held_by,
    },
    IN, OUT, counted,
    foreign::Foreign,
    pair, row, talk, talked, tc, until_attached, until_counted,
};
use tcp_trace::{api::Doctor, kernel::segments::Way};

#[test]
#[ignore = "needs root"]
fn somebody_elses_xdp_program_stays_and_goes_on() {
    let netns = Netns::new();
    let (client, server) = pair(&netns);
    let foreign = netns.within(|| Foreign::xdp("lo"));
    let before = netns.ip("link show dev lo");
    assert!(before.contains("prog/xdp"), "{before}");
    for arguments in [&["--segments=on"][..], &["--segments=on", "--xdp=lo=generic"]] {
        let mut daemon = Daemon::inside(&netns, arguments);
        let lo = row(&daemon, "lo");
        assert_eq!((lo.ingress, lo.egress), (Some(tc()), Some(tc())), "{lo:?}");
        let refused = arguments.len() > 1;
        assert_eq!(lo.why.contains("--xdp is refused"), refused, "{lo:?}");
        if refused || needs::is_at_least((6, 9)) {
            assert!(lo.why.contains("somebody else"), "{lo:?}");
        }
        let seen = foreign.counted();
        talk(&client, &server, 2, 1);
        until_counted(&daemon, IN, &talked(2, 1));
        assert!(foreign.counted() >= seen + 10);
        daemon.signal(Signal::TERM);
        daemon.wait();
        assert_eq!(netns.ip("link show dev lo"), before);
    }
    let seen = foreign.counted();
    talk(&client, &server, 1, 0);
    assert!(foreign.counted() > seen);
}

#[test]
#[ignore = "needs root"]
fn somebody_elses_filter_stays_and_goes_on() {
    let netns = Netns::new();
    let (client, server) = pair(&netns);
    let foreign = netns.within(|| Foreign::filter("lo"));
    let mut daemon = Daemon::inside(&netns, &["--segments=on"]);
    let lo = row(&daemon, "lo");
    assert_eq!((lo.ingress, lo.egress), (Some(tc()), Some(tc())), "{lo:?}");
    if needs::is_at_least((6, 9)) {
        assert!(lo.why.contains("segments_in"), "the filter is named: {lo:?}");
    }
    talk(&client, &server, 2, 1);
    for hook in [IN, OUT] {
        until_counted(&daemon, hook, &talked(2, 1));
    }
    let seen = foreign.counted();
    assert!(seen >= 10, "{seen}");
    daemon.signal(Signal::TERM);
    daemon.wait();
    talk(&client, &server, 1, 0);
    assert!(foreign.counted() > seen, "its qdisc is still there");
}

#[test]
#[ignore = "needs root"]
fn a_killed_daemon_is_cleaned_up_after() {
    let netns = Netns::new();
    let (client, server) = pair(&netns);
    let arguments = ["--segments=on"];
    let mut daemon = Daemon::inside(&netns, &arguments);
    until_attached(&daemon, "lo", true);
    let held = held_by(daemon.pid());
    daemon.signal(Signal::KILL);
    daemon.wait();
    if tc() == Way::Tcx {
        held.until_gone();
        assert!(!netns.ip("link show dev lo").contains("xdp"));
    }
    daemon.restart_inside(&netns, &arguments);
    held.until_gone();
    until_attached(&daemon, "lo", true);
    // One daemon's filters are not another's leftovers.
    let mut other = Daemon::inside(&netns, &arguments);
    until_attached(&other, "lo", true);
    // The other's self-check is somebody's connection to this one.
    let before = counted(&daemon, OUT);
    assert!(counted(&other, OUT).is_empty());
    talk(&client, &server, 2, 1);
    until_counted(&other, OUT, &talked(2, 1));
    let both = talked(2, 1).map(|(flag, count)| (flag, count + before.get(flag).unwrap_or(&0)));
    until_counted(&daemon, OUT, &both);
    for daemon in [&mut daemon, &mut other] {
        let held = held_by(daemon.pid());
        daemon.signal(Signal::TERM);
        daemon.wait();
        held.until_gone();
    }
    let qdiscs = netns.command("tc").args(["qdisc", "show", "dev", "lo"]).output().unwrap();
    let qdiscs = String::from_utf8(qdiscs.stdout).unwrap();
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");
}

#[test]
#[ignore = "needs root"]
fn doctor_knows_a_running_daemon_s_program_and_attaches_nothing() {
    if !needs::is_at_least((6, 9)) {
        // `lo` has XDP from there on.
        return;
    }
    let netns = Netns::new();
    let daemon = Daemon::inside(&netns, &["--segments=on"]);
    until_attached(&daemon, "lo", true);
    let doctor = || -> Doctor {
        let mut doctor = netns.take_in(program());
        doctor.env_remove("TCP_TRACE_SEGMENTS");
        serde_json::from_str(&run(doctor.args(["doctor", "--json"])).good()).unwrap()
    };
    let held = netns.ip("link show dev lo");
    let told = doctor();
    assert_eq!(netns.ip("link show dev lo"), held);
    assert!(!told.segments.on, "nothing is attached: {told:#?}");
    let lo = told.segments.interfaces.iter().find(|row| row.name == "lo").unwrap();
    assert_eq!((lo.ingress, lo.egress), (Some(Way::XdpGeneric), Some(tc())), "{lo:?}");
    assert!(lo.why.contains("a tcp-trace that runs has it now"), "{lo:?}");
}

#[test]
#[ignore = "needs root"]
fn filters_that_somebody_removes_come_again() {
    if tc() == Way::Tcx {
        // Links cannot be removed by others.
        return;
    }
    let netns = Netns::new();
    let (client, server) = pair(&netns);
    let daemon = Daemon::inside(&netns, &["--segments=on"]);
    let removed = netns.command("tc").args(["qdisc", "del", "dev", "lo", "clsact"]).status();
    assert!(removed.unwrap().success());
    until(
        || daemon.log(),
        || {
            talk(&client, &server, 1, 0);
            (!counted(&daemon, OUT).is_empty()).then_some(())
        },
    );
}
