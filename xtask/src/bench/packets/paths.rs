//! Where streams flow: a loopback, and a veth pair between two network namespaces, all made for this.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    namespace::Network,
    tool::{IP, words},
};

/// The end of the veth pair that is looked at, and its address.
const NEAR: (&str, &str) = ("near", "192.0.2.1");
/// The other one.
const FAR: (&str, &str) = ("far", "192.0.2.2");

/// A way for a stream, and which end of it is looked at.
#[derive(Debug)]
pub(super) struct Way {
    /// Its name.
    pub(super) name: &'static str,
    /// The namespace in which the stream is received, and where.
    pub(super) receiver: (Network, &'static str),
    /// The namespace from which it is sent.
    pub(super) sender: Network,
    /// The namespace whose segments are looked at, and on which interface.
    pub(super) looked_at: (Network, &'static str),
}

/// Makes all of them.
pub(super) fn make() -> Result<[Way; 3]> {
    let lonely = Network::new()?;
    let [near, far] = veth()?;
    Ok([
        Way {
            name: "lo",
            receiver: (lonely.clone(), "127.0.0.1"),
            sender: lonely.clone(),
            looked_at: (lonely, "lo"),
        },
        Way {
            name: "veth, receiving",
            receiver: (near.clone(), NEAR.1),
            sender: far.clone(),
            looked_at: (near.clone(), NEAR.0),
        },
        Way {
            name: "veth, sending",
            receiver: (far, FAR.1),
            sender: near.clone(),
            looked_at: (near, NEAR.0),
        },
    ])
}

/// Two namespaces with a veth pair between them.
fn veth() -> Result<[Network; 2]> {
    let networks = [Network::new()?, Network::new()?];
    let there = networks[1].path();
    let pair = ["link", "add", NEAR.0, "type", "veth", "peer", "name", FAR.0, "netns"];
    ip(&networks[0], &pair, Some(&there))?;
    for (network, (name, address)) in networks.iter().zip([NEAR, FAR]) {
        ip(network, &["address", "add", &format!("{address}/24"), "dev", name], None)?;
        ip(network, &["link", "set", name, "up"], None)?;
    }
    Ok(networks)
}

fn ip(network: &Network, arguments: &[&str], last: Option<&Path>) -> Result<()> {
    let mut command = Command::new(IP.required()?);
    command.args(arguments).args(last);
    network.hold(&mut command);
    let words = words(&command);
    let output = command.output().with_context(|| format!("cannot start {words}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{words} failed ({}): {}", output.status, said.trim());
    }
    Ok(())
}
