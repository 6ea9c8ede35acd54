//! The exact counters, read from the kernel and summed over the CPUs.

use aya::maps::{MapData, MapError, PerCpuArray};
use tcp_trace_common::{
    COUNTER_FILTERED, COUNTER_OUTPUT_ERRORS, COUNTER_SLOTS, COUNTER_STRANGE_STATE,
    OUTPUT_ERROR_NAMES, transition_slot,
};

use crate::core::population::Matrix;

/// The kernel's map of counters.
pub(crate) struct CounterMap(PerCpuArray<MapData, [u64; COUNTER_SLOTS]>);

impl CounterMap {
    /// Takes hold of the map.
    pub(crate) fn new(map: aya::maps::Map) -> Result<Self, MapError> {
        PerCpuArray::try_from(map).map(Self)
    }

    /// Reads all CPUs.
    pub(crate) fn read(&self) -> Result<Counters, MapError> {
        let mut sums = vec![0u64; COUNTER_SLOTS];
        for block in self.0.get(&0, 0)?.iter() {
            for (sum, count) in sums.iter_mut().zip(block) {
                *sum = sum.saturating_add(*count);
            }
        }
        Ok(Counters(sums))
    }
}

impl std::fmt::Debug for CounterMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CounterMap").finish_non_exhaustive()
    }
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub Vec<u64>);

impl Counters {
    /// Every transition counted.
    #[must_use]
    pub fn matrix(&self) -> Matrix {
        Matrix::from_counters(&self.0)
    }

    /// Takes transitions out again.
    pub(crate) fn take_away(&mut self, own: &Matrix) {
        for (old, new, count) in own.iter() {
            if let Some(slot) = self.0.get_mut(transition_slot(old.index(), new.index())) {
                *slot = slot.saturating_sub(count);
            }
        }
    }

    /// Failed outputs by errno name.
    pub fn output_errors(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        OUTPUT_ERROR_NAMES
            .into_iter()
            .enumerate()
            .map(|(slot, name)| (name, self.slot(COUNTER_OUTPUT_ERRORS + slot)))
    }

    /// Changes in namespaces that are not traced.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        self.slot(COUNTER_FILTERED)
    }

    /// State numbers beyond the known ones.
    #[must_use]
    pub fn strange_states(&self) -> u64 {
        self.slot(COUNTER_STRANGE_STATE)
    }

    fn slot(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }
}
