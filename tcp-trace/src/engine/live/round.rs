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
    evidence::Gathering,
    known::Known,
    reconciler::{Finding, Order, Owners},
};
use crate::{
    core::decode::Record,
    engine::wall,
    kernel::{
        holders::{self, Memory, Seen, Wanted},
        host, mibs,
        namespaces::{Namespace, Scan},
        netns, settings,
        sock_diag::{self, Row, Snapshot, Stamp},
    },
};

#[cfg(test)]
mod tests;

/// Between two namespaces, so that many small ones do not keep a CPU busy.
const PAUSE: Duration = Duration::from_millis(2);

/// Takes a finding; false where nobody wants any more.
pub(super) type Tell<'a> = dyn FnMut(Finding) -> bool + 'a;

/// What is remembered from one round to the next.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Inodes of the namespaces to look at; empty: all.
    scope: Vec<u32>,
    /// The namespace that this process is in.
    own: Option<u32>,
    known: BTreeMap<u32, Known>,
    /// Who held which socket; lent to each look.
    memory: Memory,
    began: bool,
    denied: bool,
}

/// What is looked up once a round, where it is needed at all.
struct Look {
    owners: Owners,
    seen: Option<Seen>,
    memory: Memory,
    gathering: Gathering,
}

impl Rounds {
    /// Of the namespaces with these inodes, or of all.
    pub(super) fn new(scope: Vec<u32>) -> Self {
        let own = host::own_netns();
        let (known, memory) = (BTreeMap::new(), Memory::default());
        Self { scope, own, known, memory, began: false, denied: false }
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
            if let Some(finding) = self.sockets(netns, &mut look) {
                namespaces += 1;
                if !tell(finding) {
                    return false;
                }
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
            let is_held =
                |netns: &u32| self.known.get(netns).is_some_and(|known| known.is_held(seen));
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

    /// A namespace's sockets; `None` where it cannot be entered (any more).
    fn sockets(&mut self, netns: u32, look: &mut Look) -> Option<Finding> {
        let known = self.known.get_mut(&netns)?;
        let since = wall::now();
        let listed = inside(self.own, netns, known.namespace.as_ref(), || {
            (sock_diag::snapshot(since.0, Some(netns)), settings::read())
        });
        match listed {
            Ok((Ok(mut snapshot), settings)) => {
                look.name_owners(&mut snapshot.rows);
                look.gathering.take_rows(&snapshot.rows);
                look.gathering.take_settings(netns, settings);
                known.remember(&snapshot.rows);
                if snapshot.beyond_limit > 0 {
                    let left = snapshot.beyond_limit;
                    tracing::warn!(netns, left, "too many sockets: some are not compared");
                }
                let stamp = Stamp { time_ns: since.0, netns: Some(netns) };
                let whole = snapshot.is_whole();
                Some(Finding::Sockets { records: records(stamp, &snapshot), whole })
            }
            Ok((Err(error), _)) => {
                tracing::warn!(netns, %error, "the sockets that are there are not known");
                Some(Finding::Failed)
            }
            Err(error) => {
                self.not_entered(netns, &error);
                None
            }
        }
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

/// The records of a snapshot, between its marks.
fn records(stamp: Stamp, snapshot: &Snapshot) -> Vec<Record> {
    let mark = |kind, value, other| {
        Record::Life(wire::LifeRecord { kind, value, other, ..stamp.record() })
    };
    let mut records = Vec::with_capacity(snapshot.rows.len() + snapshot.minis.len() + 2);
    records.push(mark(wire::KIND_SNAPSHOT_BEGUN, 0, stamp.time_ns));
    records.extend(snapshot.rows.iter().map(|row| Record::State(row.record)));
    records.extend(snapshot.minis.iter().map(|mini| Record::Life(*mini)));
    records.push(mark(wire::KIND_SNAPSHOT_ENDED, snapshot.is_whole().into(), 0));
    records
}
