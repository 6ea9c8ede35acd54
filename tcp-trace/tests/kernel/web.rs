//! Who means harm to the web server, or through it: processes with names made to break what shows
//! them, and clients that come in crowds, say nothing or too much. Tracing goes on untouched.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tcp_trace::api::{ConnectionList, Diagnosis};

use super::{
    actor::{Actor, Arg},
    daemon::Daemon,
    deadline::until,
    netns::Netns,
    program::{self, open_directory, run},
    sock::loopback,
    story::turned,
    streams::{Lines, Record},
};

/// Names of processes, which anybody can choose: up to 15 bytes but NUL.
const NAMES: [&[u8]; 9] = [
    b"a\"} 1\nb{c=\"d",
    b"new\nline 7\n# EOF",
    b"back\\slash\\",
    b"half\\\"\\n\\",
    b"\xff\xfe\x80 no utf8",
    b"\x1b[31m\x1b]0;t\x07",
    b"c1 \xc2\x9b2J \x7f",
    b"exe\xe2\x80\xaegpj.sh",
    // What stands for all that have no place of their own.
    b"other",
];
/// Sockets that each leaks.
const MANY: u32 = 3;
/// Connections that say nothing.
const CROWD: usize = 1000;
/// Connections of the host's own meanwhile, each of them to be told whole.
const OWN: usize = 300;
/// Longer than any scrape takes here, and no longer than Prometheus waits by default.
const PROMPT: Duration = Duration::from_secs(10);
const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

/// A process that leaks sockets under this name.
fn leaker(netns: &Netns, client: &Actor, name: &[u8]) -> Actor {
    let server = netns.actor("ht-server");
    let name = [&name[..name.len().min(15)], b"\0"].concat();
    let set = [Arg::Number(libc::PR_SET_NAME.into()), Arg::Bytes(&name)];
    server.call(libc::SYS_prctl, &set).unwrap();
    let listener = server.listen(loopback(true));
    for _ in 0..MANY {
        let end = client.connect(listener.local());
        listener.accept();
        end.close();
    }
    server
}

#[test]
#[ignore = "needs root"]
fn names_that_would_break_what_shows_them() {
    let netns = Netns::new();
    let daemon = Daemon::reconciling(&[&netns], 300, &["--older-than", "1s"]);
    let directory = open_directory();
    let record = Record::start(&directory.path().join("recording"), &[&netns]);
    let watches: Vec<_> = ["text", "json", "tcpstates", "tcplife"]
        .map(|format| Lines::start(tool(&daemon).args(["watch", "--format", format])))
        .into();
    until(
        || "watch shows nothing".to_owned(),
        || {
            netns.signal();
            // Of what has ended, the last one tells.
            watches[..3].iter().all(|watch| !watch.so_far().is_empty()).then_some(())
        },
    );
    let client = netns.actor("ht-client");
    let servers: Vec<_> = NAMES.iter().map(|name| leaker(&netns, &client, name)).collect();
    let pids: BTreeSet<_> = servers.iter().map(Actor::pid).collect();

    // All of them are found, under names that are text.
    let found = || -> Diagnosis { serde_json::from_str(&daemon.get("/api/v1/diagnosis")).unwrap() };
    until(
        || format!("{:#?}", found().findings),
        || {
            let findings = found().findings;
            let leaks = findings.iter().filter(|found| found.kind == "close_wait_leak");
            let found: BTreeSet<_> =
                leaks.filter_map(|found| Some(found.process.as_ref()?.pid)).collect();
            found.is_superset(&pids).then_some(())
        },
    );
    expose(&daemon);
    show(&daemon);
    drop(servers);
    // What they leaked ends with them.
    let shows_all = |watch: &Lines| {
        let lines = watch.so_far();
        pids.iter().all(|pid| lines.iter().any(|line| line.contains(&pid.to_string())))
    };
    until(|| format!("{:?}", watches[3].so_far()), || watches.iter().all(shows_all).then_some(()));
    for watch in &watches {
        harmless_names("watch", &watch.so_far().join("\n"));
    }
    let file = record.interrupt();
    for command in [&["list", "--closed"][..], &["list", "--closed", "--json"], &["watch"]] {
        let mut replay = program::program();
        replay.arg("replay").arg(&file).args(command);
        harmless_names("replay", &shown(&mut replay));
    }
}

