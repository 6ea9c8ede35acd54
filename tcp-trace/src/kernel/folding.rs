//! Folding, carried out: the order to the programs, and a look at the connections that are folded.

use std::{io, os::fd::AsFd as _, time::Duration};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
};
use tcp_trace_common::{FOLD_ROOM, FOLDED_RECORD_LEN, FoldedRecord, KIND_FOLDED, VALID_TCP};
use zerocopy::FromBytes as _;

use super::sys::ArrayMemory;
use crate::core::{
    clock::Ts,
    decode,
    fold::{Governor, LONGEST, Load, Order, Standing},
};

/// How often connections are looked for that have turned out to be long.
const LOOK: Duration = Duration::from_millis(250);
/// By how much the record of a look is dated back: the place may be given back in this very moment,
/// and its last record must not come before. Less than records wait for each other.
const BACK: Duration = Duration::from_millis(10);
/// Where the address of the socket lies in a place; 0: free.
const HOLDER: usize = std::mem::offset_of!(FoldedRecord, state)
    + std::mem::offset_of!(tcp_trace_common::StateRecord, sk);
/// Where the time of its birth lies.
const BIRTH: usize = std::mem::offset_of!(FoldedRecord, steps);

/// The programs' maps, where they could be had, and who decides.
pub(crate) struct Folding {
    governor: Governor,
    maps: Option<Maps>,
    told: Order,
    looked: Ts,
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

    /// The records of places that are taken, as far as `wanted` says by their births.
    fn taken(&self, wanted: impl Fn(Ts) -> bool) -> impl Iterator<Item = FoldedRecord> {
        (0..FOLD_ROOM as usize).filter_map(move |place| {
            let at = place * FOLDED_RECORD_LEN;
            let holder = self.places.word(at + HOLDER).filter(|holder| *holder != 0)?;
            self.places.word(at + BIRTH).filter(|birth| wanted(Ts(*birth)))?;
            let mut bytes = [0; FOLDED_RECORD_LEN];
            for (offset, word) in bytes.chunks_exact_mut(8).enumerate() {
                word.copy_from_slice(&self.places.word(at + 8 * offset)?.to_ne_bytes());
            }
            // Given back meanwhile, and perhaps taken by another: then the next look finds it.
            (self.places.word(at + HOLDER) == Some(holder)).then_some(())?;
            FoldedRecord::read_from_bytes(&bytes).ok()
        })
    }
}

impl Folding {
    /// Takes hold of the maps; without them nothing is ever folded.
    pub(crate) fn new(ebpf: &mut Ebpf, governor: Governor) -> Self {
        let maps = Maps::of(ebpf)
            .inspect_err(|error| tracing::warn!(%error, "connections cannot be folded"))
            .ok();
        Self { governor, maps, told: Order::Off, looked: Ts(0) }
    }

    /// Decides, has the programs know, and hands over the records of connections that are folded and
    /// older than any should be.
    pub(crate) fn pass(&mut self, now: Ts, load: Load, each: impl FnMut(FoldedRecord)) {
        let Some(maps) = &mut self.maps else { return };
        if self.governor.is_due(now) {
            let order = self.governor.look(now, load, || maps.taken(|_| true).next().is_none());
            if order != self.told {
                match maps.tell(order) {
                    Ok(()) => self.told = order,
                    Err(error) => tracing::error!(%error, "the programs cannot be told to fold"),
                }
            }
        }
        if self.told == Order::Off || now.since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        let old = |birth: Ts| now.since(birth) > LONGEST || self.told == Order::Drain;
        maps.taken(old).filter_map(|record| unfinished(record, now)).for_each(each);
    }

    /// How things stand.
    pub(crate) fn standing(&self) -> Standing {
        self.governor.standing()
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
