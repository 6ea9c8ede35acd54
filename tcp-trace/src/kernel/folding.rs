//! Folding, carried out: the order to the programs, and a look at the connections that are folded.

use std::{io, os::fd::AsFd as _, time::Duration};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
};
use tcp_trace_common::{
    FOLD_ROOM, FOLDED_RECORD_LEN, FoldStep, FoldedRecord, KIND_FOLDED, VALID_TCP, fold_code,
};
use zerocopy::FromBytes as _;

use super::{attach::Outcomes, hooks::Role, sys::ArrayMemory};
use crate::core::{
    clock::Ts,
    decode,
    fold::{Governor, LONGEST, Load, Order, Standing},
    tcp_state::TcpState,
};

/// How often connections are looked for that have turned out to be long. A place is not looked at
/// before its connection can have: one that is free, or young, not for nearly as long as one may be.
const LOOK: Duration = Duration::from_millis(250);
/// How often whether all have gone, once nothing is folded any more and those that stay are told: an
/// idle connection keeps its place until its next step.
const IDLE: Duration = Duration::from_secs(5);
/// By how much the record of a look is dated back: the place may be given back in this very moment,
/// and its last record must not come before. Less than records wait for each other.
const BACK: Duration = Duration::from_millis(10);
/// Where the address of the socket lies in a place; 0: free.
const HOLDER: usize = std::mem::offset_of!(FoldedRecord, state)
    + std::mem::offset_of!(tcp_trace_common::StateRecord, sk);
/// Where the time of its birth lies.
const BIRTH: usize = std::mem::offset_of!(FoldedRecord, steps);

/// Where a step says what it was, in bytes from its beginning.
const CODE: usize = std::mem::offset_of!(FoldStep, code);
/// How the life of a listener's child begins.
const CHILD: u8 = fold_code(TcpState::Listen as u8, TcpState::SynRecv as u8);

/// The programs' maps, where they could be had, and who decides.
pub(crate) struct Folding {
    governor: Governor,
    maps: Result<Maps, String>,
    told: Order,
    told_at: Ts,
    looked: Ts,
    due: Due,
}

struct Maps {
    order: Array<MapData, [u64; 2]>,
    places: ArrayMemory,
    _places: MapData,
}

impl Maps {
    fn of(ebpf: &mut Ebpf) -> io::Result<Self> {
        let mut map =
            |name| ebpf.take_map(name).ok_or_else(|| io::Error::other(format!("no map {name}")));
        let order = map("FOLD_ORDER")?.try_into().map_err(io::Error::other)?;
        let Map::Array(data) = map("FOLDED")? else {
            return Err(io::Error::other("FOLDED is no array"));
        };
        let length = FOLD_ROOM as usize * FOLDED_RECORD_LEN;
        let places = ArrayMemory::map(data.fd().as_fd(), length)?;
        Ok(Self { order, places, _places: data })
    }

    fn tell(&mut self, order: Order) -> io::Result<()> {
        let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
        // As a `FoldOrder` lies on a machine of either order: its mode is four bytes, then four of 0.
        let mut first = [0; 8];
        for (byte, value) in first.iter_mut().zip(order.number().to_ne_bytes()) {
            *byte = value;
        }
        let words = [u64::from_ne_bytes(first), longest];
        self.order.set(0, words, 0).map_err(io::Error::other)
    }

    /// How many places are taken by children of listeners that were born since `since`.
    fn children(&self, since: Ts) -> u64 {
        let is_child = |place: &usize| {
            let at = place * FOLDED_RECORD_LEN;
            let is_taken = self.places.word(at + HOLDER).is_some_and(|holder| holder != 0);
            let first = || self.places.word(at + BIRTH + CODE / 8 * 8).unwrap_or(0).to_ne_bytes();
            is_taken
                && first().get(CODE % 8) == Some(&CHILD)
                && self.places.word(at + BIRTH).is_some_and(|birth| Ts(birth) >= since)
        };
        (0..FOLD_ROOM as usize).filter(is_child).count() as u64
    }

    /// Whether a place is taken.
    fn is_taken(&self, place: usize) -> bool {
        self.places.word(place * FOLDED_RECORD_LEN + HOLDER).is_some_and(|holder| holder != 0)
    }

    /// When the connection was born that a place is taken by; of one that has just taken it, perhaps
    /// when the one before was.
    fn birth(&self, place: usize) -> Option<Ts> {
        let birth = || self.places.word(place * FOLDED_RECORD_LEN + BIRTH).map(Ts);
        self.is_taken(place).then(birth).flatten()
    }

