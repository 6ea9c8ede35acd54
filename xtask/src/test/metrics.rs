//! promtool's judgement of the metrics of a real daemon, with real connections in them.

use std::{
    env,
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{Setting, report::Outcome, root};
use crate::{
    cargo::{Profile, build},
    child::Running,
    daemon::{Daemon, Serve},
    tool::{PROMTOOL, words},
};

/// Time for all of it.
const LIMIT: Duration = Duration::from_mins(2);

/// Whose metrics.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tcp-trace to start
    program: PathBuf,
}

/// The step: as root, by sudo if need be.
pub(super) fn take(setting: &Setting<'_>) -> Result<Outcome> {
    if setting.args.unprivileged {
        return Ok(Outcome::LeftOut("--unprivileged was given".into()));
    }
    PROMTOOL.required()?;
    let elevation = root::elevation("the metrics were NOT checked")?;
    let program = build(setting.checkout, Profile::Debug)?;
    let this = env::current_exe().context("cannot tell where this program is")?;
    let mut command = elevation.command(&this);
    command.arg("check-metrics").arg(program);
    let words = words(&command);
    let status = Running::start(command)?.wait(LIMIT)?;
    if !status.success() {
        bail!("{words} failed ({status}); its own words are above");
    }
    Ok(Outcome::Passed("promtool check metrics".into()))
}

/// What that step does as root.
pub(crate) fn run(args: &Args) -> Result<()> {
    let promtool = PROMTOOL.required()?;
    let daemon = Daemon::start(&Serve::states(&args.program))?;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let address = listener.local_addr().context("cannot tell the listener's address")?;
    let open = TcpStream::connect(address).context("cannot connect over loopback")?;
    drop(TcpStream::connect(address).context("cannot connect over loopback")?);
    let text = daemon.get("/metrics")?;
    drop(open);
    daemon.stop()?;
    println!("{} lines of metrics", text.lines().count());
    judge(Command::new(promtool), &text)
}

fn judge(mut promtool: Command, text: &str) -> Result<()> {
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut running = Running::start(promtool)?;
    if let Some(mut input) = running.child().stdin.take() {
        input.write_all(text.as_bytes()).context("promtool does not read the metrics")?;
    }
    let status = running.wait(LIMIT)?;
    if !status.success() {
        bail!("promtool objects to the metrics ({status}); its own words are above");
    }
    Ok(())
}
