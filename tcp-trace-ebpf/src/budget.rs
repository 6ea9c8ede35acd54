//! How many segments may be reported: two buckets of tokens for each CPU, one for SYNs and their
//! answers, one for all that follows. Whoever floods a host with SYNs uses up the first alone.
//!
//! Time is what fills it: a report costs so many nanoseconds of it, and no more is saved up than a
//! burst of reports costs. What is held is the moment up to which time has been spent.

use crate::maps::{BUDGET, global};

/// Takes what one report costs out of the bucket of what `opens` a connection, or of the other, if
/// it is there.
#[inline(always)]
pub(crate) fn spend(now_ns: u64, opens: bool) -> bool {
    let cost = u64::from(global!(SETTINGS.segment_cost_ns));
    if cost == 0 {
        return true;
    }
    let Some(spent) = BUDGET.get_ptr_mut(u32::from(!opens)) else { return false };
    let saved = cost * u64::from(global!(SETTINGS.segment_burst));
    let earliest = now_ns.saturating_sub(saved);
    // SAFETY: this CPU's own place, aligned. A softirq that comes in between may spend the same
    // token once more, which does no harm.
    unsafe {
        let up_to = (*spent).max(earliest) + cost;
        if up_to > now_ns {
            return false;
        }
        *spent = up_to;
    }
    true
}
