//! tcp-trace: the daemon and the command line, as a library with a thin `main`.
//!
//! ```text
//! hook -> perf buffer -> decode -> merge by time -> table -> connection -> timeline
//!                                                     \-> snapshot -> metrics | HTTP | CLI
//! ```

pub mod api;
pub mod cli;
pub mod core;
mod demo;
mod doctor;
pub mod engine;
pub mod kernel;
mod serve;
