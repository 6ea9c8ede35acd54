//! Kernel BTF to field offsets, each checked for size and kind.

use tcp_trace_common::{ABSENT, Offsets};
use thiserror::Error;

use super::btf::{Btf, BtfError, MemberKind};

/// What a field must look like to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// An integer of this many bytes.
    Int(u32),
    /// A pointer.
    Pointer,
    /// A structure, union or array of this many bytes.
    Block(u32),
}

/// Why no offsets can be had at all.
#[derive(Debug, Error)]
pub(crate) enum OffsetError {
    /// A field without which nothing can be said is missing or strange.
    #[error("the kernel's {structure} has no usable {path}: {why}")]
    Needed { structure: &'static str, path: &'static str, why: String },
}

/// A field that could not be resolved, and what is lost without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingField {
    /// `struct.path`.
    pub(crate) field: String,
    /// Why.
    pub(crate) why: String,
    /// What the user loses.
    pub(crate) effect: &'static str,
}

/// One field: where it is, what it must be, what is lost without it (`None`: everything).
struct Field {
    structure: &'static str,
    path: &'static str,
    shape: Shape,
    effect: Option<&'static str>,
    slot: fn(&mut Offsets) -> &mut u16,
}

macro_rules! field {
    ($slot:ident, $structure:literal, $path:literal, $shape:expr, $effect:expr) => {
        Field {
            structure: $structure,
            path: $path,
            shape: $shape,
            effect: $effect,
            slot: |offsets| &mut offsets.$slot,
        }
    };
}

const NO_V6: Option<&str> = Some("IPv6 addresses");
const NO_NETNS: Option<&str> = Some("network namespaces, and filtering by them");
const NO_FLAGS: Option<&str> = Some("telling aborts from orderly ends, and queued from accepted");
const NO_PORT: Option<&str> = Some("the local port of a connection that was refused");
const NO_QUEUE: Option<&str> = Some("unread and unacknowledged bytes");
const NO_FIGURES: Option<&str> = Some("bytes, round-trip time or retransmits");
const NO_TIME_WAIT: Option<&str> = Some("TIME_WAIT's own life: its beginning, substate and end");
const NO_RETRIES: Option<&str> = Some("count of SYN-ACKs sent again");
const NO_START: Option<&str> =
    Some("start of a process, which tells it from a later one with its id");

/// Every field of [`Offsets`]. Names have been stable since 5.0; offsets never are.
const FIELDS: [Field; 31] = [
    field!(family, "sock", "__sk_common.skc_family", Shape::Int(2), None),
    field!(state, "sock", "__sk_common.skc_state", Shape::Int(1), None),
    field!(remote_port, "sock", "__sk_common.skc_dport", Shape::Int(2), None),
    field!(local_port, "sock", "__sk_common.skc_num", Shape::Int(2), None),
    field!(remote_v4, "sock", "__sk_common.skc_daddr", Shape::Int(4), None),
    field!(local_v4, "sock", "__sk_common.skc_rcv_saddr", Shape::Int(4), None),
    field!(remote_v6, "sock", "__sk_common.skc_v6_daddr", Shape::Block(16), NO_V6),
    field!(local_v6, "sock", "__sk_common.skc_v6_rcv_saddr", Shape::Block(16), NO_V6),
    field!(net, "sock", "__sk_common.skc_net.net", Shape::Pointer, NO_NETNS),
    field!(net_inum, "net", "ns.inum", Shape::Int(4), NO_NETNS),
    field!(flags, "sock", "__sk_common.skc_flags", Shape::Int(8), NO_FLAGS),
    field!(cookie, "sock", "__sk_common.skc_cookie", Shape::Block(8), Some("socket cookies")),
    field!(protocol, "sock", "sk_protocol", Shape::Int(2), None),
    field!(err, "sock", "sk_err", Shape::Int(4), Some("the error a connection ended with")),
    field!(shutdown, "sock", "sk_shutdown", Shape::Int(1), Some("telling shutdown() from close()")),
    field!(socket, "sock", "sk_socket", Shape::Pointer, NO_FLAGS),
    field!(local_sport, "tcp_sock", "inet_conn.icsk_inet.inet_sport", Shape::Int(2), NO_PORT),
    field!(rcv_nxt, "tcp_sock", "rcv_nxt", Shape::Int(4), NO_QUEUE),
    field!(copied_seq, "tcp_sock", "copied_seq", Shape::Int(4), NO_QUEUE),
    field!(snd_una, "tcp_sock", "snd_una", Shape::Int(4), NO_QUEUE),
    field!(write_seq, "tcp_sock", "write_seq", Shape::Int(4), NO_QUEUE),
    field!(srtt, "tcp_sock", "srtt_us", Shape::Int(4), NO_FIGURES),
    field!(retransmits, "tcp_sock", "total_retrans", Shape::Int(4), NO_FIGURES),
    field!(bytes_acked, "tcp_sock", "bytes_acked", Shape::Int(8), NO_FIGURES),
    field!(bytes_received, "tcp_sock", "bytes_received", Shape::Int(8), NO_FIGURES),
    field!(is_mptcp, "tcp_sock", "is_mptcp", Shape::Int(1), Some("telling MPTCP subflows")),
    field!(tw_substate, "inet_timewait_sock", "tw_substate", Shape::Int(1), NO_TIME_WAIT),
    field!(tw_expires, "inet_timewait_sock", "tw_timer.expires", Shape::Int(8), NO_TIME_WAIT),
    field!(request_retransmits, "request_sock", "num_retrans", Shape::Int(1), NO_RETRIES),
    field!(group_leader, "task_struct", "group_leader", Shape::Pointer, NO_START),
    field!(start_boottime, "task_struct", "start_boottime", Shape::Int(8), NO_START),
];

