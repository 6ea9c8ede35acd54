//! A `tcp-trace serve` of one's own: all defaults, but a socket and a port that are in nobody's way,
//! and packet programs only where they are asked for: the host's interfaces are not its own.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    child::{Running, poll},
    http,
    namespace::Network,
};

/// Time until it traces.
const START: Duration = Duration::from_secs(30);
/// Time until it has ended.
const END: Duration = Duration::from_secs(15);
/// Between two looks whether it does: its start is measured, too.
const PAUSE: Duration = Duration::from_millis(5);

/// How a daemon is to run.
#[derive(Clone, Debug)]
pub(crate) struct Serve {
    program: PathBuf,
    network: Option<Network>,
    interface: Option<&'static str>,
    xdp: Option<&'static str>,
    mode: &'static str,
    backend: &'static str,
    alone: bool,
}

impl Serve {
    /// This program, which looks at state changes alone.
    pub(crate) fn states(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            network: None,
            interface: None,
            xdp: None,
            mode: "full",
            backend: "auto",
            alone: false,
        }
    }

    /// The same, with its state changes hooked as this `--backend` says.
    pub(crate) fn by(self, backend: &'static str) -> Self {
        Self { backend, ..self }
    }

    /// The same, of its network namespace alone.
    pub(crate) fn and_no_other(self) -> Self {
        Self { alone: true, ..self }
    }

    /// The same, with its connections told as this `--mode` says.
    pub(crate) fn in_mode(self, mode: &'static str) -> Self {
        Self { mode, ..self }
    }

    /// The same within `network`.
    pub(crate) fn within(self, network: &Network) -> Self {
        Self { network: Some(network.clone()), ..self }
    }

    /// The same, and at the segments of an interface of its network, which must be one's own.
    pub(crate) fn and_segments(self, interface: &'static str) -> Self {
        Self { interface: Some(interface), ..self }
    }

    /// The same, with XDP as this `--xdp` says.
    pub(crate) fn and_xdp(self, wish: &'static str) -> Self {
        Self { xdp: Some(wish), ..self }
    }

    fn command(&self, directory: &Path, log: File) -> Result<Command> {
        // What the user has set for a daemon of his own must not reach this one.
        let settings = directory.join("settings.toml");
        fs::write(&settings, "").context("cannot write the daemon's settings")?;
        let mut command = Command::new(&self.program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("TCP_TRACE_") {
                command.env_remove(name);
            }
        }
        command
            .args(["serve", "--web.listen-address", "127.0.0.1:0", "--socket"])
            .arg(directory.join("socket"))
            .arg("--config")
            .arg(settings)
            .args(["--backend", self.backend])
            .env("TCP_TRACE_MODE", self.mode)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        match (self.interface, &self.network) {
            (Some(interface), Some(_)) => {
                command.args(["--segments", "on", "--interface", interface])
            }
            _ => command.args(["--segments", "off"]),
        };
        if let Some(wish) = self.xdp {
            command.args(["--xdp", wish]);
        }
        if self.alone {
            command.args(["--netns", "self"]);
        }
        if let Some(network) = &self.network {
            network.hold(&mut command);
        }
        Ok(command)
    }
}

/// What `status` says of the packet programs.
#[derive(Deserialize)]
struct Status {
    segments: Segments,
}

#[derive(Deserialize)]
struct Segments {
    on: bool,
    refused: bool,
    reason: Option<String>,
    interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    ingress: Option<String>,
    egress: Option<String>,
    refusals: Vec<String>,
}

impl Segments {
    /// Both hooks of the one interface, or nothing yet.
    fn hooks(&self) -> Option<String> {
        let [Interface { ingress: Some(ingress), egress: Some(egress), .. }] = &*self.interfaces
        else {
            return None;
        };
        Some(format!("{ingress} in, {egress} out"))
    }

    fn obstacles(&self) -> String {
        let refusals = self.interfaces.iter().flat_map(|interface| &interface.refusals);
        let obstacles: Vec<_> = self.reason.iter().chain(refusals).map(String::as_str).collect();
        obstacles.join("; ")
    }
}

/// A running daemon that traces; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Daemon {
    running: Running,
    directory: TempDir,
}

impl Daemon {
    /// Starts it, and waits until it traces.
    pub(crate) fn start(serve: &Serve) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("tcp-trace-")
            .tempdir()
            .context("cannot make a directory for the daemon's socket")?;
        let log = File::create(directory.path().join("log"))
            .context("cannot make a file for the daemon's log")?;
        let running = Running::start(serve.command(directory.path(), log)?)?;
        let mut daemon = Self { running, directory };
        daemon.wait_until_ready().with_context(|| daemon.log())?;
        Ok(daemon)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The body of the answer to `GET path`.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        http::get(&self.socket(), path)
    }

    /// How segments are looked at, once they are, if they are to be.
    pub(crate) fn segment_hooks(&self) -> Result<Option<String>> {
        let mut obstacles = String::new();
        let hooks = poll(START, PAUSE, || {
            let status = self.get("/api/v1/status")?;
            let Status { segments } =
                serde_json::from_str(&status).context("the daemon's status is not as expected")?;
            obstacles = segments.obstacles();
            if segments.refused {
                bail!("the host refuses packet programs: {obstacles}");
            }
            Ok(if segments.on { segments.hooks().map(Some) } else { Some(None) })
        })?;
        hooks.with_context(|| format!("the packet programs are not all attached: {obstacles}"))
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

    /// Where it answers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        format!("The daemon's log: {}", log.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(json: &str) -> Segments {
        serde_json::from_str::<Status>(json).unwrap().segments
    }

    #[test]
    fn hooks_are_told_when_both_are_there() {
        let both = segments(
            r#"{"segments":{"on":true,"refused":false,"reason":null,"interfaces":[
                {"name":"lo","ingress":"xdp_generic","egress":"tcx","why":"","refusals":[]}]}}"#,
        );
        assert_eq!(both.hooks().unwrap(), "xdp_generic in, tcx out");
        let one = segments(
            r#"{"segments":{"on":true,"refused":false,"reason":null,"interfaces":[
                {"name":"lo","ingress":"tcx","egress":null,"refusals":["no room","no hope"]}]}}"#,
        );
        assert_eq!(one.hooks(), None);
        assert_eq!(one.obstacles(), "no room; no hope");
    }

    #[test]
    fn no_packet_program_without_a_network_of_ones_own() {
        let directory = tempfile::tempdir().unwrap();
        let log = || File::create(directory.path().join("log")).unwrap();
        let serve = Serve::states(Path::new("/bin/true"));
        for serve in [serve.clone(), serve.and_segments("lo")] {
            let command = serve.command(directory.path(), log()).unwrap();
            let words: Vec<_> = command.get_args().collect();
            assert!(words.windows(2).any(|pair| pair == ["--segments", "off"]), "{words:?}");
        }
    }
}
