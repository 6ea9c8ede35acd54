//! Segments as the packet hooks report them, and what these hooks count.

/// Kind of a [`SegmentRecord`].
pub const KIND_SEGMENT: u16 = 20;

/// How many hooks see segments.
pub const SEGMENT_HOOK_COUNT: usize = 3;
/// [`SegmentRecord::hook`]: XDP, on the way in.
pub const SEGMENT_HOOK_XDP: u8 = 0;
/// [`SegmentRecord::hook`]: TC or TCX ingress.
pub const SEGMENT_HOOK_TC_IN: u8 = 1;
/// [`SegmentRecord::hook`]: TC or TCX egress.
pub const SEGMENT_HOOK_TC_OUT: u8 = 2;

/// Bit of [`SegmentRecord::flags`], as in the TCP header: no more from the sender.
pub const TCP_FIN: u8 = 1 << 0;
/// Bit of [`SegmentRecord::flags`]: the sender's initial sequence number.
pub const TCP_SYN: u8 = 1 << 1;
/// Bit of [`SegmentRecord::flags`]: the connection is no more.
pub const TCP_RST: u8 = 1 << 2;
/// Bit of [`SegmentRecord::flags`]: `ack` means something.
pub const TCP_ACK: u8 = 1 << 4;

/// A segment that belongs to a handshake, a teardown or a reset. 80 bytes, no hidden padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct SegmentRecord {
    /// [`KIND_SEGMENT`].
    pub kind: u16,
    /// Size of the whole record in bytes.
    pub len: u16,
    /// Which of the optional fields hold something: [`VALID_NETNS`](crate::VALID_NETNS).
    pub valid: u16,
    /// The outermost VLAN tag's control information, and 1 << 12 where there is a tag; else 0.
    pub vlan: u16,
    /// `bpf_ktime_get_ns()`: nanoseconds of `CLOCK_MONOTONIC`, taken as the hook ran.
    pub time_ns: u64,
    /// Source address; IPv4 as `::ffff:a.b.c.d`.
    pub source_addr: [u8; 16],
    /// Destination address; IPv4 as `::ffff:a.b.c.d`.
    pub destination_addr: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; nothing where `TCP_ACK` is not set.
    pub ack: u32,
    /// Window as sent, not scaled.
    pub window: u16,
    /// Urgent pointer and what else may come; 0.
    pub reserved: u16,
    /// Bytes of payload, by the length that IP tells (of a segment the card is to cut: all of it).
    pub payload: u32,
    /// Inode of the network namespace that the hook is in.
    pub netns: u32,
    /// Index of the interface in that namespace.
    pub interface: u32,
    /// The flags byte of the TCP header.
    pub flags: u8,
    /// Which hook saw it: `SEGMENT_HOOK_*`.
    pub hook: u8,
    /// Always zero.
    pub reserved_too: u16,
}

/// Size of a [`SegmentRecord`] in bytes.
pub const SEGMENT_RECORD_LEN: usize = size_of::<SegmentRecord>();

const _: () = assert!(SEGMENT_RECORD_LEN == 80);
const _: () = assert!(align_of::<SegmentRecord>() == 8);
const _: () = assert!(core::mem::offset_of!(SegmentRecord, source_addr) == 16);
const _: () = assert!(core::mem::offset_of!(SegmentRecord, seq) == 52);
const _: () = assert!(core::mem::offset_of!(SegmentRecord, flags) == 76);

/// What becomes of a frame at a hook; each frame is counted once.
pub const SEGMENT_FATES: [&str; SEGMENT_FATE_COUNT] =
    ["syn", "syn_ack", "ack", "fin", "rst", "other", "not_tcp", "fragment", "cut"];
/// How many fates there are.
pub const SEGMENT_FATE_COUNT: usize = 9;
/// A SYN without ACK.
pub const SEGMENT_SYN: usize = 0;
/// A SYN with ACK.
pub const SEGMENT_SYN_ACK: usize = 1;
/// An ACK that ends a handshake or acknowledges a FIN, and was awaited.
pub const SEGMENT_ACK: usize = 2;
/// A FIN, with or without data.
pub const SEGMENT_FIN: usize = 3;
/// A RST.
pub const SEGMENT_RST: usize = 4;
/// Any other TCP segment: data and plain ACKs, which stay in the kernel.
pub const SEGMENT_OTHER: usize = 5;
/// No TCP, or a frame that is no IP at all.
pub const SEGMENT_NOT_TCP: usize = 6;
/// A fragment of IP other than the first: it has no TCP header.
pub const SEGMENT_FRAGMENT: usize = 7;
/// Ends before its headers do, or holds more headers than are looked at.
pub const SEGMENT_CUT: usize = 8;

/// Slots of the block of segment counters, one for each CPU: the fates by hook, indexed
/// `hook * SEGMENT_FATE_COUNT + fate`, then [`SEGMENT_FOLDED`] and [`SEGMENT_FORGOTTEN`].
pub const SEGMENT_SLOTS: usize = SEGMENT_FORGOTTEN + SEGMENT_HOOK_COUNT;
/// First of [`SEGMENT_HOOK_COUNT`]: segments counted and not reported, because more came than the
/// budget lets through; by hook.
pub const SEGMENT_FOLDED: usize = SEGMENT_HOOK_COUNT * SEGMENT_FATE_COUNT;
/// First of [`SEGMENT_HOOK_COUNT`]: ACKs waited for, and forgotten because another took the place:
/// if they come, they are as any other. By the hook that saw the other's SYN-ACK or FIN. Most would
/// never have come: their peer is gone, or no hook sees what it sends.
pub const SEGMENT_FORGOTTEN: usize = SEGMENT_FOLDED + SEGMENT_HOOK_COUNT;

/// How many ACKs can be waited for at once: a power of two.
pub const AWAITED_SLOTS: u32 = 1 << 14;
