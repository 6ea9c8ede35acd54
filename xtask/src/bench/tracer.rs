//! Everything that can run beside the load.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::rival;
use crate::{
    child::{Running, poll},
    daemon::{Daemon, Serve},
    tool::{TCPLIFE, TCPSTATES, Tool},
};

/// Time for the last events to reach the daemon.
const DRAIN: Duration = Duration::from_secs(10);
/// Longer than any tick of the daemon: a number that stands still for so long has arrived.
const STILL: Duration = Duration::from_millis(250);

/// A program that traces.
#[derive(Debug)]
pub(super) enum Tracer {
    /// `tcp-trace serve`, under this name.
    TcpTrace(&'static str, Serve),
    /// A tool whose output begins so.
    Rival(Tool, &'static str),
}

/// What a daemon counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// All of them, in the table's order.
    pub(super) fn all(serve: Serve) -> [Self; 5] {
        [
            Self::TcpTrace("tcp-trace serve", serve.clone()),
            Self::TcpTrace("tcp-trace auto", serve.clone().in_mode("auto")),
            Self::TcpTrace("tcp-trace folded", serve.in_mode("folded")),
            Self::Rival(TCPSTATES, "SKADDR"),
            Self::Rival(TCPLIFE, "PID"),
        ]
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::TcpTrace(name, _) => name,
            Self::Rival(tool, _) => tool.name,
        }
    }

    /// What keeps it from being measured, if anything does.
    pub(super) fn obstacle(&self) -> Option<String> {
        let Self::Rival(tool, header) = self else {
            return None;
        };
        let Some(path) = tool.path() else {
            return Some(format!("not installed ({})", tool.install));
        };
        let proof = rival::prove(&path, header);
        proof.err().map(|error| format!("does not run here: {error:#}"))
    }

    /// Starts it, and waits until it traces.
    pub(super) fn attach(&self) -> Result<Attached> {
        Ok(match self {
            Self::TcpTrace(_, serve) => Attached::TcpTrace(Daemon::start(serve)?),
            Self::Rival(tool, _) => Attached::Rival(rival::start(&tool.required()?)?),
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
            Self::Rival(running) => rival::stop(running).map(|()| None),
            Self::TcpTrace(daemon) => {
                let events = settled(&daemon)?;
                daemon.stop()?;
                Ok(Some(events))
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_all_places_are_added() {
        let status = r#"{"version":"1","events":7,"lost":[{"stage":"a","count":1},{"stage":"b","count":2}]}"#;
        assert_eq!(events(status).unwrap(), Events { seen: 7, lost: 3 });
        assert!(events("{}").is_err());
    }
}
