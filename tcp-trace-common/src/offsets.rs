//! Where the kernel keeps each field: found in its BTF at start, never baked in.

/// Marks a field the running kernel does not have (or that the daemon would not trust).
pub const ABSENT: u16 = u16::MAX;

/// Byte offsets, passed to the programs as a frozen global so that the verifier prunes every
/// branch that needs an [`ABSENT`] field.
///
/// Each counts from the start of the structure its comment names. A `struct tcp_sock` begins where its
/// `struct sock` does; mini-sockets and request sockets begin with the same `sock_common` as a `sock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct Offsets {
    /// `sock.__sk_common.skc_family`, u16.
    pub family: u16,
    /// `sock.__sk_common.skc_state`, u8.
    pub state: u16,
    /// `sock.__sk_common.skc_dport`, big-endian u16.
    pub remote_port: u16,
    /// `sock.__sk_common.skc_num`, host-order u16.
    pub local_port: u16,
    /// `sock.__sk_common.skc_daddr`, u32.
    pub remote_v4: u16,
    /// `sock.__sk_common.skc_rcv_saddr`, u32.
    pub local_v4: u16,
    /// `sock.__sk_common.skc_v6_daddr`, 16 bytes; absent without IPv6.
    pub remote_v6: u16,
    /// `sock.__sk_common.skc_v6_rcv_saddr`, 16 bytes; absent without IPv6.
    pub local_v6: u16,
    /// `sock.__sk_common.skc_net.net`, pointer to `struct net`.
    pub net: u16,
    /// `net.ns.inum`, u32.
    pub net_inum: u16,
    /// `sock.__sk_common.skc_flags`, unsigned long.
    pub flags: u16,
    /// `sock.__sk_common.skc_cookie`, u64.
    pub cookie: u16,
    /// `sock.sk_protocol`, u16.
    pub protocol: u16,
    /// `sock.sk_err`, int.
    pub err: u16,
    /// `sock.sk_shutdown`, u8.
    pub shutdown: u16,
    /// `sock.sk_socket`, pointer.
    pub socket: u16,
    /// `tcp_sock.inet_conn.icsk_inet.inet_sport`, big-endian u16: the local port as it was once
    /// chosen. `skc_num` is zero again by the time a socket becomes CLOSE.
    pub local_sport: u16,
    /// `tcp_sock.rcv_nxt`, u32.
    pub rcv_nxt: u16,
    /// `tcp_sock.copied_seq`, u32.
    pub copied_seq: u16,
    /// `tcp_sock.snd_una`, u32.
    pub snd_una: u16,
    /// `tcp_sock.write_seq`, u32.
    pub write_seq: u16,
    /// `tcp_sock.srtt_us`, u32.
    pub srtt: u16,
    /// `tcp_sock.total_retrans`, u32.
    pub retransmits: u16,
    /// `tcp_sock.bytes_acked`, u64.
    pub bytes_acked: u16,
    /// `tcp_sock.bytes_received`, u64.
    pub bytes_received: u16,
    /// `tcp_sock.is_mptcp`, bool: a subflow of an MPTCP connection (5.6).
    pub is_mptcp: u16,
    /// `inet_timewait_sock.tw_substate`, u8.
    pub tw_substate: u16,
    /// `inet_timewait_sock.tw_timer.expires`, unsigned long: the jiffy at which its time is over.
    pub tw_expires: u16,
    /// `request_sock.num_retrans`, u8: SYN-ACKs sent again so far.
    pub request_retransmits: u16,
    /// `task_struct.group_leader`, pointer.
    pub group_leader: u16,
    /// `task_struct.start_boottime`, u64 (5.5).
    pub start_boottime: u16,
}

impl Offsets {
    /// Every field absent: what the object carries before the daemon fills it in.
    pub const NONE: Self = Self {
        family: ABSENT,
        state: ABSENT,
        remote_port: ABSENT,
        local_port: ABSENT,
        remote_v4: ABSENT,
        local_v4: ABSENT,
        remote_v6: ABSENT,
        local_v6: ABSENT,
        net: ABSENT,
        net_inum: ABSENT,
        flags: ABSENT,
        cookie: ABSENT,
        protocol: ABSENT,
        err: ABSENT,
        shutdown: ABSENT,
        socket: ABSENT,
        local_sport: ABSENT,
        rcv_nxt: ABSENT,
        copied_seq: ABSENT,
        snd_una: ABSENT,
        write_seq: ABSENT,
        srtt: ABSENT,
        retransmits: ABSENT,
        bytes_acked: ABSENT,
        bytes_received: ABSENT,
        is_mptcp: ABSENT,
        tw_substate: ABSENT,
        tw_expires: ABSENT,
        request_retransmits: ABSENT,
        group_leader: ABSENT,
        start_boottime: ABSENT,
    };
}
