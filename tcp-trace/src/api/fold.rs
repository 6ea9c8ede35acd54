//! Whether short connections are told in one record, as an object of the API.

use serde::{Deserialize, Serialize};

/// Whether short connections are told in one record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Folding {
    /// What was chosen: `full`, `folded` or `auto`; empty of a file.
    pub mode: String,
    /// Events a second above which `auto` folds.
    pub above: u32,
    /// Whether connections that are born now are told in one record.
    pub folding: bool,
    /// Connections told so.
    pub connections: u64,
    /// Seconds spent so.
    pub seconds: f64,
    /// How often it has begun or ended.
    pub switches: u64,
}