/// Resolves every field; those that are missing are [`ABSENT`] and listed.
///
/// # Errors
/// Where a field is missing that everything rests on, or one is there with another size or kind
/// than expected: reading it would give nonsense.
pub(crate) fn resolve(btf: &Btf) -> Result<(Offsets, Vec<MissingField>), OffsetError> {
    let mut offsets = Offsets::NONE;
    let mut missing = Vec::new();
    for field in &FIELDS {
        let Field { structure, path, shape, effect, slot } = field;
        let why = match (locate(btf, structure, path, *shape), effect) {
            (Ok(offset), _) => {
                *slot(&mut offsets) = offset;
                continue;
            }
            (Err(Refusal::Absent(why)), Some(effect)) => {
                missing.push(MissingField { field: format!("{structure}.{path}"), why, effect });
                continue;
            }
            (Err(Refusal::Absent(why) | Refusal::Strange(why)), _) => why,
        };
        return Err(OffsetError::Needed { structure, path, why });
    }
    Ok((offsets, missing))
}

enum Refusal {
    Absent(String),
    Strange(String),
}

fn locate(btf: &Btf, structure: &str, path: &str, shape: Shape) -> Result<u16, Refusal> {
    let member = btf.member(structure, path).map_err(|error| match error {
        BtfError::NoSuchType { .. } | BtfError::NoSuchMember { .. } => {
            Refusal::Absent(error.to_string())
        }
        other => Refusal::Strange(other.to_string()),
    })?;
    let fits = match shape {
        Shape::Int(size) => {
            member.size_bytes == size
                && matches!(member.kind, MemberKind::Int { .. } | MemberKind::Enum)
        }
        Shape::Pointer => member.size_bytes == 8 && matches!(member.kind, MemberKind::Pointer),
        Shape::Block(size) => member.size_bytes == size,
    };
    if !fits {
        let found = format!("{} bytes, {:?}", member.size_bytes, member.kind);
        return Err(Refusal::Strange(format!("expected {shape:?}, found {found}")));
    }
    u16::try_from(member.offset_bytes)
        .ok()
        .filter(|offset| *offset != ABSENT)
        .ok_or_else(|| Refusal::Strange(format!("offset {} is too far", member.offset_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_filled_by_one_field() {
        let mut offsets = Offsets::NONE;
        for (index, field) in FIELDS.iter().enumerate() {
            let slot = (field.slot)(&mut offsets);
            assert_eq!(*slot, ABSENT, "{} is filled twice", field.path);
            *slot = u16::try_from(index).unwrap();
        }
        let bytes = zerocopy::IntoBytes::as_bytes(&offsets).to_vec();
        assert!(bytes.chunks(2).all(|slot| slot != [0xff, 0xff]), "a slot has no field");
    }

    #[test]
    fn the_running_kernel_resolves() {
        let Ok(bytes) = std::fs::read(crate::kernel::host::KERNEL_BTF) else {
            println!("left out: this kernel has no {}", crate::kernel::host::KERNEL_BTF);
            return;
        };
        let (offsets, missing) = resolve(&Btf::parse(bytes).unwrap()).unwrap();
        assert_eq!(missing, [], "a current kernel has every field");
        assert_eq!(offsets.local_port, offsets.remote_port + 2);
    }
}
