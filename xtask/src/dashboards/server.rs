//! A Prometheus of one's own, and questions to it: as little of HTTP as that takes.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::{Running, poll};

/// Where it listens, in a network namespace of one's own.
const PORT: u16 = 9090;
/// Time until it answers.
const START: Duration = Duration::from_secs(30);
/// Longest silence.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

/// A running server; dropping this ends it, and its data are gone.
#[derive(Debug)]
pub(super) struct Server {
    running: Running,
    directory: TempDir,
}

impl Server {
    /// Starts `program` with a configuration; `files` are written beside it. Waits until it answers.
    pub(super) fn start(
        program: &Path,
        configuration: &str,
        files: &[(&str, &str)],
    ) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for Prometheus")?;
        let home = directory.path();
        for (name, text) in files.iter().chain(&[("prometheus.yml", configuration)]) {
            fs::write(home.join(name), text).with_context(|| format!("cannot write its {name}"))?;
        }
        let log = File::create(home.join("log")).context("cannot make a file for its log")?;
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", home.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", home.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let running = Running::start(command)?;
        let mut server = Self { running, directory };
        server.wait_until_ready().with_context(|| server.log())?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let running = &mut self.running;
        let ready = poll(START, PAUSE, || {
            if let Some(status) = running.ended()? {
                bail!("Prometheus ended at once ({status})");
            }
            Ok(get("/-/ready").ok())
        })?;
        ready.map(drop).context("Prometheus does not get ready")
    }

    /// What it has written.
    pub(super) fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        format!("Prometheus's log: {}", log.trim())
    }

    /// The body of its answer to `GET path`.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        get(path).with_context(|| self.log())
    }

    /// `data` of the answer to an API path with these parameters.
    pub(super) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let query: Vec<_> =
            parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let path = format!("{path}?{}", query.join("&"));
        let answer = get(&path).with_context(|| self.log())?;
        let mut answer: Value =
            serde_json::from_str(&answer).with_context(|| format!("no JSON: {answer}"))?;
        if answer["status"] != "success" {
            bail!("{path}: {answer}");
        }
        Ok(answer["data"].take())
    }
}

/// The body of the answer to `GET path`, whatever its status.
fn get(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    if head.lines().next().is_some_and(|status| status.contains(" 503")) {
        bail!("not ready");
    }
    Ok(body.to_owned())
}

/// Everything but what a URL may have as it is.
fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let escape = |byte: u8| {
        if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escaped("a{b=\"c d\"}"), "a%7Bb%3D%22c%20d%22%7D");
    }
}
