//! A stack in one line: the program's own functions, innermost first.

use super::Frame;

/// Functions that a line names.
const NAMED: usize = 4;
/// Longest name that is told whole, in characters.
const LONG: usize = 60;

/// Libraries that are the system's.
const SYSTEMS: [&str; 6] = ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "[vdso]"];

/// How functions begin that belong to a language's runtime or standard library: of C, Rust, Go, Java,
/// Node and Python. Such a frame says that a call was made, and not where.
const RUNTIMES: [&str; 43] = [
    "_start",
    "__libc_",
    "start_thread",
    "clone",
    "__clone",
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "<core::",
    "<alloc::",
    "__rust_",
    "rust_",
    "tokio::",
    "<tokio::",
    "mio::",
    "socket2::",
    "runtime.",
    "syscall.",
    "internal/",
    "net.",
    "java.",
    "jdk.",
    "sun.",
    "Interpreter",
    "StubRoutines",
    "thread_native_entry",
    "JavaThread::",
    "JavaMain",
    "JavaCalls::",
    "node:",
    "node::",
    "void node::",
    "v8::",
    "uv_",
    "uv__",
    "Builtins_",
    "Builtin:",
    "_Py",
    "Py",
    "pymain_",
    "sock_",
    "call_function",
];

/// The line.
pub(super) fn of(frames: &[Frame]) -> String {
    let own: Vec<_> = frames.iter().filter(|frame| is_own(frame)).collect();
    // Where nothing is the program's own, what there is must do.
    let told = if own.is_empty() { frames.iter().collect() } else { own };
    let more = if told.len() > NAMED { " ← …" } else { "" };
    let names: Vec<_> = told.into_iter().take(NAMED).map(name).collect();
    if names.is_empty() {
        return "nothing of it is known".to_owned();
    }
    names.join(" ← ") + more
}

fn is_own(frame: &Frame) -> bool {
    let Some(function) = &frame.function else {
        // Nameless code of the system's says nothing; that of the program at least where to look.
        return frame.module.as_ref().is_some_and(|module| !is_systems(module));
    };
    !frame.module.as_ref().is_some_and(|module| is_systems(module))
        && !RUNTIMES.iter().any(|begin| bare(function).starts_with(begin))
        // Of Node's own library: `internalConnect node:net:1038:25`.
        && !function.contains(" node:")
}

fn is_systems(module: &str) -> bool {
    SYSTEMS.iter().any(|name| module.starts_with(name))
}

/// A name without what runtimes put before those of functions that they compile themselves: `py::`
/// of Python, `LazyCompile:~` and the like of Node.
fn bare(function: &str) -> &str {
    let marks = ["LazyCompile:", "Function:", "Script:", "JS:", "Eval:"];
    let rest = marks.iter().find_map(|mark| function.strip_prefix(mark)).unwrap_or(function);
    rest.trim_start_matches(['~', '*', '^', '+', ' ']).trim_start_matches("py::")
}

/// A frame's name: its function's and its line, or where in the file it lies.
fn name(frame: &Frame) -> String {
    let module = frame.module.as_deref().unwrap_or("?");
    let Some(function) = &frame.function else { return format!("{module}+{:#x}", frame.offset) };
    let function = bare(function);
    let mut text: String = function.chars().take(LONG).collect();
    if text.len() < function.len() {
        text.push('…');
    }
    match &frame.source {
        Some(source) => {
            let file = source.rsplit('/').next().unwrap_or(source);
            format!("{text} ({file})")
        }
        None => text,
    }
}
