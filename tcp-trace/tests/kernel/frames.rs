//! The packet programs, run on frames that nobody sends: whatever comes, it passes unchanged, is
//! counted once, and is reported where user space reads a segment of a handshake or a teardown in it.
//!
//! `TCP_TRACE_SEED` is which frames.

use std::{collections::BTreeMap, env, thread};

use tcp_trace::kernel::packets::{PROGRAMS, Trial};
use tcp_trace_common::{
    KIND_SEGMENT, SEGMENT_ACK, SEGMENT_FATE_COUNT, SEGMENT_FATES, SEGMENT_FOLDED,
    SEGMENT_FORGOTTEN, SEGMENT_HOOK_TC_IN, SEGMENT_HOOK_TC_OUT, SEGMENT_HOOK_XDP, SEGMENT_OTHER,
    SEGMENT_SYN, SegmentRecord, Settings, TCP_ACK,
    frame::{Link, Segment, fate_of, parse_slice},
};

use crate::{needs, storm::random::Random};

#[path = "../../../tcp-trace-common/src/frame/tests/build.rs"]
mod build;
#[path = "frames/flows.rs"]
mod flows;
#[path = "frames/shapes.rs"]
mod shapes;
#[path = "frames/wire.rs"]
mod wire;

/// Frames for each program.
const FRAMES: usize = 100_000;

fn hook_of(program: &str) -> u8 {
    match program.strip_suffix("_ip").unwrap_or(program) {
        "segments_xdp" => SEGMENT_HOOK_XDP,
        "segments_in" => SEGMENT_HOOK_TC_IN,
        _ => SEGMENT_HOOK_TC_OUT,
    }
}

fn link_of(program: &str) -> Link {
    if program.ends_with("_ip") { Link::Ip } else { Link::Ethernet }
}

/// `XDP_PASS`, or `TCX_NEXT`.
fn passes(program: &str) -> i32 {
    if hook_of(program) == SEGMENT_HOOK_XDP { 2 } else { -1 }
}

fn slot(hook: u8, fate: usize) -> usize {
    usize::from(hook) * SEGMENT_FATE_COUNT + fate
}

/// Runs `program` on `frame`, which must come out as it went in; what is reported of it.
#[track_caller]
fn run(trial: &mut Trial, program: &str, frame: &[u8]) -> Option<SegmentRecord> {
    let ran = trial.run(program, frame, 1).unwrap_or_else(|why| panic!("{why}: {frame:02x?}"));
    assert_eq!(ran.verdict, passes(program), "{program}: {frame:02x?}");
    assert_eq!(ran.frame, frame, "{program}");
    let mut reported = trial.reported();
    assert!(reported.len() <= 1, "{reported:?}");
    reported.pop()
}

/// Whether `record` tells of `segment` all there is to tell.
#[track_caller]
fn judge(record: &SegmentRecord, segment: &Segment, program: &str) {
    let told = Segment {
        source_addr: record.source_addr,
        destination_addr: record.destination_addr,
        source_port: record.source_port,
        destination_port: record.destination_port,
        seq: record.seq,
        ack: record.ack,
        flags: record.flags,
        window: record.window,
        payload: record.payload,
        vlan: record.vlan,
    };
    assert_eq!(told, *segment, "{program}");
    assert_eq!((record.kind, record.len, record.hook), (KIND_SEGMENT, 80, hook_of(program)));
    assert_eq!((record.reserved, record.reserved_too), (0, 0));
    assert!(record.time_ns > 0);
    // The kernel's trials are on `lo`.
    assert_eq!(record.interface, 1, "{program}");
}

#[test]
#[ignore = "needs root"]
fn every_frame_passes_and_is_counted_as_user_space_reads_it() {
    let seed = env::var("TCP_TRACE_SEED").map_or(20_260_101, |seed| seed.parse().unwrap());
    println!("TCP_TRACE_SEED={seed}");
    thread::scope(|scope| {
        for half in [&PROGRAMS[..3], &PROGRAMS[3..]] {
            scope.spawn(move || half.iter().for_each(|program| many(program, seed)));
        }
    });
}

