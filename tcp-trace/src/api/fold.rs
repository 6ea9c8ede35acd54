//! Whether short connections are told in one record, as an object of the API.

use serde::{Deserialize, Serialize};

/// Whether short connections are told in one record, why, and since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Folding {
    /// What was chosen: `full`, `folded` or `auto`; empty of a file.
    pub mode: String,
    /// Events a second above which `auto` folds.
    pub above: u32,
    /// Whether connections that are born now are told in one record.
    pub folding: bool,
    /// Why they are, or were the last time: `chosen`, `rate`, `behind` (the reader did not keep up
    /// with the buffers) or `loss`; `null` where none ever was.
    #[serde(default)]
    pub why: Option<String>,
    /// With `rate`: how many events a second there were then.
    #[serde(default)]
    pub events_per_second: Option<u64>,
    /// When that began, or ended (RFC 3339); `null` where it has been as now from the start.
    #[serde(default)]
    pub since: Option<String>,
    /// For how many seconds it has been so.
    #[serde(default)]
    pub for_seconds: f64,
    /// Connections told so.
    pub connections: u64,
    /// Seconds spent so.
    pub seconds: f64,
    /// How often it has begun or ended.
    pub switches: u64,
    /// Why nothing can be folded here, whatever was chosen.
    #[serde(default)]
    pub refused: Option<String>,
    /// Connections that are told step by step all the same, and why.
    #[serde(default)]
    pub not_folded: Vec<String>,
}
