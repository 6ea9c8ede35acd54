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
        event::{Body, LifeStep},
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
    shown.split_once("sequence numbers").map(|(_, ladder)| ladder.to_owned()).unwrap()
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
        .life(64, LifeStep::Accept(caller))
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

#[test]
fn print() {
    println!("{}", ladder(&leak(), &plain(80)));
    println!("{}", ladder(&leak(), &ascii(80)));
    println!("{}", ladder(&leak(), &plain(60)));
    println!("{}", ladder(&leak(), &plain(120)));
    println!("{}", ladder(&trouble("127.0.0.1:41822", "127.0.0.1:8080"), &plain(80)));
    println!("{}", unpainted(&ladder(&trouble("127.0.0.1:41822", "127.0.0.1:8080"), &colour(40))));
}
