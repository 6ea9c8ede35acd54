//! Recordings in git and the timelines they must give.
//!
//! A `.rec` is a run of the scenario of that name in `tests/kernel`, recorded in a network namespace
//! of its own: `UPDATE_GOLDEN=1 cargo test --test kernel -- --ignored --test-threads=1` (root) makes
//! them anew. The `.txt` beside it is what `replay` tells about each connection:
//! `UPDATE_GOLDEN=1 cargo test --test golden` blesses what it tells now. Look at the difference
//! before you commit it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test's own machinery is a failure of the test"
)]

use std::{
    env,
    fs::{self, File},
    io::BufReader,
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

use tcp_trace::{
    api::{Connection, ConnectionList},
    core::{
        decode::{self, Record},
        recording::{Frame, Reader},
    },
};
use zerocopy::IntoBytes as _;

#[expect(dead_code, reason = "failures are for other tests")]
#[path = "support/program.rs"]
mod program;

use program::{open_directory, run, unprivileged};

/// Scenarios that have a recording; fewer would mean that some were lost.
const SCENARIOS: usize = 21;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

/// What `replay` tells about every connection whose socket has ended, as `list` and `show` tell it.
fn stories(recording: &Path) -> String {
    // A checkout may lie where nobody else may look.
    let directory = open_directory();
    let file = directory.path().join("recording");
    fs::copy(recording, &file).unwrap();
    let replay =
        |arguments: &[&str]| run(unprivileged().arg("replay").arg(&file).args(arguments)).good();
    // Named, the state brings listeners along; in TIME_WAIT or FIN_WAIT2, only a mini-socket is left.
    let states = ["close", "time_wait", "fin_wait2"].map(|state| format!("--state={state}"));
    let mut list = vec!["list", "--closed", "--limit=0", "--json"];
    list.extend(states.iter().map(String::as_str));
    let list = replay(&list);
    let list: ConnectionList = serde_json::from_str(&list).unwrap();
    let mut connections = list.connections;
    connections.sort_by_key(|connection| u64::from_str_radix(&connection.id, 16).unwrap());
    let story = |connection: &Connection| {
        format!("{}\n{}\n", facts(connection), replay(&["show", &connection.id]))
    };
    connections.iter().map(story).collect()
}

/// What `show` says in other words.
fn facts(connection: &Connection) -> String {
    let or_none = |text: &Option<String>| text.as_deref().unwrap_or("none").to_owned();
    format!(
        "== {} {} {} reason={} by={} error={} complete={} unread={:?}",
        connection.id,
        connection.family,
        connection.direction,
        or_none(&connection.close_reason),
        or_none(&connection.closed_by),
        or_none(&connection.error),
        connection.complete,
        connection.recv_queue.as_ref().map(|queue| queue.unread_bytes),
    )
}

#[test]
fn recordings_give_the_timelines_they_gave() {
    let recordings = files("rec");
    assert!(recordings.len() >= SCENARIOS, "recordings are missing: {recordings:?}");
    let mut changed = Vec::new();
    for recording in recordings {
        let (golden, told) = (recording.with_extension("txt"), stories(&recording));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, told).unwrap();
            continue;
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        if told != wanted {
            changed.push(format!("{}:\n{}", golden.display(), difference(&wanted, &told)));
        }
    }
    assert!(
        changed.is_empty(),
        "{}\nif that is right: UPDATE_GOLDEN=1 cargo test --test golden",
        changed.join("\n")
    );
}

/// The first lines that differ.
fn difference(wanted: &str, told: &str) -> String {
    let (mut wanted, mut told) = (wanted.lines(), told.lines());
    let mut lines = Vec::new();
    while lines.len() < 6 {
        match (wanted.next(), told.next()) {
            (None, None) => break,
            (wanted, told) if wanted == told => {}
            (wanted, told) => {
                lines.push(format!(
                    "- {}\n+ {}",
                    wanted.unwrap_or("(end)"),
                    told.unwrap_or("(end)")
                ));
            }
        }
    }
    lines.join("\n")
}

#[test]
fn every_timeline_has_its_recording() {
    let without = |extension: &str, other: &str| {
        let files = files(extension);
        files.into_iter().filter(|file| !file.with_extension(other).exists()).collect::<Vec<_>>()
    };
    assert!(without("txt", "rec").is_empty(), "{:?}", without("txt", "rec"));
    assert!(without("rec", "txt").is_empty(), "{:?}", without("rec", "txt"));
}

#[test]
fn recordings_hold_nothing_but_the_scenarios_own() {
    for path in files("rec") {
        let mut reader = Reader::new(BufReader::new(File::open(&path).unwrap())).unwrap();
        let namespaces = reader.header().netns.clone();
        assert!(!namespaces.is_empty(), "{}", path.display());
        while let Some(frame) = reader.next_frame().unwrap() {
            let Frame::Record { bytes, .. } = frame else { continue };
            let record = decode::record(&bytes).unwrap();
            let (netns, comm, addresses) = match &record {
                Record::State(r) => (r.netns, r.comm, [r.local_addr, r.remote_addr]),
                Record::Life(r) => (r.netns, r.comm, [r.local_addr, r.remote_addr]),
                Record::Segment(r) => (r.netns, [0; 2], [r.source_addr, r.destination_addr]),
            };
            assert!(namespaces.contains(&netns), "{}: {record:?}", path.display());
            let name = comm.as_bytes().split(|byte| *byte == 0).next().unwrap();
            // Where nobody was asked for, nobody is named.
            let is_ours = name.starts_with(b"kt-") || [&b"stranger"[..], b""].contains(&name);
            assert!(is_ours, "{}: {record:?}", path.display());
            for address in addresses {
                assert!(is_own(address.into()), "{}: {address:?}", path.display());
            }
        }
    }
}

/// Whether the address is loopback, of a test's wire, or none.
fn is_own(address: Ipv6Addr) -> bool {
    match address.to_ipv4_mapped() {
        Some(v4) => v4.is_loopback() || v4.is_unspecified() || v4.octets()[..3] == [10, 99, 0],
        None => {
            address.is_loopback() || address.is_unspecified() || address.segments()[0] == 0xfd99
        }
    }
}
