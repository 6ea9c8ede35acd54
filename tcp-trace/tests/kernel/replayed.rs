//! A recording, replayed by a user without privileges, must tell what was told live, and tell the
//! times that stand in the raw records.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::BufReader,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tcp_trace::{
    api::{ClosedEvent, Connection, ConnectionList, Event, StateEvent, Step},
    core::{
        decode::{self, Record},
        recording::{Frame, Reader},
        tcp_state::{TcpState, Transition},
    },
};

use tcp_trace_common::KIND_STATE;

use super::{
    life::{Told, by_connection},
    netns::HOME,
    program::{run, unprivileged},
};

/// Two tracers read the clock one after the other for one and the same change; this much may lie
/// between the two readings on a host that is busy elsewhere.
const APART_US: u64 = 50_000;

/// Judges the recording `file`, taken while `live` was told.
pub(crate) fn judge(file: &Path, live: &BTreeMap<u64, Told>) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    let replayed = replay(file, &["watch", "--format", "json"]);
    let events: Vec<Event> =
        replayed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = by_connection(events);
    judge_times(&told, &births(file));
    // Those who say "so far, so good" in between are no part of what is judged.
    let told: BTreeMap<_, _> = told.into_iter().filter(|(_, told)| !is_home(told.last())).collect();
    judge_words(&told, live);
    judge_questions(file, &told);
}

/// Runs `replay` as nobody.
fn replay(file: &Path, arguments: &[&str]) -> String {
    run(unprivileged().arg("replay").arg(file).args(arguments)).good()
}

fn is_home(connection: &Connection) -> bool {
    connection.owner.as_ref().is_some_and(|owner| owner.comm == HOME)
}

/// One socket's changes, as the raw records have them.
type Birth = Vec<(u64, TcpState, TcpState)>;

/// Every life in the recording, in the order of their first records: told from raw records alone,
/// by a few lines that share nothing with the table.
fn births(file: &Path) -> Vec<Birth> {
    let mut reader = Reader::new(BufReader::new(File::open(file).unwrap())).unwrap();
    assert_eq!(
        reader.header().netns.len(),
        reader.header().netns.iter().filter(|n| **n != 0).count()
    );
    let netns = reader.header().netns.clone();
    let mut records = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        match frame {
            Frame::Record { bytes, .. } => {
                let record = match decode::record(&bytes).unwrap() {
                    Record::State(record) if record.kind == KIND_STATE => record,
                    // A snapshot, and what else is no change of state.
                    Record::State(_) | Record::Life(_) | Record::Segment(_) => continue,
                };
                assert!(netns.contains(&record.netns), "a record of somebody else's namespace");
                records.push(record);
            }
            Frame::Lost { count, .. } => panic!("{count} records were lost"),
            Frame::Counters { .. } | Frame::Stack(_) | Frame::End { .. } => {}
        }
    }
    records.sort_by_key(|record| record.time_ns);
    let (mut births, mut open) = (Vec::<Birth>::new(), HashMap::new());
    for record in records {
        let state = |number| TcpState::from_number(number).unwrap();
        let (old, new) = (state(record.old_state), state(record.new_state));
        if old.transition(new) == Transition::Birth {
            open.insert(record.sk, births.len());
            births.push(Vec::new());
        }
        births[open[&record.sk]].push((record.time_ns, old, new));
    }
    births
}

/// Numbers and offsets are those of the raw records, to the microsecond.
fn judge_times(told: &BTreeMap<u64, Told>, births: &[Birth]) {
    assert_eq!(
        told.keys().copied().collect::<Vec<_>>(),
        (1..=births.len() as u64).collect::<Vec<_>>()
    );
    for (Told { changes, closed }, birth) in told.values().zip(births) {
        let of_events: Vec<_> = changes.iter().map(|event| (&*event.from, &*event.to)).collect();
        let of_records: Vec<_> =
            birth.iter().map(|(_, old, new)| (old.name(), new.name())).collect();
        assert_eq!(of_events, of_records);
        for closed in closed {
            let steps = closed.connection.timeline.as_ref().unwrap();
            let changes = steps.iter().filter(|step| step.from.is_some());
            let offsets: Vec<_> = changes.map(|step| step.offset_us).collect();
            let real = birth.iter().filter(|(_, old, new)| old != new);
            let wanted: Vec<_> = real.map(|(at, ..)| (at - birth[0].0) / 1000).collect();
            // A connection whose SYN was seen begins before its first change, by some nanoseconds
            // more than the microseconds told.
            let begun = offsets[0];
            let fits = |(told, wanted): (&u64, &u64)| (told - begun).abs_diff(*wanted) <= 1;
            let same = offsets.len() == wanted.len() && offsets.iter().zip(&wanted).all(fits);
            assert!(same, "{offsets:?} is not {wanted:?}: {:#?}", closed.connection);
        }
    }
}

