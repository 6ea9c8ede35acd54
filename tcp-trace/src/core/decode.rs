//! Raw record bytes to events. Total: every input gives an event or a reason.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU64,
    time::Duration,
};

use tcp_trace_common as wire;
use thiserror::Error;

use super::{
    clock::Ts,
    event::{
        Body, Comm, Event, Flow, Origin, Protocol, SockFlags, SocketId, StateChange, Task, Transfer,
    },
    tcp_state::TcpState,
};

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Shorter than the record its kind needs.
    #[error("{have} bytes where a record has {need}")]
    Short {
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// A kind this version does not know.
    #[error("unknown kind of record: {0}")]
    Kind(u16),
    /// The record's own length does not fit its kind.
    #[error("the record says it has {said} bytes, its kind has {need}")]
    Length {
        /// Length in the record.
        said: u16,
        /// Length of the kind.
        need: usize,
    },
    /// A state number outside the kernel's list.
    #[error("unknown TCP state {0}")]
    State(u8),
    /// A mini-socket's end that is none of `TIME_WAIT_END_*`.
    #[error("unknown end of a mini-socket: {0}")]
    TimeWaitEnd(i32),
    /// A hook that is none of `SEGMENT_HOOK_*`.
    #[error("unknown packet hook {0}")]
    Hook(u8),
}

/// `sock_flags` of a [`wire::KIND_SEED`], which no program makes: our SYN is among the bytes
/// acknowledged, so that this end connected.
pub const SEED_CONNECTED: u8 = 1 << 6;
/// Likewise: no SYN of ours is, so that this end accepted.
pub const SEED_ACCEPTED: u8 = 1 << 7;

/// `value` of a [`wire::KIND_SNAPSHOT_ENDED`] that ends no more than a piece: rows follow that were
/// read after the moment `other`. Whoever does not know of it takes the snapshot for cut there.
pub const SNAPSHOT_GOES_ON: i32 = 2;

/// What `reserved_too` of a [`wire::KIND_SEED`] holds, which no program makes: for how many
/// milliseconds nothing has come from the peer, and one more. Recordings of before have 0 there.
#[must_use]
pub fn seed_silence(silent: Option<Duration>) -> u32 {
    let past = |ms: u128| u32::try_from(ms + 1).unwrap_or(u32::MAX);
    silent.map_or(0, |silent| past(silent.as_millis()))
}

fn silence(told: u32) -> Option<Duration> {
    told.checked_sub(1).map(|ms| Duration::from_millis(ms.into()))
}

/// A record of any shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A state change, or a full socket of a snapshot.
    State(wire::StateRecord),
    /// A segment.
    Segment(wire::SegmentRecord),
    /// Anything else.
    Life(wire::LifeRecord),
}

impl Record {
    /// When it was made: nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::State(record) => record.time_ns,
            Self::Segment(record) => record.time_ns,
            Self::Life(record) => record.time_ns,
        }
    }

    /// Its kind: `KIND_*`.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::State(record) => record.kind,
            Self::Segment(record) => record.kind,
            Self::Life(record) => record.kind,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::State(record) => zerocopy::IntoBytes::as_bytes(record),
            Self::Segment(record) => zerocopy::IntoBytes::as_bytes(record),
            Self::Life(record) => zerocopy::IntoBytes::as_bytes(record),
        }
    }
}

impl From<wire::StateRecord> for Record {
    fn from(record: wire::StateRecord) -> Self {
        Self::State(record)
    }
}

impl From<wire::SegmentRecord> for Record {
    fn from(record: wire::SegmentRecord) -> Self {
        Self::Segment(record)
    }
}

impl From<wire::LifeRecord> for Record {
    fn from(record: wire::LifeRecord) -> Self {
        Self::Life(record)
    }
}

