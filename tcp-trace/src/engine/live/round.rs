//! One look at every namespace in scope, from the reconciler's thread.

use std::{
    collections::{BTreeMap, HashSet},
    io, mem,
    num::NonZeroU64,
    thread,
    time::Duration,
};

use tcp_trace_common as wire;

use super::{
    bracket::Bracket,
    evidence::Gathering,
    known::{Known, Sample},
    reconciler::{Finding, Order, Owners},
};
use crate::{
    engine::wall,
    kernel::{
        holders::{self, Memory, Seen, Wanted},
        host, mibs,
        namespaces::{Namespace, Scan},
        netns, settings,
        sock_diag::{self, Channel, Row, Snapshot, SockDiagError, Stamp},
    },
};

#[cfg(test)]
mod tests;

/// Between two namespaces, so that many small ones do not keep a CPU busy.
const PAUSE: Duration = Duration::from_millis(2);

/// Sockets in a piece of a snapshot: 400 bytes each, as rows and as records.
const PIECE: usize = 1 << 12;
/// After each piece of a snapshot: so that one of a million sockets takes a quarter of a CPU for seven
/// seconds rather than all of it for two. Not of the first, for which everybody waits.
const REST: Duration = Duration::from_millis(20);

/// Takes a finding; false where nobody wants any more.
pub(super) type Tell<'a> = dyn FnMut(Finding) -> bool + 'a;

/// What is remembered from one round to the next.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Inodes of the namespaces to look at; empty: all.
    scope: Vec<u32>,
    /// The namespace that this process is in.
    own: Option<u32>,
    /// Sockets in a piece of a snapshot.
    piece: usize,
    known: BTreeMap<u32, Known>,
    /// Who held which socket; lent to each look.
    memory: Memory,
    began: bool,
    denied: bool,
}

/// How far a namespace's sockets were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// To their end, which may be a failure.
    All,
    /// It cannot be entered (any more).
    Nothing,
    /// Nobody wants to know any more.
    Nobody,
}

/// What is looked up once a round, where it is needed at all.
struct Look {
    owners: Owners,
    seen: Option<Seen>,
    memory: Memory,
    gathering: Gathering,
}

impl Rounds {
    /// Of the namespaces with these inodes, or of all. Where events carry no cookies, a row is found by
    /// what it looks like: then a snapshot is one piece, and nothing happens in the midst of it.
    pub(super) fn new(scope: Vec<u32>, cookies: bool) -> Self {
        let own = host::own_netns();
        let (known, memory) = (BTreeMap::new(), Memory::default());
        let piece = if cookies { PIECE } else { usize::MAX };
        Self { scope, own, piece, known, memory, began: false, denied: false }
    }

    /// Carries out an order; false where nobody wants to know any more.
    pub(super) fn carry_out(&mut self, order: Order, tell: &mut Tell<'_>) -> bool {
        match order {
            Order::Figures => tell(self.figures()),
            Order::Everything { owners, suspects } => {
                self.everything(owners, Gathering::about(suspects), tell)
            }
        }
    }

    fn everything(&mut self, owners: Owners, gathering: Gathering, tell: &mut Tell<'_>) -> bool {
        let mut look = Look { owners, seen: None, memory: mem::take(&mut self.memory), gathering };
        look.memory.age();
        let begun = wall::now();
        let gone = self.find(&mut look);
        let gone = gone.into_iter().all(|netns| {
            let record = Stamp { time_ns: 0, netns: Some(netns) }.record();
            let record = wire::LifeRecord { kind: wire::KIND_NETNS_GONE, ..record };
            tell(Finding::Gone { netns, record: record.into() })
        });
        if !gone || !tell(self.figures()) {
            return false;
        }
        let inodes: Vec<_> = self.known.keys().copied().collect();
        let mut namespaces = 0;
        for (index, netns) in inodes.into_iter().enumerate() {
            if index > 0 && self.began {
                thread::sleep(PAUSE);
            }
            match self.sockets(netns, &mut look, tell) {
                Told::All => namespaces += 1,
                Told::Nothing => {}
                Told::Nobody => return false,
            }
        }
        self.began = true;
        self.memory = look.memory;
        let facts = look.gathering.finish(begun);
        if !tell(Finding::Host(Box::new(facts))) {
            return false;
        }
        tell(Finding::Done { namespaces })
    }

