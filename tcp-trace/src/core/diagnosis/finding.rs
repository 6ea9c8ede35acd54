//! A finding: what is wrong, since when, how it grows, on what evidence, and the way out.

use std::time::Duration;

use crate::core::{clock::Ts, connection::ConnectionId, event::Comm, owner::Owner};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The peer has closed, the process has not.
    CloseWaitLeak,
    /// A connection is over, and its descriptor is still open.
    ClosedDescriptors,
    /// A socket that one process closed is held open by another.
    HeldAfterFork,
    /// The local ports to a destination run out.
    PortPressure,
    /// `connect()` found no local port.
    NoPortLeft,
    /// There are about as many mini-sockets as there may be.
    TimeWaitBuckets,
    /// We have closed, the peer does not.
    FinWait2Held,
    /// Our FIN is not acknowledged.
    LastAckStuck,
    /// About as many sockets without a process as there may be.
    Orphans,
    /// Handshakes that are begun and not completed.
    SynRecvFlood,
    /// A listener's queue is full.
    AcceptQueue,
    /// `connect()` is answered with a RST.
    ConnectRefused,
    /// `connect()` is not answered.
    ConnectTimeout,
    /// Open connections end with a RST.
    ResetStorm,
    /// SYNs or FINs are sent again.
    Retransmits,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::CloseWaitLeak,
        Self::ClosedDescriptors,
        Self::HeldAfterFork,
        Self::PortPressure,
        Self::NoPortLeft,
        Self::TimeWaitBuckets,
        Self::FinWait2Held,
        Self::LastAckStuck,
        Self::Orphans,
        Self::SynRecvFlood,
        Self::AcceptQueue,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ResetStorm,
        Self::Retransmits,
    ];

    /// Name in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CloseWaitLeak => "close_wait_leak",
            Self::ClosedDescriptors => "closed_descriptors",
            Self::HeldAfterFork => "held_after_fork",
            Self::PortPressure => "port_pressure",
            Self::NoPortLeft => "no_port_left",
            Self::TimeWaitBuckets => "time_wait_buckets",
            Self::FinWait2Held => "fin_wait2_held",
            Self::LastAckStuck => "last_ack_stuck",
            Self::Orphans => "orphans",
            Self::SynRecvFlood => "syn_recv_flood",
            Self::AcceptQueue => "accept_queue",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResetStorm => "reset_storm",
            Self::Retransmits => "retransmits",
        }
    }

    /// What a person calls it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::CloseWaitLeak => "CLOSE_WAIT leak",
            Self::ClosedDescriptors => "Dead sockets kept open",
            Self::HeldAfterFork => "Sockets shared with a child",
            Self::PortPressure => "Local ports run out",
            Self::NoPortLeft => "No local port left",
            Self::TimeWaitBuckets => "TIME_WAIT limit",
            Self::FinWait2Held => "FIN_WAIT2 held by the peer",
            Self::LastAckStuck => "LAST_ACK stuck",
            Self::Orphans => "Orphaned sockets",
            Self::SynRecvFlood => "Half-open flood",
            Self::AcceptQueue => "Accept queue",
            Self::ConnectRefused => "Connections refused",
            Self::ConnectTimeout => "Connections unanswered",
            Self::ResetStorm => "Resets",
            Self::Retransmits => "Handshakes retransmitted",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something fails now, or will soon.
    Serious,
    /// Something is wrong, and nothing fails yet.
    Warning,
}

impl Severity {
    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serious => "serious",
            Self::Warning => "warning",
        }
    }
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Little speaks for it yet.
    Low,
    /// Something that would settle it is not known.
    Medium,
    /// Seen, not inferred.
    High,
}

impl Confidence {
    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Whose doing it is: a process, or a name where nothing more is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who(pub Owner);

impl Who {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Name.
    #[must_use]
    pub fn comm(&self) -> Comm {
        self.0.comm
    }
}

/// How a count grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// By how many a second.
    pub per_second: f64,
    /// Over how long that was seen.
    pub over: Duration,
}

/// How a count grew that does so no longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grown {
    /// How fast, and for how long.
    pub growth: Growth,
    /// Until when.
    pub until: Ts,
}

/// Something that there is only so much of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exhaustion {
    /// Of what: `file descriptors`, `local ports`, ….
    pub of: &'static str,
    /// How much is in use.
    pub used: u64,
    /// How much there is.
    pub limit: u64,
    /// Until it is all in use, at the present growth; `None` where it does not grow.
    pub left: Option<Duration>,
}

/// One line of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What it is about: `cause`, `where`, `held by`, …; empty for the first, which sums up.
    pub label: &'static str,
    /// In plain words.
    pub text: String,
    /// Connections that it rests on: examples, oldest first.
    pub connections: Vec<ConnectionId>,
}

impl Line {
    /// A line without connections of its own.
    #[must_use]
    pub fn new(label: &'static str, text: String) -> Self {
        Self { label, text, connections: Vec::new() }
    }
}

/// What to do, or what not to bother with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// This helps.
    Do(String),
    /// This does not, though it is often said to.
    Not(String),
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// Whose doing, where known.
    pub who: Option<Who>,
    /// Where to or from, where it is about one service: `10.0.0.5:443`, `port 8080`.
    pub service: Option<String>,
    /// The cause by its name, where there are several: `not_closed`, ….
    pub cause: Option<&'static str>,
    /// What goes on, in words that follow the process's name.
    pub says: String,
    /// How many.
    pub count: u64,
    /// Further figures by name.
    pub counts: Vec<(&'static str, u64)>,
    /// Since when.
    pub since: Option<Ts>,
    /// Whether it began earlier: when was not seen.
    pub since_or_earlier: bool,
    /// How it grows.
    pub growth: Option<Growth>,
    /// How it grew, where it has stopped.
    pub grown: Option<Grown>,
    /// What it uses up.
    pub exhaustion: Option<Exhaustion>,
    /// On what evidence.
    pub evidence: Vec<Line>,
    /// The way out.
    pub advice: Vec<Advice>,
    /// Commands that show more.
    pub see: Vec<String>,
    /// How sure it is.
    pub confidence: Confidence,
    /// What could not be seen, and would have told more.
    pub unseen: Vec<String>,
}

impl Finding {
    /// One of a kind, with nothing to say yet.
    #[must_use]
    pub fn new(kind: Kind, severity: Severity, count: u64, says: String) -> Self {
        Self {
            kind,
            severity,
            who: None,
            service: None,
            cause: None,
            says,
            count,
            counts: Vec::new(),
            since: None,
            since_or_earlier: false,
            growth: None,
            grown: None,
            exhaustion: None,
            evidence: Vec::new(),
            advice: Vec::new(),
            see: Vec::new(),
            confidence: Confidence::High,
            unseen: Vec::new(),
        }
    }

    /// Worst first: what fails, then what fails soonest, then what is most.
    fn rank(&self) -> (Severity, Duration, std::cmp::Reverse<u64>, Kind) {
        let left = self.exhaustion.and_then(|exhaustion| exhaustion.left);
        (self.severity, left.unwrap_or(Duration::MAX), std::cmp::Reverse(self.count), self.kind)
    }
}

/// All that was found at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// When.
    pub at: Ts,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// Figures that are as they should be, in words.
    pub calm: Vec<String>,
    /// What looks like trouble and is none, in words.
    pub notes: Vec<String>,
    /// What could not be seen on this host, or not yet.
    pub unseen: Vec<String>,
}

impl Report {
    /// Puts the worst first.
    pub fn sort(&mut self) {
        self.findings.sort_by_key(Finding::rank);
    }
}
