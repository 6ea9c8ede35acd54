//! Segments written by hand, and what a table makes of them.

use std::net::SocketAddr;

use super::super::conversations::{Conversations, Sighting};
use crate::core::{
    clock::Ts,
    close::{CloseReason as R, ClosedBy},
    connection::Connection,
    event::{Body, Event},
    segment::{SegmentFlags, SegmentHeader, Travel},
    table::{Limits, Table},
    tcp_state::TcpState as S,
};

pub(super) const CLIENT: &str = "10.0.0.1:40000";
pub(super) const SERVER: &str = "10.0.0.2:80";
pub(super) const SYN: u8 = 0x02;
pub(super) const SYN_ACK: u8 = 0x12;
pub(super) const ACK: u8 = 0x10;
pub(super) const FIN: u8 = 0x11;
pub(super) const RST: u8 = 0x04;
pub(super) const RST_ACK: u8 = 0x14;
pub(super) const MILLI: u64 = 1_000_000;

/// A segment at `at` milliseconds.
pub(super) fn sighting(
    at: u64,
    from: &str,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: u32,
) -> Sighting {
    let to = if from == CLIENT { SERVER } else { CLIENT };
    let flags = SegmentFlags(flags);
    Sighting {
        at: Ts(at * MILLI),
        source: from.parse().unwrap(),
        destination: to.parse().unwrap(),
        identification: u16::try_from(at % 65_536).unwrap(),
        header: SegmentHeader { flags, seq, ack, window: 512, payload },
    }
}

/// What a table makes of segments: sender, flags, sequence, acknowledgement, payload; one each
/// millisecond.
pub(super) struct Told {
    pub(super) table: Table,
    pub(super) events: Vec<Event>,
    pub(super) conversations: Conversations,
}

impl Told {
    pub(super) fn new() -> Self {
        let limits = Limits { live: 1000, closed: 1000 };
        let conversations = Conversations::default();
        Self { table: Table::new(limits), events: Vec::new(), conversations }
    }

    pub(super) fn of(rows: &[(&str, u8, u32, u32, u32)]) -> Self {
        let mut told = Self::new();
        for (at, (from, flags, seq, ack, payload)) in (1..).zip(rows) {
            told.take(&sighting(at, from, *flags, *seq, *ack, *payload));
        }
        told.until(rows.len() as u64 + 1)
    }

    pub(super) fn take(&mut self, sighting: &Sighting) {
        let before = self.events.len();
        self.conversations.take(sighting, &mut self.events);
        for event in &self.events[before..] {
            self.table.apply(event);
        }
    }

    pub(super) fn until(mut self, at: u64) -> Self {
        let before = self.events.len();
        self.conversations.finish(Ts(at * MILLI), &mut self.events);
        for event in &self.events[before..] {
            self.table.apply(event);
        }
        self.table.tick(Ts(at * MILLI));
        assert_eq!(self.table.statistics().illegal_transitions, 0);
        self
    }

    /// Connections whose own end is `local`, oldest first.
    pub(super) fn all(&self, local: &str) -> Vec<&Connection> {
        let local: SocketAddr = local.parse().unwrap();
        let mut found: Vec<_> = self.table.live().chain(self.table.closed()).collect();
        found.retain(|known| known.flow().local == local);
        found.sort_by_key(|known| known.id);
        found
    }

    pub(super) fn one(&self, local: &str) -> &Connection {
        let all = self.all(local);
        let [one] = all.as_slice() else { panic!("{all:#?}") };
        one
    }

    pub(super) fn stands(&self, local: &str) -> (S, Option<(R, Option<ClosedBy>)>) {
        let one = self.one(local);
        (one.state, one.judged().map(|judged| (judged.verdict.reason, judged.verdict.by)))
    }

    /// Flags of the segments that one end sent and that are shown.
    pub(super) fn shown(&self, local: &str) -> Vec<u8> {
        let local: SocketAddr = local.parse().unwrap();
        let sent = self.events.iter().filter_map(|event| match event.body {
            Body::Segment(segment) if segment.flow.local == local => Some(segment),
            _ => None,
        });
        sent.filter(|segment| segment.travel == Travel::Out)
            .map(|segment| segment.header.flags.0)
            .collect()
    }
}

pub(super) const BY_LOCAL: Option<ClosedBy> = Some(ClosedBy::Local);
pub(super) const BY_REMOTE: Option<ClosedBy> = Some(ClosedBy::Remote);
pub(super) const BY_BOTH: Option<ClosedBy> = Some(ClosedBy::Both);

pub(super) type Row = (&'static str, u8, u32, u32, u32);
pub(super) const OPEN: [Row; 3] =
    [(CLIENT, SYN, 100, 0, 0), (SERVER, SYN_ACK, 500, 101, 0), (CLIENT, ACK, 101, 501, 0)];

pub(super) fn after_open(rows: &[Row]) -> Told {
    Told::of(&[&OPEN, rows].concat())
}
