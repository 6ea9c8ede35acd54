//! The walk from the first byte to the TCP header.

use super::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Headers, Link, MOST_BYTES_BEFORE, MOST_EXTENSIONS,
    MOST_TAGS, Skip, VLAN_PRESENT, View, is_tag,
};

/// Protocol number of TCP.
const TCP: u8 = 6;
/// Extension header: options for every hop.
const HOP_BY_HOP: u8 = 0;
/// Extension header: routing.
const ROUTING: u8 = 43;
/// Extension header: fragment.
const FRAGMENT: u8 = 44;
/// Extension header: authentication.
const AUTHENTICATION: u8 = 51;
/// Extension header: options for the destination.
const DESTINATION: u8 = 60;

/// Offset of a fragment, in the IPv4 header's field of flags and offset.
const IPV4_OFFSET: u16 = 0x1fff;
/// Offset of a fragment, in the field of a fragment header.
const IPV6_OFFSET: u16 = 0xfff8;

/// Finds the headers of the segment in `frame`.
///
/// # Errors
/// Why there is none.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, link: Link) -> Result<Headers<F::View>, Skip> {
    match link {
        Link::Ethernet => {
            let header = frame.view::<14>(0).ok_or(Skip::Cut)?;
            tagged(frame, header.half::<12>(), 14)
        }
        Link::EtherType(ethertype) => tagged(frame, ethertype, 0),
        Link::Ip => {
            let header = frame.view::<4>(0).ok_or(Skip::Cut)?;
            match header.byte::<0>() >> 4 {
                4 => ipv4(frame, 0, 0),
                6 => ipv6(frame, 0, 0),
                _ => Err(Skip::NotTcp),
            }
        }
    }
}

/// What `ethertype` stands for begins at `at`.
#[inline(always)]
fn tagged<F: Frame>(
    frame: &F,
    mut ethertype: u16,
    mut at: usize,
) -> Result<Headers<F::View>, Skip> {
    let mut vlan = 0;
    for _ in 0..MOST_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        let tag = frame.view::<4>(at).ok_or(Skip::Cut)?;
        if vlan == 0 {
            vlan = tag.half::<0>() | VLAN_PRESENT;
        }
        ethertype = tag.half::<2>();
        at += 4;
    }
    let at = frame.bounded(at);
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, at, vlan),
        ETHERTYPE_IPV6 => ipv6(frame, at, vlan),
        _ if is_tag(ethertype) => Err(Skip::Cut),
        _ => Err(Skip::NotTcp),
    }
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, at: usize, vlan: u16) -> Result<Headers<F::View>, Skip> {
    let network = frame.view::<20>(at).ok_or(Skip::Cut)?;
    let first = network.byte::<0>();
    if first >> 4 != 4 || network.byte::<9>() != TCP {
        return Err(Skip::NotTcp);
    }
    if network.half::<6>() & IPV4_OFFSET != 0 {
        return Err(Skip::Fragment);
    }
    let length = usize::from(first & 0xf) << 2;
    if length < 20 {
        return Err(Skip::Cut);
    }
    let total = match network.half::<2>() {
        0 => frame.length().saturating_sub(as_u32(at)),
        total => u32::from(total),
    };
    let tcp = frame.view::<20>(frame.bounded(at + length)).ok_or(Skip::Cut)?;
    let payload = payload(total, as_u32(length), &tcp)?;
    Ok(Headers { network, tcp, is_v6: false, vlan, payload })
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &F, at: usize, vlan: u16) -> Result<Headers<F::View>, Skip> {
    let network = frame.view::<40>(at).ok_or(Skip::Cut)?;
    if network.byte::<0>() >> 4 != 6 {
        return Err(Skip::NotTcp);
    }
    let total = match network.half::<4>() {
        0 => frame.length().saturating_sub(as_u32(at)),
        length => u32::from(length) + 40,
    };
    let (mut next, mut begins) = (network.byte::<6>(), at + 40);
    if next != TCP {
        (next, begins) = extensions(frame, next, begins)?;
    }
    if next != TCP {
        return Err(Skip::NotTcp);
    }
    let tcp = frame.view::<20>(begins).ok_or(Skip::Cut)?;
    let payload = payload(total, as_u32(begins - at), &tcp)?;
    Ok(Headers { network, tcp, is_v6: true, vlan, payload })
}

/// What comes behind the extension headers that begin at `at`, the first of kind `next`, and where.
#[inline(always)]
fn extensions<F: Frame>(frame: &F, mut next: u8, mut at: usize) -> Result<(u8, usize), Skip> {
    for _ in 0..MOST_EXTENSIONS {
        if !is_extension(next) {
            return Ok((next, at));
        }
        let header = frame.view::<4>(at).ok_or(Skip::Cut)?;
        let units = usize::from(header.byte::<1>());
        let follows = header.byte::<0>();
        if next == FRAGMENT && header.half::<2>() & IPV6_OFFSET != 0 {
            // Whatever follows says only how the first fragment began.
            let may_be = follows == TCP || is_extension(follows);
            return Err(if may_be { Skip::Fragment } else { Skip::NotTcp });
        }
        at += match next {
            FRAGMENT => 8,
            AUTHENTICATION => (units + 2) << 2,
            _ => (units + 1) << 3,
        };
        if at > MOST_BYTES_BEFORE {
            return Err(Skip::Cut);
        }
        at = frame.bounded(at);
        next = follows;
    }
    if is_extension(next) { Err(Skip::Cut) } else { Ok((next, at)) }
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// What is left of `total` bytes behind the `before` of IP and the TCP header itself.
#[inline(always)]
fn payload<V: View>(total: u32, before: u32, tcp: &V) -> Result<u32, Skip> {
    let length = u32::from(tcp.byte::<12>() >> 4) << 2;
    if length < 20 {
        return Err(Skip::Cut);
    }
    total.checked_sub(before + length).ok_or(Skip::Cut)
}

/// Of an offset, which is at most [`MOST_BYTES_BEFORE`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets are small")]
const fn as_u32(at: usize) -> u32 {
    at as u32
}
