//! What the kernel programs and the daemon must agree on, and nothing else.
//!
//! Everything here is integers and byte arrays with explicit padding, so that a record is the same
//! bytes on both sides. A change to any layout raises [`ABI_VERSION`].
#![no_std]

#[cfg(test)]
extern crate std;

mod batch;
mod counters;
mod fold;
pub mod frame;
mod life;
mod offsets;
mod record;
mod segment;
mod settings;
mod stack;

pub use batch::*;
pub use counters::*;
pub use fold::*;
pub use life::*;
pub use offsets::*;
pub use record::*;
pub use segment::*;
pub use settings::*;
pub use stack::*;

/// Version of every layout in this crate; written into each recording.
pub const ABI_VERSION: u16 = 7;
/// Oldest version whose records are laid out as they are now: those since added kinds alone.
pub const OLDEST_ABI_VERSION: u16 = 4;
