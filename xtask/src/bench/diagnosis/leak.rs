//! A server that never closes what it accepts, and its clients, who do: at a constant rate, in one
//! process.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::{child::Running, namespace::Network};

/// Addresses that the clients connect to in turn: each has local ports of its own.
const ADDRESSES: u32 = 16;
/// Descriptors beside those that leak.
const OTHERS: u64 = 256;
/// `CLOSE_WAIT`, as `/proc/net/tcp` has it.
const CLOSE_WAIT: &str = "08";

/// How to leak.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Load {
    /// Sockets to leak
    count: u32,
    /// How many of them in a second
    rate: u32,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Grown {
    /// Seconds from the first to the last.
    pub(super) seconds: f64,
    /// Sockets leaked in one of them.
    pub(super) per_second: f64,
    /// How far the slowest was behind its time, in seconds.
    pub(super) behind: f64,
}

/// Leaks, says what became of it, and keeps all until nobody is there any more.
pub(crate) fn run(load: Load) -> Result<()> {
    let limit = Some(u64::from(load.count) + OTHERS);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })
        .context("cannot raise the limit of descriptors (fs.nr_open may be below it)")?;
    let mut leaked = Vec::with_capacity(load.count as usize);
    let grown = grow(load, &mut leaked)?;
    println!("{}", serde_json::to_string(&grown).context("figures make no JSON")?);
    io::stdout().flush().context("nobody listens")?;
    // Until the other end of the pipe is closed.
    io::stdin().read_to_end(&mut Vec::new()).context("cannot wait")?;
    drop(leaked);
    Ok(())
}

fn grow(load: Load, leaked: &mut Vec<TcpStream>) -> Result<Grown> {
    let listener = TcpListener::bind("0.0.0.0:0").context("cannot listen")?;
    let port = listener.local_addr().context("cannot tell the listener's address")?.port();
    let begun = Instant::now();
    let mut behind = Duration::ZERO;
    for number in 0..load.count {
        let due = begun + Duration::from_secs(1) * number / load.rate;
        match due.checked_duration_since(Instant::now()) {
            Some(early) => thread::sleep(early),
            None => behind = behind.max(due.elapsed()),
        }
        let host = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number % ADDRESSES);
        let socket = one(&listener, (host, port).into());
        leaked.push(socket.with_context(|| format!("socket {number} was not leaked"))?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let per_second = f64::from(load.count.saturating_sub(1)) / seconds;
    Ok(Grown { seconds, per_second, behind: behind.as_secs_f64() })
}

fn one(listener: &TcpListener, at: SocketAddr) -> io::Result<TcpStream> {
    let client = TcpStream::connect(at)?;
    let (mut server, _) = listener.accept()?;
    drop(client);
    match server.read(&mut [0; 8])? {
        0 => Ok(server),
        _ => Err(io::Error::other("the client has sent something")),
    }
}

/// The process.
#[derive(Debug)]
pub(super) struct Leak {
    running: Running,
    words: Receiver<String>,
    limit: Instant,
}

impl Leak {
    /// Starts it in `network`.
    pub(super) fn start(network: &Network, count: u32, rate: u32) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["leak-load", &count.to_string(), &rate.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        network.hold(&mut command);
        let mut running = Running::start(command)?;
        let mut output = running.child().stdout.take().context("the leak has no output")?;
        let (sender, words) = channel();
        thread::spawn(move || {
            let (mut text, mut bytes) = (String::new(), [0; 256]);
            while let Ok(got) = output.read(&mut bytes) {
                text.push_str(&String::from_utf8_lossy(bytes.get(..got).unwrap_or_default()));
                if got == 0 || text.ends_with('\n') {
                    break;
                }
            }
            // Fails only where nobody waits for it any more.
            let _ = sender.send(text);
        });
        // A slow machine may take three times as long.
        let limit = Instant::now() + Duration::from_secs(60 + u64::from(3 * count / rate));
        Ok(Self { running, words, limit })
    }

    /// What became of it, once all have leaked.
    pub(super) fn grown(&mut self) -> Result<Option<Grown>> {
        match self.words.try_recv() {
            Ok(text) => serde_json::from_str(text.trim())
                .map(Some)
                .with_context(|| format!("the leak failed, and said {text:?}; see above")),
            Err(TryRecvError::Disconnected) => bail!("the leak has died; see above"),
            Err(TryRecvError::Empty) if Instant::now() > self.limit => {
                bail!("the leak takes too long: this machine is too slow for its rate")
            }
            Err(TryRecvError::Empty) => Ok(None),
        }
    }

    /// How many there are by the kernel's own list.
    pub(super) fn close_waits(&self) -> Result<u64> {
        let path = format!("/proc/{}/net/tcp", self.running.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let state = |line: &&str| line.split_ascii_whitespace().nth(3) == Some(CLOSE_WAIT);
        Ok(text.lines().skip(1).filter(state).count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaks_as_many_as_it_is_told_and_not_faster() {
        let mut leaked = Vec::new();
        let grown = grow(Load { count: 40, rate: 400 }, &mut leaked).unwrap();
        assert_eq!(leaked.len(), 40);
        assert!(grown.seconds > 0.09 && grown.per_second < 410.0, "{grown:?}");
    }
}
