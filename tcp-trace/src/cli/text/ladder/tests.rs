use tcp_trace_common as wire;

use super::super::{
    fixtures::{ascii, colour, plain, unpainted},
    show::timeline,
    style::Style,
};
use crate::{
    api,
    core::{
        clock::{Ts, WallOffset},
        event::{Body, LifeStep, Origin, StateChange, Transfer},
        segment::Travel::{In, Out},
        table::scene::Scene,
        tcp_state::TcpState as S,
    },
};

const SYN: u8 = wire::TCP_SYN;
const ACK: u8 = wire::TCP_ACK;
const FIN: u8 = wire::TCP_FIN;
const RST: u8 = wire::TCP_RST;

/// The ladder alone: what stands under the facts.
fn ladder(scene: &Scene, style: &Style) -> String {
    let at = Ts(11_520_000_000_000);
    let wall = WallOffset { epoch_ns: 1_772_366_401_482_000_000 };
    let shown = timeline(&api::connection(scene.connection(), at, wall, 0, true), style);
    shown.split_once("\n\n").map(|(_, ladder)| ladder.to_owned()).unwrap()
}

/// Of a server that leaks.
fn leak() -> Scene {
    let mut scene = Scene::server();
    let caller = scene.caller();
    scene
        .pass(0, In, SYN, (0, 0))
        .life(1, LifeStep::Request)
        .pass(18, Out, SYN | ACK, (0, 1))
        .pass(61, In, ACK, (1, 1))
        .state(62, S::Listen, S::SynRecv)
        .state(63, S::SynRecv, S::Established)
        .life(64, LifeStep::Accept(Some(caller)))
        .pass(8_100, In, FIN | ACK, (413, 1_901))
        .state(8_102, S::Established, S::CloseWait)
        .pass(8_110, Out, ACK, (1_901, 414));
    scene
}

/// Of a client whose SYN and FIN are lost once, and which the server resets.
fn trouble(local: &str, remote: &str) -> Scene {
    let mut scene = Scene { comm: "curl", ..Scene::new(local, remote) };
    let mut reset = scene.change(S::FinWait1, S::Close);
    reset.error = 104;
    scene
        .state(0, S::Close, S::SynSent)
        .pass(5, Out, SYN, (0, 0))
        .pass(1_000_005, Out, SYN, (0, 0))
        .pass(1_000_205, In, SYN | ACK, (0, 1))
        .state(1_000_207, S::SynSent, S::Established)
        .pass(1_000_209, Out, ACK, (1, 1))
        .state(1_040_000, S::Established, S::FinWait1)
        .carry(1_040_004, Out, FIN | ACK, (1, 1), 12)
        .pass(1_244_004, Out, FIN | ACK, (13, 1))
        .pass(1_245_000, In, RST, (1, 0))
        .put(1_245_002, Body::State(reset));
    scene
}

/// Of one found open, half of whose teardown passes by; the peer's end comes as a mini-socket's.
fn found() -> Scene {
    let mut scene = Scene::new("[2001:db8:85a3::8a2e:370:7334]:443", "[2001:db8:ffff::1]:50122");
    let mut row = scene.change(S::Established, S::Established);
    (row.origin, row.socket) = (Origin::Snapshot, scene.row());
    scene
        .put(0, Body::State(row))
        .pass(100, In, FIN | ACK, (413, 1_901))
        .state(101, S::Established, S::CloseWait)
        .pass(102, Out, ACK, (1_901, 414))
        .state(3_600_000_000, S::CloseWait, S::LastAck)
        .pass(3_600_000_400, Out, FIN | ACK, (5_301, 414))
        .pass(3_600_000_700, In, ACK, (414, 5_302))
        .state(3_600_000_702, S::LastAck, S::Close);
    scene
}

#[test]
fn a_leak_is_drawn_from_its_syn_on() {
    let text = r"sequence numbers count from 3735928559 (local) and 12345 (remote); … counts from
the line above
    offset  local 8080 (server)                            remote 41822 (client)
         0  LISTEN       │ ◀──────────── SYN  seq=0 ───────────── │  SYN_SENT
    +18 µs  SYN_RECV     │ ─────── SYN,ACK  seq=0 ack=1 ────────▶ │
    +61 µs  ESTABLISHED  │ ◀───────── ACK  seq=1 ack=1 ────────── │  ESTABLISHED
    +64 µs               │ accept() by java 2207
            ··· 412 B in, 1.9 kB out ···
   +8.1 ms  CLOSE_WAIT   │ ◀───── FIN,ACK  seq=413 ack=1901 ───── │  FIN_WAIT1
  … +10 µs               │ ─────── ACK  seq=1901 ack=414 ───────▶ │
            ··· 3 h 11 min and counting: the next FIN is java's to send ···

others like it: tcp-trace list --state close_wait --pid 2207";
    assert_eq!(ladder(&leak(), &plain(80)), text);
}

