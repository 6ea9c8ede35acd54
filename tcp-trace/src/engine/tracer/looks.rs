//! When the table is looked over for the diagnosis.

use std::time::Duration;

use crate::{core::clock::Ts, engine::wall};

/// How often the casebook looks over the table.
const LOOK: Duration = Duration::from_secs(1);
/// How many times as long as a look took it rests.
const LOOK_REST: u32 = 200;

/// When the casebook looks over the table next: every second, and on a host with very many
/// connections so seldom that it costs next to nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    /// How often at the most.
    pub(crate) every: Duration,
    looked: Ts,
    rest: Duration,
    /// Somebody is suspected whom nobody has looked into.
    pub(super) suspicion: bool,
}

impl Default for Looks {
    fn default() -> Self {
        Self { every: LOOK, looked: Ts(0), rest: Duration::ZERO, suspicion: false }
    }
}

impl Looks {
    /// Whether one is due; it is then taken for done.
    pub(super) fn is_due(&mut self, now: Ts) -> bool {
        let due = now >= self.next_due();
        self.looked = if due { now } else { self.looked };
        due
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Ts {
        self.looked.after(self.every.max(self.rest))
    }

    /// Whether somebody new is suspected, which has not been said.
    pub(crate) fn has_suspicion(&self) -> bool {
        self.suspicion
    }

    /// Whether somebody new is suspected; it is said once.
    pub(crate) fn take_suspicion(&mut self) -> bool {
        std::mem::take(&mut self.suspicion)
    }

    /// Lets the next look be due.
    pub(crate) fn at_once(&mut self) {
        self.looked = Ts(0);
    }

    /// Looks, and rests the longer the more it has cost.
    pub(super) fn timed<T>(&mut self, look: impl FnOnce() -> T) -> T {
        let begun = wall::now();
        let seen = look();
        self.rest = wall::now().since(begun) * LOOK_REST;
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearer_a_look_the_longer_the_rest() {
        let mut looks = Looks::default();
        let start = Ts(5_000_000_000);
        assert!(looks.is_due(start) && !looks.is_due(start));
        assert_eq!(looks.next_due(), start.after(LOOK));
        looks.rest = Duration::from_secs(3);
        assert_eq!(looks.next_due(), start.after(Duration::from_secs(3)));
        assert!(!looks.is_due(start.after(LOOK)) && looks.is_due(looks.next_due()));
        looks.at_once();
        assert!(looks.is_due(start.after(Duration::from_secs(4))));
    }
}
