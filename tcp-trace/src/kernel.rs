//! The kernel's side of the daemon: facts about the host, a plan made of them, and its carrying out.
//!
//! `host` gathers, `plan`, `offsets` and `btf` decide without touching anything, `load`,
//! `transport`, `counters` and `selfcheck` act. All system calls that need `unsafe` stand in `sys`.

pub(crate) mod attach;
pub mod btf;
pub(crate) mod cgroups;
pub mod counters;
pub(crate) mod descriptors;
pub(crate) mod folding;
pub(crate) mod holders;
pub mod hooks;
pub mod host;
pub(crate) mod load;
mod loading;
pub(crate) mod mibs;
pub(crate) mod namespaces;
pub(crate) mod netlink;
pub(crate) mod netns;
pub(crate) mod notes;
pub(crate) mod offsets;
#[doc(hidden)]
pub mod packets;
pub(crate) mod places;
pub mod plan;
pub(crate) mod process_facts;
pub mod programs;
pub mod segments;
pub(crate) mod selfcheck;
pub(crate) mod settings;
pub(crate) mod sock_diag;
pub mod stacks;
pub(crate) mod sys;
pub(crate) mod transport;
