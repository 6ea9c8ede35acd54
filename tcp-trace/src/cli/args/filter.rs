//! Which connections, as `watch` and `list` take it.

use std::time::Duration;

use clap::Args;

use super::parse_span;
use crate::core::{address::AddressFilter, tcp_state::TcpState};

/// Which connections.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Filter {
    /// In this state, e.g. `close_wait` (repeatable, or separated by commas)
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub(crate) state: Vec<TcpState>,
    /// In its state for at least this long, e.g. 60s, 5m, 1h30m
    #[arg(long, value_name = "AGE", value_parser = parse_span)]
    pub(crate) older_than: Option<Duration>,
    /// Owned or held by this process
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Owned or held by a process of this very name (as `ps -o comm` shows it)
    #[arg(long, value_name = "NAME")]
    pub(crate) process: Option<String>,
    /// This host's end: 10.0.0.1, 10.0.0.0/8, 10.0.0.0/8:443, `[::1]:443`, :443 or 443
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) local: Option<AddressText>,
    /// The other end, written likewise
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) remote: Option<AddressText>,
    /// Either end has this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// In this network namespace: a name, a path, an inode number or 'self'
    #[arg(long = "in-netns", value_name = "NAMESPACE", value_parser = parse_netns)]
    pub(crate) in_netns: Option<u32>,
}

/// An address filter, checked here and sent on as it was written.
#[derive(Clone, Debug)]
pub(crate) struct AddressText(pub(crate) String);

impl std::str::FromStr for AddressText {
    type Err = crate::core::address::BadFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<AddressFilter>().map(|_| Self(text.to_owned()))
    }
}

fn parse_netns(text: &str) -> Result<u32, String> {
    crate::kernel::netns::find(text).map(|netns| netns.inode).map_err(|error| error.to_string())
}
