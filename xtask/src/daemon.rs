//! A `tcp-trace serve` of one's own: all defaults, but a socket and a port that are in nobody's way,
//! and no packet program on the host's interfaces, which are not its own.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    child::{Running, poll},
    http,
};

/// Time until it traces.
const START: Duration = Duration::from_secs(30);
/// Time until it has ended.
const END: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// A running daemon that traces; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Daemon {
    running: Running,
    directory: TempDir,
}

impl Daemon {
    /// Starts it, and waits until it traces.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("tcp-trace-")
            .tempdir()
            .context("cannot make a directory for the daemon's socket")?;
        let log = File::create(directory.path().join("log"))
            .context("cannot make a file for the daemon's log")?;
        let running = Running::start(serve(program, directory.path(), log)?)?;
        let mut daemon = Self { running, directory };
        daemon.wait_until_ready().with_context(|| daemon.log())?;
        Ok(daemon)
    }

    /// The body of the answer to `GET path`.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        http::get(&self.socket(), path)
    }

    /// Ends it; an error unless it ends well.
    pub(crate) fn stop(self) -> Result<()> {
        let log = self.log();
        let status = self.running.stop(Signal::TERM, END)?;
        if !status.success() {
            bail!("tcp-trace serve ended badly ({status}). {log}");
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let socket = self.socket();
        let running = &mut self.running;
        let ready = poll(START, PAUSE, || {
            if let Some(status) = running.ended()? {
                bail!("tcp-trace serve ended at once ({status})");
            }
            Ok(http::get(&socket, "/readyz").ok())
        })?;
        ready
            .map(drop)
            .with_context(|| format!("tcp-trace serve was not ready within {} s", START.as_secs()))
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        format!("The daemon's log: {}", log.trim())
    }
}

fn serve(program: &Path, directory: &Path, log: File) -> Result<Command> {
    // What the user has set for a daemon of his own must not reach this one.
    let settings = directory.join("settings.toml");
    fs::write(&settings, "").context("cannot write the daemon's settings")?;
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("TCP_TRACE_") {
            command.env_remove(name);
        }
    }
    command
        .args(["serve", "--segments", "off", "--web.listen-address", "127.0.0.1:0", "--socket"])
        .arg(directory.join("socket"))
        .arg("--config")
        .arg(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(command)
}
