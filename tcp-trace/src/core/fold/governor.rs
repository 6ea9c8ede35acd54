//! Who decides whether connections are folded, and why.

use std::{collections::VecDeque, time::Duration};

use super::{ABOVE, CALM, LONGEST, LOOK, Mode, Order, WINDOW};
use crate::core::clock::Ts;

/// What the decision rests on, as sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Events of connections, each step of a folded one among them.
    pub events: u64,
    /// Records that found no room in their buffer.
    pub lost: u64,
    /// Times that a buffer was found nearly full.
    pub behind: u64,
}

/// Why connections are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The user wants it so.
    Chosen,
    /// So many events a second.
    Rate(u64),
    /// The reader does not keep up with the buffers.
    Behind,
    /// Records were lost.
    Loss,
}

impl Why {
    /// The names of all.
    pub const NAMES: [&'static str; 4] = ["chosen", "rate", "behind", "loss"];

    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Rate(_) => "rate",
            Self::Behind => "behind",
            Self::Loss => "loss",
        }
    }
}

/// How folding stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the user has chosen.
    pub mode: Mode,
    /// Events a second above which [`Mode::Auto`] folds.
    pub above: u32,
    /// Whether connections that are born are folded.
    pub folding: bool,
    /// Why they are, or were the last time.
    pub why: Option<Why>,
    /// Since when they are, or are not.
    pub since: Option<Ts>,
    /// Nanoseconds spent folding.
    pub folded_ns: u64,
    /// How often it has begun and ended.
    pub switches: u64,
    /// Folded at this moment and not told yet, children of listeners.
    pub children: u64,
    /// Why this host folds nothing, whatever was chosen.
    pub refused: Option<String>,
}

impl Default for Standing {
    fn default() -> Self {
        Governor::new(Mode::default(), ABOVE).standing()
    }
}

/// Decides.
#[derive(Clone, Debug)]
pub struct Governor {
    mode: Mode,
    above: u32,
    order: Order,
    /// When the order was given.
    ordered: Option<Ts>,
    /// When folding began or ended.
    since: Option<Ts>,
    why: Option<Why>,
    /// Looks of the last [`WINDOW`], and the one before them.
    looks: VecDeque<(Ts, Load)>,
    /// When it last was not calm.
    unrest: Ts,
    folded_ns: u64,
    switches: u64,
}

impl Governor {
    /// One that has decided nothing yet.
    #[must_use]
    pub fn new(mode: Mode, above: u32) -> Self {
        Self {
            mode,
            above,
            order: Order::Off,
            ordered: None,
            since: None,
            why: None,
            looks: VecDeque::new(),
            unrest: Ts(0),
            folded_ns: 0,
            switches: 0,
        }
    }

    /// Whether it is time for [`look`](Self::look).
    #[must_use]
    pub fn is_due(&self, now: Ts) -> bool {
        self.looks.back().is_none_or(|(then, _)| now.since(*then) >= LOOK)
    }

    /// What the programs are to do from now on. `empty` says whether no connection is folded any
    /// more; it is asked only when that matters.
    pub fn look(&mut self, now: Ts, load: Load, empty: impl FnOnce() -> bool) -> Order {
        let unrest = self.unrest(now, load);
        let passed = self.looks.back().map_or(Duration::ZERO, |(then, _)| now.since(*then));
        if self.order == Order::On {
            let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
            self.folded_ns = self.folded_ns.saturating_add(passed);
        }
        self.remember(now, load);
        if unrest.is_some() {
            self.unrest = now;
        }
        let calm = now.since(self.unrest) >= CALM;
        let wanted = match self.mode {
            Mode::Full => None,
            Mode::Folded => Some(Why::Chosen),
            Mode::Auto if self.order == Order::On && !calm => unrest.or(self.why),
            Mode::Auto => unrest,
        };
        let next = match (self.order, wanted) {
            (_, Some(_)) => Order::On,
            (Order::On, None) => Order::Drain,
            // A program on another CPU may still act on the order before.
            (Order::Drain, None) if self.has_drained(now) && empty() => Order::Off,
            (order, None) => order,
        };
        if next != self.order {
            if (next == Order::On) != (self.order == Order::On) {
                self.switches += 1;
                self.since = Some(now);
            }
            if next == Order::On {
                self.why = wanted;
            }
            (self.order, self.ordered) = (next, Some(now));
        }
        next
    }

    fn has_drained(&self, now: Ts) -> bool {
        self.ordered.is_none_or(|then| now.since(then) >= LONGEST)
    }

    fn remember(&mut self, now: Ts, load: Load) {
        self.looks.push_back((now, load));
        while self.looks.get(1).is_some_and(|(then, _)| now.since(*then) >= WINDOW) {
            self.looks.pop_front();
        }
    }

    /// What is wrong, if anything. While folding, half the rate is enough to go on: a rate that
    /// moves about the limit must not make it change its mind all the time.
    fn unrest(&self, now: Ts, load: Load) -> Option<Why> {
        let (_, before) = self.looks.back()?;
        if load.lost > before.lost {
            return Some(Why::Loss);
        }
        if load.behind > before.behind {
            return Some(Why::Behind);
        }
        let limit = if self.order == Order::On { self.above / 2 } else { self.above };
        let rate = self.rate(now, load);
        (rate > u64::from(limit)).then_some(Why::Rate(rate))
    }

    /// Events a second, over the window.
    fn rate(&self, now: Ts, load: Load) -> u64 {
        let base = self.looks.iter().rfind(|(then, _)| now.since(*then) >= WINDOW);
        let Some((then, base)) = base.or(self.looks.front()) else { return 0 };
        let events = u128::from(load.events.saturating_sub(base.events));
        let nanos = now.since(*then).max(WINDOW).as_nanos();
        u64::try_from(events * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }

    /// Whether connections that are born are folded.
    #[must_use]
    pub fn is_folding(&self) -> bool {
        self.order == Order::On
    }

    /// How things stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            mode: self.mode,
            above: self.above,
            folding: self.is_folding(),
            why: self.why,
            since: self.since,
            folded_ns: self.folded_ns,
            switches: self.switches,
            children: 0,
            refused: None,
        }
    }
}