/// All but the times is what was told live.
fn judge_words(told: &BTreeMap<u64, Told>, live: &BTreeMap<u64, Told>) {
    let numbers = |told: &BTreeMap<u64, Told>| {
        let first = *told.keys().next().unwrap();
        told.keys().map(|id| id - first).collect::<Vec<_>>()
    };
    assert_eq!(numbers(told), numbers(live), "the same connections in the same order");
    for (replayed, live) in told.values().zip(live.values()) {
        let words = |event: &StateEvent| StateEvent {
            at: String::new(),
            connection: timeless(&event.connection),
            in_state_seconds: None,
            socket: String::new(),
            ..event.clone()
        };
        let changes = |told: &Told| told.changes.iter().map(words).collect::<Vec<_>>();
        assert_eq!(changes(replayed), changes(live));
        let closed = |told: &Told| {
            told.closed.iter().map(|event| timeless(&event.connection)).collect::<Vec<_>>()
        };
        assert_eq!(closed(replayed), closed(live));
        for (replayed, live) in replayed.closed.iter().zip(&live.closed) {
            for (replayed, live) in offsets(replayed).zip(offsets(live)) {
                assert!(replayed.abs_diff(live) < APART_US, "{replayed} µs, live {live} µs");
            }
        }
    }
}

fn offsets(event: &ClosedEvent) -> impl Iterator<Item = u64> {
    event.connection.timeline.iter().flatten().map(|step| step.offset_us)
}

fn steps(connection: &Connection) -> &[Step] {
    connection.timeline.as_deref().unwrap_or_default()
}

/// Without times, and without what a mini-socket goes on to do after the event was told.
fn timeless(connection: &Connection) -> Connection {
    let step = |step: &Step| Step { at: String::new(), offset_us: 0, ..step.clone() };
    Connection {
        id: String::new(),
        state_since: String::new(),
        state_age_seconds: 0.0,
        opened_at: None,
        closed_at: None,
        state: if connection.mini { String::new() } else { connection.state.clone() },
        timeline: connection
            .timeline
            .as_ref()
            .filter(|_| !connection.mini)
            .map(|steps| steps.iter().map(step).collect()),
        ..connection.clone()
    }
}

/// `list --closed` and `show` answer with the same connections.
fn judge_questions(file: &Path, told: &BTreeMap<u64, Told>) {
    let text = replay(file, &["list", "--closed", "--limit", "0", "--json"]);
    let list: ConnectionList = serde_json::from_str(&text).unwrap();
    let mut listed: Vec<_> = list.connections.into_iter().map(|c| (c.id.clone(), c)).collect();
    listed.sort_by_key(|(id, _)| u64::from_str_radix(id, 16).unwrap());
    let ended = || {
        let closed = told.values().flat_map(|told| &told.closed);
        closed.map(|event| &event.connection).filter(|c| c.close_reason.is_some())
    };
    let listed_ids: Vec<_> = listed.iter().map(|(id, _)| id).collect();
    assert_eq!(listed_ids, ended().map(|connection| &connection.id).collect::<Vec<_>>());
    for (connection, (_, listed)) in ended().zip(&listed) {
        let text = replay(file, &["show", &connection.id, "--json"]);
        let shown: Connection = serde_json::from_str(&text).unwrap();
        // A mini-socket goes on with what has ended for its full socket.
        let (told, all) = (steps(connection), steps(&shown));
        let afterwards = all.strip_prefix(told).unwrap_or_else(|| panic!("{told:#?} in {all:#?}"));
        // A RST goes out just after the state that it explains.
        let explains = |step: &Step| step.segment.is_some() || step.call.is_some();
        assert!(shown.mini || afterwards.iter().all(explains), "{all:#?}");
        // What ended some time before the recording did is older now, and the peer's FIN may have
        // come to the mini-socket.
        assert!(shown.peer_closed == connection.peer_closed || shown.mini, "{all:#?}");
        let shown_then = Connection {
            timeline: connection.timeline.clone(),
            peer_closed: connection.peer_closed,
            ..shown.clone()
        };
        assert_eq!(timeless(&shown_then), timeless(connection));
        let without = Connection { timeline: None, ..shown };
        assert_eq!(&without, listed);
    }
}
