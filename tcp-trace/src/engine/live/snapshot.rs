//! The sockets that are there when tracing begins.

use super::Prepared;
use crate::{
    engine::{tracer::Tracer, wall},
    kernel::{holders, netns, sock_diag},
};

/// Sockets that are there already. Only with cookies can they be joined to later events.
pub(super) fn seed(tracer: &mut Tracer, prepared: &Prepared) {
    if !prepared.attached.cookies {
        return;
    }
    let at = wall::now();
    let dump = |inode| move || sock_diag::snapshot(at.0, inode);
    let mut snapshots = Vec::new();
    if prepared.netns.is_empty() {
        snapshots.push(dump(prepared.facts.netns)());
    }
    for netns in &prepared.netns {
        // Entering a namespace takes CAP_SYS_ADMIN; being in it already takes nothing.
        if Some(netns.inode) == prepared.facts.netns {
            snapshots.push(dump(Some(netns.inode))());
        } else if let Some(handle) = &netns.handle {
            let entered = netns::inside(handle, dump(Some(netns.inode)));
            match entered {
                Ok(snapshot) => snapshots.push(snapshot),
                Err(error) => tracing::warn!(%error, "a namespace cannot be entered"),
            }
        }
    }
    for snapshot in snapshots {
        match snapshot {
            Ok(mut snapshot) => {
                let holders = holders::by_inode(&snapshot.inodes());
                holders::name_owners(&mut snapshot.rows, &holders);
                for row in &snapshot.rows {
                    tracer.take_record(0, row.record.into());
                }
            }
            Err(error) => tracing::warn!(%error, "sockets that were there already are not known"),
        }
    }
}
