//! Records of user stacks: where in a program a connection was opened or accepted.

/// Kind of a [`StackRecord`].
pub const KIND_STACK: u16 = 21;

/// [`StackRecord::call`]: `connect()`.
pub const STACK_CONNECT: u16 = 0;
/// [`StackRecord::call`]: `accept()`.
pub const STACK_ACCEPT: u16 = 1;

/// [`StackRecord::valid`]: the words at the stack pointer were read.
pub const VALID_TOP: u16 = 1 << 5;

/// Return addresses kept of one stack, from the innermost on.
pub const STACK_DEPTH: usize = 64;
/// Words kept of the memory at the stack pointer: a system call's wrapper has no frame of its own,
/// so that the address of its caller is found in none.
pub const STACK_TOP: usize = 8;

/// The user stack of a process that opens or accepts a connection. 648 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct StackRecord {
    /// [`KIND_STACK`].
    pub kind: u16,
    /// Size of the whole record in bytes.
    pub len: u16,
    /// Which of the optional fields hold something: `VALID_COOKIE`, `VALID_TOP`.
    pub valid: u16,
    /// [`STACK_CONNECT`] or [`STACK_ACCEPT`].
    pub call: u16,
    /// Nanoseconds of `CLOCK_MONOTONIC`: that of the state change or call that it belongs to.
    pub time_ns: u64,
    /// Socket cookie.
    pub cookie: u64,
    /// Address of the `struct sock`.
    pub sk: u64,
    /// When the process began, nanoseconds of `CLOCK_BOOTTIME`, 0 where not read.
    pub process_started_ns: u64,
    /// `tgid` of the process.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Bytes of `frames` that hold something.
    pub bytes: u32,
    /// Name of the thread, as in a [`StateRecord`](crate::StateRecord).
    pub comm: [u64; 2],
    /// The first words at the stack pointer. With [`VALID_TOP`] only.
    pub top: [u64; STACK_TOP],
    /// The instruction pointer, then return addresses, as far as there are frame pointers.
    pub frames: [u64; STACK_DEPTH],
}

/// Size of a [`StackRecord`] in bytes.
pub const STACK_RECORD_LEN: usize = size_of::<StackRecord>();

const _: () = assert!(STACK_RECORD_LEN == 648);
const _: () = assert!(core::mem::offset_of!(StackRecord, frames) == 136);

/// Counter: stacks taken.
pub const STACK_TAKEN: usize = 0;
/// Counter: calls that the sample leaves out.
pub const STACK_LEFT_OUT: usize = 1;
/// Counter: calls without a user stack: a thread of the kernel's own.
pub const STACK_NONE: usize = 2;
/// Counter: calls during another that was being taken on the same CPU.
pub const STACK_BUSY: usize = 3;
/// Counter: stacks that the kernel would not give, for any other reason.
pub const STACK_FAILED: usize = 4;
/// Length of the block of these counters.
pub const STACK_SLOTS: usize = 5;

/// Names of the counters, in order.
pub const STACK_COUNTER_NAMES: [&str; STACK_SLOTS] =
    ["taken", "left_out", "no_user_stack", "busy", "failed"];
