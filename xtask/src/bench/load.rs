//! The load: connections over loopback, one after the other, each of connect, 2 bytes out, 1 byte
//! back, close.
//!
//! No call is made that a connection does not need, not even to set a timeout: whoever starts the
//! load ends it after a while.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use rustix::net::sockopt::set_socket_linger;
use serde::Serialize;

use super::placement::{End, Placement};
use crate::{
    child::Running,
    namespace::{self, Network},
};

/// How the client closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Close {
    /// With a reset: no `TIME_WAIT` is left, so that ports never run out.
    Rst,
    /// In order.
    Fin,
}

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args, Serialize)]
pub(crate) struct Load {
    /// Connections to make
    pub(super) count: u32,
    /// How the client closes them
    #[arg(value_enum, default_value = "rst")]
    pub(super) close: Close,
    /// Where the two ends run
    #[arg(value_enum, default_value = "together")]
    pub(super) placement: Placement,
    /// Stay in the network namespace that this was started in
    #[arg(long)]
    #[serde(skip)]
    pub(super) here: bool,
}

/// Makes the connections, in a network namespace of its own unless it is to stay, and prints the seconds they took.
pub(crate) fn run(load: Load) -> Result<()> {
    if !load.here {
        namespace::enter_network()?;
    }
    println!("{:.6}", connections(load)?.as_secs_f64());
    Ok(())
}

/// Has a child make the connections, in `network` or one of its own, and says how many there were in
/// a second.
pub(super) fn measure(load: Load, network: Option<&Network>) -> Result<f64> {
    let Load { count, close, placement, .. } = load;
    // Not its path: in a mount namespace of one's own that may not lead here.
    let this = "/proc/self/exe";
    let close = if close == Close::Rst { "rst" } else { "fin" };
    let mut command = Command::new(this);
    command
        .args(["cps-load", &count.to_string(), close, placement.word()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(network) = network {
        network.hold(command.arg("--here"));
    }
    let mut running = Running::start(command)?;
    // The slowest machine that is worth measuring makes 500 a second.
    let status = running.wait(Duration::from_secs(30 + u64::from(count) / 500))?;
    let mut seconds = String::new();
    if let Some(output) = &mut running.child().stdout {
        output.read_to_string(&mut seconds).context("cannot read what the load prints")?;
    }
    if !status.success() {
        bail!("the load failed ({status}); its own words are above");
    }
    let seconds: f64 = seconds
        .trim()
        .parse()
        .with_context(|| format!("the load printed {seconds:?} and not seconds"))?;
    Ok(f64::from(count) / seconds)
}

fn connections(load: Load) -> Result<Duration> {
    let Load { count, close, placement, .. } = load;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let address = listener.local_addr().context("cannot tell the listener's address")?;
    let server = thread::spawn(move || {
        placement.settle(End::Server)?;
        serve(&listener, count).context("the server's end failed")
    });
    // From here on the server has CPUs of its own: a thread inherits them when it starts.
    placement.settle(End::Client)?;
    let start = Instant::now();
    for number in 0..count {
        connection(address, close).with_context(|| {
            format!("connection {number} of {count} failed; with `fin`, ports may have run out")
        })?;
    }
    match server.join() {
        Ok(outcome) => outcome?,
        Err(_) => bail!("the server's thread died"),
    }
    Ok(start.elapsed())
}

fn connection(address: SocketAddr, close: Close) -> io::Result<()> {
    let mut client = TcpStream::connect(address)?;
    if close == Close::Rst {
        set_socket_linger(&client, Some(Duration::ZERO))?;
    }
    client.write_all(b"hi")?;
    client.read_exact(&mut [0])
}

fn serve(listener: &TcpListener, count: u32) -> io::Result<()> {
    for _ in 0..count {
        let (mut stream, _) = listener.accept()?;
        let _ = stream.read(&mut [0; 8])?;
        stream.write_all(b"x")?;
        // The end, or the client's reset.
        let _ = stream.read(&mut [0; 8]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_closing_come_to_an_end() {
        for close in [Close::Rst, Close::Fin] {
            let load = Load { count: 20, close, placement: Placement::Free, here: true };
            connections(load).unwrap();
        }
    }
}
