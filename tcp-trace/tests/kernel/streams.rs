//! The commands that run beside a scenario: `watch` and `record`.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, kill_process};
use tcp_trace::api::{Event, StateEvent};

use super::{
    deadline::until,
    netns::{HOME, Netns},
    program::program,
};

/// A command whose lines are collected as they come; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Lines {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    /// Starts it and collects what it prints.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, sink) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                sink.lock().unwrap().push(line.unwrap());
            }
        });
        Self { child, lines }
    }

    /// What it has printed so far.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `tcp-trace watch --format json`.
#[derive(Debug)]
pub(crate) struct Watch {
    lines: Lines,
    /// Lines about what happened before it was needed.
    before: usize,
}

impl Watch {
    /// Starts it on the daemon at `socket`, or by itself where there is none; when this returns, it
    /// sees what happens in `netns`.
    pub(crate) fn start(socket: &Path, netns: &[&Netns]) -> Self {
        let mut command = program();
        command.arg("--socket").arg(socket).args(["watch", "--format", "json"]);
        // A daemon has been told already, and a command may not tell it anew.
        if !socket.exists() {
            command.args(netns.iter().map(|netns| format!("--netns={}", netns.path())));
        }
        let mut watch = Self { lines: Lines::start(&mut command), before: 0 };
        until(
            || "watch shows nothing".to_owned(),
            || {
                assert!(watch.lines.runs(), "watch has ended");
                netns[0].signal();
                (!watch.lines.so_far().is_empty()).then_some(())
            },
        );
        watch.catch_up(netns[0]);
        watch.before = watch.lines.so_far().len();
        watch
    }

    /// Everything that has happened so far, signals excepted.
    pub(crate) fn events(&self) -> Vec<Event> {
        let parse =
            |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let lines = self.lines.so_far();
        let since = lines.iter().skip(self.before);
        since.map(parse).filter(|event| !is_signal(event)).collect()
    }

    /// Waits until it has shown all that has happened up to now.
    pub(crate) fn catch_up(&self, netns: &Netns) {
        let signal = netns.signal();
        until(
            || format!("watch does not catch up; it shows {:#?}", self.lines.so_far()),
            || self.lines.so_far().iter().any(|line| is_end_of(line, signal)).then_some(()),
        );
    }
}

fn is_signal(event: &Event) -> bool {
    let connection = match event {
        Event::State(event) => &event.connection,
        Event::Closed(event) => &event.connection,
        Event::Lost(_) => return false,
    };
    connection.owner.as_ref().is_some_and(|owner| owner.comm == HOME)
}

fn is_end_of(line: &str, signal: SocketAddr) -> bool {
    let Ok(Event::State(event)) = serde_json::from_str(line) else { return false };
    let StateEvent { connection, to, .. } = *event;
    to == "close" && SocketAddr::new(connection.local.addr, connection.local.port) == signal
}

/// `tcp-trace record`.
#[derive(Debug)]
pub(crate) struct Record {
    child: Child,
    /// Kept open: the last words go there, too.
    said: BufReader<ChildStderr>,
    file: PathBuf,
}

impl Record {
    /// Starts it; when this returns, it records.
    pub(crate) fn start(file: &Path, netns: &[&Netns]) -> Self {
        Self::start_with(file, netns, &[])
    }

    /// Likewise, with further `arguments`.
    pub(crate) fn start_with(file: &Path, netns: &[&Netns], arguments: &[&str]) -> Self {
        let mut command = program();
        command.arg("record").arg(file).args(arguments);
        command.args(netns.iter().map(|netns| format!("--netns={}", netns.path())));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        said.read_line(&mut first).unwrap();
        assert!(first.starts_with("recording to "), "record says: {first}");
        Self { child, said, file: file.to_owned() }
    }

    /// Ends it as Ctrl-C would; the finished file.
    pub(crate) fn interrupt(mut self) -> PathBuf {
        // It says that it records before it is prepared to be interrupted.
        let status = format!("/proc/{}/status", self.child.id());
        until(
            || "record does not care to be interrupted".to_owned(),
            || catches(&std::fs::read_to_string(&status).unwrap(), Signal::INT).then_some(()),
        );
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let status = until(|| "record does not end".to_owned(), || self.child.try_wait().unwrap());
        let mut last = String::new();
        self.said.read_to_string(&mut last).unwrap();
        assert!(status.success(), "record ended with {status}: {last}");
        self.file.clone()
    }
}

/// Whether a process with this status handles the signal: `SigCgt` has a bit for each, from 1 on.
fn catches(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

impl Drop for Record {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
