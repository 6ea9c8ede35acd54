//! Whose connection it is, and how we know.

use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
    num::NonZeroU64,
    sync::Arc,
};

use zerocopy::{IntoBytes as _, transmute};

use super::event::{Caller, Comm, Task};

/// The process a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Name of the thread that opened it.
    pub comm: Comm,
    /// When the process began, in nanoseconds of `CLOCK_BOOTTIME`: with the pid, an identity.
    pub started_ns: Option<NonZeroU64>,
    /// Id of its cgroup in the v2 hierarchy.
    pub cgroup: Option<NonZeroU64>,
    /// Where the knowledge comes from.
    pub source: OwnerSource,
}

impl Hash for Owner {
    /// In one stroke: what tells owners apart, and what a program may choose.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [name, and_name]: [u64; 2] = transmute!(self.comm.0);
        let process = u64::from(self.pid) << 8 | u64::from(self.source.rank());
        let started_ns = self.started_ns.map_or(0, NonZeroU64::get);
        state.write([name, and_name, process, started_ns].as_bytes());
    }
}

impl Owner {
    /// The process of `task`.
    #[must_use]
    pub fn of_task(task: Task, source: OwnerSource) -> Self {
        Self { pid: task.pid, comm: task.comm, started_ns: None, cgroup: None, source }
    }

    /// The process that made a call.
    #[must_use]
    pub fn of_caller(caller: Caller, source: OwnerSource) -> Self {
        let Caller { task, started_ns, cgroup } = caller;
        Self { started_ns, cgroup, ..Self::of_task(task, source) }
    }

    /// The owner once `news` is known beside what was known: better evidence takes its place, the
    /// same evidence once more only adds what was missing.
    #[must_use]
    pub fn with(known: Option<Self>, news: Self) -> Self {
        match known {
            Some(known) if known.source.rank() > news.source.rank() => known,
            Some(known) if known.pid == news.pid && known.source == news.source => Self {
                started_ns: known.started_ns.or(news.started_ns),
                cgroup: known.cgroup.or(news.cgroup),
                ..known
            },
            // A last close() proves less than it seems: who is at hand closes what others opened.
            Some(known) if news.source == OwnerSource::Close => known,
            _ => news,
        }
    }
}

/// Every owner once: the connections of a process share one.
#[derive(Debug)]
pub struct Owners {
    // Whoever runs a process chooses its name: a hash that resists attack.
    all: HashSet<Arc<Owner>>,
    /// How many there were when those that nobody had were last let go.
    swept: usize,
    /// Those shared last, by pid and evidence: nearly always it is one of them.
    latest: [Option<Arc<Owner>>; Self::LATEST],
}

impl Default for Owners {
    fn default() -> Self {
        Self { all: HashSet::new(), swept: 0, latest: [const { None }; Self::LATEST] }
    }
}

impl Owners {
    const LATEST: usize = 64;
    /// How many more than there were are let in before nobody's are looked for.
    const SLACK: usize = 64;

    /// The one of this kind. Those that no connection has any more go, so that there are never more
    /// than twice as many as are had.
    pub fn share(&mut self, owner: Owner) -> Arc<Owner> {
        let place = usize::try_from(owner.pid).unwrap_or(0) * 4 + usize::from(owner.source.rank());
        let place = place % Self::LATEST;
        if let Some(Some(latest)) = self.latest.get(place)
            && **latest == owner
        {
            return Arc::clone(latest);
        }
        let shared = self.find(owner);
        if let Some(latest) = self.latest.get_mut(place) {
            *latest = Some(Arc::clone(&shared));
        }
        shared
    }

    fn find(&mut self, owner: Owner) -> Arc<Owner> {
        if let Some(known) = self.all.get(&owner) {
            return Arc::clone(known);
        }
        if self.all.len() >= 2 * self.swept + Self::SLACK {
            self.latest.fill(None);
            self.all.retain(|known| Arc::strong_count(known) > 1);
            self.swept = self.all.len();
        }
        let fresh = Arc::new(owner);
        self.all.insert(Arc::clone(&fresh));
        fresh
    }
}

/// How an owner was found. Never from a state change that may run in softirq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerSource {
    /// `current` inside `connect()`.
    Connect,
    /// `current` inside `accept()`.
    Accept,
    /// `current` at CLOSE to LISTEN, which runs inside `listen()`.
    Listen,
    /// `current` inside the last `close()`, where nothing else told.
    Close,
    /// The owner of the one listener the connection came in through.
    Listener,
    /// A descriptor seen in `/proc/PID/fd`.
    Descriptor,
}

impl OwnerSource {
    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Listen => "listen",
            Self::Close => "close",
            Self::Listener => "listener",
            Self::Descriptor => "descriptor",
        }
    }

    /// How good the evidence is.
    const fn rank(self) -> u8 {
        match self {
            Self::Connect | Self::Accept | Self::Listen => 4,
            Self::Close => 3,
            Self::Descriptor => 2,
            Self::Listener => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use OwnerSource as S;

    use super::*;

    fn owner(pid: u32, source: S) -> Owner {
        Owner::of_task(Task { pid, tid: pid, comm: Comm::from_text("p") }, source)
    }

    #[test]
    fn better_evidence_wins_and_a_close_only_fills_a_blank() {
        let pid = |known, news| Owner::with(known, news).pid;
        assert_eq!(pid(None, owner(2, S::Close)), 2);
        for (known, news, wins) in [
            (S::Listener, S::Accept, 2),
            (S::Descriptor, S::Accept, 2),
            (S::Listener, S::Descriptor, 2),
            (S::Accept, S::Descriptor, 1),
            (S::Connect, S::Close, 1),
            (S::Descriptor, S::Close, 1),
            (S::Listener, S::Close, 1),
            (S::Close, S::Accept, 2),
            (S::Accept, S::Accept, 2),
        ] {
            assert_eq!(pid(Some(owner(1, known)), owner(2, news)), wins, "{known:?} {news:?}");
        }
    }

    #[test]
    fn an_owner_is_kept_once_and_as_long_as_anybody_has_it() {
        let mut owners = Owners::default();
        let kept = owners.share(owner(1, S::Connect));
        assert!(Arc::ptr_eq(&kept, &owners.share(owner(1, S::Connect))));
        assert!(!Arc::ptr_eq(&kept, &owners.share(owner(1, S::Accept))));
        for pid in 2..10_000 {
            owners.share(owner(pid, S::Connect));
            assert!(owners.all.len() <= 2 * (1 + Owners::SLACK), "{}", owners.all.len());
        }
        assert!(Arc::ptr_eq(&kept, &owners.share(owner(1, S::Connect))));
        let many: Vec<_> = (0..1_000).map(|pid| owners.share(owner(pid, S::Listen))).collect();
        assert!(many.iter().all(|one| Arc::ptr_eq(one, &owners.share(**one))));
    }

    #[test]
    fn the_same_evidence_adds_what_was_missing() {
        let known = owner(1, S::Connect);
        let news = Owner { started_ns: NonZeroU64::new(5), ..known };
        assert_eq!(Owner::with(Some(known), news), news);
        assert_eq!(Owner::with(Some(news), known), news);
    }
}
