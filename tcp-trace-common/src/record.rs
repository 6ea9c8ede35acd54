//! Records as they leave the kernel through the perf buffers.

/// Kind of a [`StateRecord`] made by a live state change.
pub const KIND_STATE: u16 = 1;
/// Kind of a [`StateRecord`] made in user space from a `sock_diag` row: the socket was there already.
pub const KIND_SEED: u16 = 2;

/// [`StateRecord::sock_flags`]: `sk->sk_socket` is set, so a file descriptor (or an accept in
/// progress) refers to the socket. Clear for children in an accept queue and for orphans.
pub const SOCK_ATTACHED: u8 = 1 << 0;
/// [`StateRecord::sock_flags`]: `SOCK_DEAD`, the process let go of it (an orphan).
pub const SOCK_FLAG_DEAD: u8 = 1 << 1;
/// [`StateRecord::sock_flags`]: `SOCK_DONE`, set by `tcp_fin()`: the peer's FIN has arrived.
pub const SOCK_FLAG_FIN_RECEIVED: u8 = 1 << 2;
/// [`StateRecord::sock_flags`]: a subflow of an MPTCP connection (`tcp_sock.is_mptcp`).
pub const SOCK_FLAG_SUBFLOW: u8 = 1 << 3;

/// [`StateRecord::valid`]: the cookie is the kernel's own and unique for the life of the host.
pub const VALID_COOKIE: u16 = 1 << 0;
/// [`StateRecord::valid`]: the fields that live in `tcp_sock` were read.
pub const VALID_TCP: u16 = 1 << 1;
/// [`StateRecord::valid`]: `pid`, `tid` and `comm` were read (they name `current`, see there).
pub const VALID_CURRENT: u16 = 1 << 2;
/// [`StateRecord::valid`]: `sock_flags` and `shutdown` were read.
pub const VALID_FLAGS: u16 = 1 << 3;
/// [`StateRecord::valid`]: the network namespace was read.
pub const VALID_NETNS: u16 = 1 << 4;

/// One TCP state change.
///
/// Integers are in the machine's own byte order, addresses in network order; 152 bytes, no padding
/// that the compiler chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct StateRecord {
    /// [`KIND_STATE`] or [`KIND_SEED`].
    pub kind: u16,
    /// Size of the whole record in bytes.
    pub len: u16,
    /// Which of the optional fields hold something: `VALID_*`.
    pub valid: u16,
    /// `sk_protocol`: 6 for TCP, 262 for an MPTCP parent socket.
    pub protocol: u16,
    /// `bpf_ktime_get_ns()`: nanoseconds of `CLOCK_MONOTONIC`, taken at the hook's entry.
    pub time_ns: u64,
    /// Socket cookie, 0 where the kernel gives none to this program type (before 5.12).
    pub cookie: u64,
    /// Address of the `struct sock`; recycled at once after the socket's death.
    pub sk: u64,
    /// Local address; IPv4 as `::ffff:a.b.c.d`.
    pub local_addr: [u8; 16],
    /// Remote address; IPv4 as `::ffff:a.b.c.d`.
    pub remote_addr: [u8; 16],
    /// Local port, 0 while none is chosen yet.
    pub local_port: u16,
    /// Remote port, 0 for a listener and for its newborn child.
    pub remote_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// State before the change, as in the kernel's `tcp_states.h`.
    pub old_state: u8,
    /// State after the change.
    pub new_state: u8,
    /// Inode of the network namespace.
    pub netns: u32,
    /// `sk_err`: the error pending on the socket, a positive errno or 0.
    pub sk_err: i32,
    /// Next sequence number expected from the peer.
    pub rcv_nxt: u32,
    /// Sequence number up to which the process has read.
    pub copied_seq: u32,
    /// Oldest sequence number the peer has not acknowledged.
    pub snd_una: u32,
    /// Sequence number after the last byte the process has written.
    pub write_seq: u32,
    /// Smoothed round-trip time in 1/8 microseconds, as the kernel keeps it.
    pub srtt_us_x8: u32,
    /// Segments retransmitted over the whole life.
    pub retransmits: u32,
    /// Bytes the peer has acknowledged.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// `tgid` of `current`: the process on whose back the change ran, often **not** the owner.
    pub pid: u32,
    /// Thread id of `current`.
    pub tid: u32,
    /// Name of `current`, NUL padded: bytes in their order in memory, held as words because the
    /// compiler clears an array of bytes one by one. See [`StateRecord::comm_bytes`].
    pub comm: [u64; 2],
    /// `sk_shutdown`: 1 receive side, 2 send side, 3 both.
    pub shutdown: u8,
    /// `SOCK_*` bits.
    pub sock_flags: u8,
    /// Always zero.
    pub reserved: u16,
    /// Always zero.
    pub reserved_too: u32,
}

impl StateRecord {
    /// The name of `current`.
    #[must_use]
    pub const fn comm_bytes(&self) -> [u8; 16] {
        crate::comm_from_words(self.comm)
    }

    /// Sets the name of `current`.
    pub const fn set_comm(&mut self, bytes: [u8; 16]) {
        let mut words = [[0; 8]; 2];
        let mut at = 0;
        while at < 8 {
            words[0][at] = bytes[at];
            words[1][at] = bytes[at + 8];
            at += 1;
        }
        self.comm = [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])];
    }
}

/// Size of a [`StateRecord`] in bytes.
pub const STATE_RECORD_LEN: usize = size_of::<StateRecord>();

const _: () = assert!(STATE_RECORD_LEN == 152);
const _: () = assert!(align_of::<StateRecord>() == 8);
const _: () = assert!(core::mem::offset_of!(StateRecord, time_ns) == 8);
const _: () = assert!(core::mem::offset_of!(StateRecord, local_addr) == 32);
const _: () = assert!(core::mem::offset_of!(StateRecord, netns) == 72);
const _: () = assert!(core::mem::offset_of!(StateRecord, bytes_acked) == 104);
const _: () = assert!(core::mem::offset_of!(StateRecord, comm) == 128);
const _: () = assert!(core::mem::offset_of!(StateRecord, shutdown) == 144);
