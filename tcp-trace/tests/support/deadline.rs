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

/// Looks every now and then until there is nothing to complain of; the last complaint where that
/// takes longer than `patience`.
pub(crate) fn until_good(
    patience: Duration,
    pause: Duration,
    mut look: impl FnMut() -> Result<(), String>,
) -> Result<Duration, String> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(()) => return Ok(start.elapsed()),
            Err(complaint) if start.elapsed() >= patience => {
                return Err(format!("{complaint} (waited {patience:?})"));
            }
            Err(_) => sleep(pause),
        }
    }
}