/// In both formats every name is a label's value, and no more than that.
#[track_caller]
fn expose(daemon: &Daemon) {
    let text = daemon.get("/metrics");
    let standing = standing(&samples(&text));
    assert_eq!(standing.len(), NAMES.len(), "{standing:#?}");
    let is_right = |count: &f64| (count - f64::from(MANY)).abs() < 0.1;
    assert!(standing.values().all(is_right), "{standing:#?}");
    lint(&text);
    let open = daemon.get_with("/metrics", OPEN_METRICS);
    let open = open.strip_suffix("# EOF\n").expect("the end is told");
    assert!(!open.contains("\n# EOF\n"), "the end is told twice: {open}");
    assert_eq!(self::standing(&samples(open)), standing);
}

/// Every command shows text, and nothing but that.
#[track_caller]
fn show(daemon: &Daemon) {
    for command in ["list", "diagnose"] {
        harmless_names(command, &shown(tool(daemon).arg(command)));
        harmless_names(command, &shown(tool(daemon).args([command, "--json"])));
    }
    for command in ["status", "doctor"] {
        harmless(command, &shown(tool(daemon).arg(command)));
        harmless(command, &shown(tool(daemon).args([command, "--json"])));
    }
    let leaked = daemon.get("/api/v1/connections?state=close_wait");
    let leaked: ConnectionList = serde_json::from_str(&leaked).unwrap();
    assert_eq!(leaked.connections.len(), NAMES.len() * MANY as usize);
    for known in &leaked.connections {
        harmless("show", &shown(tool(daemon).args(["show", &known.id])));
        harmless("show", &shown(tool(daemon).args(["show", "--json", &known.id])));
    }
}

#[test]
#[ignore = "needs root"]
fn crowds_slow_ones_and_big_talkers_leave_tracing_alone() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let netns = Netns::new();
    let address: SocketAddr = ([127, 0, 0, 1], 10435).into();
    let daemon = Daemon::inside(&netns, &["--web.listen-address", &address.to_string()]);
    let (client, server) = (netns.actor("ht-client"), netns.actor("ht-server"));
    let listener = server.listen(loopback(true));
    let mut ends = Vec::new();
    let mut own = |count: usize| {
        for _ in 0..count {
            let near = client.connect(listener.local());
            ends.push((near.local(), listener.local()));
            let far = listener.accept();
            near.close();
            far.read_to_end(b"");
            far.close();
        }
    };
    let (mut crowd, mut slow) = (Vec::new(), Vec::new());
    netns.within(|| {
        for number in 0..CROWD {
            crowd.push(TcpStream::connect(address).unwrap());
            if number % 250 == 249 {
                scrape(address);
            }
        }
    });
    own(OWN / 3);
    netns.within(|| {
        for number in 0..100 {
            let mut stream = TcpStream::connect(address).unwrap();
            // Half of them write slowly, half ask and ask and read nothing.
            let asked =
                b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
            let text = if number % 2 == 0 { &asked[..20] } else { asked };
            let _ = stream.write_all(text);
            slow.push(stream);
        }
        for _ in 0..5 {
            for stream in &mut slow {
                let _ = stream.write_all(b"X");
            }
            scrape(address);
        }
    });
    own(OWN / 3);
    netns.within(|| {
        let long = "b".repeat(1 << 20);
        for head in [
            format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"),
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: y\r\n".repeat(50_000)),
            long.clone(),
        ] {
            let answer = say(address, head.as_bytes());
            assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
            scrape(address);
        }
    });
    own(OWN - 2 * (OWN / 3));
    let text = netns.within(|| scrape(address));
    lint(&text);
    drop((crowd, slow));

    for &(near, far) in &ends {
        for (one, other) in [(near, far), turned((near, far))] {
            until(
                || format!("{one} to {other}: {:#?}", daemon.stories(one, other)),
                || daemon.stories(one, other).iter().any(|known| known.complete).then_some(()),
            );
        }
    }
    let metrics = daemon.metrics();
    assert_eq!(metrics.nonzero("tcp_trace_events_lost_total"), BTreeMap::new());
    assert_eq!(metrics.count("tcp_trace_illegal_transitions_total"), 0);
    let dropped = metrics.nonzero("tcp_trace_web_connections_dropped_total");
    assert!(dropped["reason=\"no_place\""] > 800, "{dropped:?}");
}