/// The record at the start of `bytes`; what follows it is the buffer's padding.
///
/// # Errors
/// Where the bytes are too few, or say of themselves what no record is.
pub fn record(bytes: &[u8]) -> Result<Record, DecodeError> {
    let need = wire::SEGMENT_RECORD_LEN;
    let kind = bytes
        .first_chunk::<2>()
        .map(|kind| u16::from_ne_bytes(*kind))
        .ok_or(DecodeError::Short { have: bytes.len(), need })?;
    match kind {
        wire::KIND_STATE | wire::KIND_SEED => {
            let record: wire::StateRecord = prefix(bytes)?;
            length(record.len, wire::STATE_RECORD_LEN)?;
            Ok(Record::State(record))
        }
        wire::KIND_CONNECT..=wire::KIND_NETNS_GONE => {
            let record: wire::LifeRecord = prefix(bytes)?;
            length(record.len, wire::LIFE_RECORD_LEN)?;
            Ok(Record::Life(record))
        }
        wire::KIND_SEGMENT => {
            let record: wire::SegmentRecord = prefix(bytes)?;
            length(record.len, wire::SEGMENT_RECORD_LEN)?;
            Ok(Record::Segment(record))
        }
        unknown => Err(DecodeError::Kind(unknown)),
    }
}

fn prefix<T: zerocopy::FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    match T::read_from_prefix(bytes) {
        Ok((record, _padding)) => Ok(record),
        Err(_) => Err(DecodeError::Short { have: bytes.len(), need: size_of::<T>() }),
    }
}

fn length(said: u16, need: usize) -> Result<(), DecodeError> {
    if usize::from(said) == need { Ok(()) } else { Err(DecodeError::Length { said, need }) }
}

/// The event a record tells.
///
/// # Errors
/// Where a number in it is none of the kernel's.
pub fn event(record: &Record) -> Result<Event, DecodeError> {
    match record {
        Record::State(record) => state_change(record),
        Record::Segment(record) => segment::event(record),
        Record::Life(record) => life::event(record),
    }
}

fn state_change(record: &wire::StateRecord) -> Result<Event, DecodeError> {
    let has = |bit| record.valid & bit != 0;
    let protocol = protocol(record.protocol);
    // A parent of MPTCP is cloned off its listener with the listener's cookie, and keeps it.
    let has_cookie = has(wire::VALID_COOKIE) && protocol != Protocol::Mptcp;
    // All that may fail comes first: the event is then written where it is to be.
    let (old, new) = (state(record.old_state)?, state(record.new_state)?);
    let change = StateChange {
        socket: SocketId {
            cookie: NonZeroU64::new(record.cookie).filter(|_| has_cookie),
            sk: record.sk,
        },
        origin: if record.kind == wire::KIND_SEED { Origin::Snapshot } else { Origin::Live },
        old,
        new,
        flow: Flow {
            local: end(record.local_addr, record.local_port),
            remote: end(record.remote_addr, record.remote_port),
        },
        protocol,
        netns: has(wire::VALID_NETNS).then_some(record.netns),
        error: record.sk_err,
        transfer: has(wire::VALID_TCP).then(|| transfer(record)),
        flags: has(wire::VALID_FLAGS).then_some(SockFlags {
            attached: record.sock_flags & wire::SOCK_ATTACHED != 0,
            dead: record.sock_flags & wire::SOCK_FLAG_DEAD != 0,
            fin_received: record.sock_flags & wire::SOCK_FLAG_FIN_RECEIVED != 0,
            shutdown: record.shutdown,
            subflow: record.sock_flags & wire::SOCK_FLAG_SUBFLOW != 0,
        }),
        current: has(wire::VALID_CURRENT).then_some(Task {
            pid: record.pid,
            tid: record.tid,
            comm: Comm(record.comm_bytes()),
        }),
        silent: (record.kind == wire::KIND_SEED).then(|| silence(record.reserved_too)).flatten(),
    };
    Ok(Event { at: Ts(record.time_ns), body: Body::State(change) })
}

/// One end; `::ffff:a.b.c.d` is IPv4, whichever kind of socket it came from.
fn state(number: u8) -> Result<TcpState, DecodeError> {
    TcpState::from_number(number).ok_or(DecodeError::State(number))
}

fn protocol(number: u16) -> Protocol {
    match number {
        6 => Protocol::Tcp,
        262 => Protocol::Mptcp,
        other => Protocol::Other(other),
    }
}

fn end(address: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
}

fn transfer(record: &wire::StateRecord) -> Transfer {
    Transfer {
        rcv_nxt: record.rcv_nxt,
        copied_seq: record.copied_seq,
        snd_una: record.snd_una,
        write_seq: record.write_seq,
        srtt_us: record.srtt_us_x8 / 8,
        retransmits: record.retransmits,
        bytes_acked: record.bytes_acked,
        bytes_received: record.bytes_received,
        syn_acked: match record.sock_flags & (SEED_CONNECTED | SEED_ACCEPTED) {
            SEED_CONNECTED if record.kind == wire::KIND_SEED => Some(true),
            SEED_ACCEPTED if record.kind == wire::KIND_SEED => Some(false),
            _ => None,
        },
        outside: false,
    }
}

