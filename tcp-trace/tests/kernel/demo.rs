//! `tcp-trace demo` as whoever runs it meets it: all that it plants is found, its control raises
//! nothing, and nothing of it is left.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    deadline::until,
    netns::Netns,
    program::{program, run, unprivileged},
};

/// How long it may take: as long as it gives itself, and what attaching takes on a busy host.
const LONGEST: Duration = Duration::from_secs(90);

/// The command. It plays in a namespace of its own, so that packet programs disturb nobody.
fn demo(arguments: &[&str]) -> Command {
    let mut command = program();
    command.env_remove("TCP_TRACE_SEGMENTS").arg("demo").args(arguments);
    command
}

/// Network namespaces that processes live in.
fn namespaces() -> BTreeSet<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok()).collect()
}

/// The processes that `parent` has started.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        after_name.and_then(|mut fields| fields.nth(1)?.parse().ok()) == Some(parent)
    })
    .collect()
}

/// Fails where a player of a demo of this very program is still there.
#[track_caller]
fn nothing_is_left() {
    let own = fs::canonicalize(env!("CARGO_BIN_EXE_tcp-trace")).unwrap();
    let is_player = |process: PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        fs::read_link(process.join("exe")).is_ok_and(|exe| exe == own)
            && line.split(|byte| *byte == 0).any(|argument| argument == b"demo-actor")
    };
    until(
        || "a player is still there".to_owned(),
        || {
            let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
            (!processes.map(|entry| entry.path()).any(is_player)).then_some(())
        },
    );
}

#[test]
#[ignore = "needs root"]
fn all_that_is_planted_is_found_and_shown() {
    let begun = Instant::now();
    let ran = run(&mut demo(&[]));
    let text = ran.good();
    assert!(begun.elapsed() < LONGEST, "it took {:?}", begun.elapsed());
    for row in [
        "shop-api      forgets close()           ✔ not_closed: ",
        "reports       stops reading             ✔ not_read: 8 sockets",
        "login-svc     stops accepting           ✔ not_accepted: 8 sockets",
        "pricing       burns through its ports   ✔ foretold ",
        "pricing       until none is left        ✔ EADDRNOTAVAIL, each of the ",
        "orders        is healthy: the control   ✔ nothing raised, and ",
        "All that was planted was found, and nothing else. It took ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(row)), "{row:?} is missing in\n{text}");
    }
    // Live lines first, then the ladder of a leaked socket with its segments, then the diagnosis.
    let parts = [
        "ESTABLISHED → CLOSE_WAIT",
        "··· after ",
        "more changes of state",
        "$ tcp-trace show ",
        "FIN,ACK  seq=",
        "$ tcp-trace diagnose ",
        "5 findings on ",
        "PLANTED",
        "Next, on this host:",
    ];
    let mut rest = text.as_str();
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("{part:?} is missing, or not in its place:\n{text}");
        };
        rest = after;
    }
    nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn as_json_it_is_one_object() {
    let ran = run(&mut demo(&["--json", "--segments=off"]));
    let told: Value = serde_json::from_str(&ran.good()).unwrap();
    assert_eq!((&told["good"], &told["missing"]), (&true.into(), &Value::Array(Vec::new())));
    assert_eq!(told["unexpected"], Value::Array(Vec::new()));
    let planted = told["planted"].as_array().unwrap();
    assert!(planted.len() == 5 && planted.iter().all(|one| one["found"] == true), "{told:#}");
    assert!(told["foretold_seconds"].as_f64() > Some(0.0), "{told:#}");
    let findings = told["diagnosis"]["findings"].as_array().unwrap();
    let pressure = findings.iter().find(|found| found["kind"] == "port_pressure").unwrap();
    assert_eq!(pressure["exhaustion"]["limit"], 200);
    assert_eq!(told["diagnosis"]["lost"], 0);
    nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn killed_in_the_middle_it_leaves_nothing() {
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let mut running = demo(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ESTABLISHED → CLOSE_WAIT")), "nothing plays");
    let players = children(running.id());
    assert_eq!(players.len(), 8, "{players:?}");
    let homes: BTreeSet<_> =
        players.iter().map(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()).collect();
    assert!(homes.len() == 1 && !homes.contains(&own), "{homes:?} and {own:?}");
    running.kill().unwrap();
    running.wait().unwrap();
    nothing_is_left();
    assert!(namespaces().is_disjoint(&homes), "{homes:?} is left");
}

#[test]
#[ignore = "needs root"]
fn without_a_namespace_of_its_own_it_says_why() {
    let netns = Netns::new();
    let mut command = netns.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["--inh-caps=-all,+bpf,+perfmon", "--ambient-caps=-all,+bpf,+perfmon"])
        .arg(unprivileged().get_program())
        .arg("demo");
    let ran = run(&mut command);
    ran.failed(4, &["a network namespace of its own", "CAP_SYS_ADMIN", "--privileged"]);
    assert!(ran.out.is_empty(), "{ran:#?}");
}
