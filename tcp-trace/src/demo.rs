//! The scene that `tcp-trace demo` plays and traces: small servers and clients, some of them sick.
//!
//! `role` and `cue` say who plays and how one talks to them, `scene` in which numbers, `judge` what
//! must be found, `excerpt` which events are worth a line: all of them pure. `troupe` starts the
//! players in a network namespace of their own and ends them, `actor` is what such a process does.

pub(crate) mod actor;
pub(crate) mod course;
pub(crate) mod cue;
pub(crate) mod excerpt;
pub(crate) mod judge;
mod play;
pub(crate) mod role;
pub(crate) mod scene;
pub(crate) mod troupe;
