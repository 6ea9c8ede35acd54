//! Packet captures: pcap and pcapng files, from which timelines are rebuilt without any hook.
//!
//! ```text
//! bytes -> reader: packets -> frame: segments -> conversations: two inferred endpoints each -> events
//! ```
//!
//! Both ends of a conversation are told from its segments alone, as RFC 9293 and Linux's habits have
//! it. What a capture cannot tell (which process, what it has read, why it closed) stays unknown.

use std::io;

use thiserror::Error;

mod conversation;
mod conversations;
mod endpoint;
mod link;
mod pcap;
mod pcapng;
mod reader;
mod rebuild;
mod sequence;

pub use conversations::{CONVERSATION_LIMIT, Conversations, Figures};
pub use link::LinkType;
pub use reader::{Packet, Reader, is_capture};
pub use rebuild::{PassedOver, Rebuilder};

/// Most bytes of one packet that are taken: as many as tcpdump ever captures.
pub const PACKET_LIMIT: u32 = 256 * 1024;
/// Longest pcapng block that is looked into; others are read past without being kept.
pub const BLOCK_LIMIT: u32 = 2 * PACKET_LIMIT;
/// Most interfaces of one section of a pcapng file.
pub const INTERFACE_LIMIT: usize = 4096;

/// Why a capture cannot be read, or read on.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The bytes begin as neither format does.
    #[error("this is neither a pcap nor a pcapng capture")]
    NotACapture,
    /// A pcap of another version.
    #[error("the capture is pcap {major}.{minor}; this tcp-trace reads version 2")]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// Packets of a kind that cannot be taken apart.
    #[error("the capture's packets have link type {number}; the types read are {}", link::names())]
    Link {
        /// The number in the file, as in tcpdump's list of link types.
        number: u32,
    },
    /// Bytes are wrong.
    #[error("the capture is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the damaged part begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The file ends where more should follow.
    #[error("the capture is cut off at byte {offset}: {what} is not all there")]
    Cut {
        /// Where the incomplete part begins.
        offset: u64,
        /// What is incomplete.
        what: &'static str,
    },
    /// The bytes could not be had.
    #[error("reading the capture at byte {offset} failed: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
