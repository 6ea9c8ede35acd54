//! Every frame of an interface, of which only the segments that open, end or reset a connection are
//! reported. Frames are never held, changed or redirected.
//!
//! | program | hook | sees |
//! |---|---|---|
//! | `segments_xdp`, `segments_xdp_ip` | XDP (4.8; in several parts 5.18) | what arrives, before the stack merges it |
//! | `segments_in`, `segments_in_ip` | TC ingress (4.5), TCX (6.6) | what arrives, merged by GRO |
//! | `segments_out`, `segments_out_ip` | TC egress (4.5), TCX (6.6) | what is sent, before the card cuts it |
//!
//! Those in `_ip` are for devices without a link header, whose frames begin with IP. All run in
//! softirq or with it held off, on whatever task's back.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::XDP_PASS,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use tcp_trace_common::{
    SEGMENT_HOOK_TC_IN, SEGMENT_HOOK_TC_OUT, SEGMENT_HOOK_XDP,
    frame::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame as _, Link, Skip, VLAN_PRESENT, View as _, is_tag,
        parse,
    },
};

use crate::{
    packet::{Copied, Linear, Received},
    segment::{self, Sight},
};

/// `TCX_NEXT`, which to the older TC is `TC_ACT_UNSPEC`: whatever comes next decides.
const NEXT: i32 = -1;

#[xdp(frags)]
fn segments_xdp(ctx: XdpContext) -> u32 {
    arrived(&ctx, Link::Ethernet)
}

#[xdp(frags)]
fn segments_xdp_ip(ctx: XdpContext) -> u32 {
    arrived(&ctx, Link::Ip)
}

#[classifier]
fn segments_in(ctx: TcContext) -> i32 {
    passed(&ctx, SEGMENT_HOOK_TC_IN, true)
}

#[classifier]
fn segments_in_ip(ctx: TcContext) -> i32 {
    passed(&ctx, SEGMENT_HOOK_TC_IN, false)
}

#[classifier]
fn segments_out(ctx: TcContext) -> i32 {
    passed(&ctx, SEGMENT_HOOK_TC_OUT, true)
}

#[classifier]
fn segments_out_ip(ctx: TcContext) -> i32 {
    passed(&ctx, SEGMENT_HOOK_TC_OUT, false)
}

#[inline(always)]
fn arrived(ctx: &XdpContext, link: Link) -> u32 {
    // SAFETY: the program's own context.
    let interface = unsafe { (*ctx.ctx).ingress_ifindex };
    let sight = Sight { ctx: ctx.as_ptr(), hook: SEGMENT_HOOK_XDP, interface, vlan: 0 };
    segment::see(&sight, parse(&Received(ctx), link));
    XDP_PASS
}

#[inline(always)]
fn passed(ctx: &TcContext, hook: u8, is_ethernet: bool) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the program's own context.
    let (interface, vlan) = unsafe {
        let tag = (*skb).vlan_tci as u16 | VLAN_PRESENT;
        ((*skb).ifindex, if (*skb).vlan_present == 0 { 0 } else { tag })
    };
    let sight = Sight { ctx: ctx.as_ptr(), hook, interface, vlan };
    let frame = Linear(skb);
    let link = if is_ethernet { link_of(frame) } else { Link::Ip };
    let mut headers = parse(&frame, link);
    if let Err(Skip::Cut) = headers
        && let Some(copied) = Copied::from(skb)
    {
        // Most of what seems cut only lies elsewhere.
        headers = parse(&copied, link);
    }
    segment::see(&sight, headers);
    NEXT
}

/// What the buffer begins with: Ethernet, unless generic XDP on the same device has left it at the
/// IP header that `protocol` tells of.
#[inline(always)]
fn link_of(frame: Linear) -> Link {
    // SAFETY: the program's own context.
    let protocol = u16::from_be(unsafe { (*frame.0).protocol } as u16);
    let is_ip = matches!(protocol, ETHERTYPE_IPV4 | ETHERTYPE_IPV6);
    match frame.view::<14>(0).map(|header| header.half::<12>()) {
        Some(ethertype) if is_ip && ethertype != protocol && !is_tag(ethertype) => {
            Link::EtherType(protocol)
        }
        _ => Link::Ethernet,
    }
}
