//! Netlink framing: messages in a datagram, attributes in a message. Total over any bytes.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Header::kind`]: an error number follows, 0 for an acknowledgement.
pub(super) const NLMSG_ERROR: u16 = 2;
/// [`Header::kind`]: the last message of a multi-part answer, often with an error number.
pub(super) const NLMSG_DONE: u16 = 3;
/// [`Header::kind`]: messages were lost.
pub(super) const NLMSG_OVERRUN: u16 = 4;
/// [`Header::flags`]: a request.
pub(super) const NLM_F_REQUEST: u16 = 1;
/// [`Header::flags`] of an answer: what was dumped changed meanwhile.
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
/// [`Header::flags`] of a request: every object, not one.
pub(super) const NLM_F_DUMP: u16 = 0x300;

/// Messages and attributes start at multiples of this.
const ALIGNMENT: usize = 4;
/// The bits of an attribute's type that name it; the others say how it is encoded.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what}: {have} bytes where it needs {need}")]
pub(crate) struct Malformed {
    /// Which part.
    pub(super) what: &'static str,
    /// Bytes there.
    pub(super) have: usize,
    /// Bytes needed.
    pub(super) need: usize,
}

/// `struct nlmsghdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    /// Bytes of the message with this header.
    pub(super) length: u32,
    /// What the message is.
    pub(super) kind: u16,
    /// `NLM_F_*`.
    pub(super) flags: u16,
    /// The number the request had.
    pub(super) sequence: u32,
    /// Netlink port of the sender of the request.
    pub(super) port: u32,
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
pub(super) fn messages(
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
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = |header: &AttributeHeader| usize::from(header.length);
        let next = split(&mut rest, "netlink attribute", length);
        Some(next.map(|(header, value)| (header.kind & NLA_TYPE_MASK, value)))
    })
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
pub(super) fn errno(payload: &[u8]) -> i32 {
    i32::read_from_prefix(payload).map_or(0, |(code, _)| code.min(0).saturating_neg())
}
