//! Waiting for conditions: short polls up to a deadline, never a bare sleep.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Longest wait for anything that the kernel or a program does at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Looks until there is something to see.
///
/// # Panics
/// With what `tried` says, after [`PATIENCE`].
pub(crate) fn until<T>(tried: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{} (waited {PATIENCE:?})", tried());
        sleep(POLL);
    }
}
