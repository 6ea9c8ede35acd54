//! Functions compiled at run time: machine code in memory that belongs to no file, named in a perf
//! map.

use std::{fs, path::PathBuf, ptr};

/// Bytes of the memory.
const SIZE: usize = 4096;
/// Where `make_call` begins; it makes the system call.
const MAKE_CALL: usize = 0;

/// A function that calls `make_call`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    /// `buy`.
    Buy = 0x40,
    /// `refund`.
    Refund = 0x80,
}

/// The code, for as long as this is there.
#[derive(Debug)]
pub(super) struct Compiled {
    memory: *mut u8,
    map: PathBuf,
}

// SAFETY: the code is written once, before anybody else can see it.
unsafe impl Sync for Compiled {}

/// Number of a system call, its arguments; what the kernel answers.
type Call = extern "C" fn(i64, u64, u64, u64) -> i64;

impl Compiled {
    /// Compiles it, for `x86_64`.
    pub(super) fn new() -> Self {
        // SAFETY: memory of no file, wherever the kernel likes.
        let memory = unsafe {
            let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), SIZE, all, flags, -1, 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        let memory: *mut u8 = memory.cast();
        let make_call = [
            &[0x55, 0x48, 0x89, 0xe5][..], // push rbp; mov rbp, rsp
            &[0x48, 0x89, 0xf8],           // mov rax, rdi
            &[0x48, 0x89, 0xf7],           // mov rdi, rsi
            &[0x48, 0x89, 0xd6],           // mov rsi, rdx
            &[0x48, 0x89, 0xca],           // mov rdx, rcx
            &[0x0f, 0x05, 0x5d, 0xc3],     // syscall; pop rbp; ret
        ]
        .concat();
        let mut names = vec![(MAKE_CALL, make_call.len(), "make_call")];
        // SAFETY: all of it lies within the memory.
        unsafe { ptr::copy(make_call.as_ptr(), memory, make_call.len()) };
        for (function, name) in [(Function::Buy, "buy"), (Function::Refund, "refund")] {
            // push rbp; push 0; push 0; mov rbp, rsp; call. With it the stack ends: what called it may
            // have no frame, and whatever is in its register then is told for one.
            let mut code = vec![0x55, 0x6a, 0, 0x6a, 0, 0x48, 0x89, 0xe5, 0xe8];
            let next = i32::try_from(function as usize + code.len() + 4).unwrap();
            code.extend((i32::try_from(MAKE_CALL).unwrap() - next).to_le_bytes());
            code.extend([0x48, 0x83, 0xc4, 0x10, 0x5d, 0xc3]); // add rsp, 16; pop rbp; ret
            names.push((function as usize, code.len(), name));
            // SAFETY: likewise.
            unsafe { ptr::copy(code.as_ptr(), memory.add(function as usize), code.len()) };
        }
        let line = |(at, size, name): &(usize, usize, &str)| {
            format!("{:x} {size:x} {name}\n", memory as usize + at)
        };
        let map = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
        fs::write(&map, names.iter().map(line).collect::<String>()).unwrap();
        Self { memory, map }
    }

    /// Makes a system call by way of `function`; a negative answer is an errno.
    pub(super) fn call(&self, function: Function, number: i64, arguments: [u64; 3]) -> i64 {
        let [first, second, third] = arguments;
        // SAFETY: what lies there is such a function, and the caller knows what the system call
        // takes.
        unsafe {
            let code = self.memory.add(function as usize);
            std::mem::transmute::<*mut u8, Call>(code)(number, first, second, third)
        }
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.map);
        // SAFETY: nobody is in it any more: calls borrow this.
        unsafe { libc::munmap(self.memory.cast(), SIZE) };
    }
}