    /// Looks which namespaces there are; returns those that are no more.
    fn find(&mut self, look: &mut Look) -> Vec<u32> {
        let mut scan = Scan::now();
        let missing = |scan: &Scan, known: &BTreeMap<u32, Known>| -> Vec<u32> {
            known.keys().copied().filter(|netns| !scan.found.contains_key(netns)).collect()
        };
        let vanished = missing(&scan, &self.known);
        if !vanished.is_empty() || !self.began {
            // Threads and descriptors may lead where no process or mount does any more.
            scan.add_threads();
            for (inode, way) in &look.seen().namespaces {
                scan.add(*inode, way.clone());
            }
        }
        let mut gone = missing(&scan, &self.known);
        if !gone.is_empty() {
            let seen = look.seen();
            // What could not be looked at in time may hold a socket in it. A process that may not
            // be looked into may, too, and is passed over: else one of them would keep all.
            let is_held = |netns: &u32| {
                self.known.get(netns).is_some_and(|known| known.sockets.is_held(seen))
            };
            gone.retain(|netns| !seen.cut && !is_held(netns));
        }
        for netns in &gone {
            self.known.remove(netns);
        }
        if scan.beyond_limit > 0 {
            let left = scan.beyond_limit;
            tracing::warn!(left, "too many network namespaces: some are not compared");
        }
        let scope = &self.scope;
        for namespace in scan.found.into_values() {
            if scope.is_empty() || scope.contains(&namespace.inode) {
                let known = self.known.entry(namespace.inode).or_default();
                known.namespace = Some(namespace);
            }
        }
        gone
    }

    /// What the kernel counts in each namespace.
    fn figures(&mut self) -> Finding {
        let mut partial = false;
        let mut readings = Vec::with_capacity(self.known.len());
        for (netns, known) in &self.known {
            match inside(self.own, *netns, known.namespace.as_ref(), mibs::read) {
                Ok(Ok(mibs)) => readings.push((*netns, mibs)),
                Ok(Err(error)) | Err(error) => {
                    partial |= error.kind() == io::ErrorKind::PermissionDenied;
                    tracing::debug!(netns, %error, "a namespace's TCP statistics were not read");
                }
            }
        }
        Finding::Figures { readings, partial }
    }

    /// Tells of a namespace's sockets.
    fn sockets(&mut self, netns: u32, look: &mut Look, tell: &mut Tell<'_>) -> Told {
        let (own, size) = (self.own, self.piece);
        let rest = if self.began { REST } else { Duration::ZERO };
        let Some(Known { namespace, is_large, sockets }) = self.known.get_mut(&netns) else {
            return Told::Nothing;
        };
        if std::mem::take(is_large) {
            look.before_reading();
        }
        let stamp = || Stamp { time_ns: wall::now().0, netns: Some(netns) };
        let mut bracket = Bracket::new(stamp());
        let entered =
            inside(own, netns, namespace.as_ref(), || (Channel::open(), settings::read()));
        let (mut first, settings) = match entered {
            Ok((channel, settings)) => (Some(channel), settings),
            Err(error) => {
                self.not_entered(netns, &error);
                return Told::Nothing;
            }
        };
        look.gathering.take_settings(netns, settings);
        let listed = sock_diag::steady(|| {
            sockets.forget();
            let channel = match first.take() {
                Some(channel) => channel?,
                None => open_again(own, netns, namespace.as_ref())?,
            };
            let stamp = stamp();
            if let Some(cut) = bracket.begin_again(stamp)
                && !tell(cut)
            {
                return Err(SockDiagError::Unwanted);
            }
            sock_diag::list(channel, stamp, size, &mut |mut piece| {
                *is_large = true;
                look.piece(&mut piece, sockets);
                let told = tell(bracket.go_on(&piece));
                thread::sleep(rest);
                bracket.read_on(wall::now());
                told
            })
        });
        let end = match listed {
            Ok(mut last) => {
                look.piece(&mut last, sockets);
                if last.beyond_limit > 0 {
                    let left = last.beyond_limit;
                    tracing::warn!(netns, left, "too many sockets: some are not compared");
                }
                bracket.end(&last)
            }
            Err(SockDiagError::Unwanted) => return Told::Nobody,
            Err(error) => {
                tracing::warn!(netns, %error, "the sockets that are there are not known");
                bracket.give_up()
            }
        };
        if tell(end) { Told::All } else { Told::Nobody }
    }

