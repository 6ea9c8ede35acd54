//! The objects of the API, as they go over the wire: what `--json` prints, too.
//!
//! Every client command works on these alone, so that a daemon, a trace of one's own and a replayed
//! recording read the same.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

mod convert;
mod diagnosis;
mod fold;
mod owner;
mod segment;
mod stack;

pub(crate) use convert::{
    closed_event, connection, lost_event, packet_hooks, rfc3339, state_event,
};
pub use diagnosis::{Advice, Diagnosis, Exhaustion, Finding, Grown, Growth, Line, Thresholds};
pub(crate) use diagnosis::{Traced, diagnosis};
pub use fold::Folding;
pub(crate) use owner::locate;
pub use owner::{Holder, Owner};
pub use segment::{Segments, Wire};
pub use stack::{Frame, Stack, Stacks};

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address; v4-mapped addresses are IPv4.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
}

/// A thread that was on the CPU: often not the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub comm: String,
}

/// What was received and not read, at the last change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecvQueue {
    /// Payload bytes.
    pub unread_bytes: u32,
    /// Whether the process has read up to the peer's FIN; `null` before a FIN.
    pub fin_read: Option<bool>,
}

/// A connection (or, in state `listen`, a listener).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its number, for `show`.
    pub id: String,
    /// Inode of its network namespace.
    pub netns: Option<u32>,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// This host's end.
    pub local: Endpoint,
    /// The other end; port 0 for a listener.
    pub remote: Endpoint,
    /// `inbound`, `outbound` or `unknown`.
    pub direction: String,
    /// Its state, as `node_exporter` spells it; of a mini-socket its substate.
    pub state: String,
    /// Whether a mini-socket of the kernel is all that is left of it.
    #[serde(default)]
    pub mini: bool,
    /// `parent` or `subflow` of an MPTCP connection, else `null`.
    #[serde(default)]
    pub mptcp: Option<String>,
    /// Since when (RFC 3339).
    pub state_since: String,
    /// Seconds in that state.
    pub state_age_seconds: f64,
    /// Whether that is a lower bound, because it was there before tracing began: of a connection, for as
    /// long at least as its peer has been silent.
    pub age_is_lower_bound: bool,
    /// When it was opened, or first seen.
    pub opened_at: Option<String>,
    /// When it ended.
    pub closed_at: Option<String>,
    /// `local`, `remote`, `both` or `null`.
    pub closed_by: Option<String>,
    /// Why it ended.
    pub close_reason: Option<String>,
    /// Whether the peer's FIN has come; `null` where it may have, unseen.
    #[serde(default)]
    pub peer_closed: Option<bool>,
    /// The error the process gets, by name.
    pub error: Option<String>,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// Who has it open, a few of many: looked up where it stands still, and absent elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub holders: Vec<Holder>,
    /// What waits to be read; `null` until a look at the host tells of an open connection.
    pub recv_queue: Option<RecvQueue>,
    /// Bytes the peer has acknowledged; `null` where that is not known, or not yet.
    pub bytes_sent: Option<u64>,
    /// Bytes received; `null` where that is not known, or not yet.
    pub bytes_received: Option<u64>,
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: Option<u32>,
    /// Segments retransmitted.
    pub retransmits: Option<u32>,
    /// Whether every step is in the timeline.
    pub complete: bool,
    /// Where in its program it was opened or accepted; in details only, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stack: Option<Stack>,
    /// What happened; in details only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeline: Option<Vec<Step>>,
}

/// One step of a timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When (RFC 3339, nanoseconds).
    pub at: String,
    /// Microseconds since the first step.
    pub offset_us: u64,
    /// `state`, `segment`, `call` or `mark`.
    pub kind: String,
    /// State before, of a `state`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// State after, of a `state`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    /// Which call, of a `call`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call: Option<String>,
    /// Which segment, of a `segment`: `syn`, `syn_ack`, `ack`, `fin` or `rst`; `retransmit` where a
    /// tracing hook alone told that one was sent again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub segment: Option<String>,
    /// How many of them in a row, of a `segment`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u32>,
    /// What packet hooks saw of it, of a `segment` that they saw.
    #[serde(flatten, skip_serializing_if = "Option::is_none", default)]
    pub wire: Option<Wire>,
    /// Which mark, of a `mark`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<String>,
    /// One plain sentence.
    pub text: String,
}

