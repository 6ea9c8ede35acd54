//! The pieces of a snapshot with the marks around them. Pure.

use tcp_trace_common as wire;

use super::reconciler::{End, Finding};
use crate::{
    core::{
        clock::Ts,
        decode::{Record, SNAPSHOT_GOES_ON},
    },
    kernel::sock_diag::{Snapshot, Stamp},
};

/// A snapshot that is being told. A small one is told all at once.
#[derive(Debug)]
pub(super) struct Bracket {
    stamp: Stamp,
    begun: bool,
    /// No row that is still to come was read before. The kernel reads a datagram ahead, so this is when
    /// the reading of the piece before the next began.
    read: Ts,
    /// When the reading of the next piece began.
    reading: Ts,
}

impl Bracket {
    /// Asked for at the moment of the stamp.
    pub(super) fn new(stamp: Stamp) -> Self {
        let asked = Ts(stamp.time_ns);
        Self { stamp, begun: false, read: asked, reading: asked }
    }

    /// A piece that is not the last.
    pub(super) fn go_on(&mut self, piece: &Snapshot) -> Finding {
        let mut records = self.first_mark(piece);
        add(&mut records, piece);
        Finding::Sockets { records, end: None }
    }

    /// The next piece is read from now on.
    pub(super) fn read_on(&mut self, now: Ts) {
        self.read = std::mem::replace(&mut self.reading, now);
    }

    /// The last piece, with the counts of all.
    pub(super) fn end(&mut self, last: &Snapshot) -> Finding {
        let mut records = self.first_mark(last);
        add(&mut records, last);
        let whole = last.is_whole();
        records.push(self.mark(wire::KIND_SNAPSHOT_ENDED, whole.into(), 0));
        Finding::Sockets { records, end: Some(if whole { End::Whole } else { End::Cut }) }
    }

    /// No more is to be had.
    pub(super) fn give_up(&self) -> Finding {
        let end = self.begun.then(|| self.mark(wire::KIND_SNAPSHOT_ENDED, 0, 0));
        Finding::Sockets { records: end.into_iter().collect(), end: Some(End::Failed) }
    }

    /// All is to be told once more, asked for at the moment of this stamp. Where something has been told,
    /// it ends here, and shows nothing to be gone.
    pub(super) fn begin_again(&mut self, stamp: Stamp) -> Option<Finding> {
        let last = std::mem::replace(self, Self::new(stamp));
        let Finding::Sockets { records, .. } = last.give_up() else { return None };
        last.begun.then_some(Finding::Sockets { records, end: None })
    }

    /// A list with room for all, that begins with the mark that this piece needs.
    fn first_mark(&mut self, piece: &Snapshot) -> Vec<Record> {
        let mut records = Vec::with_capacity(piece.rows.len() + piece.minis.len() + 2);
        records.push(if self.begun {
            self.mark(wire::KIND_SNAPSHOT_ENDED, SNAPSHOT_GOES_ON, self.read.0)
        } else {
            self.mark(wire::KIND_SNAPSHOT_BEGUN, 0, self.stamp.time_ns)
        });
        self.begun = true;
        records
    }

    fn mark(&self, kind: u16, value: i32, other: u64) -> Record {
        Record::Life(wire::LifeRecord { kind, value, other, ..self.stamp.record() })
    }
}

fn add(records: &mut Vec<Record>, piece: &Snapshot) {
    records.extend(piece.rows.iter().map(|row| Record::State(row.record)));
    records.extend(piece.minis.iter().map(|mini| Record::Life(*mini)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        decode,
        event::{Body, LifeStep},
    };

    /// A piece of so many mini-sockets.
    fn piece(minis: usize) -> Snapshot {
        let mini = wire::LifeRecord {
            kind: wire::KIND_SEED_TIME_WAIT,
            old_state: 6,
            ..Stamp { time_ns: 5, netns: Some(9) }.record()
        };
        Snapshot { minis: vec![mini; minis], ..Snapshot::default() }
    }

    /// The marks in a finding, how many rows are beside them, and the end that it tells.
    fn told(finding: Finding) -> (Vec<LifeStep>, usize, Option<End>) {
        let Finding::Sockets { records, end } = finding else { panic!("sockets") };
        let step = |record: &Record| match decode::event(record).unwrap().body {
            Body::Life(life) => {
                assert_eq!(life.netns, Some(9));
                life.what
            }
            other => panic!("{other:?}"),
        };
        let (rows, marks): (Vec<_>, Vec<_>) = records
            .iter()
            .map(step)
            .partition(|step| matches!(step, LifeStep::FoundTimeWait { .. }));
        (marks, rows.len(), end)
    }

    fn bracket() -> Bracket {
        Bracket::new(Stamp { time_ns: 5, netns: Some(9) })
    }

    #[test]
    fn a_small_snapshot_is_told_at_once() {
        let marks =
            vec![LifeStep::SnapshotBegun { since: Ts(5) }, LifeStep::SnapshotEnded { whole: true }];
        assert_eq!(told(bracket().end(&piece(2))), (marks, 2, Some(End::Whole)));
        let marks = vec![
            LifeStep::SnapshotBegun { since: Ts(5) },
            LifeStep::SnapshotEnded { whole: false },
        ];
        let cut = Snapshot { beyond_limit: 1, ..piece(0) };
        assert_eq!(told(bracket().end(&cut)), (marks, 0, Some(End::Cut)));
    }

    #[test]
    fn every_piece_says_since_when_its_rows_were_read() {
        let mut bracket = bracket();
        let begun = vec![LifeStep::SnapshotBegun { since: Ts(5) }];
        assert_eq!(told(bracket.go_on(&piece(3))), (begun, 3, None));
        bracket.read_on(Ts(20));
        // The first datagram of the second piece was filled as the last of the first was taken.
        let on = vec![LifeStep::SnapshotGoesOn { since: Ts(5) }];
        assert_eq!(told(bracket.go_on(&piece(3))), (on, 3, None));
        bracket.read_on(Ts(40));
        let on = vec![LifeStep::SnapshotGoesOn { since: Ts(20) }];
        assert_eq!(told(bracket.go_on(&piece(3))), (on, 3, None));
        bracket.read_on(Ts(60));
        let last = vec![
            LifeStep::SnapshotGoesOn { since: Ts(40) },
            LifeStep::SnapshotEnded { whole: true },
        ];
        assert_eq!(told(bracket.end(&piece(1))), (last, 1, Some(End::Whole)));
    }

    #[test]
    fn what_is_given_up_is_ended_where_it_had_begun() {
        assert_eq!(told(bracket().give_up()), (vec![], 0, Some(End::Failed)));
        let mut begun = bracket();
        begun.go_on(&piece(1));
        let ended = vec![LifeStep::SnapshotEnded { whole: false }];
        assert_eq!(told(begun.give_up()), (ended.clone(), 0, Some(End::Failed)));
        let again = begun.begin_again(Stamp { time_ns: 70, netns: Some(9) });
        assert_eq!(again.map(told), Some((ended, 0, None)));
        let first = vec![LifeStep::SnapshotBegun { since: Ts(70) }];
        assert!(begun.begin_again(Stamp { time_ns: 70, netns: Some(9) }).is_none());
        assert_eq!(told(begun.go_on(&piece(1))), (first, 1, None));
    }
}