    /// The records of all places that are taken.
    fn taken(&self) -> impl Iterator<Item = FoldedRecord> {
        (0..FOLD_ROOM as usize).filter_map(|place| self.record(place))
    }

    /// What a place holds, where it is taken.
    fn record(&self, place: usize) -> Option<FoldedRecord> {
        let at = place * FOLDED_RECORD_LEN;
        let holder = self.places.word(at + HOLDER).filter(|holder| *holder != 0)?;
        let birth = self.places.word(at + BIRTH);
        let mut bytes = [0; FOLDED_RECORD_LEN];
        for (offset, word) in bytes.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&self.places.word(at + 8 * offset)?.to_ne_bytes());
        }
        // Given back meanwhile, and perhaps taken by another, which may have the same address:
        // then the next look finds it.
        let stays =
            self.places.word(at + HOLDER) == Some(holder) && self.places.word(at + BIRTH) == birth;
        FoldedRecord::read_from_bytes(&bytes).ok().filter(|_| stays)
    }
}

/// When each place is looked at next: to look means to wait for memory, place by place.
#[derive(Debug, Default)]
struct Due(Vec<Ts>);

impl Due {
    /// All of them are, at once.
    fn at_once(&mut self) {
        self.0.clear();
        self.0.resize(FOLD_ROOM as usize, Ts(0));
    }

    /// Looks at those that are due. `look` says when the birth of the connection there was, `None`
    /// where there is none; `tell` tells of one that is old, and whether anything of it was news.
    fn look(
        &mut self,
        now: Ts,
        is_old: impl Fn(Ts) -> bool,
        look: impl Fn(usize) -> Option<Ts>,
        mut tell: impl FnMut(usize) -> bool,
    ) {
        for (place, due) in self.0.iter_mut().enumerate().filter(|(_, due)| **due <= now) {
            *due = match look(place) {
                Some(birth) if !is_old(birth) => birth.min(now).after(LONGEST),
                // A step may just be under way.
                Some(_) if tell(place) => now.after(LOOK),
                // Told before, and the programs themselves tell the next step. Or it is free: whoever
                // takes it is born later than now.
                _ => now.after(LONGEST),
            };
        }
    }
}

/// Which connections are never folded for want of a hook, and why.
pub(crate) fn unseen_births(hooks: &Outcomes) -> Option<String> {
    let missing = hooks.missing();
    let (_, why) = missing.iter().find(|(role, _)| *role == Role::Child)?;
    Some(format!("connections of listeners, whose birth is not seen: {why}"))
}

/// Whether this host lets connections be folded. Takes the maps, and closes them: programs that are
/// loaded later lack them.
///
/// # Errors
/// What the kernel has against it.
pub(crate) fn try_out(ebpf: &mut Ebpf) -> Result<(), String> {
    Maps::of(ebpf).map(drop).map_err(|error| error.to_string())
}

impl Folding {
    /// Takes hold of the maps; without them nothing is ever folded.
    pub(crate) fn new(ebpf: &mut Ebpf, governor: Governor) -> Self {
        let maps = Maps::of(ebpf).map_err(|error| error.to_string());
        if let Err(error) = &maps {
            tracing::warn!(%error, "connections cannot be folded");
        }
        let due = Due::default();
        Self { governor, maps, told: Order::Off, told_at: Ts(0), looked: Ts(0), due }
    }

    /// Decides, has the programs know, and hands over the records of connections that are folded and
    /// older than any should be; `each` says whether anything of it is news.
    pub(crate) fn pass(&mut self, now: Ts, load: Load, mut each: impl FnMut(FoldedRecord) -> bool) {
        let settled = self.told == Order::Drain && now.since(self.told_at) > 2 * LONGEST;
        let is_time = now.since(self.looked) >= if settled { IDLE } else { LOOK };
        let Ok(maps) = &mut self.maps else { return };
        if self.governor.is_due(now) {
            let is_empty = || is_time && !(0..FOLD_ROOM as usize).any(|place| maps.is_taken(place));
            let order = self.governor.look(now, load, is_empty);
            if order != self.told {
                match maps.tell(order) {
                    Ok(()) => {
                        (self.told, self.told_at) = (order, now);
                        self.due.at_once();
                    }
                    Err(error) => tracing::error!(%error, "the programs cannot be told to fold"),
                }
            }
        }
        if self.told == Order::Off || !is_time {
            return;
        }
        self.looked = now;
        let drains = self.told == Order::Drain;
        let is_old = |birth: Ts| now.since(birth) > LONGEST || drains;
        let look = |place: usize| maps.birth(place);
        self.due.look(now, is_old, look, |place| {
            // One that could not be read, because it has just been given back, is looked at soon.
            maps.record(place).and_then(|record| unfinished(record, now)).is_none_or(&mut each)
        });
    }

