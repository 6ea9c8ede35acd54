//! The packet programs: which interfaces they are attached to, how, and why.
//!
//! `policy`, `scope` and the parsing in `interfaces` and `clsact` decide and are pure; `route` talks
//! to the kernel, `attach` does what was decided, and `follow` does it again as interfaces come and
//! go, on a thread of its own.

mod attach;
mod clsact;
mod follow;
mod interfaces;
mod owner;
mod policy;
mod programs;
mod route;
mod scope;
mod standing;
mod survey;
mod wishes;

use aya::Ebpf;
pub(crate) use follow::Follower;
pub(crate) use programs::PROGRAMS;
use programs::Programs;
pub(crate) use scope::Scope;
use scope::scope;
pub use standing::{InterfaceStanding, Standing, Way};
use tcp_trace_common::Settings;

use crate::kernel::{
    host::{CAP_NET_ADMIN, CAP_SYS_ADMIN, HostFacts},
    netns::Netns,
};
pub use wishes::{BadWish, InterfaceName, Wishes, Xdp, XdpMode, XdpWish};

/// The first kernel that hands frames in several parts to XDP programs that are declared for them.
const XDP_TAKES_FRAGMENTS: (u32, u32) = (5, 18);

/// What is lost where no packet program is.
pub(crate) const LOSES: &str =
    "the segments of handshakes and teardowns: timelines show states and calls alone";

/// What the user decides about segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether they are looked at.
    pub on: bool,
    /// Where, and how.
    pub wishes: Wishes,
    /// Segments reported per second and CPU at most; the rest is counted alone.
    pub rate: u32,
}

impl Config {
    /// [`Config::rate`], unless said otherwise.
    pub const RATE: u32 = 10_000;
}

impl Default for Config {
    fn default() -> Self {
        Self { on: true, wishes: Wishes::default(), rate: Self::RATE }
    }
}

/// Where packet programs are to work, or how it stands where they are not to.
pub(crate) fn place(
    config: &Config,
    facts: &HostFacts,
    netns: &[Netns],
) -> Result<Scope, Standing> {
    if !config.on {
        return Err(Standing::off());
    }
    if !facts.has(CAP_NET_ADMIN) {
        let why =
            "attaching packet programs takes CAP_NET_ADMIN: sudo, or cap_net_admin with setcap";
        return Err(Standing::impossible(why.to_owned()));
    }
    let scope = scope(netns, facts.netns).map_err(Standing::impossible)?;
    if !scope.is_own && !facts.has(CAP_SYS_ADMIN) {
        let why = "entering another network namespace takes CAP_SYS_ADMIN";
        return Err(Standing::impossible(why.to_owned()));
    }
    Ok(scope)
}

/// Attaches the packet programs of `ebpf` where they are to work, and follows the interfaces there.
pub(crate) fn start(
    place: Result<Scope, Standing>,
    ebpf: &mut Ebpf,
    config: &Config,
    kernel: (u32, u32),
) -> Follower {
    match place {
        Err(standing) => Follower::idle(standing),
        Ok(scope) => {
            let programs = Programs::load(ebpf, may_use_xdp(config, kernel));
            Follower::start(scope, programs, kernel, config.wishes.clone())
        }
    }
}

/// How they would be attached. Nothing is; the verifier sees them.
pub(crate) fn survey(
    place: Result<Scope, Standing>,
    ebpf: &mut Ebpf,
    config: &Config,
    kernel: (u32, u32),
) -> Standing {
    place.map_or_else(
        |standing| standing,
        |mut scope| {
            let programs = Programs::load(ebpf, may_use_xdp(config, kernel));
            survey::survey(&mut scope, &programs, kernel, &config.wishes)
        },
    )
}

/// What the packet programs are told before they are loaded.
pub(crate) fn set(settings: &mut Settings, scope: Option<&Scope>, rate: u32, kernel: (u32, u32)) {
    let rate = rate.max(1);
    settings.segment_netns = scope.map_or(0, |scope| scope.inode);
    settings.segment_cost_ns = 1_000_000_000 / rate;
    // A tenth of a second's worth may come at once.
    settings.segment_burst = (rate / 10).max(64);
    settings.xdp_frags = u32::from(kernel >= XDP_TAKES_FRAGMENTS);
}

/// Whether XDP may come to be used.
fn may_use_xdp(config: &Config, kernel: (u32, u32)) -> bool {
    !config.wishes.xdp.is_empty() || kernel >= policy::XDP_KEEPS_SEGMENTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_as_cost_and_burst() {
        let told = |rate| {
            let mut settings = Settings::DEFAULT;
            set(&mut settings, None, rate, (6, 1));
            (settings.segment_cost_ns, settings.segment_burst, settings.xdp_frags)
        };
        assert_eq!(told(20_000), (50_000, 2_000, 1));
        assert_eq!(told(1), (1_000_000_000, 64, 1));
        assert_eq!(told(0), told(1));
    }

    #[test]
    fn what_forbids_it_is_said() {
        let facts =
            |capabilities| HostFacts { capabilities, netns: Some(5), ..HostFacts::gather(None) };
        let on = Config::default();
        let off = Config { on: false, ..Config::default() };
        let all = facts(u64::MAX);
        assert_eq!(place(&off, &all, &[]).unwrap_err(), Standing::off());
        assert!(place(&on, &all, &[]).unwrap().is_own);
        let refused = place(&on, &facts(1 << CAP_SYS_ADMIN), &[]).unwrap_err();
        assert!(refused.refused && refused.reason.unwrap().contains("CAP_NET_ADMIN"));
    }
}
