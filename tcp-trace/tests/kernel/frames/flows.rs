//! The segments of connections, as frames: which ACKs are waited for, and how many are reported.

use std::{
    thread,
    time::{Duration, Instant},
};

use tcp_trace::kernel::packets::Trial;
use tcp_trace_common::{
    OUTPUT_ERRORS_SEGMENT, SEGMENT_ACK, SEGMENT_FATES, SEGMENT_FIN, SEGMENT_FOLDED,
    SEGMENT_FORGOTTEN, SEGMENT_HOOK_TC_IN, SEGMENT_HOOK_TC_OUT, SEGMENT_HOOK_XDP, SEGMENT_OTHER,
    SEGMENT_RST, SEGMENT_SYN, SEGMENT_SYN_ACK, Settings, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN,
    VALID_NETNS,
};

use super::{
    build::{Built, Network},
    hook_of, run, slot,
};

/// One end's view of a connection, as frames.
#[derive(Clone, Copy, Debug)]
struct Flow {
    is_v6: bool,
    /// Port of the end that sends `there`.
    port: u16,
}

impl Flow {
    /// A segment from the client.
    fn there(self, flags: u8, seq: u32, ack: u32, payload: u16) -> Vec<u8> {
        self.frame([[0x20; 16], [0x40; 16]], [self.port, 443], (flags, seq, ack, payload))
    }

    /// A segment from the server.
    fn back(self, flags: u8, seq: u32, ack: u32, payload: u16) -> Vec<u8> {
        self.frame([[0x40; 16], [0x20; 16]], [443, self.port], (flags, seq, ack, payload))
    }

    fn frame(
        self,
        addrs: [[u8; 16]; 2],
        ports: [u16; 2],
        (flags, seq, ack, payload): (u8, u32, u32, u16),
    ) -> Vec<u8> {
        let network = if self.is_v6 {
            Network::V6(Vec::new())
        } else {
            Network::V4 { options: 0, fragment: 0x4000 }
        };
        Built {
            is_ethernet: true,
            tags: Vec::new(),
            network,
            addrs,
            ports,
            seq,
            ack,
            flags,
            window: 500,
            options: 0,
            payload,
            is_endless: false,
            padding: 0,
        }
        .bytes()
        .0
    }
}

const XDP: &str = "segments_xdp";
const IN: &str = "segments_in";
const OUT: &str = "segments_out";

