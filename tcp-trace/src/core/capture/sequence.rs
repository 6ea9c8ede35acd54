//! Sequence numbers: 32 bits that wrap around.

/// How far a number may lie from what is expected and still belong to the stream: as much as the
/// largest window that there can be.
const REACH: u32 = 1 << 30;

/// Whether `a` comes after `b`.
pub(super) const fn after(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

/// Whether `a` comes at `b` or after it, as far as a window reaches.
pub(super) const fn follows(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) <= REACH
}

/// Whether the two lie within a window of each other.
pub(super) const fn near(a: u32, b: u32) -> bool {
    follows(a, b) || follows(b, a)
}

/// The later of two.
pub(super) const fn later(a: u32, b: u32) -> u32 {
    if after(a, b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_around() {
        assert!(after(3, u32::MAX - 3) && !after(u32::MAX - 3, 3) && !after(7, 7));
        assert!(follows(7, 7) && follows(3, u32::MAX) && !follows(u32::MAX, 3));
        assert!(near(3, u32::MAX) && near(u32::MAX, 3) && !near(0, 1 << 31));
        assert_eq!((later(3, u32::MAX), later(9, 7)), (3, 9));
    }
}
