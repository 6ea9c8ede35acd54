//! Records of what no state change tells, to events.

use std::num::NonZeroU64;

use tcp_trace_common as wire;

use super::{DecodeError, SNAPSHOT_GOES_ON, end, protocol, state};
use crate::core::{
    clock::Ts,
    event::{Body, Caller, Comm, Event, Flow, LifeEvent, LifeStep, SocketId, Task, TimeWaitEnd},
};

pub(super) fn event(record: &wire::LifeRecord) -> Result<Event, DecodeError> {
    let has = |bit| record.valid & bit != 0;
    let life = LifeEvent {
        socket: SocketId {
            cookie: NonZeroU64::new(record.cookie).filter(|_| has(wire::VALID_COOKIE)),
            sk: record.sk,
        },
        flow: Flow {
            local: end(record.local_addr, record.local_port),
            remote: end(record.remote_addr, record.remote_port),
        },
        protocol: protocol(record.protocol),
        netns: has(wire::VALID_NETNS).then_some(record.netns),
        what: step(record)?,
    };
    Ok(Event { at: Ts(record.time_ns), body: Body::Life(life) })
}

fn step(record: &wire::LifeRecord) -> Result<LifeStep, DecodeError> {
    // A negative number where a count should stand counts nothing.
    let count = u32::try_from(record.value).unwrap_or(0);
    Ok(match record.kind {
        wire::KIND_CONNECT => LifeStep::Connect(caller(record)),
        wire::KIND_ACCEPT => LifeStep::Accept(caller(record)),
        wire::KIND_CLOSE => LifeStep::Close(caller(record), state(record.old_state)?),
        wire::KIND_TIME_WAIT_BORN => {
            LifeStep::TimeWaitBorn { substate: state(record.new_state)?, from: record.other }
        }
        wire::KIND_TIME_WAIT_SUBSTATE => LifeStep::TimeWaitSubstate,
        wire::KIND_TIME_WAIT_ENDED => LifeStep::TimeWaitEnded {
            substate: state(record.old_state)?,
            why: TimeWaitEnd::from_number(record.value)
                .ok_or(DecodeError::TimeWaitEnd(record.value))?,
        },
        wire::KIND_TIME_WAIT_REFUSED => LifeStep::TimeWaitRefused,
        wire::KIND_REQUEST => LifeStep::Request,
        wire::KIND_SYNACK_RETRANSMIT => LifeStep::SynAckRetransmit(count.saturating_add(1)),
        wire::KIND_RESET_SENT => LifeStep::ResetSent {
            reason: u32::try_from(record.value).ok(),
            unasked: record.other != 0,
        },
        wire::KIND_RETRANSMIT => LifeStep::Retransmit(state(record.old_state)?),
        wire::KIND_DESTROYED => LifeStep::Destroyed,
        wire::KIND_SNAPSHOT_BEGUN => LifeStep::SnapshotBegun { since: Ts(record.other) },
        wire::KIND_SNAPSHOT_ENDED if record.value == SNAPSHOT_GOES_ON => {
            LifeStep::SnapshotGoesOn { since: Ts(record.other) }
        }
        wire::KIND_SNAPSHOT_ENDED => LifeStep::SnapshotEnded { whole: record.value == 1 },
        wire::KIND_SEED_TIME_WAIT => {
            LifeStep::FoundTimeWait { substate: state(record.old_state)?, left_ms: count }
        }
        wire::KIND_SEED_REQUEST => LifeStep::FoundRequest { retransmits: count },
        wire::KIND_NETNS_GONE => LifeStep::NetnsGone,
        unknown => return Err(DecodeError::Kind(unknown)),
    })
}

fn caller(record: &wire::LifeRecord) -> Option<Caller> {
    (record.valid & wire::VALID_CURRENT != 0).then(|| Caller {
        task: Task {
            pid: record.pid,
            tid: record.tid,
            comm: Comm(wire::comm_from_words(record.comm)),
        },
        started_ns: NonZeroU64::new(record.process_started_ns),
        cgroup: NonZeroU64::new(record.cgroup),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    proptest! {
        #[test]
        fn any_fields_decode_or_say_why(kind in wire::KIND_CONNECT..=wire::KIND_NETNS_GONE,
                                        bytes in any::<[u8; 124]>()) {
            let mut record = wire::LifeRecord::new_zeroed();
            record.kind = kind;
            record.len = u16::try_from(wire::LIFE_RECORD_LEN).unwrap();
            record.as_mut_bytes()[4..].copy_from_slice(&bytes);
            let decoded = event(&record);
            prop_assert_eq!(decoded, super::super::event(&record.into()));
        }
    }

    #[test]
    fn a_caller_is_absent_where_it_was_not_read() {
        let mut record = wire::LifeRecord::new_zeroed();
        record.kind = wire::KIND_ACCEPT;
        record.pid = 7;
        let step = |record: &wire::LifeRecord| match event(record).map(|event| event.body) {
            Ok(Body::Life(life)) => life.what,
            other => panic!("{other:?}"),
        };
        assert_eq!(step(&record), LifeStep::Accept(None));
        record.valid = wire::VALID_CURRENT;
        let LifeStep::Accept(Some(caller)) = step(&record) else { panic!("a caller") };
        assert_eq!((caller.task.pid, caller.started_ns, caller.cgroup), (7, None, None));
    }
}