#[test]
fn data_that_no_segment_tells_of_stands_before_a_rst_or_last() {
    let moved = |change: &mut StateChange, received: u64, sent: u64| {
        // With our SYN, which the kernel counts.
        let (bytes_received, bytes_acked) = (received, sent + 1);
        change.transfer = Some(Transfer { bytes_acked, bytes_received, ..Transfer::default() });
    };
    let open = || {
        let mut scene = Scene { comm: "curl", ..Scene::client() };
        let mut change = scene.change(S::SynSent, S::Established);
        moved(&mut change, 412, 1_900);
        scene
            .state(0, S::Close, S::SynSent)
            .pass(5, Out, SYN, (0, 0))
            .pass(60, In, SYN | ACK, (0, 1))
            .put(61, Body::State(change))
            .pass(62, Out, ACK, (1, 1));
        scene
    };
    let shown = ladder(&open(), &plain(80));
    let end: Vec<_> = shown.lines().rev().take(2).map(str::trim).collect();
    assert_eq!(end, ["··· 3 h 11 min and counting ···", "··· 412 B in, 1.9 kB out ···"]);

    let mut scene = open();
    let mut reset = scene.change(S::Established, S::Close);
    reset.error = 104;
    moved(&mut reset, 412, 1_900);
    scene.pass(5_000, In, RST, (413, 0)).put(5_002, Body::State(reset));
    let shown = ladder(&scene, &plain(80));
    let end: Vec<_> = shown.lines().rev().take(2).map(str::trim).collect();
    assert!(end[0].contains("RST  seq=413"), "{shown}");
    assert_eq!(end[1], "··· 412 B in, 1.9 kB out ···");

    // What a FIN tells of is told once.
    let mut scene = open();
    let mut fin = scene.change(S::Established, S::CloseWait);
    moved(&mut fin, 412, 1_900);
    scene.pass(5_000, In, FIN | ACK, (413, 1_901)).put(5_002, Body::State(fin));
    let shown = ladder(&scene, &plain(80));
    assert_eq!(shown.matches("412 B in").count(), 1, "{shown}");
}

#[test]
fn ascii_will_do() {
    let text = r"sequence numbers count from 3735928559 (local) and 12345 (remote); .. counts
from the line above
     offset  local 8080 (server)                           remote 41822 (client)
          0  LISTEN       | <------------ SYN  seq=0 ------------ |  SYN_SENT
     +18 us  SYN_RECV     | ------- SYN,ACK  seq=0 ack=1 -------> |
     +61 us  ESTABLISHED  | <--------- ACK  seq=1 ack=1 --------- |  ESTABLISHED
     +64 us               | accept() by java 2207
             --- 412 B in, 1.9 kB out ---
    +8.1 ms  CLOSE_WAIT   | <---- FIN,ACK  seq=413 ack=1901 ----- |  FIN_WAIT1
  .. +10 us               | ------ ACK  seq=1901 ack=414 -------> |
             --- 3 h 11 min and counting: the next FIN is java's to send ---

others like it: tcp-trace list --state close_wait --pid 2207";
    assert_eq!(ladder(&leak(), &ascii(80)), text);
}

#[test]
fn a_narrow_terminal_goes_without_the_peers_state() {
    let text = r"sequence numbers count from 3735928559 (local) and 12345
(remote); … counts from the line above
    offset  local 8080 (server)        remote 41822 (client)
         0  LISTEN       │ ◀───────── SYN  seq=0 ───────── │
    +18 µs  SYN_RECV     │ ──── SYN,ACK  seq=0 ack=1 ────▶ │
    +61 µs  ESTABLISHED  │ ◀────── ACK  seq=1 ack=1 ────── │
    +64 µs               │ accept() by java 2207
            ··· 412 B in, 1.9 kB out ···
   +8.1 ms  CLOSE_WAIT   │ ◀─ FIN,ACK  seq=413 ack=1901 ── │
  … +10 µs               │ ─── ACK  seq=1901 ack=414 ────▶ │
            ··· 3 h 11 min and counting: the next FIN is
                java's to send ···

others like it: tcp-trace list --state close_wait --pid 2207";
    assert_eq!(ladder(&leak(), &plain(60)), text);
}

