//! Everything that can run beside the load.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::rival::Rival;
use crate::{
    child::{Running, poll},
    daemon::{Daemon, Serve},
    namespace::Network,
};

/// Time for the last events to reach the daemon.
const DRAIN: Duration = Duration::from_secs(10);
/// Longer than any tick of the daemon: a number that stands still for so long has arrived.
const STILL: Duration = Duration::from_millis(250);
/// What tells of owners and `TIME_WAIT`: beginnings of programs' names.
const CALLS: [&str; 5] = ["connect_", "accept_", "close_", "time_wait_born_", "time_wait_ended_"];
/// Longest reason that a table tells.
const REASON: usize = 200;

/// A program that traces.
#[derive(Debug)]
pub(super) enum Tracer {
    /// `tcp-trace serve`.
    TcpTrace(TcpTrace),
    /// Another tool.
    Rival(Rival),
}

/// A daemon of ours.
#[derive(Debug)]
pub(super) struct TcpTrace {
    /// What the tables call it.
    pub(super) name: &'static str,
    /// How it runs.
    pub(super) serve: Serve,
    /// Whether it runs in the load's own network namespace, as packet programs must.
    pub(super) within: bool,
    /// Whether it is to know owners and `TIME_WAIT` from hooks of their own.
    pub(super) calls: bool,
}

/// What a daemon counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Events {
    pub(super) seen: u64,
    pub(super) lost: u64,
}

/// A tracer that is attached.
pub(super) enum Attached {
    TcpTrace(Daemon),
    Rival(Running),
}

impl Tracer {
    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::TcpTrace(TcpTrace { name, .. }) => name,
            Self::Rival(rival) => rival.name,
        }
    }

    /// What keeps it from being measured, if anything does: each is tried.
    pub(super) fn obstacle(&self) -> Option<String> {
        let tried = match self {
            Self::Rival(rival) => rival.prove(),
            Self::TcpTrace(ours) => self.attach_for_once(ours),
        };
        tried.err().map(|error| reason(&format!("does not run here: {error:#}")))
    }

    fn attach_for_once(&self, TcpTrace { calls, .. }: &TcpTrace) -> Result<()> {
        let attached = self.attach(Some(&Network::new()?))?;
        attached.hooks()?;
        if let (true, Attached::TcpTrace(daemon)) = (calls, &attached) {
            expect_calls(&daemon.get("/api/v1/status")?)?;
        }
        attached.detach().map(drop)
    }

    /// Starts it, and waits until it traces; `network` is the load's.
    pub(super) fn attach(&self, network: Option<&Network>) -> Result<Attached> {
        Ok(match self {
            Self::TcpTrace(TcpTrace { serve, within, .. }) => {
                let network = network.filter(|_| *within);
                let serve = network.map_or_else(|| serve.clone(), |of| serve.clone().within(of));
                Attached::TcpTrace(Daemon::start(&serve)?)
            }
            Self::Rival(rival) => Attached::Rival(rival.start()?),
        })
    }
}

impl Attached {
    /// Where segments are looked at, if they are.
    pub(super) fn hooks(&self) -> Result<Option<String>> {
        match self {
            Self::Rival(_) => Ok(None),
            Self::TcpTrace(daemon) => daemon.segment_hooks(),
        }
    }

    /// Ends it, and says what it counted if it can be asked.
    pub(super) fn detach(self) -> Result<Option<Events>> {
        match self {
            Self::Rival(running) => super::rival::stop(running).map(|()| None),
            Self::TcpTrace(daemon) => {
                let events = settled(&daemon)?;
                daemon.stop()?;
                Ok(Some(events))
            }
        }
    }
}

/// On one line, and no longer than a table has room for.
fn reason(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ").replace('|', "/");
    match line.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What the daemon has counted, once nothing is under way any more.
fn settled(daemon: &Daemon) -> Result<Events> {
    let mut before = events(&daemon.get("/api/v1/status")?)?;
    let still = poll(DRAIN, STILL, || {
        let now = events(&daemon.get("/api/v1/status")?)?;
        Ok((std::mem::replace(&mut before, now) == now).then_some(now))
    })?;
    Ok(still.unwrap_or(before))
}

#[derive(Deserialize)]
struct Status {
    events: u64,
    lost: Vec<Loss>,
}

#[derive(Deserialize)]
struct Loss {
    count: u64,
}

fn events(status: &str) -> Result<Events> {
    let Status { events, lost } =
        serde_json::from_str(status).context("the daemon's status is not as expected")?;
    Ok(Events { seen: events, lost: lost.iter().map(|loss| loss.count).sum() })
}

#[derive(Deserialize)]
struct Hooked {
    hooks: Vec<Hook>,
}

#[derive(Deserialize)]
struct Hook {
    program: String,
    attached: bool,
    reason: Option<String>,
}

/// An error that names what is not hooked of all that tells of owners and `TIME_WAIT`.
fn expect_calls(status: &str) -> Result<()> {
    let Hooked { hooks } =
        serde_json::from_str(status).context("the daemon's status is not as expected")?;
    let of = |start: &'static str| hooks.iter().filter(move |hook| hook.program.starts_with(start));
    let missing = |start: &&'static str| of(start).all(|hook| !hook.attached);
    let missing: Vec<_> = CALLS.into_iter().filter(missing).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let why = of(first).find_map(|hook| hook.reason.as_deref()).unwrap_or("no reason is given");
    let names: Vec<_> = missing.iter().map(|start| start.trim_end_matches('_')).collect();
    bail!("the host refuses the hooks of {}: {why}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_all_places_are_added() {
        let status = r#"{"version":"1","events":7,"lost":[{"stage":"a","count":1},{"stage":"b","count":2}]}"#;
        assert_eq!(events(status).unwrap(), Events { seen: 7, lost: 3 });
        assert!(events("{}").is_err());
    }

    #[test]
    fn hooks_that_are_refused_are_named_with_the_reason() {
        let hook = |program: &str, attached: bool| {
            let reason = if attached { "null" } else { r#""EPERM""# };
            format!(r#"{{"program":"{program}","attached":{attached},"reason":{reason}}}"#)
        };
        let status = |accept: bool| {
            let others = ["connect_fentry", "close_kprobe", "time_wait_born_fentry"];
            let mut hooks: Vec<_> = others.map(|program| hook(program, true)).into();
            hooks.extend([hook("time_wait_ended_fentry", true), hook("accept_fexit_4", false)]);
            hooks.push(hook("accept_fexit_2", accept));
            format!(r#"{{"hooks":[{}]}}"#, hooks.join(","))
        };
        assert!(expect_calls(&status(true)).is_ok());
        let error = expect_calls(&status(false)).unwrap_err().to_string();
        assert_eq!(error, "the host refuses the hooks of accept: EPERM");
    }

    #[test]
    fn a_reason_fits_into_a_table() {
        assert_eq!(reason("a |\n  b"), "a / b");
        assert_eq!(reason(&"ä".repeat(300)).chars().count(), REASON + 1);
    }
}