/// A scrape over TCP, which must be answered promptly; its body.
#[track_caller]
fn scrape(address: SocketAddr) -> String {
    let answer = say(address, b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer is HTTP");
    assert!(head.split(' ').nth(1) == Some("200"), "{head}");
    body.to_owned()
}

/// What is answered to `text`, as far as it can be had.
fn say(address: SocketAddr, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PROMPT)).unwrap();
    stream.set_write_timeout(Some(PROMPT)).unwrap();
    // Who talks too much is cut short.
    let _ = stream.write_all(text);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Our program, on the daemon's socket.
fn tool(daemon: &Daemon) -> Command {
    let mut command = program::program();
    command.arg("--socket").arg(daemon.socket());
    command
}

/// What it prints; it must have understood what it was asked.
#[track_caller]
fn shown(command: &mut Command) -> String {
    let ran = run(command);
    // A diagnosis with findings, and a host without a feature, have an exit code of their own.
    assert_ne!(ran.code, 2, "{ran:?}");
    ran.out + &ran.err
}

/// Nothing in it steers a terminal or disguises what stands beside it.
#[track_caller]
fn harmless(who: &str, text: &str) {
    assert!(!text.is_empty(), "{who} shows nothing");
    let bad = |c: char| (c.is_control() && c != '\n') || ('\u{2028}'..='\u{202e}').contains(&c);
    assert!(!text.contains(bad), "{who}: {text:?}");
}

/// Likewise, and one of [`NAMES`] is in it.
#[track_caller]
fn harmless_names(who: &str, text: &str) {
    harmless(who, text);
    assert!(text.contains("back\\"), "{who} names nobody: {text}");
}

/// Each series with its value; every line must be one, and none twice.
#[track_caller]
fn samples(text: &str) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = parse(line).unwrap_or_else(|| panic!("no sample: {line:?}"));
        assert!(samples.insert(series, value).is_none(), "twice: {line:?}");
    }
    samples
}

type Series = (String, BTreeMap<String, String>);

/// `name{label="value",…} number`, as both formats have it.
fn parse(line: &str) -> Option<(Series, f64)> {
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at + 1,
                    (_, '\\') => value.push(match chars.next()?.1 {
                        'n' => '\n',
                        same @ ('\\' | '"') => same,
                        _ => return None,
                    }),
                    (_, c) => value.push(c),
                }
            };
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = &after[end..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    is_name(name).then(|| ((name.to_owned(), labels), value))
}

/// Sockets in `CLOSE_WAIT`, by the name of their process.
fn standing(samples: &BTreeMap<Series, f64>) -> BTreeMap<String, f64> {
    let of = samples.iter().filter(|((name, labels), value)| {
        name == "tcp_trace_process_connections"
            && labels.get("state").is_some_and(|state| state == "close_wait")
            && **value > 0.0
    });
    of.map(|((_, labels), value)| (labels["process"].clone(), *value)).collect()
}

/// Prometheus' own linter.
#[track_caller]
fn lint(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there (Debian: prometheus)");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "needs root"]
fn a_sample_is_told_from_what_is_none() {
    let (series, value) = parse(r#"a_b{c="d\"e\\\n",f=""} 1.5"#).unwrap();
    let labels = [("c", "d\"e\\\n"), ("f", "")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!((series, value), (("a_b".to_owned(), labels), 1.5));
    assert!(parse("a 1").is_some());
    for bad in [r#"a{b="c} 1"#, r#"a{b="c\d"} 1"#, "a{b=\"c\"}", "a b c", "", r#"a{b="1",b="2"} 1"#]
    {
        assert!(parse(bad).is_none(), "{bad}");
    }
}
