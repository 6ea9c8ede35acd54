//! A process that makes exactly the system calls it is told to, and no other.
//!
//! The kernel names the process of each call, so a client and a server that are to be told apart
//! must be processes of their own; and what a test claims about a sequence of calls is only as good
//! as its knowledge of every one of them. An [`Actor`] is forked, takes orders over a socket pair,
//! and answers with what the kernel said.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::fd::{AsFd as _, BorrowedFd, IntoRawFd as _, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SendFlags, SocketFlags, SocketType},
    process::{Pid, Signal, WaitOptions},
};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

#[path = "actor/kin.rs"]
mod kin;
#[path = "actor/pass.rs"]
mod pass;

/// The order to send a descriptor with `SCM_RIGHTS`: over which socket, and which.
pub(crate) const PASS_SEND: i64 = pass::SEND;
/// The order to receive one: over which socket; answers with its number.
pub(crate) const PASS_RECEIVE: i64 = pass::RECEIVE;
/// Where an actor has the socket for its orders.
const CONTROL: i32 = 3;
/// Bytes of arguments that an order can carry, and an answer bring back.
const PAYLOAD: usize = 512;
/// Longest that a call may block; the tests' own time-outs are far shorter.
const LONGEST_CALL: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Order {
    number: i64,
    arguments: [u64; 6],
    /// Bit for each argument that is an offset into the payload.
    pointers: u64,
    payload: [u8; PAYLOAD],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Answer {
    /// What the call returned, or its errno, negative.
    result: i64,
    payload: [u8; PAYLOAD],
}

/// An argument of a system call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg<'a> {
    /// A number.
    Number(i64),
    /// A pointer to these bytes.
    Bytes(&'a [u8]),
    /// A pointer to this many zeros, which the call may overwrite.
    Room(usize),
}

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// What it returned.
    pub(crate) value: i64,
    /// Its pointers' memory after the call, one behind the other in steps of eight bytes.
    pub(crate) memory: Vec<u8>,
}

/// The process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Actor {
    name: String,
    pid: Pid,
    orders: OwnedFd,
    /// What ends it, where it is not this process's child; `None` of a thread, which ends by itself.
    end: End,
}

/// How an actor is ended.
#[derive(Debug)]
enum End {
    /// It is our child and not yet waited for, so its number cannot have passed to another.
    Child,
    /// An actor's child.
    Grandchild(OwnedFd),
    /// A thread of this actor, which ends once nobody gives it orders.
    Thread(String),
}

