//! The daemon, and what it answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tcp_trace::{
    api::{Connection, ConnectionList, Endpoint, Status},
    core::tcp_state::TcpState,
};
use tempfile::TempDir;

use super::{
    deadline::until,
    netns::Netns,
    program::{open_directory, program},
    truth::Row,
};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// A daemon of the test's own; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    directory: TempDir,
    /// How often it compares its table with the host, where not as usual.
    reconcile_ms: Option<u32>,
}

impl Daemon {
    /// One that traces just these namespaces, with further `arguments`; ready.
    pub(crate) fn start(netns: &[&Netns], arguments: &[&str]) -> Self {
        Self::begin(netns, arguments, None)
    }

    /// Likewise, and it compares its table with the host every `interval_ms` milliseconds.
    pub(crate) fn reconciling(netns: &[&Netns], interval_ms: u32, arguments: &[&str]) -> Self {
        Self::begin(netns, arguments, Some(interval_ms))
    }

    /// One that lives in this namespace and traces it alone.
    pub(crate) fn inside(netns: &Netns, arguments: &[&str]) -> Self {
        let directory = open_directory();
        let child =
            netns.take_in(command(directory.path(), &[netns], arguments, None)).spawn().unwrap();
        let mut daemon = Self { child, directory, reconcile_ms: None };
        daemon.until_ready();
        daemon
    }

    /// Starts such a one again on the same socket, after its end.
    pub(crate) fn restart_inside(&mut self, netns: &Netns, arguments: &[&str]) {
        assert!(self.child.try_wait().unwrap().is_some(), "it still runs");
        let command = command(self.directory.path(), &[netns], arguments, None);
        self.child = netns.take_in(command).spawn().unwrap();
        self.until_ready();
    }

    fn begin(netns: &[&Netns], arguments: &[&str], reconcile_ms: Option<u32>) -> Self {
        let directory = open_directory();
        let child = command(directory.path(), netns, arguments, reconcile_ms).spawn().unwrap();
        let mut daemon = Self { child, directory, reconcile_ms };
        daemon.until_ready();
        daemon
    }

    /// Starts it again on the same socket, after its end.
    pub(crate) fn restart(&mut self, netns: &[&Netns]) {
        self.restart_with(netns, &[]);
    }

    /// Likewise, with further `arguments`.
    pub(crate) fn restart_with(&mut self, netns: &[&Netns], arguments: &[&str]) {
        assert!(self.child.try_wait().unwrap().is_some(), "it still runs");
        let directory = self.directory.path();
        self.child = command(directory, netns, arguments, self.reconcile_ms).spawn().unwrap();
        self.until_ready();
    }

