//! The caller of a function that has no frame of its own.
//!
//! A C library's `connect()` is a handful of instructions around the system call. Built without
//! frame pointers, as most are, it leaves the caller's frame pointer in its register: on the stack
//! that the kernel walks, the function that called `connect()` is missing, which is the one that
//! matters. Where its return address lies is told by the library's unwind tables (`.eh_frame`), and
//! the words at the stack pointer come with each stack.

use std::{collections::HashMap, fs::File};

use gimli::{
    BaseAddresses, CfaRule, EhFrame, NativeEndian, UnwindContext, UnwindSection as _, X86_64,
};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ReadCache};
use tcp_trace_common::STACK_TOP;

use super::maps::Mapping;

/// Answers remembered; there are a few for each C library.
const REMEMBERED: usize = 4096;
/// Largest unwind table that is read.
const TABLE_LIMIT: u64 = 64 << 20;
/// Bytes of a word on the stack.
const WORD: u64 = 8;

/// A file, and a place in it.
type Place = ((u64, u64), u64);

/// What is known of places in files: the word at the stack pointer that holds the return address,
/// where the function there has no frame of its own.
#[derive(Debug, Default)]
pub(super) struct Wrappers(HashMap<Place, Option<usize>>);

impl Wrappers {
    /// The return address of the function that process `pid` is in at `address`, where no frame
    /// pointer leads to it. `top` are the words at its stack pointer.
    pub(super) fn caller(
        &mut self,
        pid: u32,
        mapping: &Mapping,
        address: u64,
        top: &[u64; STACK_TOP],
    ) -> Option<u64> {
        let place = (mapping.file, mapping.in_file(address));
        if mapping.file == (0, 0) {
            return None;
        }
        let word = if let Some(known) = self.0.get(&place) {
            *known
        } else {
            if self.0.len() >= REMEMBERED {
                self.0.clear();
            }
            let word = word(pid, mapping, place.1);
            self.0.insert(place, word);
            word
        };
        top.get(word?).copied().filter(|address| *address != 0)
    }
}

/// Which word at the stack pointer holds the return address, at this place in the file.
fn word(pid: u32, mapping: &Mapping, offset: u64) -> Option<usize> {
    // The file itself, whatever its path means to the process and to us.
    let path = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    let file = File::open(path).ok()?;
    let cache = ReadCache::new(file);
    let image = object::File::parse(&cache).ok()?;
    let address = address_of(&image, offset)?;
    let section = image.section_by_name(".eh_frame")?;
    if section.size() > TABLE_LIMIT {
        return None;
    }
    in_table(section.data().ok()?, section.address(), address)
}

/// The address at which a place in the file is meant to be.
fn address_of<'data>(
    image: &object::File<'data, &'data ReadCache<File>>,
    offset: u64,
) -> Option<u64> {
    image.segments().find_map(|segment| {
        let (start, size) = segment.file_range();
        let within = offset.checked_sub(start).filter(|within| *within < size)?;
        segment.address().checked_add(within)
    })
}

/// Likewise, by an unwind table that lies at `base`.
fn in_table(table: &[u8], base: u64, address: u64) -> Option<usize> {
    let frames = EhFrame::new(table, NativeEndian);
    let bases = BaseAddresses::default().set_eh_frame(base);
    let mut context = UnwindContext::new();
    let row = frames
        .unwind_info_for_address(&bases, &mut context, address, EhFrame::cie_from_offset)
        .ok()?;
    match row.cfa() {
        CfaRule::RegisterAndOffset { register: X86_64::RSP, offset } => {
            // The return address is the word below the caller's frame.
            let at = u64::try_from(*offset).ok()?.checked_sub(WORD)?;
            let word = usize::try_from(at / WORD).ok()?;
            (at % WORD == 0 && word < STACK_TOP).then_some(word)
        }
        // It has a frame like any other.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::stacks::maps;

    /// One CIE (the return address at CFA-8) and one FDE for 16 bytes at 0x100, whose frame is at
    /// RSP+8, and at RSP+32 from its fourth byte on.
    fn table() -> Vec<u8> {
        let entry = |body: &[u8]| {
            let mut entry = u32::try_from(body.len()).unwrap().to_ne_bytes().to_vec();
            entry.extend(body);
            entry
        };
        // Id 0, version 1, "zR", code by 1, data by -8, return address in 16, absolute addresses.
        let mut cie = vec![0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0];
        cie.extend([0x0c, 7, 8, 0x90, 1, 0]);
        let mut fde = vec![0; 4];
        fde.extend(0x100u64.to_ne_bytes());
        fde.extend(16u64.to_ne_bytes());
        fde.extend([0, 0x44, 0x0e, 32]);
        let first = entry(&cie);
        // An FDE points back to its CIE from its own second word.
        let back = u32::try_from(first.len() + 4).unwrap();
        fde[..4].copy_from_slice(&back.to_ne_bytes());
        [first, entry(&fde), vec![0; 4]].concat()
    }

    #[test]
    fn a_return_address_is_where_the_table_says() {
        let table = table();
        assert_eq!(in_table(&table, 0, 0x100), Some(0));
        assert_eq!(in_table(&table, 0, 0x104), Some(3));
        assert_eq!(in_table(&table, 0, 0x110), None, "behind it");
        for cut in 0..table.len() {
            let _ = in_table(&table[..cut], 0, 0x104);
        }
    }

    #[test]
    fn a_place_in_a_file_of_ours_is_known_once() {
        let pid = std::process::id();
        let here = a_place_in_a_file_of_ours_is_known_once as *const () as usize as u64;
        let mappings = maps::of(pid).unwrap();
        let mapping = maps::find(&mappings, here).unwrap();
        let mut wrappers = Wrappers::default();
        // At its first instruction a function has no frame yet. It takes CAP_SYS_ADMIN to look.
        let caller = wrappers.caller(pid, mapping, here, &[7; STACK_TOP]);
        assert!(matches!(caller, Some(7) | None));
        assert_eq!(wrappers.caller(0, mapping, here, &[7; STACK_TOP]), caller);
        assert_eq!(wrappers.0.len(), 1);
    }
}
