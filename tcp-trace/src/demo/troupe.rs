//! The players: processes of this very program, in a network namespace of their own, which goes
//! with them. They end when this does, whatever ends it: their cues come through a pipe.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use thiserror::Error;
use tokio::sync::mpsc;

use super::{
    cue::{Cue, Report},
    role::Role,
    scene,
};
use crate::kernel::netns;

/// The subcommand that a player is started by.
pub(crate) const SUBCOMMAND: &str = "demo-actor";

/// There is no place to play.
#[derive(Debug, Error)]
#[error(
    "the demo plays in a network namespace of its own, and {what}: {source} (it takes root, or \
     CAP_SYS_ADMIN; in a container: --privileged)"
)]
pub(crate) struct NoStage {
    what: &'static str,
    source: io::Error,
}

/// The players, each alive until this is dropped.
#[derive(Debug)]
pub(crate) struct Troupe {
    players: Vec<Player>,
    reports: mpsc::UnboundedReceiver<(Role, Report)>,
}

#[derive(Debug)]
struct Player {
    role: Role,
    process: Child,
    cues: ChildStdin,
}

impl Troupe {
    /// Makes the namespace and starts everybody in it. Waits for nobody.
    ///
    /// # Errors
    /// Where no namespace may be made, or set up.
    pub(crate) fn assemble() -> Result<Self, NoStage> {
        let (sender, reports) = mpsc::unbounded_channel();
        // The thread's namespace is new, this process's stays what it is.
        let made = thread::spawn(move || {
            set_up()?;
            let mut players = Vec::new();
            for role in Role::ALL {
                // Those that are there already end with their value.
                players.push(Player::start(role, sender.clone())?);
            }
            Ok(players)
        });
        let players = made.join().unwrap_or_else(|_| {
            Err(NoStage { what: "the thread in it died", source: io::Error::other("a panic") })
        })?;
        Ok(Self { players, reports })
    }

    /// A path to the namespace, as `--netns` takes it.
    pub(crate) fn netns(&self) -> String {
        let pid = self.players.first().map_or(0, |player| player.process.id());
        format!("/proc/{pid}/ns/net")
    }

    /// Tells some of them something.
    ///
    /// # Errors
    /// Where one of them has ended.
    pub(crate) fn tell(&mut self, whom: impl Fn(Role) -> bool, cue: Cue) -> io::Result<()> {
        for player in self.players.iter_mut().filter(|player| whom(player.role)) {
            writeln!(player.cues, "{cue}")?;
        }
        Ok(())
    }

    /// The next report; `None` where everybody has ended.
    pub(crate) async fn report(&mut self) -> Option<(Role, Report)> {
        self.reports.recv().await
    }
}

fn set_up() -> Result<(), NoStage> {
    netns::enter_new().map_err(|source| NoStage { what: "there can be none", source })?;
    for (setting, value) in scene::settings() {
        netns::set(setting, &value)
            .map_err(|source| NoStage { what: "its ports cannot be limited", source })?;
    }
    Ok(())
}

impl Player {
    /// Starts it in the calling thread's namespace; what it says goes to `reports`.
    fn start(role: Role, reports: mpsc::UnboundedSender<(Role, Report)>) -> Result<Self, NoStage> {
        let failed = |source| NoStage { what: "nobody can be started in it", source };
        let mut process = Command::new("/proc/self/exe")
            .args([SUBCOMMAND, role.name()])
            // Ctrl-C is for this process alone, which then ends the others.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(cues), Some(said)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let player = Self { role, process, cues };
        thread::Builder::new()
            .name(format!("hears {role}"))
            .spawn(move || {
                let lines = BufReader::new(said).lines().map_while(Result::ok);
                let said = lines.map(|line| line.parse().unwrap_or_else(Report::Failed));
                let end = Report::Failed("it has ended".to_owned());
                for report in said.chain(std::iter::once(end)) {
                    if reports.send((role, report)).is_err() {
                        return;
                    }
                }
            })
            .map_err(failed)?;
        Ok(player)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // One that has ended already is only waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
