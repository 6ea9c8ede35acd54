//! When short connections are told in one record each, and what has been told of those that go on.
//!
//! One record for each step is what a timeline is made of as it happens; under a storm it costs the
//! host, and at last the buffers run over. Then one record at a connection's end tells the same steps
//! with the same times, later.

use std::{fmt, str::FromStr, time::Duration};

use tcp_trace_common::{FOLD_DRAIN, FOLD_OFF, FOLD_ON};

mod governor;
mod told;

pub use governor::{Governor, Load, Standing, Why};
pub use told::Told;

/// What the user has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Each step has its record, whatever it costs.
    Full,
    /// Each short connection has one record.
    Folded,
    /// Folded while there is much to tell.
    #[default]
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

/// How often it is decided anew.
pub const LOOK: Duration = Duration::from_millis(100);
/// Longest life that is told in one record, unless it is over when this has passed.
pub const LONGEST: Duration = Duration::from_secs(1);
/// Over how long the rate of events is taken: a burst that is over by then costs the host little.
pub const WINDOW: Duration = Duration::from_secs(1);
/// How long it must be calm before each step has its record again.
pub const CALM: Duration = Duration::from_secs(5);
/// Events a second above which connections are folded, unless said otherwise. A record for each costs
/// about 0.3 microseconds in the kernel and as much again in the daemon: with so many, some hundredths
/// of a CPU, and above it more than most hosts will want to spend on being watched.
pub const ABOVE: u32 = 50_000;

#[cfg(test)]
mod tests;
