//! Records of the packet hooks.

use tcp_trace_common as wire;

use super::{DecodeError, end};
use crate::core::{
    clock::Ts,
    event::{Body, Event, Flow},
    segment::{SegmentEvent, SegmentFlags, SegmentHeader, Travel, Witness},
};

/// The event a record tells.
pub(super) fn event(record: &wire::SegmentRecord) -> Result<Event, DecodeError> {
    let witness = Witness::from_hook(record.hook).ok_or(DecodeError::Hook(record.hook))?;
    let source = end(record.source_addr, record.source_port);
    let destination = end(record.destination_addr, record.destination_port);
    let flow = match witness.travel() {
        Travel::In => Flow { local: destination, remote: source },
        Travel::Out => Flow { local: source, remote: destination },
    };
    let segment = SegmentEvent {
        flow,
        netns: (record.valid & wire::VALID_NETNS != 0).then_some(record.netns),
        travel: witness.travel(),
        witness,
        header: SegmentHeader {
            flags: SegmentFlags(record.flags),
            seq: record.seq,
            ack: record.ack,
            window: record.window,
            payload: record.payload,
        },
    };
    Ok(Event { at: Ts(record.time_ns), body: Body::Segment(segment) })
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    #[test]
    fn the_local_end_is_the_receiver_on_the_way_in_and_the_sender_on_the_way_out() {
        let mut record = wire::SegmentRecord::new_zeroed();
        (record.source_port, record.destination_port) = (1, 2);
        let mut local = |hook| {
            record.hook = hook;
            let Body::Segment(segment) = event(&record).unwrap().body else { panic!("a segment") };
            segment.flow.local.port()
        };
        assert_eq!(local(wire::SEGMENT_HOOK_XDP), 2);
        assert_eq!(local(wire::SEGMENT_HOOK_TC_IN), 2);
        assert_eq!(local(wire::SEGMENT_HOOK_TC_OUT), 1);
        record.hook = 3;
        assert_eq!(event(&record), Err(DecodeError::Hook(3)));
    }
}
