//! Frames in memory.

use super::{Frame, Headers, Link, Segment, Skip, View, parse};

/// The segment that `bytes` hold.
///
/// A capture may have cut the frame anywhere behind the fixed part of the TCP header.
///
/// # Errors
/// Why there is none.
pub fn parse_slice(bytes: &[u8], link: Link) -> Result<Segment, Skip> {
    parse(&Slice(bytes), link).map(|headers| headers.segment())
}

/// Bytes, as a frame and as a view of one.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a>(pub &'a [u8]);

impl<'a> Frame for Slice<'a> {
    type View = Self;

    fn view<const N: usize>(&self, at: usize) -> Option<Self> {
        let bytes: &'a [u8; N] = self.0.get(at..)?.first_chunk()?;
        Some(Self(bytes))
    }

    fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

impl Slice<'_> {
    /// Zeros outside, where a view is never read.
    fn chunk<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }
}

impl View for Slice<'_> {
    fn byte<const AT: usize>(&self) -> u8 {
        u8::from_be_bytes(self.chunk(AT))
    }

    fn half<const AT: usize>(&self) -> u16 {
        u16::from_be_bytes(self.chunk(AT))
    }

    fn word<const AT: usize>(&self) -> u32 {
        u32::from_be_bytes(self.chunk(AT))
    }
}

impl<V: View> Headers<V> {
    /// All they say.
    pub fn segment(&self) -> Segment {
        Segment {
            source_addr: bytes_of(self.source()),
            destination_addr: bytes_of(self.destination()),
            source_port: self.source_port(),
            destination_port: self.destination_port(),
            seq: self.seq(),
            ack: self.ack(),
            flags: self.flags(),
            window: self.window(),
            payload: self.payload,
            vlan: self.vlan,
        }
    }
}

fn bytes_of(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}
