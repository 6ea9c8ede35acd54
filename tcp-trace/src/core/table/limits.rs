//! How much the table may hold.

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections and listeners held at most.
    pub live: usize,
    /// Closed connections kept for questions.
    pub closed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { live: 1_000_000, closed: 10_000 }
    }
}