/// Something that happened, as `/api/v1/events` streams it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A connection changed its state.
    State(Box<StateEvent>),
    /// A connection ended: its whole story.
    Closed(Box<ClosedEvent>),
    /// Events were lost.
    Lost(LostEvent),
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateEvent {
    /// When (RFC 3339, nanoseconds).
    pub at: String,
    /// The connection as it stands after the change, without its timeline.
    pub connection: Connection,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Seconds in the state before; `null` where its beginning was not seen.
    pub in_state_seconds: Option<f64>,
    /// Who was on the CPU: often not the owner.
    pub current: Option<Task>,
    /// Address of the kernel's socket, in hex.
    pub socket: String,
    /// One plain sentence.
    pub text: String,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedEvent {
    /// The connection with its timeline.
    pub connection: Connection,
    /// Seconds from its first event to its end.
    pub lifetime_seconds: f64,
}

/// A loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEvent {
    /// When it was noticed.
    pub at: String,
    /// Where events died: `perf_buffer`, or `subscriber` for this stream alone.
    pub stage: String,
    /// How many.
    pub count: u64,
}

/// `/api/v1/connections`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionList {
    /// Those that passed the filter, oldest in their state first.
    pub connections: Vec<Connection>,
    /// How many passed, including those past the limit.
    pub total: u64,
    /// Whether short connections are told in one record now: those younger than 1 s may be missing.
    #[serde(default)]
    pub folding: bool,
}

/// `/api/v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of tcp-trace.
    pub version: String,
    /// Process id of the tracer.
    pub pid: u32,
    /// Kernel release.
    pub kernel: String,
    /// Where events come from: `live`, `recording` or `capture`.
    pub source: String,
    /// Since when (RFC 3339).
    pub tracing_since: String,
    /// For how many seconds.
    pub uptime_seconds: f64,
    /// How state changes are hooked.
    pub backend: String,
    /// Hooks, attached or refused.
    pub hooks: Vec<Hook>,
    /// What this host does not give.
    pub degradations: Vec<crate::kernel::plan::Degradation>,
    /// Where segments are looked at, interface by interface.
    #[serde(default)]
    pub segments: crate::kernel::segments::Standing,
    /// Whether user stacks are taken, and what has become of them.
    #[serde(default)]
    pub stacks: Stacks,
    /// Whether short connections are told in one record.
    #[serde(default)]
    pub folding: Folding,
    /// Namespaces traced, by inode; empty: all.
    pub netns: Vec<u32>,
    /// Events taken.
    pub events: u64,
    /// Events lost, by the place where they died.
    pub lost: Vec<Loss>,
    /// Lost outputs as the perf buffers themselves report them, each of one record or of a batch (the
    /// same losses as `output_enospc`, which counts records).
    pub perf_record_lost: u64,
    /// Connections and listeners held.
    pub connections: u64,
    /// How many of these are listeners.
    #[serde(default)]
    pub listeners: u64,
    /// How many could be held.
    pub connections_limit: u64,
    /// Records that came too late to be put in order.
    pub late_records: u64,
    /// Timelines with steps missing.
    pub gaps: u64,
    /// Handshakes that are half done.
    #[serde(default)]
    pub half_open: u64,
    /// What snapshots have put right.
    #[serde(default)]
    pub reconciled: Reconciled,
    /// What has become of the segments that packet hooks saw.
    #[serde(default)]
    pub segment_fates: Segments,
    /// Packets of a capture that told of no connection, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<Loss>,
}

/// What snapshots have put right, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Connections that stood in another state.
    pub state: u64,
    /// Sockets that were there and not known.
    pub found: u64,
    /// Connections that were known and no longer there.
    pub gone: u64,
}

/// A place where events died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The place.
    pub stage: String,
    /// How many.
    pub count: u64,
}

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Name of the program.
    pub program: String,
    /// What it hooks.
    pub hook: String,
    /// How.
    pub backend: String,
    /// Whether it is attached.
    pub attached: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was tried, why it failed and the way out.
    pub error: String,
}

/// What this host allows (`doctor`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// The facts it rests on; saved, they can be judged elsewhere with `doctor --facts FILE`.
    pub facts: crate::kernel::host::HostFacts,
    /// Feature by feature.
    pub checks: Vec<Check>,
    /// Whether tracing works at all.
    pub works: bool,
    /// Features that are reduced.
    pub reduced: u64,
    /// Whether hooks were really attached, or judged from facts alone.
    pub tried: bool,
    /// How segments are looked at, or would be.
    #[serde(default)]
    pub segments: crate::kernel::segments::Standing,
}

/// One feature of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The feature: `state changes`, `fields`, `self-check`, ….
    pub feature: String,
    /// The hook or means.
    pub means: String,
    /// How it stands.
    pub outcome: CheckOutcome,
    /// Why it is not ok.
    pub reason: Option<String>,
    /// What takes its place.
    pub fallback: Option<String>,
    /// What the user loses.
    pub loses: Option<String>,
}

/// How a feature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// It works and is used.
    Ok,
    /// It works or would; something better is used.
    Unused,
    /// The host refuses it, something weaker takes its place.
    Reduced,
    /// The host refuses it and nothing takes its place.
    Missing,
}
