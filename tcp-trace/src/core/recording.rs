//! The recording: raw records as they came, with the facts of the host they came from.
//!
//! ```text
//! "TCPTRACE"  format u16  abi u16  length u32  header (JSON)  crc u32
//! frame:      type u8  0 u8  cpu u16  length u32  payload  crc u32 (over all before it)
//! ```
//!
//! All of it little-endian, save the payload of a record, which is the recording host's own (its
//! byte order stands in the header). Each frame carries its checksum, so that damage is found where
//! it is, and what came before it can still be shown. The last frame says the recording is whole. The
//! payload of a stack is JSON.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

mod reader;
mod stack;
mod writer;

pub use reader::Reader;
pub use stack::{StackNews, Told, Untold};
pub use writer::Writer;

/// First bytes of every recording.
pub const MAGIC: [u8; 8] = *b"TCPTRACE";
/// Version of the format described above.
pub const FORMAT: u16 = 1;
/// Longest header and longest frame that is read.
pub const LENGTH_LIMIT: u32 = 1 << 20;

/// The facts of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of tcp-trace that recorded.
    pub recorded_by: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub arch: String,
    /// `little` or `big`.
    pub byte_order: String,
    /// Nanoseconds since the Unix epoch at the record's time zero.
    pub wall_offset_ns: i64,
    /// How state changes were hooked.
    pub backend: String,
    /// Namespaces that were recorded; empty: all.
    pub netns: Vec<u32>,
    /// What the host did not allow, one line each.
    pub degradations: Vec<String>,
    /// Names of the programs that were attached.
    #[serde(default)]
    pub hooks: Vec<String>,
}

impl Header {
    /// This machine's byte order, as [`Header::byte_order`] names it.
    pub const BYTE_ORDER: &str = if cfg!(target_endian = "little") { "little" } else { "big" };
}

/// One thing a recording holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A raw record.
    Record {
        /// CPU it came from.
        cpu: u16,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Records lost.
    Lost {
        /// When: a loss is noted where it may have begun and, with a count of 0, where it is over.
        at: u64,
        /// How many.
        count: u64,
    },
    /// The kernel's exact counters at a moment.
    Counters {
        /// When.
        at: u64,
        /// The counter block, summed over the CPUs.
        counters: Vec<u64>,
    },
    /// Where in its program a connection was opened or accepted: named on the host, which alone can.
    Stack(Box<StackNews>),
    /// The recording was ended in order.
    End {
        /// When.
        at: u64,
        /// Frames before this one.
        frames: u64,
    },
}

const TYPE_RECORD: u8 = 1;
const TYPE_LOST: u8 = 2;
const TYPE_COUNTERS: u8 = 3;
const TYPE_END: u8 = 4;
const TYPE_STACK: u8 = 5;

/// Why a recording cannot be read on.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The bytes do not begin as a recording does.
    #[error("this is no recording of tcp-trace (it does not begin with \"TCPTRACE\")")]
    NotARecording,
    /// Made by another version.
    #[error(
        "the recording has format {format} and record layout {abi}; this tcp-trace reads format {FORMAT} and layout {}",
        tcp_trace_common::ABI_VERSION
    )]
    Version {
        /// Its format.
        format: u16,
        /// Its record layout.
        abi: u16,
    },
    /// Made on a machine of the other byte order.
    #[error("the recording comes from a {0}-endian machine; replay it on one")]
    ByteOrder(String),
    /// Bytes are wrong.
    #[error("the recording is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the damaged part begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The file ends where more should follow.
    #[error("the recording is cut off at byte {offset}: {what}")]
    Cut {
        /// Where the incomplete part begins.
        offset: u64,
        /// What is missing.
        what: &'static str,
    },
    /// The bytes could not be had.
    #[error("reading the recording at byte {offset} failed: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

/// Writes and reads back; the trait bounds keep files out of here.
pub(crate) trait Sink: Write {}
impl<W: Write> Sink for W {}
pub(crate) trait Source: Read {}
impl<R: Read> Source for R {}

#[cfg(test)]
mod tests;
