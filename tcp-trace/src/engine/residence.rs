//! Where owners live: asked for once they are known, told when somebody looks.

use std::cell::RefCell;

use crate::{
    api,
    core::{
        event::{Body, LifeStep, Origin},
        tcp_state::TcpState,
    },
    kernel::places::Places,
};

/// The places of this host's processes; none for a recording, whose processes are of another time.
#[derive(Debug, Default)]
pub(crate) struct Residence(Option<RefCell<Places>>);

impl Residence {
    /// That of this host.
    pub(crate) fn of_host() -> Self {
        Self(Some(RefCell::new(Places::new())))
    }

    /// Asks for the process that an event is sure to be of: it may be gone soon.
    pub(super) fn ask(&self, body: &Body) {
        let Some(places) = &self.0 else { return };
        let (pid, started_ns, cgroup) = match body {
            Body::Life(life) => match life.what {
                LifeStep::Connect(Some(caller)) | LifeStep::Accept(Some(caller)) => {
                    (caller.task.pid, caller.started_ns, caller.cgroup)
                }
                _ => return,
            },
            Body::State(change) => {
                let in_call = change.old == TcpState::Close
                    && matches!(change.new, TcpState::SynSent | TcpState::Listen);
                let Some(task) = change.current else { return };
                if !in_call && change.origin == Origin::Live {
                    return;
                }
                (task.pid, None, None)
            }
            Body::Segment(_) | Body::Stack(_) | Body::Lost { .. } => return,
        };
        places.borrow_mut().ask(pid, started_ns, cgroup);
    }

    /// Processes that were not looked up because too many waited.
    pub(super) fn refused(&self) -> u64 {
        self.0.as_ref().map_or(0, |places| places.borrow().refused())
    }

    /// Adds what is known of the owner.
    pub(super) fn tell(&self, connection: &mut api::Connection) {
        if let Some(owner) = &mut connection.owner {
            self.tell_owner(owner);
        }
    }

    /// Adds what is known of an owner.
    pub(super) fn tell_owner(&self, owner: &mut api::Owner) {
        let Some(places) = &self.0 else { return };
        let id = |number: Option<u64>| number.and_then(std::num::NonZeroU64::new);
        let (started_ns, cgroup) = (id(owner.started_ns), id(owner.cgroup_id));
        let answer = places.borrow_mut().of(owner.pid, started_ns, cgroup);
        if let Some(at) = answer.get() {
            api::locate(owner, at);
        }
    }
}
