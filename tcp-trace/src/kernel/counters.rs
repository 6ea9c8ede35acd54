//! The exact counters, read from the kernel and summed over the CPUs.

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use tcp_trace_common::{
    COUNTER_CAUGHT, COUNTER_FILTERED, COUNTER_SLOTS, COUNTER_STRANGE_STATE, OUTPUT_ERROR_NAMES,
    OUTPUT_ERROR_SLOTS, OUTPUT_ERRORS_LIFE, OUTPUT_ERRORS_SEGMENT, OUTPUT_ERRORS_STACK,
    OUTPUT_ERRORS_STATE, SEGMENT_FATE_COUNT, SEGMENT_FOLDED, SEGMENT_SLOTS, transition_slot,
};

use crate::core::population::Matrix;

/// The kernel's maps of counters.
pub(crate) struct CounterMaps {
    counters: PerCpuArray<MapData, [u64; COUNTER_SLOTS]>,
    failures: PerCpuArray<MapData, [u64; OUTPUT_ERROR_SLOTS]>,
}

impl CounterMaps {
    /// Takes hold of both maps.
    pub(crate) fn new(counters: Map, failures: Map) -> Result<Self, MapError> {
        Ok(Self { counters: counters.try_into()?, failures: failures.try_into()? })
    }

    /// Reads everything, summed over the CPUs.
    pub(crate) fn read(&self) -> Result<Counters, MapError> {
        let mut all = sums(&self.counters)?;
        all.extend(sums(&self.failures)?);
        Ok(Counters(all))
    }

    /// How many outputs have failed.
    pub(crate) fn failed_outputs(&self) -> Result<u64, MapError> {
        Ok(sums(&self.failures)?.iter().sum())
    }
}

/// One block, summed over the CPUs.
pub(super) fn sums<const N: usize>(
    map: &PerCpuArray<MapData, [u64; N]>,
) -> Result<Vec<u64>, MapError> {
    let mut sums = vec![0u64; N];
    for block in map.get(&0, 0)?.iter() {
        for (sum, count) in sums.iter_mut().zip(block) {
            *sum = sum.saturating_add(*count);
        }
    }
    Ok(sums)
}

/// What the packet programs have counted, in the kernel.
pub(crate) struct SegmentMap(PerCpuArray<MapData, [u64; SEGMENT_SLOTS]>);

impl SegmentMap {
    /// Takes hold of the map.
    pub(crate) fn new(counters: Map) -> Result<Self, MapError> {
        Ok(Self(counters.try_into()?))
    }

    /// Reads it, summed over the CPUs.
    pub(crate) fn read(&self) -> Result<SegmentCounters, MapError> {
        Ok(SegmentCounters(sums(&self.0)?))
    }
}

impl std::fmt::Debug for SegmentMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentMap").finish_non_exhaustive()
    }
}

/// What the packet programs have counted at one moment; zeros where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentCounters(pub Vec<u64>);

impl SegmentCounters {
    /// Frames that came to an end of this kind (`SEGMENT_*`) at this hook (`SEGMENT_HOOK_*`).
    #[must_use]
    pub fn fate(&self, hook: usize, fate: usize) -> u64 {
        self.slot(hook * SEGMENT_FATE_COUNT + fate)
    }

    /// Segments that were counted at this hook and not reported.
    #[must_use]
    pub fn folded(&self, hook: usize) -> u64 {
        self.slot(SEGMENT_FOLDED + hook)
    }

    fn slot(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }
}

impl std::fmt::Debug for CounterMaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CounterMaps").finish_non_exhaustive()
    }
}

/// The counters at one moment: the block of counters, then that of failed outputs.
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

    /// Failed outputs of state changes by errno name.
    pub fn output_errors(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.errors(OUTPUT_ERRORS_STATE)
    }

    /// Failed outputs of all other records by errno name.
    pub fn life_output_errors(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.errors(OUTPUT_ERRORS_LIFE)
    }

    /// Failed outputs of segments by errno name.
    pub fn segment_output_errors(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.errors(OUTPUT_ERRORS_SEGMENT)
    }

    /// Failed outputs of stacks by errno name.
    pub fn stack_output_errors(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.errors(OUTPUT_ERRORS_STACK)
    }

    fn errors(&self, first: usize) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        OUTPUT_ERROR_NAMES
            .into_iter()
            .enumerate()
            .map(move |(slot, name)| (name, self.slot(COUNTER_SLOTS + first + slot)))
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

    /// State changes that the second program took in the first one's place.
    #[must_use]
    pub fn caught(&self) -> u64 {
        self.slot(COUNTER_CAUGHT)
    }

    fn slot(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }
}
