//! SYNs that get no answer because a listener on this very host has no room for one more.

use std::net::{IpAddr, SocketAddr};

use crate::core::{
    diagnosis::{
        Casebook,
        evidence::ListenerQueue,
        finding::{Advice, Finding, Line},
        survey::{Listening, Survey},
        talk,
    },
    table::Table,
};

/// A listener whose accept queue is full: the kernel drops SYNs that come for it.
pub(super) struct Full<'a> {
    listener: &'a Listening,
    queue: ListenerQueue,
}

impl<'a> Full<'a> {
    /// The one at `remote`, as seen from `netns`, where connections leave from the address `from`.
    pub(super) fn at(
        book: &Casebook,
        table: &Table,
        survey: &'a Survey,
        netns: Option<u32>,
        remote: SocketAddr,
        from: Option<IpAddr>,
    ) -> Option<Self> {
        let is_there = |listener: &Listening| {
            let (local, same) = (listener.local, listener.netns == netns);
            local.port() == remote.port()
                && if remote.ip().is_loopback() {
                    same && (local.ip() == remote.ip() || local.ip().is_unspecified())
                } else {
                    // Who connects to an address of its own host leaves from there.
                    local.ip() == remote.ip()
                        || local.ip().is_unspecified()
                            && (same && from == Some(remote.ip())
                                || serves(table, listener, remote))
                }
        };
        survey.listeners.iter().find_map(|listener| {
            let queue = *book.host.listeners.get(&listener.cookie?)?;
            // The kernel lets in one more than it was asked for.
            let full = queue.waiting > queue.room;
            (full && is_there(listener)).then_some(Self { listener, queue })
        })
    }

    fn whose(&self) -> String {
        let owner = self.listener.owner;
        let who = owner.map(|owner| talk::process(owner.comm, owner.pid));
        who.unwrap_or_else(|| "a listener".to_owned())
    }

    /// Makes it the cause of `found`, in place of what is a guess only.
    pub(super) fn explain(&self, found: &mut Finding) {
        let ListenerQueue { waiting, room } = self.queue;
        let (whose, local) = (self.whose(), self.listener.local);
        found.cause = Some("accept_queue_full");
        let text = format!(
            "the accept queue of {whose}, which listens on {local} on this host, is full: {} \
             {} accept(), its backlog is {}; SYNs are dropped there",
            talk::counted(waiting.into(), "connection"),
            if waiting == 1 { "waits for" } else { "wait for" },
            talk::number(room.into()),
        );
        let line = Line { connections: vec![self.listener.id], ..Line::new("cause", text) };
        match found.evidence.iter_mut().find(|line| line.label == "cause") {
            Some(cause) => *cause = line,
            None => found.evidence.push(line),
        }
        found.advice = vec![
            Advice::Do(format!("look what the threads of {whose} that should accept() wait for")),
            Advice::Not(
                "a longer queue for a server that is stuck: clients only wait longer".to_owned(),
            ),
        ];
        found.see.push(format!("tcp-trace show {}", self.listener.id));
    }
}

/// Whether a connection to `remote` has come in to this listener on any address: its queue is full of
/// them.
fn serves(table: &Table, listener: &Listening, remote: SocketAddr) -> bool {
    table.live().any(|known| {
        known.local_port() == remote.port()
            && known.netns == listener.netns
            && known.flow().local == remote
    })
}
