//! Records of user stacks: addresses still, which only the host they come from can name.

use tcp_trace_common as wire;

use super::{DecodeError, length, prefix};

/// The stack record at the start of `bytes`; `None` where another kind of record begins there.
///
/// # Errors
/// Where the bytes are too few, or say of themselves what no record is.
#[must_use]
pub fn stack(bytes: &[u8]) -> Option<Result<wire::StackRecord, DecodeError>> {
    let kind = u16::from_ne_bytes(*bytes.first_chunk::<2>()?);
    if kind != wire::KIND_STACK {
        return None;
    }
    let whole = || {
        let record: wire::StackRecord = prefix(bytes)?;
        length(record.len, wire::STACK_RECORD_LEN)?;
        Ok(record)
    };
    Some(whole())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    #[test]
    fn every_cut_is_refused_and_other_kinds_are_not_its() {
        let mut whole = wire::StackRecord::new_zeroed();
        whole.kind = wire::KIND_STACK;
        whole.len = u16::try_from(wire::STACK_RECORD_LEN).unwrap();
        let bytes = whole.as_bytes().to_vec();
        for end in 2..bytes.len() {
            assert!(matches!(stack(&bytes[..end]), Some(Err(DecodeError::Short { .. }))));
        }
        assert_eq!(stack(&[&bytes[..], &[0xff; 4]].concat()), Some(Ok(whole)));
        whole.len -= 8;
        assert!(matches!(stack(whole.as_bytes()), Some(Err(DecodeError::Length { .. }))));
        whole.kind = wire::KIND_STATE;
        assert_eq!(stack(whole.as_bytes()), None);
        assert_eq!(stack(&[21]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_say_why(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = stack(&bytes);
        }
    }
}
