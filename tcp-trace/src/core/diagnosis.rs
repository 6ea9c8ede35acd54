//! What is wrong with this host's connections, with the evidence: from the table, its history and
//! what the host itself says, to findings in plain words.
//!
//! A [`Casebook`] is kept up as events pass and looks over the table every few seconds; a
//! [`Survey`] is one such look. Each kind of finding has a file of its own, which turns what it
//! needs of both into [`Finding`]s. Every moment is an argument.

use std::time::Duration;

mod backlog;
pub mod casebook;
mod close_wait;
mod closed_descriptors;
mod closing;
pub mod evidence;
mod failed;
mod finding;
pub mod group;
mod origins;
mod orphans;
mod ports;
pub mod service;
mod still;
pub mod survey;
mod talk;
pub mod trend;
mod waiting;

pub use casebook::{Casebook, Leaks};
pub use close_wait::Cause;
pub use finding::{
    Advice, Confidence, Exhaustion, Finding, Grown, Growth, Kind, Line, Report, Severity, Who,
};
pub use origins::Origins;
pub use survey::Survey;

/// From when on something is worth a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// How long a socket must have stood still in a state that should pass.
    pub older_than: Duration,
    /// How many such sockets of one process and service make a finding.
    pub at_least: u64,
    /// The share of the ports to one destination, or of any other bound, that is too much.
    pub share: f64,
    /// How far back failed connections, resets and the like are counted.
    pub window: Duration,
    /// How many of those in that time make a finding.
    pub failures: u64,
}

/// Thresholds that somebody asks for; what is not given stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// As [`Thresholds::older_than`].
    pub older_than: Option<Duration>,
    /// As [`Thresholds::at_least`].
    pub at_least: Option<u64>,
    /// As [`Thresholds::share`].
    pub share: Option<f64>,
    /// As [`Thresholds::window`].
    pub window: Option<Duration>,
    /// As [`Thresholds::failures`].
    pub failures: Option<u64>,
}

impl Thresholds {
    /// These, save what is asked for.
    #[must_use]
    pub fn with(self, asked: Asked) -> Self {
        Self {
            older_than: asked.older_than.unwrap_or(self.older_than),
            at_least: asked.at_least.unwrap_or(self.at_least),
            share: asked.share.unwrap_or(self.share),
            window: asked.window.unwrap_or(self.window),
            failures: asked.failures.unwrap_or(self.failures),
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            older_than: Duration::from_mins(1),
            at_least: 3,
            share: 0.7,
            window: Duration::from_mins(5),
            failures: 10,
        }
    }
}

#[cfg(test)]
mod healthy;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod tests;
