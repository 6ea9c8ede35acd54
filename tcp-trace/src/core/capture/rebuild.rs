//! From packets to events.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tcp_trace_common::frame::{self, Headers, Skip, Slice, View as _};

use super::{
    Packet,
    conversations::{Conversations, Figures, Sighting},
    link::{Captured, LinkType},
};
use crate::core::{
    clock::Ts,
    event::Event,
    merge::Merge,
    segment::{SegmentFlags, SegmentHeader},
};

/// How long a segment waits for older ones: each interface of a capture is in order, all of them
/// together are not.
const WINDOW: Duration = Duration::from_secs(1);
/// Segments that may wait.
const LIMIT: usize = 1 << 16;
/// Segments between two looks at which of them have waited long enough.
const STRIDE: u32 = 256;

/// Packets that tell of no connection, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// No TCP.
    pub not_tcp: u64,
    /// Fragments of IP other than the first.
    pub fragments: u64,
    /// Cut before the end of their headers, or with headers that are none.
    pub cut: u64,
    /// Of an interface whose link type is not read.
    pub unknown_link: u64,
    /// What became of the segments.
    pub segments: Figures,
    /// Segments that were too far behind to be put in order.
    pub late: u64,
}

impl PassedOver {
    /// Each reason, in words, with how many there were; those that say something is missing first.
    #[must_use]
    pub fn reasons(&self) -> [(&'static str, u64); 9] {
        [
            ("unknown_link", self.unknown_link),
            ("cut_headers", self.cut),
            ("conversations_full", self.segments.refused),
            ("out_of_order", self.late),
            ("fragments", self.fragments),
            ("not_tcp", self.not_tcp),
            ("of_no_connection", self.segments.strangers),
            ("connected_to_itself", self.segments.to_itself),
            ("captured_twice", self.segments.doubles),
        ]
    }
}

/// Turns packets into the events of the sockets at both ends.
#[derive(Debug)]
pub struct Rebuilder {
    conversations: Conversations,
    waiting: Merge<Sighting>,
    passed_over: PassedOver,
    packets: u64,
    first: Option<Ts>,
    last: Ts,
    released: Ts,
    since_release: u32,
    foreign_link: Option<u32>,
}

impl Default for Rebuilder {
    fn default() -> Self {
        Self {
            conversations: Conversations::default(),
            waiting: Merge::new(WINDOW, LIMIT),
            passed_over: PassedOver::default(),
            packets: 0,
            first: None,
            last: Ts(0),
            released: Ts(0),
            since_release: 0,
            foreign_link: None,
        }
    }
}

impl Rebuilder {
    /// Takes a packet; events of segments that have waited long enough are added to `events`.
    pub fn packet(&mut self, packet: &Packet<'_>, events: &mut Vec<Event>) {
        let at = Ts(packet.at_ns);
        self.packets += 1;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(at);
        match self.sighting(packet) {
            Ok(Some(sighting)) => self.waiting.push(0, at, sighting),
            Ok(None) => self.passed_over.unknown_link += 1,
            Err(Skip::NotTcp) => self.passed_over.not_tcp += 1,
            Err(Skip::Fragment) => self.passed_over.fragments += 1,
            Err(Skip::Cut) => self.passed_over.cut += 1,
        }
        self.since_release += 1;
        if self.since_release >= STRIDE {
            self.since_release = 0;
            let mut waiting = std::mem::take(&mut self.waiting);
            waiting.release(self.last, |_, sighting| self.segment(sighting, events));
            self.waiting = waiting;
        }
    }

    /// The capture has ended.
    pub fn finish(&mut self, events: &mut Vec<Event>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.flush(|_, sighting| self.segment(sighting, events));
        self.passed_over.late = waiting.late();
        self.waiting = waiting;
        self.conversations.finish(self.last, events);
    }

    fn segment(&mut self, sighting: &Sighting, events: &mut Vec<Event>) {
        // One that comes late is told as if it had just come: time does not run backwards.
        self.released = self.released.max(sighting.at);
        self.conversations.take(&Sighting { at: self.released, ..*sighting }, events);
    }

    /// `None` where its link type is not read.
    fn sighting(&mut self, packet: &Packet<'_>) -> Result<Option<Sighting>, Skip> {
        let Some(link) = LinkType::from_number(packet.link) else {
            self.foreign_link = Some(packet.link);
            return Ok(None);
        };
        let captured = Captured { bytes: packet.bytes, length: packet.length };
        let (link, captured) = link.strip(captured)?;
        let headers = frame::parse(&captured, link)?;
        Ok(Some(sighting(Ts(packet.at_ns), &headers)))
    }

    /// Moments of the first and the last packet; `None` where there is none.
    #[must_use]
    pub fn span(&self) -> Option<(Ts, Ts)> {
        self.first.map(|first| (first, self.last))
    }

    /// Packets taken.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What was passed over.
    #[must_use]
    pub fn passed_over(&self) -> PassedOver {
        PassedOver { segments: self.conversations.figures(), ..self.passed_over }
    }

    /// The link type that is to blame where not one packet could be looked into.
    #[must_use]
    pub fn foreign_link(&self) -> Option<u32> {
        self.foreign_link.filter(|_| self.passed_over.unknown_link == self.packets)
    }
}

fn sighting(at: Ts, headers: &Headers<Slice<'_>>) -> Sighting {
    let segment = headers.segment();
    let end = |address: [u8; 16], port| {
        SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
    };
    Sighting {
        at,
        source: end(segment.source_addr, segment.source_port),
        destination: end(segment.destination_addr, segment.destination_port),
        identification: if headers.is_v6 { 0 } else { headers.network.half::<4>() },
        header: SegmentHeader {
            flags: SegmentFlags(segment.flags),
            seq: segment.seq,
            ack: segment.ack,
            window: segment.window,
            payload: segment.payload,
        },
    }
}