impl Actor {
    /// Starts one called `name`, which is its `comm`.
    pub(crate) fn start(name: &str) -> Self {
        let (ours, theirs) = line();
        let comm = CString::new(name).unwrap();
        // SAFETY: the child calls only functions that are async-signal-safe, allocates nothing and
        // never returns, so no lock that another thread held can matter to it.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: this is the child, and `theirs` is open in it; it never returns.
            unsafe { begin(theirs.into_raw_fd(), &comm) }
        }
        let pid = Pid::from_raw(pid).expect("fork() gives a process");
        Self { name: name.to_owned(), pid, orders: ours, end: End::Child }
    }

    /// A child of the actor's, with the same descriptors: what `fork()` makes.
    pub(crate) fn fork(&self, name: &str) -> Self {
        let (orders, pid) = self.beget(kin::FORK, name);
        let pid = Pid::from_raw(pid).expect("fork() gives a process");
        let flags = rustix::process::PidfdFlags::empty();
        let end = End::Grandchild(rustix::process::pidfd_open(pid, flags).unwrap());
        Self { name: name.to_owned(), pid, orders, end }
    }

    /// A further thread of the actor's process.
    pub(crate) fn thread(&self, name: &str) -> Self {
        let (orders, _) = self.beget(kin::THREAD, name);
        Self { name: name.to_owned(), pid: self.pid, orders, end: End::Thread(self.name.clone()) }
    }

    fn beget(&self, how: i64, name: &str) -> (OwnedFd, i32) {
        let (ours, theirs) = line();
        let name = [name.as_bytes(), b"\0"].concat();
        let line = Arg::Number(self.adopt(theirs.as_fd()));
        let answered = self.call(how, &[line, Arg::Bytes(&name)]).unwrap();
        (ours, i32::try_from(answered.value).unwrap())
    }

    /// Gives the actor a descriptor of this process; its number there.
    pub(crate) fn adopt(&self, descriptor: BorrowedFd<'_>) -> i64 {
        self.begin(pass::ADOPT, &[]);
        pass::over(self.orders.as_fd(), descriptor).unwrap();
        self.finish().unwrap().value
    }

    /// Gives the actor a descriptor of another's; its number there.
    pub(crate) fn copy(&self, from: &Self, descriptor: i64) -> i64 {
        self.adopt(from.take_descriptor(descriptor).as_fd())
    }

    /// Lets it open as many descriptors as the host allows.
    pub(crate) fn allow_descriptors(&self) {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let limit = limit.unwrap_or(u64::MAX).to_ne_bytes();
        let which = Arg::Number(i64::from(libc::RLIMIT_NOFILE));
        let limits = [limit, limit].concat();
        let arguments = [Arg::Number(0), which, Arg::Bytes(&limits), Arg::Number(0)];
        self.call(libc::SYS_prlimit64, &arguments).unwrap();
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of its process: of the first thread.
    pub(crate) fn process_name(&self) -> &str {
        if let End::Thread(process) = &self.end { process } else { &self.name }
    }

    /// Lets it go on after the end of the actor that forked it.
    pub(crate) fn outlive(&self) {
        let none = [libc::PR_SET_PDEATHSIG, 0].map(|number| Arg::Number(number.into()));
        self.call(libc::SYS_prctl, &none).unwrap();
    }

    /// Makes a call and waits for its end.
    pub(crate) fn call(&self, number: i64, arguments: &[Arg<'_>]) -> io::Result<Answered> {
        self.begin(number, arguments);
        self.finish()
    }

    /// Begins a call that may block.
    pub(crate) fn begin(&self, number: i64, arguments: &[Arg<'_>]) {
        let mut order = Order::new_zeroed();
        order.number = number;
        let mut used = 0;
        for (index, argument) in arguments.iter().enumerate() {
            let length = match argument {
                Arg::Number(number) => {
                    order.arguments[index] = number.cast_unsigned();
                    continue;
                }
                Arg::Bytes(bytes) => {
                    order.payload[used..used + bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                }
                Arg::Room(length) => *length,
            };
            order.arguments[index] = used as u64;
            order.pointers |= 1 << index;
            used += length.next_multiple_of(8);
        }
        assert!(used <= PAYLOAD, "the arguments are too long");
        rustix::net::send(&self.orders, order.as_bytes(), SendFlags::NOSIGNAL)
            .unwrap_or_else(|error| panic!("{} takes no orders: {error}", self.name));
    }

    /// Waits for the end of the call that was begun.
    pub(crate) fn finish(&self) -> io::Result<Answered> {
        let mut answer = Answer::new_zeroed();
        let (got, _) =
            rustix::net::recv(&self.orders, answer.as_mut_bytes(), rustix::net::RecvFlags::empty())
                .unwrap_or_else(|error| panic!("{} does not answer: {error}", self.name));
        assert_eq!(got, size_of::<Answer>(), "{} has died", self.name);
        match i32::try_from(answer.result) {
            Ok(errno) if (-4095..0).contains(&errno) => Err(io::Error::from_raw_os_error(-errno)),
            _ => Ok(Answered { value: answer.result, memory: answer.payload.to_vec() }),
        }
    }

    /// Lets it run on one CPU only.
    pub(crate) fn pin(&self, cpu: usize) {
        let mut mask = [0; 128];
        mask[cpu / 8] = 1 << (cpu % 8);
        let arguments = [Arg::Number(0), Arg::Number(128), Arg::Bytes(&mask)];
        self.call(libc::SYS_sched_setaffinity, &arguments).unwrap();
    }

    /// A descriptor of the actor's, in this process.
    pub(crate) fn take_descriptor(&self, number: i64) -> OwnedFd {
        let process = rustix::process::pidfd_open(self.pid, rustix::process::PidfdFlags::empty());
        rustix::process::pidfd_getfd(
            process.unwrap(),
            i32::try_from(number).unwrap(),
            rustix::process::PidfdGetfdFlags::empty(),
        )
        .unwrap()
    }

    /// Ends the process as the kernel would: everything it holds is closed on its behalf.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        match &self.end {
            End::Child => {
                let _ = rustix::process::kill_process(self.pid, Signal::KILL);
                let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
            }
            End::Grandchild(process) => {
                let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
                // It can be read from once the process has ended.
                let mut ended = [PollFd::new(process, PollFlags::IN)];
                let _ = poll(&mut ended, None);
            }
            End::Thread(_) => {}
        }
    }
}

/// A pair of sockets for orders and answers; ours does not wait for ever.
fn line() -> (OwnedFd, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let which = rustix::net::sockopt::Timeout::Recv;
    rustix::net::sockopt::set_socket_timeout(&ours, which, Some(LONGEST_CALL)).unwrap();
    (ours, theirs)
}

/// The child: takes orders until nobody is left to give them.
///
/// # Safety
/// Runs in a process just forked, in which `orders` is an open socket.
unsafe fn begin(orders: i32, comm: &CString) -> ! {
    // SAFETY: all of these take numbers, and are async-signal-safe. `dup2` leaves `orders` alone
    // where it is `CONTROL` already.
    unsafe {
        kin::settle(comm.as_ptr());
        libc::dup2(orders, CONTROL);
        libc::syscall(libc::SYS_close_range, CONTROL + 1, u32::MAX, 0);
        obey(CONTROL, libc::SYS_exit_group)
    }
}

/// Takes orders over `control`, then ends with the system call `end`.
///
/// # Safety
/// Runs in a process forked for this, or in a thread of one.
unsafe fn obey(control: i32, end: i64) -> ! {
    let mut order = Order::new_zeroed();
    let mut answer = Answer::new_zeroed();
    loop {
        // SAFETY: the buffer is as long as stated, and any bytes are an order.
        let got = unsafe { libc::recv(control, (&raw mut order).cast(), size_of::<Order>(), 0) };
        while got.cast_unsigned() != size_of::<Order>() {
            // SAFETY: ends the process, or this thread, without running anything of the parent's.
            unsafe { libc::syscall(end, 0) };
        }
        let payload = order.payload.as_mut_ptr().expose_provenance() as u64;
        let mut arguments = order.arguments;
        for (index, argument) in arguments.iter_mut().enumerate() {
            if order.pointers >> index & 1 == 1 {
                *argument = argument.wrapping_add(payload);
            }
        }
        // SAFETY: pointers lie within the payload, whose owner knows what the call does with them.
        answer.result = unsafe { carry_out(control, order.number, arguments) };
        answer.payload = order.payload;
        // SAFETY: the buffer is as long as stated.
        unsafe {
            libc::send(control, (&raw const answer).cast(), size_of::<Answer>(), libc::MSG_NOSIGNAL)
        };
    }
}

/// What a call returns, or its errno, negative.
unsafe fn carry_out(control: i32, number: i64, arguments: [u64; 6]) -> i64 {
    let [one, two, three, four, five, six] = arguments;
    // SAFETY: the caller's promise; `errno` is this thread's own, or that of one that waits.
    unsafe {
        let result = match number {
            kin::FORK => kin::fork(one, two),
            kin::THREAD => kin::thread(one, two),
            pass::SEND => pass::send(one, two),
            pass::RECEIVE => pass::receive(one),
            pass::ADOPT => pass::receive(control.unsigned_abs().into()),
            call => libc::syscall(call, one, two, three, four, five, six),
        };
        if result == -1 { -i64::from(*libc::__errno_location()) } else { result }
    }
}
