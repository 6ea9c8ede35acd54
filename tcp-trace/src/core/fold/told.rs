//! What has been told of folded connections that go on.

use rustc_hash::FxHashMap;
use tcp_trace_common::{FOLD_ROOM, FoldedRecord};

use crate::core::{clock::Ts, decode};

/// What has been told of folded connections that go on: their steps are told as they are found, and
/// all of them again with the last one.
#[derive(Debug, Default)]
pub struct Told(FxHashMap<Life, Known>);

/// A life: the address of its socket, and when it was born.
type Life = (u64, u64);

#[derive(Clone, Copy, Debug)]
struct Known {
    steps: u32,
    /// When it was last seen to go on.
    seen: Ts,
}

/// Lives remembered at most: as many again as can be folded at once, for those whose end was lost.
const LIMIT: usize = 2 * FOLD_ROOM as usize;

impl Told {
    /// How many steps of `record` have been told before; from now on, all of them have.
    pub fn take(&mut self, record: &FoldedRecord) -> usize {
        let Some(life) = life(record) else { return 0 };
        let before = if record.unfinished == 0 {
            self.0.remove(&life)
        } else {
            self.make_room();
            let steps = u32::try_from(decode::folded_steps(record).len()).unwrap_or(u32::MAX);
            let seen = Ts(record.state.time_ns);
            self.0.insert(life, Known { steps, seen })
        };
        before.map_or(0, |known| usize::try_from(known.steps).unwrap_or(usize::MAX))
    }

    /// Whether all steps of `record` have been told, which has just been read off its place.
    pub fn knows(&mut self, record: &FoldedRecord) -> bool {
        let known = life(record).and_then(|life| self.0.get_mut(&life));
        let Some(known) = known else { return false };
        known.seen = known.seen.max(Ts(record.state.time_ns));
        let told = usize::try_from(known.steps).unwrap_or(usize::MAX);
        told >= decode::folded_steps(record).len()
    }

    /// Those whose end was lost must not pile up: whoever was seen last goes on, the others do not.
    fn make_room(&mut self) {
        if self.0.len() < LIMIT {
            return;
        }
        let mut seen: Vec<_> = self.0.values().map(|known| known.seen).collect();
        let (_, middle, _) = seen.select_nth_unstable(LIMIT / 2);
        let middle = *middle;
        self.0.retain(|_, known| known.seen > middle);
    }
}

fn life(record: &FoldedRecord) -> Option<Life> {
    let birth = decode::folded_steps(record).first()?;
    Some((record.state.sk, birth.time_ns))
}

#[cfg(test)]
mod tests {
    use tcp_trace_common::{FoldStep, fold_code};
    use zerocopy::FromZeros as _;

    use super::*;

    fn record(sk: u64, seen: u64, unfinished: bool) -> FoldedRecord {
        let mut record = FoldedRecord::new_zeroed();
        (record.state.sk, record.state.time_ns) = (sk, seen);
        record.count = 1;
        record.steps[0] = FoldStep { time_ns: 7, code: fold_code(7, 2), ..FoldStep::default() };
        record.unfinished = u32::from(unfinished);
        record
    }

    #[test]
    fn lost_ends_do_not_pile_up_and_whoever_goes_on_is_kept() {
        let mut told = Told::default();
        for sk in 0..FOLD_ROOM {
            assert_eq!(told.take(&record(u64::from(sk), 10, true)), 0);
        }
        // These go on, and are seen again each time.
        let room = u64::from(FOLD_ROOM);
        for seen in 11..20 {
            assert!((0..100).all(|sk| told.knows(&record(sk, seen * 1_000_000, true))));
            for sk in 0..room {
                told.take(&record(seen * room + sk, seen * 1_000, true));
            }
            assert!(told.0.len() <= LIMIT);
        }
        assert!((0..100).all(|sk| told.take(&record(sk, 99, false)) == 1));
        assert_eq!(told.take(&record(500, 99, false)), 0);
    }
}
