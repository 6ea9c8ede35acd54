//! The parts of a step, read off its bytes.

use crate::core::{
    clock::Ts,
    event::{Comm, Task},
    tcp_state::TcpState,
    timeline::zigzag::unzigzag,
};

pub(super) fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

pub(super) fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (mut sum, mut shift) = (0u64, 0);
    loop {
        let next = byte(bytes)?;
        sum |= u64::from(next & 0x7f).checked_shl(shift)?;
        shift += 7;
        if next & 0x80 == 0 {
            return Some(sum);
        }
    }
}

pub(super) fn small_number(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(number(bytes)?).ok()
}

pub(super) fn since(bytes: &mut &[u8], before: Ts) -> Option<Ts> {
    let span = unzigzag(number(bytes)?);
    Some(Ts(before.0.wrapping_add(span.cast_unsigned())))
}

pub(super) fn state(number: u8) -> Option<TcpState> {
    TcpState::from_number(number)
}

pub(super) fn states(bytes: &mut &[u8]) -> Option<(TcpState, TcpState)> {
    let both = byte(bytes)?;
    Some((state(both & 0xf)?, state(both >> 4)?))
}

pub(super) fn written_out(bytes: &mut &[u8]) -> Option<Task> {
    let len = usize::from(byte(bytes)?);
    let (name, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    let mut comm = Comm::default();
    comm.0.get_mut(..len)?.copy_from_slice(name);
    let pid = small_number(bytes)?;
    let tid = u32::try_from(i64::from(pid) + unzigzag(number(bytes)?)).ok()?;
    Some(Task { pid, tid, comm })
}