#[test]
fn a_wide_one_has_longer_arrows() {
    let text = r"sequence numbers count from 3735928559 (local) and 12345 (remote); … counts from the line above
    offset  local 8080 (server)                                            remote 41822 (client)
         0  LISTEN       │ ◀──────────────────── SYN  seq=0 ───────────────────── │  SYN_SENT
    +18 µs  SYN_RECV     │ ─────────────── SYN,ACK  seq=0 ack=1 ────────────────▶ │
    +61 µs  ESTABLISHED  │ ◀───────────────── ACK  seq=1 ack=1 ────────────────── │  ESTABLISHED
    +64 µs               │ accept() by java 2207
            ··· 412 B in, 1.9 kB out ···
   +8.1 ms  CLOSE_WAIT   │ ◀───────────── FIN,ACK  seq=413 ack=1901 ───────────── │  FIN_WAIT1
  … +10 µs               │ ─────────────── ACK  seq=1901 ack=414 ───────────────▶ │
            ··· 3 h 11 min and counting: the next FIN is java's to send ···

others like it: tcp-trace list --state close_wait --pid 2207";
    assert_eq!(ladder(&leak(), &plain(120)), text);
}

#[test]
fn what_was_sent_again_says_so_and_when() {
    let text = r"sequence numbers count from 3735928559 (local) and 12345 (remote); … counts from
the line above
     offset  local 41822 (client)                           remote 8080 (server)
          0               │ connect() by curl 2207
      +5 µs  SYN_SENT     │ ──────────── SYN  seq=0 ────────────▶ │
     +1.0 s               │ ── SYN  seq=0, again after 1.0 s ───▶ │
  … +200 µs  ESTABLISHED  │ ◀─────── SYN,ACK  seq=0 ack=1 ─────── │  SYN_RECV
    … +4 µs               │ ───────── ACK  seq=1 ack=1 ─────────▶ │
   … +39 ms               │ close() by curl 2207: our FIN goes first
    … +4 µs  FIN_WAIT1    │ ─── FIN,ACK  seq=1 ack=1 len=12 ────▶ │
     +1.2 s               │ ────── FIN,ACK  seq=13 ack=1 ───────▶ │
                          │          again after 204 ms           │
  … +996 µs  CLOSE        │ ◀──────────── RST  seq=1 ──────────── │  CLOSE";
    assert_eq!(ladder(&trouble("127.0.0.1:41822", "127.0.0.1:8080"), &plain(80)), text);
}

#[test]
fn numbers_are_as_sent_where_no_syn_was_seen() {
    let text = r"sequence numbers are as sent: no SYN was seen; … counts from the line above
      offset  local 443                                           remote 50122
           0  ··· found in ESTABLISHED: what came before was not traced, ages
                  are at least this ···
     +100 µs  CLOSE_WAIT   │ ◀───────────── FIN,ACK ───────────── │  FIN_WAIT1
                           │       seq=12758 ack=3735930460       │
     +102 µs               │ ── ACK  seq=3735930460 ack=12759 ──▶ │
              ··· 3.4 kB out, 59 min 59 s ···
  +1 h 0 min               │ close() or shutdown(SHUT_WR) by java 2207: our FIN
                           │ follows the peer's
   … +400 µs  LAST_ACK     │ ───────────── FIN,ACK ─────────────▶ │
                           │       seq=3735933860 ack=12759       │
   … +300 µs  CLOSE        │ ◀── ACK  seq=12759 ack=3735933861 ── │  TIME_WAIT";
    assert_eq!(ladder(&found(), &plain(80)), text);
}

#[test]
fn colour_takes_no_columns() {
    let scene = trouble("127.0.0.1:41822", "127.0.0.1:8080");
    let painted = ladder(&scene, &colour(80));
    assert_eq!(unpainted(&painted), ladder(&scene, &plain(80)));
    // What was sent again is yellow, a RST red.
    for word in ["\x1b[33mSYN  seq=0, again after 1.0 s\x1b[0m", "\x1b[31mRST  seq=1\x1b[0m"] {
        assert!(painted.contains(word), "{painted:?}");
    }
}

const LONG: (&str, &str) =
    ("[2001:db8:85a3:1111:2222:8a2e:370:7334]:65535", "[2001:db8:ffff::ffff]:65534");

#[test]
fn no_line_is_wider_than_the_terminal() {
    for make in [leak, found, || trouble(LONG.0, LONG.1)] {
        let scene = make();
        for width in 64..140 {
            let text = ladder(&scene, &plain(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}:\n{text}");
        }
    }
}
