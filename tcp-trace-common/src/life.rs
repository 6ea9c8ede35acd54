//! Records of what a state change does not tell: calls, `TIME_WAIT`, half-open requests, resets.

/// Kind of a [`LifeRecord`]: `tcp_connect()` is about to send the SYN; both ends are chosen.
pub const KIND_CONNECT: u16 = 3;
/// Kind of a [`LifeRecord`]: `accept()` took the socket out of its listener's queue.
pub const KIND_ACCEPT: u16 = 4;
/// Kind of a [`LifeRecord`]: `tcp_close()`, the last descriptor is gone.
pub const KIND_CLOSE: u16 = 5;
/// Kind of a [`LifeRecord`]: a mini-socket takes a connection over; `new_state` is its substate,
/// `other` the address of the full socket.
pub const KIND_TIME_WAIT_BORN: u16 = 6;
/// Kind of a [`LifeRecord`]: a mini-socket in `FIN_WAIT2` got the peer's FIN.
pub const KIND_TIME_WAIT_SUBSTATE: u16 = 7;
/// Kind of a [`LifeRecord`]: a mini-socket ends; `old_state` is its substate, `value` one of
/// `TIME_WAIT_END_*`.
pub const KIND_TIME_WAIT_ENDED: u16 = 8;
/// Kind of a [`LifeRecord`]: no mini-socket could be had (`tcp_max_tw_buckets`, or memory).
pub const KIND_TIME_WAIT_REFUSED: u16 = 9;
/// Kind of a [`LifeRecord`]: a SYN made a request socket; `other` is the listener's address.
pub const KIND_REQUEST: u16 = 10;
/// Kind of a [`LifeRecord`]: a SYN-ACK is sent again; `value` is how many were before.
pub const KIND_SYNACK_RETRANSMIT: u16 = 11;
/// Kind of a [`LifeRecord`]: a RST is sent for a socket; `value` is `enum sk_rst_reason`, -1 where
/// the kernel does not say (before 6.10); `other` is not 0 where no segment has asked for it.
pub const KIND_RESET_SENT: u16 = 12;
/// Kind of a [`LifeRecord`]: a segment is sent again while a SYN or a FIN is in flight.
pub const KIND_RETRANSMIT: u16 = 13;
/// Kind of a [`LifeRecord`]: the socket is freed. Sent only where `tcp_close()` cannot be hooked.
pub const KIND_DESTROYED: u16 = 14;

/// Kind of a [`LifeRecord`] made in user space: a snapshot of all sockets of namespace `netns`
/// follows, asked for at the moment `other`; its rows carry this record's own time, the moment at
/// which the last of them was read.
pub const KIND_SNAPSHOT_BEGUN: u16 = 15;
/// Kind of a [`LifeRecord`] made in user space: the snapshot's end. `value` is 1 where it was whole:
/// only then is a socket that it does not show gone.
pub const KIND_SNAPSHOT_ENDED: u16 = 16;
/// Kind of a [`LifeRecord`] made in user space from a `sock_diag` row: a mini-socket with substate
/// `old_state` and `value` milliseconds left.
pub const KIND_SEED_TIME_WAIT: u16 = 17;
/// Kind of a [`LifeRecord`] made in user space from a `sock_diag` row: a request socket that has
/// sent its SYN-ACK `value` times again.
pub const KIND_SEED_REQUEST: u16 = 18;
/// Kind of a [`LifeRecord`] made in user space: the namespace `netns` is no more.
pub const KIND_NETNS_GONE: u16 = 19;

/// How many ways a mini-socket can end.
pub const TIME_WAIT_END_COUNT: usize = 4;
/// Its time ran out.
pub const TIME_WAIT_END_EXPIRED: i32 = 0;
/// A new connection took its place: a `connect()` of ours, or a SYN from outside.
pub const TIME_WAIT_END_REUSED: i32 = 1;
/// Ended from outside: `ss -K`, or its network namespace went away.
pub const TIME_WAIT_END_KILLED: i32 = 2;
/// A RST came for it, or data that nobody can read any more.
pub const TIME_WAIT_END_RESET: i32 = 3;

/// Something in a connection's life that is no state change. 128 bytes; the first 80 lie as in a
/// [`StateRecord`](crate::StateRecord).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct LifeRecord {
    /// One of the `KIND_*` from [`KIND_CONNECT`] on.
    pub kind: u16,
    /// Size of the whole record in bytes.
    pub len: u16,
    /// Which of the optional fields hold something: `VALID_*`.
    pub valid: u16,
    /// `sk_protocol`; 6 for mini-sockets and requests, which have none of their own.
    pub protocol: u16,
    /// `bpf_ktime_get_ns()`: nanoseconds of `CLOCK_MONOTONIC`, taken at the hook's entry.
    pub time_ns: u64,
    /// Socket cookie; a mini-socket has that of its connection.
    pub cookie: u64,
    /// Address of the `struct sock`, `inet_timewait_sock` or `request_sock`.
    pub sk: u64,
    /// Local address; IPv4 as `::ffff:a.b.c.d`.
    pub local_addr: [u8; 16],
    /// Remote address; IPv4 as `::ffff:a.b.c.d`.
    pub remote_addr: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// State (of a mini-socket: substate) at the hook's entry.
    pub old_state: u8,
    /// State (of a mini-socket: substate) as far as the hook knows it, else `old_state`.
    pub new_state: u8,
    /// Inode of the network namespace.
    pub netns: u32,
    /// By kind; 0 where the kind says nothing of it.
    pub value: i32,
    /// Address of the other socket by kind, 0 where there is none.
    pub other: u64,
    /// cgroup v2 id of `current`, 0 where it was not read. With [`VALID_CURRENT`] only.
    ///
    /// [`VALID_CURRENT`]: crate::VALID_CURRENT
    pub cgroup: u64,
    /// When the process of `current` began, nanoseconds of `CLOCK_BOOTTIME`, 0 where not read.
    pub process_started_ns: u64,
    /// `tgid` of `current`; valid only for the kinds that run in process context.
    pub pid: u32,
    /// Thread id of `current`.
    pub tid: u32,
    /// Name of `current`, NUL padded, as in a [`StateRecord`](crate::StateRecord).
    pub comm: [u64; 2],
}

/// Size of a [`LifeRecord`] in bytes.
pub const LIFE_RECORD_LEN: usize = size_of::<LifeRecord>();

const _: () = assert!(LIFE_RECORD_LEN == 128);
const _: () = assert!(core::mem::offset_of!(LifeRecord, local_addr) == 32);
const _: () = assert!(core::mem::offset_of!(LifeRecord, netns) == 72);
const _: () = assert!(core::mem::offset_of!(LifeRecord, comm) == 112);

/// A task's name held as two words, as its bytes in memory.
#[must_use]
pub const fn comm_from_words(words: [u64; 2]) -> [u8; 16] {
    let (first, second) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
    let mut bytes = [0; 16];
    let mut at = 0;
    while at < 8 {
        bytes[at] = first[at];
        bytes[at + 8] = second[at];
        at += 1;
    }
    bytes
}