mod fold;
mod life;
mod segment;
mod stack;

pub use fold::{folded, steps as folded_steps, unfold};
pub use stack::stack;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    fn sample() -> wire::StateRecord {
        let mut record = wire::StateRecord::new_zeroed();
        record.kind = wire::KIND_STATE;
        record.len = u16::try_from(wire::STATE_RECORD_LEN).unwrap();
        record.valid = wire::VALID_COOKIE | wire::VALID_TCP;
        record.cookie = 7;
        record.old_state = 1;
        record.new_state = 8;
        record.local_addr = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]).octets();
        record.local_port = 80;
        record
    }

    #[test]
    fn v4_mapped_addresses_are_ipv4() {
        let Body::State(change) = event(&sample().into()).unwrap().body else {
            panic!("a state change")
        };
        assert_eq!(change.flow.local.to_string(), "127.0.0.1:80");
        assert_eq!(change.flow.remote.to_string(), "[::]:0");
    }

    #[test]
    fn absent_fields_are_absent_not_zero() {
        let mut record = sample();
        record.valid = 0;
        let Body::State(change) = event(&record.into()).unwrap().body else {
            panic!("a state change")
        };
        assert_eq!(change.socket.cookie, None);
        assert_eq!(change.transfer, None);
        assert_eq!(change.flags, None);
        assert_eq!(change.current, None);
        assert_eq!(change.netns, None);
    }

    #[test]
    fn a_row_tells_who_opened_and_a_live_change_does_not() {
        for (kind, flags, told) in [
            (wire::KIND_SEED, SEED_CONNECTED, Some(true)),
            (wire::KIND_SEED, SEED_ACCEPTED | wire::SOCK_ATTACHED, Some(false)),
            (wire::KIND_SEED, SEED_ACCEPTED | SEED_CONNECTED, None),
            (wire::KIND_SEED, wire::SOCK_ATTACHED, None),
            (wire::KIND_STATE, SEED_CONNECTED, None),
        ] {
            let record = wire::StateRecord { kind, sock_flags: flags, ..sample() };
            let Body::State(change) = event(&record.into()).unwrap().body else {
                panic!("a state change")
            };
            assert_eq!(change.transfer.unwrap().syn_acked, told, "{kind} {flags}");
        }
    }

    #[test]
    fn a_row_tells_for_how_long_the_peer_is_silent_and_a_live_change_does_not() {
        let ms = Duration::from_millis;
        for (kind, silent, told) in [
            (wire::KIND_SEED, Some(ms(0)), Some(ms(0))),
            (wire::KIND_SEED, Some(ms(10_800_000)), Some(ms(10_800_000))),
            (wire::KIND_SEED, Some(Duration::MAX), Some(ms((u32::MAX - 1).into()))),
            (wire::KIND_SEED, None, None),
            (wire::KIND_STATE, Some(ms(7)), None),
        ] {
            let reserved_too = seed_silence(silent);
            let record = wire::StateRecord { kind, reserved_too, ..sample() };
            let Body::State(change) = event(&record.into()).unwrap().body else {
                panic!("a state change")
            };
            assert_eq!(change.silent, told, "{kind} {silent:?}");
        }
    }

    #[test]
    fn every_cut_is_refused_and_padding_is_not() {
        let whole = sample();
        let bytes = whole.as_bytes();
        for end in 0..bytes.len() {
            assert!(matches!(record(&bytes[..end]), Err(DecodeError::Short { .. })));
        }
        let mut padded = bytes.to_vec();
        padded.extend([0xff; 7]);
        assert_eq!(record(&padded), Ok(Record::State(whole)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_say_why(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(record) = record(&bytes) {
                let _ = event(&record);
            }
        }

        #[test]
        fn any_fields_decode_or_say_why(bytes in any::<[u8; 148]>()) {
            let mut whole = sample().as_bytes()[..4].to_vec();
            whole.extend(bytes);
            let Ok(Record::State(record)) = record(&whole) else { panic!("a state record") };
            let known = |n| (1..=12).contains(&n);
            prop_assert_eq!(
                event(&record.into()).is_ok(),
                known(record.old_state) && known(record.new_state)
            );
        }
    }
}
