//! tcp-trace: the daemon and the command line, as a library with a thin `main`.

pub mod core;
