//! How a group of sockets or the ports of a route have gone, from look to look.

use std::time::Duration;

use crate::core::{
    clock::Ts,
    diagnosis::{group::Mark, ports, survey::PortUse, trend::History},
};

/// Times as old as old, after which the old are marked anew.
const MARK_STAYS: u32 = 20;
/// Times as old as old, after which those that are still there have come to stay.
const STAYING: u32 = 5;
/// Times as old as old, after which nobody comes back for the old ones.
const ABANDONED: u32 = 10;

/// How a group has gone.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Its count at each look.
    pub history: History,
    /// What the next look goes by.
    pub mark: Mark,
    /// How many the mark covers.
    pub marked: u64,
    /// Old ones that have left, while some do every now and then.
    pub old_left: u64,
    /// When the last of those left.
    last_left: Ts,
    /// All that have left.
    pub left: u64,
    /// Since when it has had members.
    pub first: Ts,
    count: u64,
    /// When it last had a member.
    pub(super) seen: Ts,
}

/// How the ports of a route have gone.
#[derive(Clone, Debug, Default)]
pub struct RouteCourse {
    /// Ports taken at each look.
    pub taken: History,
    /// Those that are held: they do not end by themselves.
    pub held: History,
    /// Mini-sockets born in `TIME_WAIT` at each look, added up.
    pub born: History,
    /// Those that came to stay in `FIN_WAIT2` without a process, added up.
    pub stayed: History,
    totals: (u64, u64),
    pub(super) seen: Ts,
}

impl Course {
    /// Takes a look into account: how many there are, how many of them came since the last one, and
    /// how many are still there that the mark covers. What passed before `lost` may not have been seen.
    pub(super) fn follow(
        &mut self,
        now: Ts,
        lost: Ts,
        older_than: Duration,
        count: u64,
        arrived: u64,
        marked: u64,
    ) {
        if self.count == 0 {
            // Those of before are no word on those that come now.
            self.first = now;
        }
        if self.history.last().is_none() {
            self.count = count.saturating_sub(arrived);
        }
        self.left += (self.count + arrived).saturating_sub(count);
        let old_left = self.marked.saturating_sub(marked);
        self.old_left += old_left;
        if old_left > 0 {
            self.last_left = now;
        } else if now.since(self.last_left.max(lost)) >= older_than * ABANDONED {
            // What was replaced once and is not any more is a pool no longer.
            self.old_left = 0;
        }
        self.history.push(now, count);
        self.count = count;
        if count > 0 {
            self.seen = now;
        }
        self.marked = marked;
        // The mark moves on once all that it covered are gone, or it covers too few of the old.
        let old = now.back(older_than);
        if marked == 0 || old.since(self.mark.old) >= older_than * MARK_STAYS {
            self.mark.old = old;
            // The next look counts them; until then none has left.
            self.marked = 0;
        }
        self.mark.looked = now;
    }

    /// Whether some have stayed for many times as long as it takes to be old.
    #[must_use]
    pub fn keeps(&self, now: Ts, older_than: Duration, at_least: u64) -> bool {
        self.marked >= at_least && now.since(self.mark.old) >= older_than * STAYING
    }

    /// For how long it has been looked at.
    #[must_use]
    pub fn watched(&self, now: Ts) -> Duration {
        now.since(self.first)
    }
}

impl RouteCourse {
    /// Takes a look into account, at which `used` ports could not be chosen.
    pub(super) fn follow(&mut self, now: Ts, used: u64, ports: &PortUse) {
        let (born, stayed) = &mut self.totals;
        (*born, *stayed) = (*born + ports.born, *stayed + ports.staying);
        self.taken.push(now, used);
        self.held.push(now, ports::held(used, ports));
        self.born.push(now, *born);
        self.stayed.push(now, *stayed);
        self.seen = now;
    }

    /// Mini-sockets born a second, of late.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.born.recent().map(|growth| growth.per_second)
    }
}
