//! Orders that are no single system call: another process or thread that takes orders of its own.

use std::ptr;

use super::{CONTROL, obey};

/// The order to fork: a line's descriptor, and a name.
pub(super) const FORK: i64 = -1;
/// The order to make a thread: likewise.
pub(super) const THREAD: i64 = -2;

/// A thread's stack; the order and the answer take most of what is used.
const STACK: usize = 256 << 10;

/// Takes its name, and ends with its parent.
///
/// # Safety
/// `name` points to a string with its NUL.
pub(super) unsafe fn settle(name: *const libc::c_char) {
    // SAFETY: the caller's promise.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// The child's process id, or -1.
///
/// # Safety
/// Runs in an actor; `line` is open, `name` points to a string with its NUL.
pub(super) unsafe fn fork(line: u64, name: u64) -> i64 {
    let line = i32::try_from(line).unwrap_or(-1);
    // SAFETY: as for the actor's own beginning: the child calls only what is async-signal-safe.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            settle(pointer(name));
            libc::dup2(line, CONTROL);
            libc::close(line);
            obey(CONTROL, libc::SYS_exit_group)
        }
        libc::close(line);
        pid.into()
    }
}

/// What a thread begins with, at the low end of its stack.
struct Start {
    line: i32,
    name: [u8; 16],
}

/// The thread's id, or -1.
///
/// # Safety
/// As for [`fork`].
pub(super) unsafe fn thread(line: u64, name: u64) -> i64 {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_SYSVSEM
        | libc::CLONE_THREAD;
    let (rights, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the stack is a new mapping that nobody else uses and nobody takes away; the thread
    // shares `errno` with the one that made it, which waits for orders meanwhile.
    unsafe {
        let stack = libc::mmap(ptr::null_mut(), STACK, rights, kind, -1, 0);
        if stack == libc::MAP_FAILED {
            return -1;
        }
        let start = stack.cast::<Start>();
        (*start).line = i32::try_from(line).unwrap_or(-1);
        libc::strncpy((&raw mut (*start).name).cast(), pointer(name), 15);
        libc::clone(run, stack.byte_add(STACK), flags, start.cast()).into()
    }
}

extern "C" fn run(start: *mut libc::c_void) -> libc::c_int {
    let start = start.cast::<Start>();
    // SAFETY: what `thread` left there.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, &raw const (*start).name);
        obey((*start).line, libc::SYS_exit)
    }
}

fn pointer(address: u64) -> *const libc::c_char {
    ptr::with_exposed_provenance(usize::try_from(address).unwrap_or(0))
}