/// Runs each program on its frame; each must be counted as stated, and reported unless it is
/// another's.
#[track_caller]
fn goes(trial: &mut Trial, steps: &[(&str, Vec<u8>, usize)]) {
    for (nth, (program, frame, fate)) in steps.iter().enumerate() {
        let slot = slot(hook_of(program), *fate);
        let before = trial.counters().unwrap()[slot];
        let record = run(trial, program, frame);
        let told = SEGMENT_FATES[*fate];
        assert_eq!(trial.counters().unwrap()[slot], before + 1, "step {nth} is no {told}");
        assert_eq!(record.is_some(), *fate < SEGMENT_OTHER, "step {nth}, {told}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_ack_that_ends_a_handshake_is_told_once() {
    let mut trial = Trial::load(Settings::DEFAULT).unwrap();
    for is_v6 in [false, true] {
        for (arriving, port) in [(XDP, 40_000), (IN, 40_001)] {
            let flow = Flow { is_v6, port };
            let last = u32::MAX; // the SYN-ACK's number; its ACK is 0
            goes(
                &mut trial,
                &[
                    (arriving, flow.there(TCP_SYN, 100, 0, 0), SEGMENT_SYN),
                    (arriving, flow.there(TCP_ACK, 101, 0, 0), SEGMENT_OTHER),
                    (OUT, flow.back(TCP_SYN | TCP_ACK, last, 101, 0), SEGMENT_SYN_ACK),
                    // Of another flow, the other way, and too little.
                    (arriving, Flow { port: 1, ..flow }.there(TCP_ACK, 101, 0, 0), SEGMENT_OTHER),
                    (arriving, flow.back(TCP_ACK, 101, 0, 0), SEGMENT_OTHER),
                    (OUT, flow.there(TCP_ACK, 101, 0, 0), SEGMENT_OTHER),
                    (arriving, flow.there(TCP_ACK, 101, last, 0), SEGMENT_OTHER),
                    (arriving, flow.there(0, 101, 0, 10), SEGMENT_OTHER),
                    // The one, with data; what comes then is as any other.
                    (arriving, flow.there(TCP_ACK | 8, 101, 0, 10), SEGMENT_ACK),
                    (arriving, flow.there(TCP_ACK | 8, 111, 0, 10), SEGMENT_OTHER),
                    // The SYN-ACK comes again, as if the ACK had been lost.
                    (OUT, flow.back(TCP_SYN | TCP_ACK, last, 101, 0), SEGMENT_SYN_ACK),
                    (arriving, flow.there(TCP_ACK, 111, 0, 0), SEGMENT_ACK),
                    (arriving, flow.there(TCP_ACK, 111, 0, 0), SEGMENT_OTHER),
                ],
            );
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_ack_of_each_fin_is_told_once() {
    let mut trial = Trial::load(Settings::DEFAULT).unwrap();
    for is_v6 in [false, true] {
        let flow = Flow { is_v6, port: 40_002 };
        let seq = u32::MAX - 5;
        goes(
            &mut trial,
            &[
                // Sent with ten bytes: numbers -6 to 3, the FIN 4, so that 5 covers it.
                (OUT, flow.there(TCP_FIN | TCP_ACK, seq, 70, 10), SEGMENT_FIN),
                (XDP, flow.back(TCP_ACK, 70, 4, 0), SEGMENT_OTHER),
                (XDP, flow.back(TCP_ACK, 70, 5, 99), SEGMENT_ACK),
                (XDP, flow.back(TCP_ACK, 169, 5, 0), SEGMENT_OTHER),
                // The other side's, and the answer to it.
                (XDP, flow.back(TCP_FIN | TCP_ACK, 169, 5, 0), SEGMENT_FIN),
                (OUT, flow.there(TCP_ACK, 5, 170, 0), SEGMENT_ACK),
                // It comes again, and so does the answer.
                (XDP, flow.back(TCP_FIN | TCP_ACK, 169, 5, 0), SEGMENT_FIN),
                (OUT, flow.there(TCP_ACK, 5, 170, 0), SEGMENT_ACK),
                (OUT, flow.there(TCP_ACK, 5, 170, 0), SEGMENT_OTHER),
            ],
        );
        // A FIN that acknowledges a FIN is told as such, and nothing is waited for any more.
        let flow = Flow { is_v6, port: 40_003 };
        goes(
            &mut trial,
            &[
                (OUT, flow.there(TCP_FIN | TCP_ACK, 9, 70, 0), SEGMENT_FIN),
                (IN, flow.back(TCP_FIN | TCP_ACK, 70, 10, 0), SEGMENT_FIN),
                (IN, flow.back(TCP_ACK, 71, 10, 0), SEGMENT_OTHER),
                (OUT, flow.there(TCP_ACK, 10, 71, 0), SEGMENT_ACK),
                (IN, flow.back(TCP_RST | TCP_ACK, 71, 10, 0), SEGMENT_RST),
            ],
        );
    }
}

#[test]
#[ignore = "needs root"]
fn on_loopback_an_ack_is_told_as_it_goes_and_as_it_comes() {
    let mut trial = Trial::load(Settings::DEFAULT).unwrap();
    for arriving in [XDP, IN] {
        let flow = Flow { is_v6: false, port: 40_004 };
        let both = |frame: Vec<u8>, fate| [(OUT, frame.clone(), fate), (arriving, frame, fate)];
        let steps = [
            both(flow.there(TCP_SYN, 1, 0, 0), SEGMENT_SYN),
            both(flow.back(TCP_SYN | TCP_ACK, 7, 2, 0), SEGMENT_SYN_ACK),
            both(flow.there(TCP_ACK, 2, 8, 0), SEGMENT_ACK),
            both(flow.there(TCP_ACK | 8, 2, 8, 5), SEGMENT_OTHER),
            both(flow.back(TCP_ACK, 8, 7, 0), SEGMENT_OTHER),
            both(flow.back(TCP_FIN | TCP_ACK, 8, 7, 0), SEGMENT_FIN),
            both(flow.there(TCP_ACK, 7, 9, 0), SEGMENT_ACK),
            both(flow.there(TCP_FIN | TCP_ACK, 7, 9, 0), SEGMENT_FIN),
            both(flow.back(TCP_ACK, 9, 8, 0), SEGMENT_ACK),
            both(flow.back(TCP_ACK, 9, 8, 0), SEGMENT_OTHER),
        ];
        goes(&mut trial, &steps.concat());
    }
}

#[test]
#[ignore = "needs root"]
fn waits_that_others_take_the_place_of_are_counted() {
    const FLOWS: u16 = 30_000;
    let mut trial = Trial::load(Settings::DEFAULT).unwrap();
    let flow = |nth| Flow { is_v6: false, port: 1000 + nth };
    for nth in 0..FLOWS {
        run(&mut trial, OUT, &flow(nth).there(TCP_FIN | TCP_ACK, 5, 1, 0)).unwrap();
    }
    for nth in 0..FLOWS {
        run(&mut trial, IN, &flow(nth).back(TCP_ACK, 1, 6, 0));
    }
    let counters = trial.counters().unwrap();
    let told = counters[slot(SEGMENT_HOOK_TC_IN, SEGMENT_ACK)];
    let forgotten = counters[SEGMENT_FORGOTTEN + usize::from(SEGMENT_HOOK_TC_OUT)];
    assert_eq!(told + forgotten, u64::from(FLOWS));
    // 30,000 balls in 16,384 bins leave 2,625 of these empty: what a good hash does.
    assert!((13_500..14_000).contains(&told), "{told}");
    assert_eq!(counters[SEGMENT_FORGOTTEN + usize::from(SEGMENT_HOOK_TC_IN)], 0);
}

#[test]
#[ignore = "needs root"]
fn reports_are_folded_beyond_the_budget_and_counted_all_the_same() {
    const COST: Duration = Duration::from_millis(200);
    const BURST: u64 = 5;
    // The budget is each CPU's own.
    let mut one = rustix::thread::CpuSet::new();
    one.set(0);
    rustix::thread::sched_setaffinity(None, &one).unwrap();
    let settings = Settings {
        segment_netns: 4_026_531_840,
        segment_cost_ns: u32::try_from(COST.as_nanos()).unwrap(),
        segment_burst: u32::try_from(BURST).unwrap(),
        ..Settings::DEFAULT
    };
    let mut trial = Trial::load(settings).unwrap();
    let begun = Instant::now();
    // SYNs and their answers, and what follows them, are paid for apart.
    let mut reported = [0; 2];
    let mut sent = 0;
    for round in 1..=3 {
        for nth in 0..40 {
            let flow = Flow { is_v6: nth % 2 == 0, port: nth };
            for (program, frame) in [
                (XDP, flow.there(TCP_SYN, 1, 0, 0)),
                (OUT, flow.back(TCP_SYN | TCP_ACK, 1, 2, 0)),
                (IN, flow.there(TCP_ACK, 1, 2, 0)),
                (IN, flow.there(TCP_ACK, 1, 2, 0)),
            ] {
                if let Some(record) = run(&mut trial, program, &frame) {
                    assert_eq!((record.valid, record.netns), (VALID_NETNS, 4_026_531_840));
                    reported[usize::from(record.flags & TCP_SYN == 0)] += 1;
                }
            }
            sent += 1;
        }
        let passed = begun.elapsed().as_nanos().div_ceil(COST.as_nanos());
        let most = BURST + u64::try_from(passed).unwrap();
        for reported in reported {
            assert!(reported <= most, "round {round}: {reported} of {most}");
            assert!(reported >= BURST + (round - 1) * 2, "round {round}: {reported}");
        }
        thread::sleep(COST * 2);
    }
    let counters = trial.counters().unwrap();
    for slot in [
        slot(SEGMENT_HOOK_XDP, SEGMENT_SYN),
        slot(SEGMENT_HOOK_TC_OUT, SEGMENT_SYN_ACK),
        slot(SEGMENT_HOOK_TC_IN, SEGMENT_ACK),
        slot(SEGMENT_HOOK_TC_IN, SEGMENT_OTHER),
    ] {
        assert_eq!(counters[slot], sent, "{slot}");
    }
    let folded: u64 = counters[SEGMENT_FOLDED..SEGMENT_FORGOTTEN].iter().sum();
    assert_eq!(reported.iter().sum::<u64>() + folded, 3 * sent);
    assert!(counters[SEGMENT_FOLDED..SEGMENT_FORGOTTEN].iter().all(|count| *count > 0));
}

#[test]
#[ignore = "needs root"]
fn outputs_that_find_no_room_are_counted() {
    let mut trial = Trial::load(Settings::DEFAULT).unwrap();
    let syn = Flow { is_v6: true, port: 9 }.there(TCP_SYN, 1, 0, 0);
    let times = 100_000;
    trial.run(XDP, &syn, times).unwrap();
    let counted = trial.counters().unwrap()[slot(SEGMENT_HOOK_XDP, SEGMENT_SYN)];
    assert_eq!(counted, u64::from(times));
    let failed: u64 = trial.failures().unwrap()[OUTPUT_ERRORS_SEGMENT..].iter().sum();
    assert!(failed > 0);
    assert_eq!(trial.reported().len() as u64 + failed, u64::from(times));
}
