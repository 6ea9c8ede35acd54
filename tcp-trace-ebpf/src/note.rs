//! Rare lines for the daemon's log, gated by level before the program is loaded.
//!
//! Never on the path of an ordinary event: only where something is counted as wrong.

use core::ffi::c_void;

use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::{debug, warn};

/// A record could not be handed over. At debug level, since a full buffer says it thousandfold.
#[inline(never)]
pub(crate) fn output_failed(ctx: *mut c_void, result: i64) {
    let ctx = RawTracePointContext::new(ctx);
    debug!(&ctx, "perf output failed: {}", result);
}

/// A state number the kernel has never used.
#[inline(never)]
pub(crate) fn strange_state(ctx: *mut c_void, old: u32, new: u32) {
    let ctx = RawTracePointContext::new(ctx);
    warn!(&ctx, "state change {} -> {} is outside the known states", old, new);
}
