//! Captures in git and the timelines they must give.
//!
//! Each was taken with dumpcap in a network namespace of its own, of sockets on loopback or a veth
//! pair; `vlan.pcap` is `server_first.pcap` with a tag put into each frame, `begun_before.pcap` the same
//! without its handshake, and `cut.pcapng` has
//! lost the names of the machine it was taken on. The `.txt` beside it is what `replay` tells:
//! `UPDATE_GOLDEN=1 cargo test --test captures` blesses what it tells now. Look at the difference
//! before you commit it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test's own machinery is a failure of the test"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tcp_trace::api::{ConnectionList, Diagnosis, Event, Status};

#[expect(dead_code, reason = "some of it is for other tests")]
#[path = "support/program.rs"]
mod program;

use program::{Ran, open_directory, run, unprivileged};

/// Captures there must be; fewer would mean that some were lost.
const CAPTURES: usize = 14;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

fn captures() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let is_capture = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng")
    };
    let mut files: Vec<_> = entries.filter(is_capture).collect();
    files.sort();
    files
}

/// Replays bytes, as somebody without any rights.
fn replay(bytes: &[u8], arguments: &[&str]) -> Ran {
    // A checkout may lie where nobody else may look.
    let directory = open_directory();
    let file = directory.path().join("capture");
    fs::write(&file, bytes).unwrap();
    run(unprivileged().arg("replay").arg(&file).args(arguments))
}

fn connections(ran: &Ran) -> ConnectionList {
    serde_json::from_str(&ran.out).unwrap()
}

/// What `replay` tells about every connection, as `list` and `show` tell it.
fn stories(bytes: &[u8]) -> String {
    let all = ["list", "--closed", "--limit=0"];
    let list = replay(bytes, &all);
    let told = connections(&replay(bytes, &[&all[..], &["--json"]].concat()));
    let mut ids: Vec<_> =
        told.connections.into_iter().map(|one| u64::from_str_radix(&one.id, 16).unwrap()).collect();
    ids.sort_unstable();
    let mut story = format!("{}{}", list.err, list.out);
    for id in ids {
        let ran = replay(bytes, &["show", &format!("{id:x}")]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        story.push('\n');
        story.push_str(&ran.out);
    }
    story
}

#[test]
fn captures_give_the_timelines_they_gave() {
    let captures = captures();
    assert!(captures.len() >= CAPTURES, "captures are missing: {captures:?}");
    let mut changed = Vec::new();
    for capture in captures {
        let golden = PathBuf::from(format!("{}.txt", capture.display()));
        let told = stories(&fs::read(&capture).unwrap());
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, told).unwrap();
        } else if told != fs::read_to_string(&golden).unwrap_or_default() {
            changed.push(format!("{}:\n{told}", golden.display()));
        }
    }
    assert!(
        changed.is_empty(),
        "{}\nif that is right: UPDATE_GOLDEN=1 cargo test --test captures",
        changed.join("\n")
    );
}

#[test]
fn captures_name_nothing_of_the_machine_they_were_taken_on() {
    for capture in captures() {
        let bytes = fs::read(&capture).unwrap();
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        for word in ["linux", "dumpcap", "wireshark", "cpu", "amd", "intel", "eth0"] {
            assert!(!text.contains(word), "{}: {word}", capture.display());
        }
    }
}

fn server_first() -> Vec<u8> {
    fs::read(directory().join("server_first.pcap")).unwrap()
}

#[test]
fn a_capture_is_watched_and_says_how_it_stands() {
    let bytes = server_first();
    let watched = replay(&bytes, &["watch", "--json"]);
    let events: Vec<Event> =
        watched.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((watched.code, watched.err.as_str()), (0, ""));
    assert!(events.len() > 8, "{events:#?}");
    let status: Status = serde_json::from_str(&replay(&bytes, &["status", "--json"]).out).unwrap();
    assert_eq!((status.source.as_str(), status.passed_over.len()), ("capture", 0));
    assert!(status.events > 10 && status.connections == 1, "{status:#?}");
}

