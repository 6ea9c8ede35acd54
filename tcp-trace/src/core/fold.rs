//! When short connections are told in one record each, and what has been told of those that go on.
//!
//! One record for each step is what a timeline is made of as it happens; under a storm it costs the
//! host, and at last the buffers run over. Then one record at a connection's end tells the same steps
//! with the same times, later.

use std::{fmt, str::FromStr, time::Duration};

use rustc_hash::FxHashMap;
use tcp_trace_common::{FOLD_DRAIN, FOLD_OFF, FOLD_ON, FOLD_ROOM, FoldedRecord};

use super::{clock::Ts, decode};

/// What the user has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each step has its record, whatever it costs.
    #[default]
    Full,
    /// Each short connection has one record.
    Folded,
    /// Folded while there is much to tell.
    Auto,
}

impl Mode {
    /// Name in settings and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Folded => "folded",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Full, Self::Folded, Self::Auto]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| "it is full, folded or auto".to_owned())
    }
}

impl<'de> serde::Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| serde::de::Error::custom(format!("'{text}' is no mode: {why}")))
    }
}

/// What the programs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Fold nothing.
    Off,
    /// Fold nothing new.
    Drain,
    /// Fold what is born.
    On,
}

impl Order {
    /// Its number in the programs' map.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Off => FOLD_OFF,
            Self::Drain => FOLD_DRAIN,
            Self::On => FOLD_ON,
        }
    }
}

/// What the decision rests on, as sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Events of connections, each step of a folded one among them.
    pub events: u64,
    /// Records that found no room in their buffer.
    pub lost: u64,
}

/// How often it is decided anew.
pub const LOOK: Duration = Duration::from_millis(100);
/// Longest life that is told in one record, unless it is over when this has passed.
pub const LONGEST: Duration = Duration::from_secs(1);
/// How long it must be calm before each step has its record again.
pub const CALM: Duration = Duration::from_secs(5);
/// Events a second above which connections are folded, unless said otherwise.
pub const ABOVE: u32 = 20_000;

/// Decides.
#[derive(Clone, Debug)]
pub struct Governor {
    mode: Mode,
    above: u32,
    order: Order,
    since: Ts,
    looked: Option<(Ts, Load)>,
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
            since: Ts(0),
            looked: None,
            unrest: Ts(0),
            folded_ns: 0,
            switches: 0,
        }
    }

    /// Whether it is time for [`look`](Self::look).
    #[must_use]
    pub fn is_due(&self, now: Ts) -> bool {
        self.looked.is_none_or(|(then, _)| now.since(then) >= LOOK)
    }

    /// What the programs are to do from now on. `empty` says whether no connection is folded any
    /// more; it is asked only when that matters.
    pub fn look(&mut self, now: Ts, load: Load, empty: impl FnOnce() -> bool) -> Order {
        let storm = self.is_storm(now, load);
        if self.order == Order::On {
            let (then, _) = self.looked.unwrap_or((now, load));
            let passed = u64::try_from(now.since(then).as_nanos()).unwrap_or(u64::MAX);
            self.folded_ns = self.folded_ns.saturating_add(passed);
        }
        self.looked = Some((now, load));
        if storm {
            self.unrest = now;
        }
        let wanted = match self.mode {
            Mode::Full => false,
            Mode::Folded => true,
            Mode::Auto => storm || self.order == Order::On && now.since(self.unrest) < CALM,
        };
        let next = match (self.order, wanted) {
            (_, true) => Order::On,
            (Order::On, false) => Order::Drain,
            // A program on another CPU may still act on the order before.
            (Order::Drain, false) if now.since(self.since) >= LONGEST && empty() => Order::Off,
            (order, false) => order,
        };
        if next != self.order {
            self.switches += u64::from((next == Order::On) != (self.order == Order::On));
            (self.order, self.since) = (next, now);
        }
        next
    }

    /// While folding, half the rate is enough to go on: a rate that moves about the limit must not
    /// make it change its mind all the time.
    fn is_storm(&self, now: Ts, load: Load) -> bool {
        let Some((then, before)) = self.looked else { return false };
        let limit = if self.order == Order::On { self.above / 2 } else { self.above };
        let nanos = now.since(then).as_nanos().max(1);
        let events = u128::from(load.events.saturating_sub(before.events));
        load.lost > before.lost || events * 1_000_000_000 > u128::from(limit) * nanos
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
            folded_ns: self.folded_ns,
            switches: self.switches,
        }
    }
}

/// How folding stands, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What the user has chosen.
    pub mode: Mode,
    /// Events a second above which [`Mode::Auto`] folds.
    pub above: u32,
    /// Whether connections that are born are folded.
    pub folding: bool,
    /// Nanoseconds spent folding.
    pub folded_ns: u64,
    /// How often it has begun and ended.
    pub switches: u64,
}

/// What has been told of folded connections that go on: their steps are told as they are found, and
/// all of them again with the last one.
#[derive(Debug, Default)]
pub struct Told(FxHashMap<(u64, u64), u32>);

impl Told {
    /// How many steps of `record` have been told before; from now on, all of them have.
    pub fn take(&mut self, record: &FoldedRecord) -> usize {
        let steps = decode::folded_steps(record);
        let Some(birth) = steps.first() else { return 0 };
        let key = (record.state.sk, birth.time_ns);
        let before = if record.unfinished == 0 {
            self.0.remove(&key)
        } else {
            // Those whose end was lost must not pile up.
            if self.0.len() >= 2 * FOLD_ROOM as usize {
                self.0.clear();
            }
            self.0.insert(key, u32::try_from(steps.len()).unwrap_or(u32::MAX))
        };
        before.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Whether all steps of `record` have been told.
    #[must_use]
    pub fn knows(&self, record: &FoldedRecord) -> bool {
        let steps = decode::folded_steps(record);
        let key = steps.first().map(|birth| (record.state.sk, birth.time_ns));
        let told = key.and_then(|key| self.0.get(&key)).copied().unwrap_or(0);
        usize::try_from(told).unwrap_or(usize::MAX) >= steps.len()
    }
}

#[cfg(test)]
mod tests;
