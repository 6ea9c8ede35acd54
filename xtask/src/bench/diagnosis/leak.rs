//! A server that never closes what it accepts, and its clients, who do: at a constant rate, in one
//! process, or in as many as it takes where none may have so many descriptors.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    net::{AddressFamily, SocketType, bind, connect, socket, sockopt::set_socket_reuseaddr},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde::{Deserialize, Serialize};

use crate::{child::Running, namespace::Network};

/// Addresses that the clients connect to in turn: each has ports of its own.
const ADDRESSES: u32 = 16;
/// The first port of the clients.
const PORTS: u16 = 5_000;
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
    rate: f64,
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
        let due = begun + Duration::from_secs_f64(f64::from(number) / load.rate);
        match due.checked_duration_since(Instant::now()) {
            Some(early) => thread::sleep(early),
            None => behind = behind.max(due.elapsed()),
        }
        let socket = one(&listener, &Ends::new(number, port));
        leaked.push(socket.with_context(|| format!("socket {number} was not leaked"))?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let per_second = f64::from(load.count.saturating_sub(1)) / seconds;
    Ok(Grown { seconds, per_second, behind: behind.as_secs_f64() })
}

/// Where a client is, and its server. No client has a port of another's: a SYN to a socket that has
/// leaked would end in a RST, and the leak with it.
#[derive(Clone, Copy, Debug)]
struct Ends {
    client: SocketAddrV4,
    server: SocketAddrV4,
}

impl Ends {
    fn new(number: u32, port: u16) -> Self {
        let host = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number % ADDRESSES);
        let own = u16::try_from(number / ADDRESSES).map_or(u16::MAX, |n| n.saturating_add(PORTS));
        let (client, server) = (SocketAddrV4::new(host, own), SocketAddrV4::new(host, port));
        Self { client, server }
    }
}

fn one(listener: &TcpListener, ends: &Ends) -> io::Result<TcpStream> {
    let client = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    // Other processes' clients may have the same, with servers of their own.
    set_socket_reuseaddr(&client, true)?;
    bind(&client, &ends.client)?;
    connect(&client, &ends.server)?;
    let (mut server, _) = listener.accept()?;
    drop(client);
    match server.read(&mut [0; 8])? {
        0 => Ok(server),
        _ => Err(io::Error::other("the client has sent something")),
    }
}

/// The processes.
#[derive(Debug)]
pub(super) struct Leak {
    parts: Vec<Part>,
    limit: Instant,
}

#[derive(Debug)]
struct Part {
    running: Running,
    words: Receiver<String>,
    grown: Option<Grown>,
}

/// How many processes it takes: one, where it may have so many descriptors.
pub(super) fn processes(count: u32) -> u32 {
    let wanted = u64::from(count) + OTHERS;
    let raised = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    let Some(hard) = getrlimit(Resource::Nofile).maximum else { return 1 };
    // That takes CAP_SYS_RESOURCE, and fs.nr_open bounds it.
    if hard >= wanted || setrlimit(Resource::Nofile, raised).is_ok() {
        return 1;
    }
    let room = u32::try_from(hard.saturating_sub(OTHERS)).unwrap_or(u32::MAX).max(1);
    count.div_ceil(room)
}

impl Leak {
    /// Starts it in `network`, in so many processes.
    pub(super) fn start(network: &Network, count: u32, rate: u32, processes: u32) -> Result<Self> {
        let limit = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })
            .context("cannot use all the descriptors that are allowed")?;
        let share = |number: u32| count / processes + u32::from(number < count % processes);
        let rate_of = |part: u32| f64::from(rate) * f64::from(part) / f64::from(count);
        let parts = (0..processes).map(share).map(|part| Part::start(network, part, rate_of(part)));
        // A slow machine may take three times as long.
        let limit = Instant::now() + Duration::from_secs(60 + u64::from(3 * count / rate));
        Ok(Self { parts: parts.collect::<Result<_>>()?, limit })
    }

    /// What became of it, once all have leaked.
    pub(super) fn grown(&mut self) -> Result<Option<Grown>> {
        let mut all = Grown { seconds: 0.0, per_second: 0.0, behind: 0.0 };
        for part in &mut self.parts {
            let Some(grown) = part.grown()? else {
                if Instant::now() > self.limit {
                    bail!("the leak takes too long: this machine is too slow for its rate");
                }
                return Ok(None);
            };
            all.seconds = all.seconds.max(grown.seconds);
            all.per_second += grown.per_second;
            all.behind = all.behind.max(grown.behind);
        }
        Ok(Some(all))
    }

    /// How many there are by the kernel's own list.
    pub(super) fn close_waits(&self) -> Result<u64> {
        let part = self.parts.first().context("nothing leaks")?;
        let path = format!("/proc/{}/net/tcp", part.running.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let state = |line: &&str| line.split_ascii_whitespace().nth(3) == Some(CLOSE_WAIT);
        Ok(text.lines().skip(1).filter(state).count() as u64)
    }
}

impl Part {
    fn start(network: &Network, count: u32, rate: f64) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["leak-load", &count.to_string(), &rate.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        network.hold(&mut command);
        let mut running = Running::start(command)?;
        let output = running.child().stdout.take().context("the leak has no output")?;
        let (sender, words) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            let read = BufReader::new(output).read_line(&mut text);
            // Fails only where nobody waits for it any more.
            let _ = read.map(|_| sender.send(text));
        });
        Ok(Self { running, words, grown: None })
    }

    fn grown(&mut self) -> Result<Option<Grown>> {
        if self.grown.is_none() {
            self.grown = match self.words.try_recv() {
                Ok(text) => serde_json::from_str(text.trim())
                    .map(Some)
                    .with_context(|| format!("the leak failed, and said {text:?}; see above"))?,
                Err(TryRecvError::Disconnected) => bail!("the leak has died; see above"),
                Err(TryRecvError::Empty) => None,
            };
        }
        Ok(self.grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaks_as_many_as_it_is_told_and_not_faster() {
        let mut leaked = Vec::new();
        let grown = grow(Load { count: 40, rate: 400.0 }, &mut leaked).unwrap();
        assert_eq!(leaked.len(), 40);
        assert!(grown.seconds > 0.09 && grown.per_second < 410.0, "{grown:?}");
    }
}
