//! Connections that are told in one record, on their way through the merge: the places of those that
//! wait are used again, so that none allocates.

use tcp_trace_common::FoldedRecord;

use super::{ASIDE, Inbound, Tracer, line};
use crate::core::{clock::Ts, decode};

/// Places that stay for later, where all are free: 1.6 MB.
const KEPT: usize = 1 << 12;

/// Records, by number.
#[derive(Debug, Default)]
pub(super) struct Folds {
    places: Vec<FoldedRecord>,
    free: Vec<usize>,
}

impl Folds {
    /// Keeps a record; returns its number.
    pub(super) fn keep(&mut self, record: &FoldedRecord) -> usize {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.places.get_mut(number)
        {
            *place = *record;
            return number;
        }
        self.places.push(*record);
        self.places.len() - 1
    }

    /// The record with this number.
    pub(super) fn get(&self, number: usize) -> Option<&FoldedRecord> {
        self.places.get(number)
    }

    /// The record with this number is needed no more.
    pub(super) fn give_back(&mut self, number: usize) {
        self.free.push(number);
        if self.free.len() == self.places.len() && self.places.len() > KEPT {
            *self = Self::default();
        }
    }
}

impl Tracer {
    /// Takes a connection that is told in one record, from `cpu`.
    pub(crate) fn take_folded(&mut self, cpu: u32, record: &FoldedRecord) {
        let at = Ts(record.state.time_ns);
        // What is read off a place is dated back.
        let line = if record.unfinished == 0 { line(cpu) } else { ASIDE };
        self.merge.push(line, at, Inbound::Folded(cpu, self.folds.keep(record)));
    }

    /// Whether all that an unfinished record says has been told.
    pub(crate) fn has_told(&mut self, record: &FoldedRecord) -> bool {
        self.told.knows(record)
    }

    pub(super) fn apply_folded(&mut self, cpu: u32, number: usize) {
        let folds = std::mem::take(&mut self.folds);
        if let Some(record) = folds.get(number) {
            self.unfold(cpu, record);
        }
        self.folds = folds;
        self.folds.give_back(number);
    }

    fn unfold(&mut self, cpu: u32, record: &FoldedRecord) {
        if let Some(recorder) = &mut self.recorder {
            recorder.folded(cpu, record);
        }
        let told = self.told.take(record);
        if let Err(error) = decode::unfold(record, told, |event| self.apply(event)) {
            self.malformed(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    #[test]
    fn places_are_used_again_and_a_rush_leaves_few() {
        let mut folds = Folds::default();
        let mut record = FoldedRecord::new_zeroed();
        for round in 0..10 {
            record.count = round;
            let numbers = [folds.keep(&record), folds.keep(&record)];
            for number in numbers {
                assert_eq!(folds.get(number).map(|kept| kept.count), Some(round));
                folds.give_back(number);
            }
            assert_eq!((folds.places.len(), folds.free.len()), (2, 2));
        }
        let many: Vec<_> = (0..2 * KEPT).map(|_| folds.keep(&record)).collect();
        assert_eq!(folds.places.len(), 2 * KEPT);
        for number in many {
            folds.give_back(number);
        }
        assert!(folds.places.is_empty() && folds.free.is_empty());
    }
}
