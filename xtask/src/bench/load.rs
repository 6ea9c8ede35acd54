//! The load: connections over loopback, one after the other, each of connect, 2 bytes out, 1 byte
//! back, close.
//!
//! No call is made that a connection does not need, not even to set a timeout: whoever starts the
//! load ends it after a while.

use std::{
    env,
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

use super::namespace;
use crate::child::Running;

/// How the client closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Close {
    /// With a reset: no `TIME_WAIT` is left, so that ports never run out.
    Rst,
    /// In order.
    Fin,
}

/// How much of it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections to make
    count: u32,
    /// How the client closes them
    #[arg(value_enum, default_value = "rst")]
    close: Close,
}

/// Makes the connections in a network namespace of its own, and prints the seconds they took.
pub(crate) fn run(args: Args) -> Result<()> {
    namespace::enter_network()?;
    println!("{:.6}", connections(args.count, args.close)?.as_secs_f64());
    Ok(())
}

/// Has a child make the connections, and says how many there were in a second.
pub(super) fn measure(count: u32, close: Close) -> Result<f64> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let close = if close == Close::Rst { "rst" } else { "fin" };
    let mut command = Command::new(this);
    command
        .args(["cps-load", &count.to_string(), close])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut load = Running::start(command)?;
    // The slowest machine that is worth measuring makes 500 a second.
    let status = load.wait(Duration::from_secs(30 + u64::from(count) / 500))?;
    let mut seconds = String::new();
    if let Some(output) = &mut load.child().stdout {
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

fn connections(count: u32, close: Close) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let address = listener.local_addr().context("cannot tell the listener's address")?;
    let server = thread::spawn(move || serve(&listener, count));
    let start = Instant::now();
    for number in 0..count {
        connection(address, close).with_context(|| {
            format!("connection {number} of {count} failed; with `fin`, ports may have run out")
        })?;
    }
    match server.join() {
        Ok(outcome) => outcome.context("the server's end failed")?,
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
            connections(20, close).unwrap();
        }
    }
}
