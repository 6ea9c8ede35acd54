//! How long a state change takes to appear on the watch stream: what the merge holds it back for,
//! until the next drain, and the way to whoever watches.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::super::statistics::Spread;
use crate::{child::Running, daemon::Daemon, namespace::Network};

/// Connections that are made.
const COUNT: usize = 150;
/// Those that must have been seen: the first may come before anybody watches.
const LEAST: usize = 100;
/// Between two of them: in no step with any tick of the daemon.
const PAUSE: Duration = Duration::from_micros(23_700);
/// Time for the last to be told.
const LATEST: Duration = Duration::from_secs(2);

/// The part of a line of `watch --json` that says whose change it is.
#[derive(Deserialize)]
struct Told {
    to: Option<String>,
    connection: Connection,
}

#[derive(Deserialize)]
struct Connection {
    direction: String,
    local: End,
}

#[derive(Deserialize)]
struct End {
    port: u16,
}

/// Milliseconds from the end of `connect()` until `watch` prints that it is established.
pub(super) fn measure(program: &Path, daemon: &Daemon, network: &Network) -> Result<Spread> {
    let mut command = Command::new(program);
    command.args(["watch", "--json", "--socket"]).arg(daemon.socket());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watch = Running::start(command)?;
    let output = watch.child().stdout.take().context("watch has no output")?;
    let (sender, told) = mpsc::channel();
    let reader = thread::spawn(move || read(output, &sender));
    let network = network.clone();
    let maker = thread::spawn(move || network.enter().and_then(|()| connect()));
    let Ok(made) = maker.join() else { bail!("the thread that connects died") };
    let delays = delays(&made?, &told);
    drop(watch);
    // It ends with what it reads.
    if reader.join().is_err() {
        bail!("the thread that watches died");
    }
    if delays.len() < LEAST {
        bail!("watch told of {} connections out of {COUNT}", delays.len());
    }
    Spread::of(delays).context("watch told of no connection")
}

/// Ports of connections that are opened, and when each was.
fn connect() -> Result<BTreeMap<u16, Instant>> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let address = listener.local_addr().context("cannot tell the listener's address")?;
    let mut made = BTreeMap::new();
    for _ in 0..COUNT {
        thread::sleep(PAUSE);
        let client = TcpStream::connect(address).context("cannot connect over loopback")?;
        let at = Instant::now();
        made.insert(client.local_addr().context("cannot tell the client's address")?.port(), at);
        drop(listener.accept());
    }
    Ok(made)
}

/// Sends on the port of each client that is said to be connected, with the time at which it is.
fn read(output: ChildStdout, sender: &Sender<(u16, Instant)>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let now = Instant::now();
        if let Some(port) = connected(&line)
            && sender.send((port, now)).is_err()
        {
            return;
        }
    }
}

fn connected(line: &str) -> Option<u16> {
    let told: Told = serde_json::from_str(line).ok()?;
    let connected = told.to.as_deref() == Some("established");
    (connected && told.connection.direction == "outbound").then_some(told.connection.local.port)
}

fn delays(made: &BTreeMap<u16, Instant>, told: &Receiver<(u16, Instant)>) -> Vec<f64> {
    let mut delays = Vec::new();
    let deadline = Instant::now() + LATEST;
    while delays.len() < made.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        match told.recv_timeout(left) {
            Ok((port, at)) => {
                let begun = made.get(&port);
                let took = begun.map(|begun| at.saturating_duration_since(*begun));
                delays.extend(took.map(|took| took.as_secs_f64() * 1e3));
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    delays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_from_its_server() {
        let line = |to: &str, direction: &str| {
            format!(
                r#"{{"type":"state","to":"{to}","connection":{{"direction":"{direction}",
                   "local":{{"addr":"127.0.0.1","port":4711}}}}}}"#
            )
        };
        assert_eq!(connected(&line("established", "outbound")), Some(4711));
        assert_eq!(connected(&line("established", "inbound")), None);
        assert_eq!(connected(&line("syn_sent", "outbound")), None);
        assert_eq!(connected("nonsense"), None);
    }

    #[test]
    fn a_delay_begins_with_the_connection() {
        let (sender, told) = mpsc::channel();
        let begun = Instant::now();
        sender.send((1, begun + Duration::from_millis(30))).unwrap();
        sender.send((9, begun)).unwrap();
        drop(sender);
        assert_eq!(delays(&BTreeMap::from([(1, begun), (2, begun)]), &told), [30.0]);
    }
}
