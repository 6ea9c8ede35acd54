//! The daemon of the scene, behind TLS and a password as one would put it on a network, and what it
//! takes to be let in.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    archive::run,
    child::{Running, poll},
    http,
    namespace::Network,
    tool::OPENSSL,
};

/// Where it listens.
pub(super) const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 10435);
/// Who is let in.
pub(super) const USER: &str = "prometheus";
/// With which password: the daemon lives for minutes, where nobody else gets to.
pub(super) const PASSWORD: &str = "observed";
/// Its bcrypt hash.
const HASH: &str = "$2b$08$Kx3mZrT0aQ8yB1nVw5LpHeoC3kJwYG1m36vgWelL0r8i9ov8./q4e";
/// `prometheus:observed` in Base64.
const CREDENTIALS: &str = "cHJvbWV0aGV1czpvYnNlcnZlZA==";
/// Time until it traces.
const START: Duration = Duration::from_secs(40);
/// Time until a killed one is gone.
const END: Duration = Duration::from_secs(10);
/// Time for one answer over TLS.
const ANSWER: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// The daemon; dropping this ends it.
#[derive(Debug)]
pub(super) struct Watcher {
    running: Option<Running>,
    program: PathBuf,
    /// Which namespace it watches.
    players: Network,
    directory: TempDir,
}

impl Watcher {
    /// Starts one that watches `players`; ready.
    pub(super) fn start(program: &Path, players: &Network) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for the daemon")?;
        certify(directory.path())?;
        let file = format!(
            "tls_server_config: {{cert_file: tcp-trace.crt, key_file: tcp-trace.key}}\n\
             basic_auth_users: {{{USER}: {HASH}}}\n"
        );
        fs::write(directory.path().join("web.yml"), file)
            .context("cannot write the daemon's web configuration")?;
        let (program, players) = (program.to_owned(), players.clone());
        let mut watcher = Self { running: None, program, players, directory };
        watcher.begin()?;
        Ok(watcher)
    }

    /// What a client must trust, PEM.
    pub(super) fn certificate(&self) -> Result<String> {
        fs::read_to_string(self.path("tcp-trace.crt")).context("cannot read the certificate")
    }

    /// Starts it, or starts it again; ready.
    pub(super) fn begin(&mut self) -> Result<()> {
        let (socket, log) = (self.path("socket"), self.path("log"));
        let mut command = clean(&self.program);
        command
            .args(["serve", "--older-than", "5s", "--web.listen-address"])
            .arg(format!("{}:{}", ADDRESS.0, ADDRESS.1))
            .arg("--web.config.file")
            .arg(self.path("web.yml"))
            .arg("--netns")
            .arg(self.players.path())
            .arg("--socket")
            .arg(&socket)
            .stderr(File::create(&log).context("cannot make a file for the daemon's log")?);
        let mut running = Running::start(command)?;
        let ready = poll(START, PAUSE, || {
            if let Some(status) = running.ended()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("tcp-trace serve ended at once ({status}): {said}");
            }
            let up = http::get(&socket, "/readyz").is_ok() && TcpStream::connect(ADDRESS).is_ok();
            Ok(up.then_some(()))
        })?;
        ready.context("tcp-trace serve does not get ready")?;
        self.running = Some(running);
        Ok(())
    }

    /// Ends it as nobody wants to be ended.
    pub(super) fn kill(&mut self) -> Result<()> {
        let running = self.running.take().context("no daemon runs that could be killed")?;
        running.stop(Signal::KILL, END).map(drop)
    }

    /// What it exports, asked of its own socket.
    pub(super) fn metrics(&self) -> Result<String> {
        http::get(&self.path("socket"), "/metrics")
    }

    /// Proves that nobody gets in without TLS, without a password or with another one.
    pub(super) fn prove_locked(&self) -> Result<()> {
        expect("over plain HTTP", &plain()?, "400")?;
        expect("without a password", &self.ask("")?, "401")?;
        let wrong = "Authorization: Basic cHJvbWV0aGV1czpndWVzc2Vk\r\n";
        expect("with a wrong password", &self.ask(wrong)?, "401")?;
        let right = format!("Authorization: Basic {CREDENTIALS}\r\n");
        expect("with the password", &self.ask(&right)?, "200")
    }

    /// The answer to a scrape over TLS with these further headers.
    fn ask(&self, headers: &str) -> Result<String> {
        let mut command = Command::new(OPENSSL.required()?);
        command
            // The end of the input is not the end of the exchange.
            .args(["s_client", "-quiet", "-verify_return_error", "-connect"])
            .arg(format!("{}:{}", ADDRESS.0, ADDRESS.1))
            .arg("-verify_ip")
            .arg(ADDRESS.0.to_string())
            .arg("-CAfile")
            .arg(self.path("tcp-trace.crt"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = Running::start(command)?;
        let child = running.child();
        let mut input = child.stdin.take().context("openssl has no input")?;
        input.write_all(request(headers).as_bytes()).context("openssl reads nothing")?;
        let mut answer = String::new();
        if let Some(output) = &mut child.stdout {
            output.read_to_string(&mut answer).context("cannot read what openssl got")?;
        }
        drop(input);
        running.wait(ANSWER)?;
        let mut said = String::new();
        if let Some(errors) = &mut running.child().stderr {
            errors.read_to_string(&mut said).context("cannot read what openssl says")?;
        }
        if answer.is_empty() {
            bail!("no answer over TLS: {}", said.trim());
        }
        Ok(answer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// tcp-trace, without what the user has set for a daemon of his own.
pub(super) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TCP_TRACE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Makes a certificate for [`ADDRESS`] that nobody but itself has signed, and its key.
fn certify(directory: &Path) -> Result<()> {
    run(Command::new(OPENSSL.required()?)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-noenc", "-days", "2", "-subj", "/CN=tcp-trace", "-addext"])
        .arg(format!("subjectAltName=IP:{}", ADDRESS.0))
        .args(["-keyout", "tcp-trace.key", "-out", "tcp-trace.crt"])
        .current_dir(directory))
    .map(drop)
}

fn request(headers: &str) -> String {
    format!("GET /metrics HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n")
}

fn plain() -> Result<String> {
    let mut stream = TcpStream::connect(ADDRESS).context("the daemon does not listen")?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(request("").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer over plain HTTP")?;
    Ok(answer)
}

fn expect(how: &str, answer: &str, status: &str) -> Result<()> {
    let line = answer.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some(status) {
        bail!("{how} the daemon answers {line:?} and not {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_status_counts() {
        assert!(expect("", "HTTP/1.1 401 Unauthorized\r\n\r\n200", "401").is_ok());
        for other in ["HTTP/1.1 200 OK\r\n\r\n", "", "401"] {
            assert!(expect("", other, "401").is_err(), "{other:?}");
        }
    }
}
