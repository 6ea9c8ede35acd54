//! Where in the code: what a program called is known by name, live, in a finding and in a recording.
//!
//! The functions are a handful of instructions that the test writes into memory and names in a perf
//! map, as compilers at run time do: so the same test holds in a guest that has no symbols at all.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use tcp_trace::api::{Connection, Diagnosis, Finding, Stack};

use super::{
    daemon::Daemon,
    deadline::until,
    netns::Netns,
    program::{open_directory, program, run},
    streams::Record,
};

#[path = "stacks/compiled.rs"]
mod compiled;
#[path = "stacks/gcc.rs"]
mod gcc;

use compiled::{Compiled, Function};

/// Connections of a leak.
const MANY: usize = 4;

/// The stack of the one connection between these ends, once it is known.
#[track_caller]
fn stack_of(daemon: &Daemon, local: SocketAddr, remote: SocketAddr) -> Stack {
    let stories = || daemon.stories(local, remote);
    let known = |known: Vec<Connection>| known.into_iter().find_map(|one| one.stack);
    until(|| format!("no stack in {:#?}\n{}", stories(), daemon.log()), || known(stories()))
}

fn functions(stack: &Stack) -> Vec<&str> {
    stack.frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?")).collect()
}

/// A connection opened by a compiled function.
fn connect(compiled: &Compiled, function: Function, to: SocketAddr) -> TcpStream {
    let SocketAddr::V4(to) = to else { panic!("an address of IPv4") };
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    let address = libc::sockaddr_in {
        sin_family: u16::try_from(libc::AF_INET).unwrap(),
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let fd = u64::try_from(socket.as_raw_fd()).unwrap();
    let size = size_of_val(&address) as u64;
    let pointer = &raw const address as u64;
    assert_eq!(compiled.call(function, libc::SYS_connect, [fd, pointer, size]), 0);
    socket.into()
}

/// A connection accepted by a compiled function.
fn accept(compiled: &Compiled, function: Function, listener: &TcpListener) -> TcpStream {
    let fd = u64::try_from(listener.as_raw_fd()).unwrap();
    let accepted = compiled.call(function, libc::SYS_accept, [fd, 0, 0]);
    let fd = i32::try_from(accepted).unwrap();
    assert!(fd >= 0, "accept() gave {fd}");
    // SAFETY: the kernel has just handed it out, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }.into()
}

#[test]
#[ignore = "needs root"]
fn functions_are_named_from_the_call_outwards() {
    let netns = Netns::new();
    let daemon = Daemon::start(&[&netns], &["--stacks"]);
    let compiled = Compiled::new();
    netns.within(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        for (function, name) in [(Function::Buy, "buy"), (Function::Refund, "refund")] {
            let client = connect(&compiled, function, at);
            let from = client.local_addr().unwrap();
            let server = accept(&compiled, function, &listener);
            let opened = stack_of(&daemon, from, at);
            assert_eq!(opened.call, "connect");
            assert_eq!(functions(&opened), ["make_call", name], "{opened:#?}");
            assert_eq!(opened.headline, format!("make_call ← {name}"));
            if daemon.hooks("accept_") {
                let accepted = stack_of(&daemon, at, from);
                assert_eq!(accepted.call, "accept");
                assert_eq!(functions(&accepted), ["make_call", name], "{accepted:#?}");
            }
            drop((client, server));
        }
    });
    let status = daemon.status();
    assert!(status.stacks.on);
    let accepts = status.degradations.iter().any(|lack| lack.feature == "stacks");
    assert_eq!(accepts, !daemon.hooks("accept_"), "{:#?}", status.degradations);
    let metrics = daemon.metrics().nonzero("tcp_trace_stacks_total");
    let count = |result: &str| metrics.get(&format!("result=\"{result}\"")).copied();
    assert!(count("taken") >= Some(2) && count("taken") == count("named"), "{metrics:?}");
}

#[test]
#[ignore = "needs root"]
fn a_leak_is_one_finding_with_its_stack() {
    let netns = Netns::new();
    let own = std::process::id().to_string();
    let stacks = format!("--stacks={own}");
    let daemon = Daemon::reconciling(&[&netns], 300, &["--older-than", "1s", &stacks]);
    let compiled = Compiled::new();
    netns.within(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut leaked = Vec::new();
        for _ in 0..MANY {
            let mut client = connect(&compiled, Function::Buy, at);
            drop(listener.accept().unwrap());
            // The end of file is read, and close() is not called.
            assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
            leaked.push(client);
        }
        let found = until(
            || daemon.get("/api/v1/diagnosis"),
            || {
                let all: Diagnosis =
                    serde_json::from_str(&daemon.get("/api/v1/diagnosis")).unwrap();
                let is =
                    |found: &Finding| found.kind == "close_wait_leak" && found.count == MANY as u64;
                all.findings.into_iter().find(is)
            },
        );
        let opened: Vec<_> =
            found.evidence.iter().filter(|line| line.label == "opened at").collect();
        let [opened] = opened[..] else { panic!("one line: {found:#?}") };
        assert_eq!(opened.text, "make_call ← buy  (all 4 share this stack)");
        assert!(found.unseen.iter().all(|text| !text.contains("where in the code")), "{found:#?}");
        drop(leaked);
    });
}

#[test]
#[ignore = "needs root"]
fn nobody_elses_stack_is_taken_and_none_unasked() {
    let netns = Netns::new();
    let compiled = Compiled::new();
    for (arguments, on) in [(&["--stacks=somebody-else"][..], true), (&[][..], false)] {
        let daemon = Daemon::start(&[&netns], arguments);
        netns.within(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = listener.local_addr().unwrap();
            let client = connect(&compiled, Function::Buy, at);
            let from = client.local_addr().unwrap();
            until(|| "no such connection".to_owned(), || daemon.stories(from, at).pop());
            // Whatever was taken would be told by now.
            std::thread::sleep(Duration::from_millis(500));
            assert!(daemon.stories(from, at).iter().all(|known| known.stack.is_none()));
        });
        let status = daemon.status();
        assert_eq!((status.stacks.on, status.stacks.fates), (on, Vec::new()));
    }
}

#[test]
#[ignore = "needs root"]
fn a_recording_tells_stacks_on_any_machine() {
    let netns = Netns::new();
    let directory = open_directory();
    let file = directory.path().join("recording");
    let compiled = Compiled::new();
    let record = Record::start_with(&file, &[&netns], &["--segments=off", "--stacks"]);
    let (at, from) = netns.within(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let from = (0..MANY)
            .map(|_| connect(&compiled, Function::Refund, at).local_addr().unwrap())
            .next_back()
            .unwrap();
        (at, from)
    });
    record.interrupt();
    drop(compiled);
    let replay =
        |arguments: &[&str]| run(program().arg("replay").arg(&file).args(arguments)).good();
    let port = from.port().to_string();
    let list = replay(&["list", "--closed", "--json", "--port", &port]);
    let list: tcp_trace::api::ConnectionList = serde_json::from_str(&list).unwrap();
    let is =
        |known: &&Connection| known.local.port == from.port() && known.remote.port == at.port();
    let id = &list.connections.iter().find(is).unwrap().id;
    let shown: Connection = serde_json::from_str(&replay(&["show", id, "--json"])).unwrap();
    let stack = shown.stack.unwrap();
    assert_eq!(functions(&stack), ["make_call", "refund"], "{stack:#?}");
    let text = replay(&["show", id]);
    assert!(text.contains("opened at\n  make_call+0x"), "{text}");
}