    fn until_ready(&mut self) {
        let log = self.directory.path().join("log");
        until(
            || format!("the daemon does not get ready:\n{}", read(&log)),
            || {
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("the daemon ended with {status}:\n{}", read(&log));
                }
                matches!(self.try_get("/readyz"), Some((200, _))).then_some(())
            },
        );
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(self.directory.path())
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        read(&self.directory.path().join("log"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let log = self.directory.path().join("log");
        let Self { child, .. } = self;
        until(|| format!("the daemon does not end:\n{}", read(&log)), || child.try_wait().unwrap())
    }

    /// The body of what it answers with 200.
    pub(crate) fn get(&self, path: &str) -> String {
        self.get_with(path, "")
    }

    /// Likewise, asked with further `headers`.
    pub(crate) fn get_with(&self, path: &str, headers: &str) -> String {
        match self.try_get_with(path, headers) {
            Some((200, body)) => body,
            other => panic!("GET {path} gave {other:?}:\n{}", self.log()),
        }
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        self.try_get_with(path, "")
    }

    fn try_get_with(&self, path: &str, headers: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(length, Some(body.len().to_string().as_str()), "a whole answer to {path}");
        Some((status, body.to_owned()))
    }

    /// Connections and listeners that are open.
    pub(crate) fn open(&self) -> Vec<Connection> {
        let states: Vec<_> =
            TcpState::ALL.iter().map(|state| format!("state={}", state.name())).collect();
        let body = self.get(&format!("/api/v1/connections?limit=0&{}", states.join("&")));
        let list: ConnectionList = serde_json::from_str(&body).unwrap();
        assert_eq!(list.total, list.connections.len() as u64);
        list.connections
    }

    /// The same as `/proc` tells it.
    pub(crate) fn rows(&self) -> BTreeSet<Row> {
        let row = |connection: Connection| Row {
            local: SocketAddr::new(connection.local.addr, connection.local.port),
            remote: SocketAddr::new(connection.remote.addr, connection.remote.port),
            state: connection.state.parse().unwrap(),
            mini: connection.mini,
        };
        self.open().into_iter().map(row).collect()
    }

    /// Whether births and ends of mini-sockets are hooked. Where they are not, the peer's FIN that
    /// turns a `FIN_WAIT2` mini-socket into a `TIME_WAIT` is not seen before the next snapshot.
    pub(crate) fn sees_time_wait(&self) -> bool {
        self.hooks("time_wait_born_")
    }

    /// How it stands.
    pub(crate) fn status(&self) -> Status {
        serde_json::from_str(&self.get("/api/v1/status")).unwrap()
    }

    /// Whether a program whose name begins so is attached.
    pub(crate) fn hooks(&self, program: &str) -> bool {
        let status = self.status();
        status.hooks.iter().any(|hook| hook.attached && hook.program.starts_with(program))
    }

    /// Every connection between these ends that is open, or closed not long ago, with its timeline,
    /// oldest first.
    pub(crate) fn stories(&self, local: SocketAddr, remote: SocketAddr) -> Vec<Connection> {
        let path = format!("/api/v1/connections?limit=0&closed=true&port={}", local.port());
        let list: ConnectionList = serde_json::from_str(&self.get(&path)).unwrap();
        let end = |end: &Endpoint| SocketAddr::new(end.addr, end.port);
        let is = |known: &&Connection| (end(&known.local), end(&known.remote)) == (local, remote);
        let mut ids: Vec<_> = list.connections.iter().filter(is).map(|known| &*known.id).collect();
        ids.sort_by_key(|id| u64::from_str_radix(id, 16).unwrap());
        let whole = |id| serde_json::from_str(&self.get(&format!("/api/v1/connections/{id}")));
        ids.into_iter().map(|id| whole(id).unwrap()).collect()
    }

    /// Every sample of `/metrics`.
    pub(crate) fn metrics(&self) -> Metrics {
        let text = self.get("/metrics");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Metrics(
            samples
                .map(|line| {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    (series.to_owned(), value.parse().unwrap())
                })
                .collect(),
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn command(
    directory: &Path,
    netns: &[&Netns],
    arguments: &[&str],
    reconcile_ms: Option<u32>,
) -> Command {
    let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = program();
    command
        .arg("--socket")
        .arg(socket(directory))
        // A port of its own choice: others may trace on this host, too.
        .args(["serve", "--web.listen-address", "127.0.0.1:0"])
        .args(netns.iter().map(|netns| format!("--netns={}", netns.path())))
        .args(arguments)
        .envs(reconcile_ms.map(|ms| ("TCP_TRACE_RECONCILE_MS", ms.to_string())))
        .stdout(Stdio::null())
        .stderr(log);
    command
}

/// The samples of one scrape, by name with labels.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// A whole number.
    #[track_caller]
    pub(crate) fn count(&self, series: &str) -> u64 {
        whole(self.value(series))
    }

    /// A sample.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("there is no {series}"))
    }

    /// Every sample that may only go up.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&str, f64)> {
        let is_counter = |series: &str| {
            let name = series.split('{').next().unwrap_or_default();
            ["_total", "_bucket", "_sum", "_count"].iter().any(|ending| name.ends_with(ending))
        };
        let samples = self.0.iter().map(|(series, value)| (&**series, *value));
        samples.filter(move |(series, _)| is_counter(series))
    }

    /// All samples of a metric with one label or more, by their labels' text.
    pub(crate) fn values(&self, name: &str) -> Vec<(String, f64)> {
        let prefix = format!("{name}{{");
        let samples = self.0.iter().filter(|(series, _)| series.starts_with(&prefix));
        samples.map(|(series, value)| (series.clone(), *value)).collect()
    }

    /// All samples of a metric with one label or more that are not 0, by their labels' text.
    pub(crate) fn nonzero(&self, name: &str) -> BTreeMap<String, u64> {
        let prefix = format!("{name}{{");
        let of_name = |(series, value): (&String, &f64)| {
            let labels = series.strip_prefix(&prefix)?.strip_suffix('}')?;
            (*value != 0.0).then(|| (labels.to_owned(), whole(*value)))
        };
        self.0.iter().filter_map(of_name).collect()
    }

    /// The transition matrix: cells that are not 0, as `from>to`.
    pub(crate) fn matrix(&self) -> BTreeMap<String, u64> {
        let cell = |labels: &str| {
            labels.trim_start_matches("from=\"").trim_end_matches('"').replace("\",to=\"", ">")
        };
        let cells = self.nonzero("tcp_trace_state_transitions_total");
        cells.into_iter().map(|(labels, count)| (cell(&labels), count)).collect()
    }

    /// The gauges by state that are not 0.
    pub(crate) fn gauges(&self) -> BTreeMap<String, u64> {
        let gauges = self.nonzero("tcp_trace_connections");
        let state = |labels: &str| labels.trim_start_matches("state=").trim_matches('"').to_owned();
        gauges.into_iter().map(|(labels, count)| (state(&labels), count)).collect()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole numbers far below 2^53"
)]
fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0, "{value} is no count");
    value as u64
}
