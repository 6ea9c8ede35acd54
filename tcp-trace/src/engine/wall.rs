//! The two clocks: the only place where the engine reads either.

use rustix::time::{ClockId, clock_gettime};

use crate::core::clock::{Ts, WallOffset};

/// Now, on the clock the kernel stamps records with.
pub(crate) fn now() -> Ts {
    Ts(u64::try_from(nanos(ClockId::Monotonic)).unwrap_or(0))
}

/// Where that clock stands on the wall clock: the tightest of a few brackets.
pub(crate) fn offset() -> WallOffset {
    let bracket = || {
        let before = nanos(ClockId::Monotonic);
        let wall = nanos(ClockId::Realtime);
        let after = nanos(ClockId::Monotonic);
        (after - before, wall - i64::midpoint(before, after))
    };
    let (_, epoch_ns) =
        (0..5).map(|_| bracket()).min_by_key(|(width, _)| *width).unwrap_or_default();
    WallOffset { epoch_ns }
}

fn nanos(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
