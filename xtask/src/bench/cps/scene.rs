//! What the load does, and where.

use std::{fmt, str::FromStr};

use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};

use super::super::{
    load::{Close, Load},
    placement::Placement,
};

/// A load, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scene {
    /// How the client closes.
    pub(crate) close: Close,
    /// Threads that connect.
    pub(crate) threads: u32,
    /// Where the ends run.
    pub(crate) placement: Placement,
}

impl Scene {
    /// With so many connections.
    pub(super) fn load(self, count: u32) -> Load {
        let Self { close, threads, placement } = self;
        Load { count, close, placement, threads, here: true }
    }

    /// Whether the rate moves least of itself: one thread, and nothing wakes another CPU.
    pub(super) fn is_steadiest(self) -> bool {
        self.threads == 1 && self.placement == Placement::Together
    }

    /// In words.
    pub(crate) fn phrase(self) -> String {
        let close = if self.close == Close::Rst { "RST" } else { "FIN" };
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        let place = match (self.placement, self.threads) {
            (Placement::Together, 2..) => "each with both ends on one CPU",
            (placement, _) => placement.phrase(),
        };
        format!("{close}, {} {threads}, {place}", self.threads)
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.close.word(), self.threads, self.placement.word())
    }
}

impl FromStr for Scene {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}' is not of the form rst-1-apart or fin-2-together");
        let mut words = text.split('-');
        let (Some(close), Some(threads), Some(placement), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong());
        };
        let threads = threads.parse().map_err(|_| wrong())?;
        if !(1..=64).contains(&threads) {
            return Err(format!("'{text}' has {threads} threads; 1 to 64 can be had"));
        }
        Ok(Self {
            close: Close::from_str(close, false).map_err(|_| wrong())?,
            threads,
            placement: Placement::from_str(placement, false).map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_written_as_it_is_read() {
        for text in ["rst-1-apart", "fin-2-together", "rst-64-free"] {
            assert_eq!(text.parse::<Scene>().unwrap().to_string(), text);
        }
        for wrong in ["", "rst", "rst-0-apart", "rst-65-apart", "fin-1-apart-x", "x-1-apart"] {
            assert!(wrong.parse::<Scene>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scene_is_told_in_words() {
        let phrase = |text: &str| text.parse::<Scene>().unwrap().phrase();
        assert_eq!(phrase("rst-1-together"), "RST, 1 thread, both on one CPU");
        assert_eq!(phrase("fin-2-together"), "FIN, 2 threads, each with both ends on one CPU");
    }
}