/// Any frames, judged one by one and together.
fn many(program: &str, seed: u64) {
    let mut trial = Trial::load(Settings::DEFAULT).unwrap();
    // Quick trials of XDP programs are those of attached ones.
    if hook_of(program) == SEGMENT_HOOK_XDP {
        wire::enter_own_namespace();
        trial.attach(program).unwrap();
    }
    let mut random = Random::new(seed);
    let hook = hook_of(program);
    let mut fates = [0; SEGMENT_FATE_COUNT];
    for _ in 0..FRAMES {
        // Now and then of the other kind of device.
        let is_ethernet = (link_of(program) == Link::Ethernet) == (random.below(20) != 0);
        let is_tried = |frame: &[u8]| hook == SEGMENT_HOOK_XDP || shapes::is_tried(frame);
        let frame = shapes::frame(&mut random, is_ethernet, is_tried);
        let record = run(&mut trial, program, &frame);
        let fate = match (parse_slice(&frame, link_of(program)), record) {
            (Ok(segment), Some(record)) => {
                judge(&record, &segment, program);
                match fate_of(segment.flags) {
                    SEGMENT_OTHER if segment.flags & TCP_ACK != 0 => SEGMENT_ACK,
                    SEGMENT_OTHER => panic!("{program} reports {segment:?}"),
                    fate => fate,
                }
            }
            (Ok(segment), None) => {
                assert_eq!(fate_of(segment.flags), SEGMENT_OTHER, "{program}: {segment:?}");
                SEGMENT_OTHER
            }
            (Err(skip), None) => skip.fate(),
            (Err(skip), Some(record)) => panic!("{program}: {skip:?} of {frame:02x?}: {record:?}"),
        };
        fates[fate] += 1;
    }
    let counters = trial.counters().unwrap();
    let first = slot(hook, 0);
    assert_eq!(counters[first..first + SEGMENT_FATE_COUNT], fates, "{program}");
    let all: u64 = counters[..SEGMENT_FOLDED].iter().sum();
    assert_eq!(all, FRAMES as u64, "{program}");
    assert_eq!(counters[SEGMENT_FOLDED..SEGMENT_FORGOTTEN], [0; 3]);
    assert!(trial.failures().unwrap().iter().all(|failed| *failed == 0));
    println!("{program}: {}", words(&fates));
    // No path is left out, save that what one hook sees is waited for at the other.
    let rare = |fate: usize| fate != SEGMENT_ACK && fates[fate] < 200;
    assert!(!(0..SEGMENT_FATE_COUNT).any(rare), "{program}: {}", words(&fates));
}

fn words(fates: &[u64]) -> String {
    let each = SEGMENT_FATES.iter().zip(fates).map(|(name, count)| format!("{name} {count}"));
    each.collect::<Vec<_>>().join(", ")
}

#[test]
#[ignore = "needs root"]
fn headers_are_found_wherever_they_lie() {
    let sent = thread::spawn(|| {
        wire::enter_own_namespace();
        let mut trial = Trial::load(Settings::DEFAULT).unwrap();
        trial.attach("segments_out").unwrap();
        let socket = wire::packet_socket();
        let mut random = Random::new(11);
        for _ in 0..500 {
            // So long that the kernel leaves all but the Ethernet header in pages.
            let frame = shapes::long_syn(&mut random);
            wire::send(&socket, &frame);
            let record = trial.reported().pop().expect("a SYN is reported as it is sent");
            judge(&record, &parse_slice(&frame, Link::Ethernet).unwrap(), "segments_out");
        }
        let counters = trial.counters().unwrap();
        assert_eq!(counters[slot(SEGMENT_HOOK_TC_OUT, SEGMENT_SYN)], 500);
        assert_eq!(counters.iter().sum::<u64>(), 500);
    });
    sent.join().unwrap();
    // Newer kernels can be told where a frame is split.
    if needs::is_at_least((6, 19)) {
        splits();
    }
}

/// Frames that are split anywhere.
fn splits() {
    let mut trial = Trial::load(Settings::DEFAULT).unwrap();
    let mut random = Random::new(7);
    let mut fates = BTreeMap::new();
    for program in ["segments_in", "segments_out"] {
        for _ in 0..3000 {
            let frame = shapes::frame(&mut random, true, shapes::is_tried);
            let least = shapes::least_linear(&frame);
            let linear = least + random.below(frame.len() - least + 1);
            let ran = trial.run_split(program, &frame, u32::try_from(linear).unwrap()).unwrap();
            assert_eq!((ran.verdict, &ran.frame), (passes(program), &frame), "{program}");
            let segment = parse_slice(&frame, Link::Ethernet);
            let record = trial.reported().pop();
            if let (Ok(segment), Some(record)) = (segment, record) {
                judge(&record, &segment, program);
            }
            let fate = match (segment, record) {
                (Ok(segment), _) if fate_of(segment.flags) == SEGMENT_OTHER => "other or ack",
                (Ok(segment), record) => {
                    assert!(record.is_some(), "{program}: {segment:?}");
                    SEGMENT_FATES[fate_of(segment.flags)]
                }
                (Err(skip), record) => {
                    assert_eq!(record, None);
                    SEGMENT_FATES[skip.fate()]
                }
            };
            *fates.entry((hook_of(program), fate)).or_insert(0u64) += 1;
        }
    }
    let counters = trial.counters().unwrap();
    for ((hook, fate), count) in fates {
        let counted = match SEGMENT_FATES.iter().position(|name| *name == fate) {
            Some(fate) => counters[slot(hook, fate)],
            None => counters[slot(hook, SEGMENT_OTHER)] + counters[slot(hook, SEGMENT_ACK)],
        };
        assert_eq!(counted, count, "{fate}");
    }
}
