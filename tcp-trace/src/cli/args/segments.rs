//! Where and how to look at segments, on the command line.

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::kernel::segments::{InterfaceName, XdpWish};

/// Whether to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Where and how to look at segments.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Segments {
    /// Look at the segments of handshakes and teardowns, with XDP and TC programs [default: on for
    /// serve, watch and record]
    #[arg(long = "segments", env = "TCP_TRACE_SEGMENTS", value_name = "on|off")]
    pub(crate) on: Option<Switch>,
    /// Look at the segments of this interface (repeatable) [default: lo and those with a default
    /// route]
    #[arg(
        long = "interface",
        env = "TCP_TRACE_INTERFACES",
        value_name = "INTERFACE",
        value_delimiter = ','
    )]
    pub(crate) interfaces: Vec<InterfaceName>,
    /// Use XDP on this interface, too (repeatable), or none (off): TC looks instead; without a mode:
    /// native where the driver can, else generic [default: generic on lo and tun devices from Linux
    /// 6.9 on]
    #[arg(
        long,
        env = "TCP_TRACE_XDP",
        value_name = "INTERFACE[=native|generic|off]",
        value_delimiter = ','
    )]
    pub(crate) xdp: Vec<XdpWish>,
    /// Segments reported per second and CPU at most, of those that open a connection and of those that
    /// follow; the rest is counted alone [default: 10000]
    #[arg(
        long = "segment-rate",
        env = "TCP_TRACE_SEGMENT_RATE",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    pub(crate) rate: Option<u32>,
}