    /// Says so once where it is for want of privileges; else the namespace is just going away.
    fn not_entered(&mut self, netns: u32, error: &io::Error) {
        if error.kind() == io::ErrorKind::PermissionDenied && !self.denied {
            self.denied = true;
            tracing::warn!(
                netns, %error,
                "network namespaces other than our own cannot be entered: sockets that were in \
                 them before are not known (it takes CAP_SYS_ADMIN)"
            );
        } else {
            tracing::debug!(netns, %error, "a network namespace cannot be entered");
        }
    }
}

impl Look {
    /// Looks for the holders before a long list is read: in the midst of it, sockets that leave would move
    /// others past the place where the kernel reads on.
    fn before_reading(&mut self) {
        let needed = match &self.owners {
            Owners::Every => true,
            Owners::Of(cookies) => !cookies.is_empty(),
        };
        if needed {
            self.seen();
        }
    }

    /// Names the owners of the sockets in it, and takes what the diagnosis wants to know of them.
    fn piece(&mut self, piece: &mut Snapshot, sample: &mut Sample) {
        self.name_owners(&mut piece.rows);
        self.gathering.take_rows(&piece.rows);
        sample.remember(&piece.rows);
    }

    /// The holders of all sockets, looked up when they are first needed.
    fn seen(&mut self) -> &Seen {
        self.seen.get_or_insert_with(|| {
            let seen = holders::look(Wanted::Sockets);
            if seen.cut {
                tracing::warn!("too many descriptors: some owners are not known");
            }
            seen
        })
    }

    /// Names the owners of the sockets whose owners are wanted.
    fn name_owners(&mut self, rows: &mut [Row]) {
        let wanted = |owners: &Owners, row: &Row| {
            row.inode != 0
                && match owners {
                    Owners::Every => true,
                    Owners::Of(cookies) => is_among(cookies, row.record.cookie),
                }
        };
        let all = rows.iter().filter(|row| wanted(&self.owners, row));
        let inodes: Vec<_> = all.map(|row| row.inode).collect();
        if self.seen.is_none()
            && let Some(held) = self.memory.recall(&inodes)
        {
            let wanted = rows.iter_mut().filter(|row| wanted(&self.owners, row));
            return holders::name_owners(wanted, held);
        }
        self.seen();
        let (Some(seen), owners) = (&self.seen, &self.owners) else { return };
        self.memory.learn(&inodes, seen);
        holders::name_owners(rows.iter_mut().filter(|row| wanted(owners, row)), &seen.holders);
    }
}

fn is_among(cookies: &HashSet<NonZeroU64>, cookie: u64) -> bool {
    NonZeroU64::new(cookie).is_some_and(|cookie| cookies.contains(&cookie))
}

fn open_again(
    own: Option<u32>,
    netns: u32,
    namespace: Option<&Namespace>,
) -> Result<Channel, SockDiagError> {
    inside(own, netns, namespace, Channel::open)
        .unwrap_or_else(|source| Err(SockDiagError::Call { what: "setns", source }))
}

/// Runs `work` in a namespace: entering takes `CAP_SYS_ADMIN`, being in it already takes nothing.
fn inside<T: Send>(
    own: Option<u32>,
    netns: u32,
    namespace: Option<&Namespace>,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    if own == Some(netns) {
        return Ok(work());
    }
    let namespace = namespace.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    netns::inside(&namespace.open()?, work)
}
