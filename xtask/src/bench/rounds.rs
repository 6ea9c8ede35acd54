//! Who runs when: in each round every tracer once, between two runs of nothing, so that a machine
//! that grows slower or faster does so for all of them.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    sample::{Latency, Sample},
    statistics::Spread,
    tracer::{Events, Tracer},
};
use crate::namespace::Network;

/// For what the run before has left to the kernel.
const REST: Duration = Duration::from_millis(300);

/// A load: runs to its end, in the network namespace that it is given, if it is given one.
pub(super) type Run<'a> = dyn Fn(Option<&Network>) -> Result<Sample> + 'a;

/// A load, and where it runs.
pub(super) struct Load<'a> {
    /// Whether each run has a network namespace of its own, so that none finds what another has left.
    pub(super) afresh: bool,
    /// The load itself.
    pub(super) run: &'a Run<'a>,
}

impl Load<'_> {
    fn network(&self) -> Result<Option<Network>> {
        self.afresh.then(Network::new).transpose()
    }
}

/// One tracer's run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Beside {
    /// Whose.
    pub(super) tracer: String,
    /// What the load did.
    #[serde(flatten)]
    pub(super) sample: Sample,
    /// Where it was hooked beside state changes, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hooks: Option<String>,
    /// What it counted, if it can tell.
    pub(super) events: Option<Events>,
}

/// A round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Round {
    /// With nothing, before and after.
    pub(super) nothing: [Sample; 2],
    /// With each tracer, in the order they ran.
    pub(super) runs: Vec<Beside>,
}

impl Round {
    /// The rate that nothing would have had in the middle of the round.
    pub(super) fn base(&self) -> f64 {
        f64::midpoint(self.nothing[0].rate, self.nothing[1].rate)
    }

    /// Likewise, how long its connections would have taken.
    fn base_latency(&self) -> Option<Latency> {
        let [before, after] = self.nothing;
        Some(Latency::between(before.latency?, after.latency?))
    }

    fn run(&self, tracer: &str) -> Option<&Beside> {
        self.runs.iter().find(|run| run.tracer == tracer)
    }

    /// The tracer's rate against that of nothing.
    pub(super) fn kept(&self, tracer: &str) -> Option<f64> {
        self.run(tracer).map(|run| run.sample.rate / self.base())
    }

    /// By how much longer connections take beside it.
    fn added(&self, tracer: &str) -> Option<Latency> {
        let (base, with) = (self.base_latency()?, self.run(tracer)?.sample.latency?);
        Some(Latency { p50_us: with.p50_us - base.p50_us, p99_us: with.p99_us - base.p99_us })
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

/// With nothing.
pub(super) fn alone(load: &Load<'_>) -> Result<Sample> {
    thread::sleep(REST);
    (load.run)(load.network()?.as_ref())
}

fn beside(load: &Load<'_>, tracer: &Tracer) -> Result<Beside> {
    let network = load.network()?;
    let attached = tracer.attach(network.as_ref())?;
    let hooks = attached.hooks()?;
    thread::sleep(REST);
    let sample = (load.run)(network.as_ref())?;
    let tracer = tracer.name().to_owned();
    Ok(Beside { tracer, sample, hooks, events: attached.detach()? })
}

/// What all rounds say of one tracer, or of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// What the load did in a second.
    pub(super) rate: Spread,
    /// Against nothing.
    pub(super) kept: Spread,
    /// Microseconds that half of the connections take at most; of a tracer, how many of them nothing
    /// does not take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) p50_us: Option<Spread>,
    /// Likewise, all but one in a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) p99_us: Option<Spread>,
    /// What it counted in all rounds, if it can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) events: Option<Events>,
}

/// What `rounds` say of `tracer`; nothing if it did not run.
pub(super) fn verdict(rounds: &[Round], tracer: &str) -> Option<Verdict> {
    let runs: Vec<_> = rounds.iter().filter_map(|round| round.run(tracer)).collect();
    let events = runs.iter().filter_map(|run| run.events).reduce(|sum, events| Events {
        seen: sum.seen + events.seen,
        lost: sum.lost + events.lost,
    });
    let added = || rounds.iter().filter_map(|round| round.added(tracer));
    Some(Verdict {
        rate: Spread::of(runs.iter().map(|run| run.sample.rate))?,
        kept: Spread::of(rounds.iter().filter_map(|round| round.kept(tracer)))?,
        p50_us: Spread::of(added().map(|latency| latency.p50_us)),
        p99_us: Spread::of(added().map(|latency| latency.p99_us)),
        events,
    })
}

/// How many events `tracer` saw in each run, where it can tell.
pub(super) fn events(rounds: &[Round], tracer: &str) -> impl Iterator<Item = f64> {
    // A number of events too large for an exact f64 would take years to make.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    rounds.iter().filter_map(move |round| Some(round.run(tracer)?.events?.seen as f64))
}

/// What they say of nothing: its rate, and how far it moved within a round.
pub(super) fn nothing(rounds: &[Round]) -> Option<Verdict> {
    let all = || rounds.iter().flat_map(|round| round.nothing);
    let latencies = || all().filter_map(|sample| sample.latency);
    Some(Verdict {
        rate: Spread::of(all().map(|sample| sample.rate))?,
        kept: Spread::of(
            rounds.iter().flat_map(|round| round.nothing.map(|sample| sample.rate / round.base())),
        )?,
        p50_us: Spread::of(latencies().map(|latency| latency.p50_us)),
        p99_us: Spread::of(latencies().map(|latency| latency.p99_us)),
        events: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: f64, p50_us: f64) -> Sample {
        Sample { rate, latency: Some(Latency { p50_us, p99_us: 2.0 * p50_us }) }
    }

    fn round(nothing: [f64; 2], rate: f64, lost: u64) -> Round {
        let events = Some(Events { seen: 10, lost });
        let sample = |rate| sample(rate, 1e3 / rate);
        let run = Beside { tracer: "t".into(), sample: sample(rate), hooks: None, events };
        Round { nothing: nothing.map(sample), runs: vec![run] }
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
    fn what_a_connection_takes_longer_is_told_by_round() {
        let slow = Beside { sample: sample(1.0, 14.0), ..round([1.0; 2], 1.0, 0).runs.remove(0) };
        let with = |nothing: [f64; 2]| Round {
            nothing: nothing.map(|p50_us| sample(1.0, p50_us)),
            runs: vec![slow.clone()],
        };
        let verdict = verdict(&[with([9.0, 11.0]), with([12.0, 12.0])], "t").unwrap();
        assert_eq!(verdict.p50_us, Some(Spread { median: 3.0, min: 2.0, max: 4.0 }));
        assert_eq!(verdict.p99_us, Some(Spread { median: 6.0, min: 4.0, max: 8.0 }));
        let silent = Round { nothing: [1.0.into(), 1.0.into()], runs: vec![slow] };
        assert_eq!(super::verdict(&[silent], "t").unwrap().p50_us, None);
    }

    #[test]
    fn who_did_not_run_has_no_figures() {
        assert!(verdict(&[round([1.0, 1.0], 1.0, 0)], "other").is_none());
    }
}
