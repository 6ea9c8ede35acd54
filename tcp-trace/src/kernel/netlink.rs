//! Netlink framing: messages in a datagram, attributes in a message. Total over any bytes.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Header::kind`]: an error number follows, 0 for an acknowledgement.
pub(crate) const NLMSG_ERROR: u16 = 2;
/// [`Header::kind`]: the last message of a multi-part answer, often with an error number.
pub(crate) const NLMSG_DONE: u16 = 3;
/// [`Header::kind`]: messages were lost.
pub(crate) const NLMSG_OVERRUN: u16 = 4;
/// [`Header::flags`]: a request.
pub(crate) const NLM_F_REQUEST: u16 = 1;
/// [`Header::flags`]: an answer even where nothing else is to be said.
pub(crate) const NLM_F_ACK: u16 = 4;
/// [`Header::flags`] of an answer: what was dumped changed meanwhile.
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
/// [`Header::flags`] of a request: every object, not one.
pub(crate) const NLM_F_DUMP: u16 = 0x300;
/// [`Header::flags`] of a request: only what is not there yet.
pub(crate) const NLM_F_EXCL: u16 = 0x200;
/// [`Header::flags`] of a request: make it.
pub(crate) const NLM_F_CREATE: u16 = 0x400;

/// Messages and attributes start at multiples of this.
const ALIGNMENT: usize = 4;
/// The bits of an attribute's type that name it; the others say how it is encoded.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what}: {have} bytes where it needs {need}")]
pub(crate) struct Malformed {
    /// Which part.
    pub(crate) what: &'static str,
    /// Bytes there.
    pub(crate) have: usize,
    /// Bytes needed.
    pub(crate) need: usize,
}

/// `struct nlmsghdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    /// Bytes of the message with this header.
    pub(crate) length: u32,
    /// What the message is.
    pub(crate) kind: u16,
    /// `NLM_F_*`.
    pub(crate) flags: u16,
    /// The number the request had.
    pub(crate) sequence: u32,
    /// Netlink port of the sender of the request.
    pub(crate) port: u32,
}

/// `struct nlattr`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct AttributeHeader {
    /// Bytes of the attribute with this header.
    length: u16,
    /// What it is.
    kind: u16,
}

/// The messages of one datagram, each with what follows its header.
pub(crate) fn messages(
    mut rest: &[u8],
) -> impl Iterator<Item = Result<(Header, &[u8]), Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = |header: &Header| usize::try_from(header.length).unwrap_or(usize::MAX);
        Some(split(&mut rest, "netlink message", length))
    })
}

/// The attributes after a message's fixed part: their type and value.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = |header: &AttributeHeader| usize::from(header.length);
        let next = split(&mut rest, "netlink attribute", length);
        Some(next.map(|(header, value)| (header.kind & NLA_TYPE_MASK, value)))
    })
}

/// Adds an attribute behind a message's fixed part; false where it is too long to be one.
pub(crate) fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) -> bool {
    let Ok(length) = u16::try_from(size_of::<AttributeHeader>() + value.len()) else {
        return false;
    };
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(ALIGNMENT), 0);
    true
}

/// Takes a header and what belongs to it off the front; after an error nothing is left.
fn split<'a, H: FromBytes>(
    rest: &mut &'a [u8],
    what: &'static str,
    length: impl Fn(&H) -> usize,
) -> Result<(H, &'a [u8]), Malformed> {
    let bytes = std::mem::take(rest);
    let have = bytes.len();
    let (header, _) =
        H::read_from_prefix(bytes).map_err(|_| Malformed { what, have, need: size_of::<H>() })?;
    let length = length(&header);
    if length < size_of::<H>() {
        return Err(Malformed { what, have: length, need: size_of::<H>() });
    }
    let value = bytes.get(size_of::<H>()..length).ok_or(Malformed { what, have, need: length })?;
    // The last one may stand without the padding after it.
    *rest = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    Ok((header, value))
}

/// The error number at the start of a message: positive, or 0 where there is none.
pub(crate) fn errno(payload: &[u8]) -> i32 {
    i32::read_from_prefix(payload).map_or(0, |(code, _)| code.min(0).saturating_neg())
}
