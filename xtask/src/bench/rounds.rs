//! Who runs when: in each round every tracer once, between two runs of nothing, so that a machine
//! that grows slower or faster does so for all of them.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    statistics::Spread,
    tracer::{Events, Tracer},
};

/// For what the run before has left to the kernel.
const REST: Duration = Duration::from_millis(300);

/// A load: runs to its end, and says how much of whatever it does it did in a second.
pub(super) type Load<'a> = dyn Fn() -> Result<f64> + 'a;

/// One tracer's run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    /// Whose.
    pub(super) tracer: &'static str,
    /// What the load did in a second.
    pub(super) rate: f64,
    /// Where it was hooked beside state changes, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hooks: Option<String>,
    /// What it counted, if it can tell.
    pub(super) events: Option<Events>,
}

/// A round.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    /// The rate with nothing, before and after.
    pub(super) nothing: [f64; 2],
    /// With each tracer, in the order they ran.
    pub(super) runs: Vec<Run>,
}

impl Round {
    /// What nothing would have made in the middle of the round.
    pub(super) fn base(&self) -> f64 {
        f64::midpoint(self.nothing[0], self.nothing[1])
    }

    /// The tracer's rate against that of nothing.
    pub(super) fn kept(&self, tracer: &str) -> Option<f64> {
        self.runs.iter().find(|run| run.tracer == tracer).map(|run| run.rate / self.base())
    }
}

/// Runs a round; `turn` decides which of the tracers is first.
pub(super) fn run(load: &Load<'_>, tracers: &[&Tracer], turn: usize) -> Result<Round> {
    let before = alone(load)?;
    let mut runs = Vec::new();
    for place in 0..tracers.len() {
        let tracer = tracers[(place + turn) % tracers.len()];
        runs.push(
            beside(load, tracer).with_context(|| format!("cannot measure {}", tracer.name()))?,
        );
    }
    Ok(Round { nothing: [before, alone(load)?], runs })
}

/// The rate with nothing.
pub(super) fn alone(load: &Load<'_>) -> Result<f64> {
    thread::sleep(REST);
    load()
}

fn beside(load: &Load<'_>, tracer: &Tracer) -> Result<Run> {
    let attached = tracer.attach()?;
    let hooks = attached.hooks()?;
    let rate = alone(load)?;
    Ok(Run { tracer: tracer.name(), rate, hooks, events: attached.detach()? })
}

/// What all rounds say of one tracer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    /// What the load did in a second.
    pub(super) rate: Spread,
    /// Against nothing.
    pub(super) kept: Spread,
    /// What it counted in all rounds, if it can tell.
    pub(super) events: Option<Events>,
}

/// What `rounds` say of `tracer`; nothing if it did not run.
pub(super) fn verdict(rounds: &[Round], tracer: &str) -> Option<Verdict> {
    let runs: Vec<_> =
        rounds.iter().flat_map(|round| &round.runs).filter(|run| run.tracer == tracer).collect();
    let events = runs.iter().filter_map(|run| run.events).reduce(|sum, events| Events {
        seen: sum.seen + events.seen,
        lost: sum.lost + events.lost,
    });
    Some(Verdict {
        rate: Spread::of(runs.iter().map(|run| run.rate))?,
        kept: Spread::of(rounds.iter().filter_map(|round| round.kept(tracer)))?,
        events,
    })
}

/// How many events were seen in each run whose tracer can tell.
pub(super) fn events(rounds: &[Round]) -> impl Iterator<Item = f64> {
    let runs = rounds.iter().flat_map(|round| &round.runs);
    // A number of events too large for an exact f64 would take years to make.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    runs.filter_map(|run| Some(run.events?.seen as f64))
}

/// What they say of nothing: its rate, and how far it moved within a round.
pub(super) fn nothing(rounds: &[Round]) -> Option<Verdict> {
    Some(Verdict {
        rate: Spread::of(rounds.iter().flat_map(|round| round.nothing))?,
        kept: Spread::of(
            rounds.iter().flat_map(|round| round.nothing.map(|rate| rate / round.base())),
        )?,
        events: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(nothing: [f64; 2], rate: f64, lost: u64) -> Round {
        let events = Some(Events { seen: 10, lost });
        Round { nothing, runs: vec![Run { tracer: "t", rate, hooks: None, events }] }
    }

    #[test]
    fn each_round_is_its_own_yardstick() {
        let rounds = [round([90.0, 110.0], 50.0, 0), round([200.0, 200.0], 180.0, 3)];
        let verdict = verdict(&rounds, "t").unwrap();
        assert_eq!(verdict.kept, Spread { median: 0.7, min: 0.5, max: 0.9 });
        assert_eq!(verdict.rate, Spread { median: 115.0, min: 50.0, max: 180.0 });
        assert_eq!(verdict.events, Some(Events { seen: 20, lost: 3 }));
        let nothing = nothing(&rounds).unwrap();
        assert_eq!(nothing.kept, Spread { median: 1.0, min: 0.9, max: 1.1 });
    }

    #[test]
    fn who_did_not_run_has_no_figures() {
        assert!(verdict(&[round([1.0, 1.0], 1.0, 0)], "other").is_none());
    }
}
