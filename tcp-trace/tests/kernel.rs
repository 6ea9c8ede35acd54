//! Tests against the running kernel: real sockets in network namespaces of their own, judged by
//! what is known of every system call made and by what `/proc` says.
//!
//! They need root: `cargo xtask test` runs them, or
//! `sudo -E cargo test --test kernel -- --ignored --test-threads=1`. With `UPDATE_GOLDEN=1` in the
//! environment, the scenarios put the recordings they make into `tests/golden`.
//!
//! | module | has |
//! |---|---|
//! | `needs` | least kernels, below which a test is absent |
//! | `actor`, `sock` | processes that make just the system calls they are told to |
//! | `netns`, `wire` | namespaces, and a wire between two that can hold and lose segments |
//! | `truth`, `programs` | what the kernel says about sockets and about programs |
//! | `daemon`, `streams` | `serve`, `watch` and `record`, started and ended |
//! | `life`, `stage`, `replayed`, `keep` | what must be told of a socket's life, live and replayed |
//! | `orderly`, `refused`, `reset` | the reference scenarios |
//! | `counters`, `stopped` | exact figures, also where events are lost |
//! | `folded` | short connections told in one record, and long ones as ever |
//! | `snapshot`, `namespaces`, `reconcile` | sockets that were there before, in every namespace, and again |
//! | `rest` | what a daemon does that has nothing to do, and how soon it is back |
//! | `lifecycle`, `denied` | beginnings and ends, and what a host does not give |
//! | `segments` | packet programs on interfaces: counts, choices, others' programs, comings and goings |
//! | `owners` | whose a connection is, whoever made, took, passed on or inherited it |
//! | `frames` | the packet programs, on frames that nobody sends |
//! | `storm` | ten thousand connections at once, judged to the last by what the kernel says |
//! | `story` | a namespace, its daemon, and what that tells of one connection |
//! | `time_wait` | mini-sockets: their births, substates and every way to end |
//! | `half_open` | requests: SYN-ACKs sent again, given up, cookies, full queues |
//! | `reasons` | ends that no orderly program brings about, and a RST in every state |
//! | `variants` | Fast Open, MPTCP, v4-mapped addresses, simultaneous open |
//! | `diagnosis` | what goes wrong is found, attributed and foretold, and nothing else is |
//! | `leakers` | the same of Python, Node, Java and nginx |
//! | `demo` | the demo finds what it plants, and leaves nothing behind |
//! | `clock` | a clock that is set while the daemon traces |
//! | `web` | names that would break what shows them, and clients that mean harm |
//! | `stacks` | where in the code: functions by name, live, in findings and in recordings |
//! | `tcpstates` | the same rows as another tool |

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test's own machinery is a failure of the test"
)]

#[path = "support/deadline.rs"]
mod deadline;
#[path = "support/needs.rs"]
mod needs;
#[path = "support/program.rs"]
mod program;

#[path = "kernel/actor.rs"]
mod actor;
#[path = "kernel/clock.rs"]
mod clock;
#[path = "kernel/counters.rs"]
mod counters;
#[path = "kernel/daemon.rs"]
mod daemon;
#[path = "kernel/demo.rs"]
mod demo;
#[path = "kernel/denied.rs"]
mod denied;
#[path = "kernel/diagnosis.rs"]
mod diagnosis;
#[path = "kernel/flood.rs"]
mod flood;
#[path = "kernel/folded.rs"]
mod folded;
#[path = "kernel/frames.rs"]
mod frames;
#[path = "kernel/half_open.rs"]
mod half_open;
#[path = "kernel/keep.rs"]
mod keep;
#[path = "kernel/ladder.rs"]
mod ladder;
#[path = "kernel/leakers.rs"]
mod leakers;
#[path = "kernel/life.rs"]
mod life;
#[path = "kernel/lifecycle.rs"]
mod lifecycle;
#[path = "kernel/namespaces.rs"]
mod namespaces;
#[path = "kernel/netns.rs"]
mod netns;
#[path = "kernel/orderly.rs"]
mod orderly;
#[path = "kernel/owners.rs"]
mod owners;
#[path = "kernel/pieces.rs"]
mod pieces;
#[path = "kernel/programs.rs"]
mod programs;
#[path = "kernel/reasons.rs"]
mod reasons;
#[path = "kernel/reconcile.rs"]
mod reconcile;
#[path = "kernel/refused.rs"]
mod refused;
#[path = "kernel/replayed.rs"]
mod replayed;
#[path = "kernel/reset.rs"]
mod reset;
#[path = "kernel/rest.rs"]
mod rest;
#[path = "kernel/segments.rs"]
mod segments;
#[path = "kernel/snapshot.rs"]
mod snapshot;
#[path = "kernel/sock.rs"]
mod sock;
#[path = "kernel/stacks.rs"]
mod stacks;
#[path = "kernel/stage.rs"]
mod stage;
#[path = "kernel/stopped.rs"]
mod stopped;
#[path = "kernel/storm.rs"]
mod storm;
#[path = "kernel/story.rs"]
mod story;
#[path = "kernel/streams.rs"]
mod streams;
#[path = "kernel/tcpstates.rs"]
mod tcpstates;
#[path = "kernel/time_wait.rs"]
mod time_wait;
#[path = "kernel/truth.rs"]
mod truth;
#[path = "kernel/tshark.rs"]
mod tshark;
#[path = "kernel/variants.rs"]
mod variants;
#[path = "kernel/web.rs"]
mod web;
#[path = "kernel/wire.rs"]
mod wire;
