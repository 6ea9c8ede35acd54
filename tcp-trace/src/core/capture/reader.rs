//! Reads captures of either format. Total: every input gives packets, then an end or the reason why
//! not.

use std::io::{self, Read as _};

use super::{CaptureError, pcap::Pcap, pcapng::Pcapng};
use crate::core::recording::Source;

/// One captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Its link type, as in tcpdump's list.
    pub link: u32,
    /// Its bytes, as many as were captured.
    pub bytes: &'a [u8],
    /// Bytes it had on the wire.
    pub length: u32,
}

/// Whether a file that begins with `bytes` (four at least) is a capture.
#[must_use]
pub fn is_capture(bytes: &[u8]) -> bool {
    let magic = bytes.first_chunk().map(|magic| u32::from_le_bytes(*magic));
    magic.is_some_and(|magic| magic == super::pcapng::SECTION || super::pcap::is_magic(magic))
}

/// Reads packets in the order of the file.
#[derive(Debug)]
pub struct Reader<R> {
    input: Input<R>,
    format: Format,
    done: bool,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

#[expect(private_bounds, reason = "the bound only shortens std::io::Read")]
impl<R: Source> Reader<R> {
    /// Reads what stands before the first packet.
    ///
    /// # Errors
    /// Where this is no capture, or one that this version cannot read.
    pub fn new(source: R) -> Result<Self, CaptureError> {
        let mut input = Input { source, offset: 0, buffer: Vec::new() };
        match input.load(4, "its magic number") {
            Err(CaptureError::Cut { .. }) => return Err(CaptureError::NotACapture),
            other => other?,
        }
        let format = match super::pcap::u32_at(&input.buffer, 0, false) {
            super::pcapng::SECTION => Format::Pcapng(Pcapng::begin(&mut input)?),
            magic if super::pcap::is_magic(magic) => Format::Pcap(Pcap::begin(&mut input)?),
            _ => return Err(CaptureError::NotACapture),
        };
        Ok(Self { input, format, done: false })
    }

    /// The next packet, `None` after the last.
    ///
    /// # Errors
    /// At the first damaged or missing byte; what follows it cannot be read.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        if self.done {
            return Ok(None);
        }
        // Whatever fails below, there is no way to find the next packet again.
        self.done = true;
        let packet = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.input)?,
            Format::Pcapng(pcapng) => pcapng.next(&mut self.input)?,
        };
        self.done = packet.is_none();
        Ok(packet)
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.input.offset
    }
}

/// The bytes, with a count of how many were read and the one buffer that is used again and again.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: R,
    pub(super) offset: u64,
    pub(super) buffer: Vec<u8>,
}

impl<R: Source> Input<R> {
    /// Reads `count` bytes in place of what the buffer holds.
    pub(super) fn load(&mut self, count: usize, what: &'static str) -> Result<(), CaptureError> {
        self.buffer.clear();
        self.append(count, what)
    }

    /// Like [`Self::load`], where the file may as well end: `false` then.
    pub(super) fn load_or_end(
        &mut self,
        count: usize,
        what: &'static str,
    ) -> Result<bool, CaptureError> {
        let offset = self.offset;
        match self.load(count, what) {
            Ok(()) => Ok(true),
            Err(CaptureError::Cut { .. }) if self.buffer.is_empty() => Ok(false),
            Err(CaptureError::Cut { what, .. }) => Err(CaptureError::Cut { offset, what }),
            Err(error) => Err(error),
        }
    }

    /// Reads `count` bytes more. What is there already is kept, so that a cut file allocates no more
    /// than it holds.
    pub(super) fn append(&mut self, count: usize, what: &'static str) -> Result<(), CaptureError> {
        let offset = self.offset;
        let wanted = count as u64;
        let read = io::Read::take(&mut self.source, wanted).read_to_end(&mut self.buffer);
        let read = read.map_err(|source| CaptureError::Io { offset, source })? as u64;
        self.offset += read;
        if read < wanted { Err(CaptureError::Cut { offset, what }) } else { Ok(()) }
    }

    /// Reads past `count` bytes.
    pub(super) fn skip(&mut self, count: u64, what: &'static str) -> Result<(), CaptureError> {
        let offset = self.offset;
        let skipped = io::copy(&mut io::Read::take(&mut self.source, count), &mut io::sink());
        let skipped = skipped.map_err(|source| CaptureError::Io { offset, source })?;
        self.offset += skipped;
        if skipped < count { Err(CaptureError::Cut { offset, what }) } else { Ok(()) }
    }
}

pub(super) fn damaged(offset: u64, what: impl Into<String>) -> CaptureError {
    CaptureError::Damaged { offset, what: what.into() }
}

/// Nanoseconds since the epoch, never beyond either end of the clock.
pub(super) fn nanos(seconds: i128, fraction: i128, per_second: i128) -> u64 {
    let nanos = seconds * 1_000_000_000 + fraction * 1_000_000_000 / per_second.max(1);
    u64::try_from(nanos.clamp(0, i128::from(i64::MAX))).unwrap_or(0)
}
