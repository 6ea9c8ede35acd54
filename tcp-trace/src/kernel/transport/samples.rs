//! The bytes of a perf buffer as samples. Pure and total.

/// `PERF_RECORD_LOST`.
const RECORD_LOST: u32 = 2;
/// `PERF_RECORD_SAMPLE`.
const RECORD_SAMPLE: u32 = 9;
/// Bytes of a `struct perf_event_header`.
const HEADER: usize = 8;

/// One thing found in a perf buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sample<'a> {
    /// A program's output, with up to seven bytes of padding behind it.
    Raw(&'a [u8]),
    /// The kernel found no room for this many outputs.
    Lost(u64),
    /// What stands here is none of the two, or breaks off.
    Malformed(&'a [u8]),
}

/// Cuts `bytes`, taken whole from a buffer, into samples.
pub(crate) fn samples(mut bytes: &[u8]) -> impl Iterator<Item = Sample<'_>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        // A header is eight bytes: type, misc, size of the whole record.
        let size = word16(bytes, 6).map_or(0, usize::from);
        let Some((record, rest)) =
            bytes.split_at_checked(size).filter(|(record, _)| record.len() >= HEADER)
        else {
            // Without a size there is no way to the next record.
            return Some(Sample::Malformed(std::mem::take(&mut bytes)));
        };
        bytes = rest;
        Some(sample(record))
    })
}

fn sample(record: &[u8]) -> Sample<'_> {
    let found = match word32(record, 0) {
        // u32 length, then that many bytes.
        Some(RECORD_SAMPLE) => word32(record, HEADER)
            .and_then(|length| record.get(HEADER + 4..)?.get(..length as usize))
            .map(Sample::Raw),
        // u64 id of the event, u64 number of records lost.
        Some(RECORD_LOST) => word64(record, HEADER + 8).map(Sample::Lost),
        _ => None,
    };
    found.unwrap_or(Sample::Malformed(record))
}

pub(super) fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

pub(super) fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut record = kind.to_ne_bytes().to_vec();
        record.extend(0u16.to_ne_bytes());
        record.extend(u16::try_from(HEADER + body.len()).unwrap().to_ne_bytes());
        record.extend(body);
        record
    }

    fn raw(data: &[u8]) -> Vec<u8> {
        let mut body = u32::try_from(data.len()).unwrap().to_ne_bytes().to_vec();
        body.extend(data);
        record(RECORD_SAMPLE, &body)
    }

    #[test]
    fn samples_and_losses_come_out_in_order() {
        let mut bytes = raw(b"one");
        bytes.extend(record(RECORD_LOST, &[7u64.to_ne_bytes(), 5u64.to_ne_bytes()].concat()));
        bytes.extend(record(3, b"12345678"));
        bytes.extend(raw(b""));
        let found: Vec<_> = samples(&bytes).collect();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], Sample::Raw(b"one"));
        assert_eq!(found[1], Sample::Lost(5));
        assert!(matches!(found[2], Sample::Malformed(_)));
        assert_eq!(found[3], Sample::Raw(b""));
    }

    #[test]
    fn a_size_of_nothing_ends_the_walk() {
        let mut bytes = raw(b"one");
        bytes.extend([0; 24]);
        assert_eq!(samples(&bytes).count(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(samples(&bytes).count() <= bytes.len());
        }

        #[test]
        fn any_cut_keeps_what_came_before(cut in 0usize..40) {
            let mut bytes = raw(b"one");
            let first = bytes.len();
            bytes.extend(raw(b"and two"));
            bytes.truncate(first + cut);
            prop_assert_eq!(samples(&bytes).next(), Some(Sample::Raw(b"one")));
        }
    }
}