#[test]
fn a_connection_is_shown_that_is_named_by_what_list_filters_by() {
    let bytes = server_first();
    let told = connections(&replay(&bytes, &["list", "--closed", "--json"]));
    let one = told.connections.first().unwrap();
    let (local, remote) = (one.local.port.to_string(), one.remote.port.to_string());
    let shown = |filter: &[&str]| replay(&bytes, &[&["show", "--closed"], filter].concat());

    let ran = shown(&["--local", &local]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, replay(&bytes, &["show", &one.id]).out);
    // Both ends of it are known.
    for (which, other) in [("oldest", "--oldest"), ("newest", "--newest")] {
        let ran = shown(&["--port", &remote, other]);
        let told = format!("this is the {which}; 1 other matches as well\n");
        assert_eq!((ran.code, ran.err), (0, told));
    }
    let ran = shown(&["--local", ":1"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no connection matches; 'tcp-trace replay "), "{}", ran.err);
    assert_eq!(replay(&bytes, &["show"]).code, 2);
}

/// The packets of a capture, each with the header of its own, `seconds` later than they passed.
fn packets(capture: &[u8], seconds: u32) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut rest = &capture[24..];
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (packet, behind) = rest.split_at(16 + word(8) as usize);
        let at = (word(0) + seconds).to_le_bytes();
        packets.push([&at, &packet[4..]].concat());
        rest = behind;
    }
    packets
}

#[test]
fn a_capture_is_diagnosed_as_far_as_segments_tell() {
    let ran = replay(&server_first(), &["diagnose"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:#?}");
    assert!(ran.out.starts_with("nothing wrong in this capture"), "{ran:#?}");
    assert!(ran.out.contains("not seen: what the host itself says"), "{ran:#?}");
    for unknown in ["accept queue", "28,232", "suffice", "nothing lost"] {
        assert!(!ran.out.contains(unknown), "{unknown}: {ran:#?}");
    }
    // A server that never answers the FIN of its client, while others come and go.
    let half_close = fs::read(directory().join("half_close.pcap")).unwrap();
    let mut open = packets(&half_close, 0);
    open.truncate(open.len() - 2);
    let mut bytes = half_close[..24].to_vec();
    bytes.extend(open.concat());
    let first = |packets: &[Vec<u8>]| u32::from_le_bytes(packets[0][..4].try_into().unwrap());
    let gap = first(&open).abs_diff(first(&packets(&server_first(), 0)));
    for round in 1..=4 {
        bytes.extend(packets(&server_first(), gap + round * 70).concat());
    }
    let ran = replay(&bytes, &["diagnose", "--at-least", "1", "--json"]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    let told: Diagnosis = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((told.source.as_str(), told.host.as_str()), ("capture", ""));
    let [found] = told.findings.as_slice() else { panic!("{told:#?}") };
    assert_eq!((found.kind.as_str(), found.count), ("close_wait_leak", 1));
    assert_eq!(found.service.as_deref(), Some("port 8080"));
    assert!(found.process.is_none() && found.confidence != "high", "{found:#?}");
    let cause = found.evidence.iter().find(|line| line.label == "cause").unwrap();
    assert!(cause.text.contains("no FIN has followed"), "{cause:?}");
    assert!(found.unseen.iter().any(|line| line.contains("segments do not tell")), "{found:#?}");
}

#[test]
fn a_capture_cut_short_tells_what_it_holds_and_where_it_ends() {
    let whole = server_first();
    let ran = replay(&whole[..whole.len() - 70], &["list", "--closed"]);
    ran.failed(1, &["cut off at byte ", "what came before the damage is above"]);
    assert!(ran.out.contains("127.0.0.1:8080"), "{ran:#?}");
    let mut damaged = whole.clone();
    // The captured length of the second packet, behind the first and the file's header.
    let second = 24 + 16 + 74 + 8;
    damaged[second..second + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let ran = replay(&damaged, &["list", "--closed"]);
    ran.failed(1, &["damaged at byte 114: ", "beyond reason"]);
    assert!(ran.out.contains("SYN_SENT"), "{ran:#?}");
}

#[test]
fn what_is_neither_recording_nor_capture_is_named() {
    replay(b"#!/bin/sh\n", &[]).failed(1, &["neither a recording", "pcapng"]);
    replay(b"", &[]).failed(1, &["cannot be replayed: it is empty"]);
    replay(&[0x1f, 0x8b, 8, 0, 0], &[]).failed(1, &["compressed"]);
    let mut other = server_first();
    other[20] = 147;
    replay(&other, &[]).failed(1, &["link type 147", "113 (LINUX_SLL)"]);
}
