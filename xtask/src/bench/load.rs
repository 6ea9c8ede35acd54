//! The load: connections over loopback, one after the other, each of connect, 2 bytes out, 1 byte
//! back, close; of one thread or of several, each with a server of its own.
//!
//! No call is made that a connection does not need, not even to set a timeout: whoever starts the
//! load ends it after a while. The clock that each connection is measured by makes no system call.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Barrier},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use rustix::net::sockopt::set_socket_linger;
use serde::{Deserialize, Serialize};

use super::{
    placement::{End, Placement},
    sample::{Latency, Sample},
};
use crate::{
    child::Running,
    namespace::{self, Network},
};

/// Connections to one address: where `TIME_WAIT` keeps their ports, the kernel must not look for a
/// free one for long.
const TO_ONE_ADDRESS: u32 = 2_000;

/// How the client closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Close {
    /// With a reset: no `TIME_WAIT` is left.
    Rst,
    /// In order.
    Fin,
}

impl Close {
    /// As the command line writes it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Rst => "rst",
            Self::Fin => "fin",
        }
    }
}

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Load {
    /// Connections to make
    pub(super) count: u32,
    /// How the client closes them
    #[arg(value_enum, default_value = "rst")]
    pub(super) close: Close,
    /// Where the two ends run
    #[arg(value_enum, default_value = "together")]
    pub(super) placement: Placement,
    /// Threads that make them, each with a server of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) threads: u32,
    /// Stay in the network namespace that this was started in
    #[arg(long)]
    pub(super) here: bool,
}

/// What the child tells.
#[derive(Serialize, Deserialize)]
struct Told {
    seconds: f64,
    latency: Latency,
}

/// Makes the connections, in a network namespace of its own unless it is to stay, and prints how long
/// they took.
pub(crate) fn run(load: Load) -> Result<()> {
    if !load.here {
        namespace::enter_network()?;
    }
    let (took, each) = connections(load)?;
    let latency = Latency::of(each).context("there were no connections")?;
    let told = Told { seconds: took.as_secs_f64(), latency };
    println!("{}", serde_json::to_string(&told).context("figures make no JSON")?);
    Ok(())
}

/// Has a child make the connections, in `network` or one of its own, and says how many there were in
/// a second and how long they took.
pub(super) fn measure(load: Load, network: Option<&Network>) -> Result<Sample> {
    let Load { count, close, placement, threads, .. } = load;
    // Not its path: in a mount namespace of one's own that may not lead here.
    let this = "/proc/self/exe";
    let mut command = Command::new(this);
    command
        .args(["cps-load", &count.to_string(), close.word(), placement.word()])
        .args(["--threads", &threads.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(network) = network {
        network.hold(command.arg("--here"));
    }
    let mut running = Running::start(command)?;
    // The slowest machine that is worth measuring makes 500 a second.
    let status = running.wait(Duration::from_secs(30 + u64::from(count) / 500))?;
    let mut printed = String::new();
    if let Some(output) = &mut running.child().stdout {
        output.read_to_string(&mut printed).context("cannot read what the load prints")?;
    }
    if !status.success() {
        bail!("the load failed ({status}); its own words are above");
    }
    let told = serde_json::from_str(&printed);
    let Told { seconds, latency } =
        told.with_context(|| format!("the load printed {printed:?} and not its figures"))?;
    Ok(Sample { rate: f64::from(count) / seconds, latency: Some(latency) })
}

/// How long they took together, and each.
fn connections(load: Load) -> Result<(Duration, Vec<Duration>)> {
    let threads = load.threads.max(1);
    let ready = Arc::new(Barrier::new(usize::try_from(threads)?));
    let mut pairs = Vec::new();
    for number in 0..threads {
        // What does not divide goes to the first.
        let rest = if number == 0 { load.count % threads } else { 0 };
        let load = Load { count: load.count / threads + rest, ..load };
        pairs.push(pair(load, usize::try_from(number)?, &ready)?);
    }
    // By the threads' own clocks: this one may be kept from its CPU at either end.
    let (mut begun, mut ended, mut each) = (Vec::new(), Vec::new(), Vec::new());
    let mut servers = Vec::new();
    for (client, server) in pairs {
        let (at, took) = joined(client)?;
        begun.push(at);
        each.extend(took);
        servers.push(server);
    }
    for server in servers {
        ended.push(joined(server)?);
    }
    let (Some(first), Some(last)) = (begun.into_iter().min(), ended.into_iter().max()) else {
        bail!("there were no threads");
    };
    Ok((last.saturating_duration_since(first), each))
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    let Ok(outcome) = thread.join() else { bail!("a thread of the load died") };
    outcome
}

/// A client, which says when it began and how long each connection took, and its server, which says
/// when it was done.
type Pair = (JoinHandle<Result<(Instant, Vec<Duration>)>>, JoinHandle<Result<Instant>>);

/// Starts both; clients wait until all are `ready`.
fn pair(load: Load, number: usize, ready: &Arc<Barrier>) -> Result<Pair> {
    let Load { count, close, placement, .. } = load;
    let address = if close == Close::Rst { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let listener = TcpListener::bind((address, 0)).context("cannot listen on loopback")?;
    let port = listener.local_addr().context("cannot tell the listener's address")?.port();
    let server = thread::spawn(move || {
        placement.settle(End::Server, number)?;
        serve(&listener, count).context("the server's end failed")?;
        Ok(Instant::now())
    });
    let ready = Arc::clone(ready);
    let client = thread::spawn(move || {
        let settled = placement.settle(End::Client, number);
        // Written to, so that the kernel has no page to find meanwhile.
        let mut each = vec![Duration::MAX; usize::try_from(count)?];
        ready.wait();
        settled?;
        let start = Instant::now();
        for (number, took) in (0..).zip(&mut each) {
            let begun = Instant::now();
            connection((destination(close, number), port).into(), close).with_context(|| {
                format!("connection {number} of {count} failed; with `fin`, ports may have run out")
            })?;
            *took = begun.elapsed();
        }
        Ok((start, each))
    });
    Ok((client, server))
}

/// Where the connection of this number goes: always the same address, unless ports are not to be had
/// back at once.
fn destination(close: Close, number: u32) -> Ipv4Addr {
    match close {
        Close::Rst => Ipv4Addr::LOCALHOST,
        Close::Fin => {
            let first = u32::from(Ipv4Addr::LOCALHOST);
            Ipv4Addr::from(first + number / TO_ONE_ADDRESS)
        }
    }
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
        for (close, threads) in [(Close::Rst, 1), (Close::Fin, 1), (Close::Rst, 3)] {
            let placement = Placement::Free;
            let load = Load { count: 20, close, placement, threads, here: true };
            let (took, each) = connections(load).unwrap();
            assert_eq!(each.len(), 20);
            assert!(each.iter().min() <= Some(&took), "{each:?} within {took:?}");
        }
    }

    #[test]
    fn ports_that_are_kept_are_those_of_several_addresses() {
        assert_eq!(destination(Close::Rst, 1_000_000), Ipv4Addr::LOCALHOST);
        assert_eq!(destination(Close::Fin, 1_999), Ipv4Addr::LOCALHOST);
        assert_eq!(destination(Close::Fin, 2_000), Ipv4Addr::new(127, 0, 0, 2));
        assert!(destination(Close::Fin, u32::MAX).is_loopback());
    }
}
