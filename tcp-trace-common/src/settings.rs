//! What the daemon decides before the programs are loaded.

/// How many network namespaces a filter can name.
pub const NETNS_FILTER_SLOTS: usize = 4;
/// How many processes can be named whose stacks are wanted, by number.
pub const STACK_PIDS: usize = 4;
/// How many process names can be given whose stacks are wanted.
pub const STACK_NAMES: usize = 4;

/// Of [`Settings::paired`]: the two run one right after the other on one CPU.
pub const PAIRED: u32 = 1;
/// Of [`Settings::paired`]: they can be preempted, and the second may come to another CPU.
pub const PAIRED_PREEMPTIBLE: u32 = 2;

/// Load-time settings; a frozen global, so an unused filter costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct Settings {
    /// Inodes of the network namespaces to trace; all zero: every one.
    pub netns: [u32; NETNS_FILTER_SLOTS],
    /// 1 where `bpf_get_socket_cookie` may be called from tracing programs (5.12).
    pub cookie_helper: u32,
    /// Bit of `SOCK_DEAD` in `sk_flags`, by the kernel's `enum sock_flags`.
    pub dead_bit: u32,
    /// Bit of `SOCK_DONE` in `sk_flags`, by the kernel's `enum sock_flags`.
    pub done_bit: u32,
    /// 1 where `tcp_send_reset` has a third argument, the reason (6.10).
    pub reset_reason: u32,
    /// 1 where `bpf_probe_read_kernel` may be called (no lockdown for confidentiality).
    pub read_kernel: u32,
    /// One of `PAIRED*`, where two programs watch each state change, which agree on who reports it;
    /// 0: there is one.
    pub paired: u32,
    /// Inode of the network namespace that the packet hooks are in; 0: not known.
    pub segment_netns: u32,
    /// Nanoseconds that one report of a segment costs, of those that pass on each CPU; 0: any number
    /// may be reported. What opens a connection and what follows are paid for apart.
    pub segment_cost_ns: u32,
    /// Reports of segments that may come at once on each CPU, of either kind.
    pub segment_burst: u32,
    /// 1 where XDP programs are loaded for frames in several parts (5.18).
    pub xdp_frags: u32,
    /// 1 where user stacks are wanted.
    pub stacks: u32,
    /// Of how many calls one stack is taken; 0 or 1: of each.
    pub stack_every: u32,
    /// Processes whose stacks are wanted; with [`Settings::stack_names`] all zero: of all.
    pub stack_pids: [u32; STACK_PIDS],
    /// Offset of `task_struct.stack`, a pointer.
    pub task_stack: u32,
    /// Where on a kernel stack the user's registers begin; 0: not known.
    pub regs_at: u32,
    /// Offset of the instruction pointer in `struct pt_regs`.
    pub regs_ip: u32,
    /// Offset of the stack pointer in `struct pt_regs`.
    pub regs_sp: u32,
    /// Bytes of records that leave together, at most [`BATCH_ROOM`](crate::BATCH_ROOM); 0: each leaves
    /// for itself. The daemon reads them where they wait, so stores must be seen in their order.
    pub batches: u32,
    /// Padding.
    pub reserved: u32,
    /// Names of threads whose stacks are wanted, NUL padded, two words each.
    pub stack_names: [u64; 2 * STACK_NAMES],
}

impl Settings {
    /// Every namespace, no cookie, the flag bits as they have always been.
    pub const DEFAULT: Self = Self {
        netns: [0; NETNS_FILTER_SLOTS],
        cookie_helper: 0,
        dead_bit: 0,
        done_bit: 1,
        reset_reason: 0,
        read_kernel: 0,
        paired: 0,
        segment_netns: 0,
        segment_cost_ns: 0,
        segment_burst: 0,
        xdp_frags: 0,
        stacks: 0,
        stack_every: 0,
        stack_pids: [0; STACK_PIDS],
        task_stack: 0,
        regs_at: 0,
        regs_ip: 0,
        regs_sp: 0,
        batches: 0,
        reserved: 0,
        stack_names: [0; 2 * STACK_NAMES],
    };
}
