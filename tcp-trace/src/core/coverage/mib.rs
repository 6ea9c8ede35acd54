//! Figures of the kernel's own TCP statistics, of one namespace or summed.

/// A figure by its place in `/proc/net/snmp` and `/proc/net/netstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's own names, explained in its snmp_counter.rst")]
pub enum Mib {
    ActiveOpens,
    PassiveOpens,
    AttemptFails,
    EstabResets,
    CurrEstab,
    RetransSegs,
    OutRsts,
    TimeWait,
    TimeWaitRecycled,
    TimeWaitKilled,
    TimeWaitOverflow,
    ListenOverflows,
    ListenDrops,
    SyncookiesSent,
    SyncookiesRecv,
    SyncookiesFailed,
    AbortOnData,
    AbortOnClose,
    AbortOnMemory,
    AbortOnTimeout,
    AbortOnLinger,
    AbortFailed,
}

/// Group and name of each, in the order of [`Mib`].
const PLACES: [(&str, &str); Mib::ALL.len()] = [
    ("Tcp", "ActiveOpens"),
    ("Tcp", "PassiveOpens"),
    ("Tcp", "AttemptFails"),
    ("Tcp", "EstabResets"),
    ("Tcp", "CurrEstab"),
    ("Tcp", "RetransSegs"),
    ("Tcp", "OutRsts"),
    ("TcpExt", "TW"),
    ("TcpExt", "TWRecycled"),
    ("TcpExt", "TWKilled"),
    ("TcpExt", "TCPTimeWaitOverflow"),
    ("TcpExt", "ListenOverflows"),
    ("TcpExt", "ListenDrops"),
    ("TcpExt", "SyncookiesSent"),
    ("TcpExt", "SyncookiesRecv"),
    ("TcpExt", "SyncookiesFailed"),
    ("TcpExt", "TCPAbortOnData"),
    ("TcpExt", "TCPAbortOnClose"),
    ("TcpExt", "TCPAbortOnMemory"),
    ("TcpExt", "TCPAbortOnTimeout"),
    ("TcpExt", "TCPAbortOnLinger"),
    ("TcpExt", "TCPAbortFailed"),
];

impl Mib {
    /// Each.
    pub const ALL: [Self; 22] = [
        Self::ActiveOpens,
        Self::PassiveOpens,
        Self::AttemptFails,
        Self::EstabResets,
        Self::CurrEstab,
        Self::RetransSegs,
        Self::OutRsts,
        Self::TimeWait,
        Self::TimeWaitRecycled,
        Self::TimeWaitKilled,
        Self::TimeWaitOverflow,
        Self::ListenOverflows,
        Self::ListenDrops,
        Self::SyncookiesSent,
        Self::SyncookiesRecv,
        Self::SyncookiesFailed,
        Self::AbortOnData,
        Self::AbortOnClose,
        Self::AbortOnMemory,
        Self::AbortOnTimeout,
        Self::AbortOnLinger,
        Self::AbortFailed,
    ];

    /// Its group and name.
    #[must_use]
    pub fn place(self) -> (&'static str, &'static str) {
        PLACES.get(self as usize).copied().unwrap_or_default()
    }

    /// Whether it only grows: all but the number of open connections.
    #[must_use]
    pub fn is_count(self) -> bool {
        self != Self::CurrEstab
    }
}

/// Every figure; `None` of those that this kernel does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mibs([Option<u64>; Mib::ALL.len()]);

impl Mibs {
    /// One figure.
    #[must_use]
    pub fn get(&self, mib: Mib) -> Option<u64> {
        self.0.get(mib as usize).copied().flatten()
    }

    /// Sets one figure.
    pub fn set(&mut self, mib: Mib, value: u64) {
        if let Some(place) = self.0.get_mut(mib as usize) {
            *place = Some(value);
        }
    }

    /// What has come to it since `earlier`.
    #[must_use]
    pub fn less(&self, earlier: &Self) -> Self {
        let mut rest = *self;
        for (now, before) in rest.0.iter_mut().zip(earlier.0) {
            *now = now.map(|now| now.saturating_sub(before.unwrap_or(0)));
        }
        rest
    }

    /// Adds another namespace's.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = match (*sum, more) {
                (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
                (sum, more) => sum.or(more),
            };
        }
    }

    /// Whether a count is smaller than in `other`, so that this cannot be the later one.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        let counts = Mib::ALL.into_iter().filter(|mib| mib.is_count());
        counts.into_iter().any(|mib| match (self.get(mib), other.get(mib)) {
            (Some(this), Some(other)) => this < other,
            _ => false,
        })
    }
}