    /// Hands over the records of all that are folded now, old or not: a snapshot shows them, too.
    pub(crate) fn tell_all(&self, now: Ts, each: impl FnMut(FoldedRecord)) {
        if let Some(maps) = self.maps_at_work() {
            maps.taken().filter_map(|record| unfinished(record, now)).for_each(each);
        }
    }

    /// Whether connections may lie in places that nobody has been told of.
    pub(crate) fn is_at_work(&self) -> bool {
        self.maps_at_work().is_some()
    }

    /// How things stand.
    pub(crate) fn standing(&self, now: Ts) -> Standing {
        // Those that are older have been told.
        let maps = self.maps_at_work().filter(|_| self.told == Order::On);
        let children = maps.map_or(0, |maps| maps.children(now.back(LONGEST)));
        let refused = self.maps.as_ref().err().cloned();
        Standing { children, refused, ..self.governor.standing() }
    }

    fn maps_at_work(&self) -> Option<&Maps> {
        self.maps.as_ref().ok().filter(|_| self.told != Order::Off)
    }
}

/// What a place holds, as a record: what only the last step fills in is of its last holder.
fn unfinished(mut record: FoldedRecord, now: Ts) -> Option<FoldedRecord> {
    if record.state.kind != KIND_FOLDED || decode::folded_steps(&record).is_empty() {
        return None;
    }
    record.unfinished = 1;
    record.state.valid &= !(VALID_TCP | tcp_trace_common::VALID_CURRENT);
    record.state.time_ns = now.back(BACK).0;
    Some(record)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    /// Places that are taken and given back, looked at every so often.
    fn looks(
        places: &mut [Option<u64>],
        mut act: impl FnMut(u64, &mut [Option<u64>]),
    ) -> Vec<usize> {
        const MS: u64 = 1_000_000;
        let mut due = Due::default();
        due.at_once();
        let mut told = vec![None; places.len()];
        let mut looked = vec![0; places.len()];
        for now in (10_000..20_000).step_by(250) {
            act(now, places);
            let count = std::cell::RefCell::new(&mut looked);
            let birth = |place: usize| places.get(place).copied().flatten();
            due.look(
                Ts(now * MS),
                |birth| Ts(now * MS).since(birth) > LONGEST,
                |place| {
                    if let Some(count) = count.borrow_mut().get_mut(place) {
                        *count += 1;
                    }
                    birth(place).map(|birth| Ts(birth * MS))
                },
                |place| std::mem::replace(&mut told[place], birth(place)) != birth(place),
            );
            for (place, birth) in places.iter().enumerate() {
                let age = birth.map_or(0, |birth| now - birth);
                assert!(age <= 1_250 || told[place] == *birth, "{place} at {now}, {age} ms old");
            }
        }
        looked
    }

    #[test]
    fn who_grows_old_is_told_in_time_and_the_rest_is_seldom_looked_at() {
        // Free; one that stays; short lives; some of all lengths, one after the other.
        let mut places = [None, Some(9_500), None, None, None];
        let looked = looks(&mut places, |now, places| {
            places[2] = Some(now - 100);
            places[3] = Some(now - now % 1_500);
            places[4] = (now % 3_000 > 400).then_some(now - now % 700);
        });
        assert!(looked[0] <= 11 && looked[2] <= 14, "{looked:?} of 40");
        assert!(looked[1] <= 14, "{looked:?} of 40: once it is told, the next step tells itself");
    }

    #[test]
    fn what_is_read_off_a_place_claims_no_figures_of_another() {
        let mut record = FoldedRecord::new_zeroed();
        let now = Ts(5_000_000_000);
        assert_eq!(unfinished(record, now), None);
        record.state.kind = KIND_FOLDED;
        assert_eq!(unfinished(record, now), None, "taken, and its birth not yet noted");
        record.count = 1;
        record.state.valid = u16::MAX;
        let read = unfinished(record, now).unwrap();
        assert_eq!((read.unfinished, read.state.valid & VALID_TCP), (1, 0));
        assert_eq!(read.state.time_ns, 4_990_000_000);
    }
}
