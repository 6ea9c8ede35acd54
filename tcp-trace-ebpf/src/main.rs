//! The kernel programs of tcp-trace.
//!
//! One file per hook family under [`probes`]; everything they share stands beside it:
//! `maps` (every map and load-time global), `field` (the only reads of kernel memory), `counter`
//! (the exact tier), `pair` (who of two reports), `netns` (the filter), `ends` (addresses and ports), `record` and `life` (what is
//! reported), `emit` (the only output), `batch` (where records wait for each other), `stack` (user stacks, on request) and `note` (rare log lines). Of frames: `packet` (the only reads
//! of them), `segment` (what becomes of one), `awaited` (which plain ACKs matter) and `budget` (how
//! many may be reported).
#![no_std]
#![no_main]
// The BPF machine has atomic additions but no compare-and-swap, so `core` offers no `fetch_add`.
#![feature(core_intrinsics)]
// Reads of packets are spelled out: see `packet::direct`.
#![feature(asm_experimental_arch)]
#![expect(internal_features, reason = "the one way to an atomic addition on this target")]
#![expect(
    clippy::inline_always,
    reason = "BPF functions have few call frames and must not pass typed pointers between them"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "kernel integers are taken as they are; the widths are the kernel's own"
)]

mod awaited;
mod batch;
mod budget;
mod counter;
mod emit;
mod ends;
mod field;
mod fold;
mod life;
mod maps;
mod netns;
mod note;
mod packet;
mod pair;
mod probes;
mod record;
mod segment;
mod stack;

/// Licence the kernel checks before it lets a program call GPL-only helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
