//! All that was measured, as it goes to a file, and out of a guest.

use serde::{Deserialize, Serialize};

use super::{
    super::{
        machine::Machine,
        rounds::{self, Round},
        statistics::Spread,
    },
    program::Cost,
};

/// With which of the two a daemon looks at states alone.
pub(super) const STATES: &str = "states";
/// Likewise, at segments as well.
pub(super) const SEGMENTS: &str = "states, segments";

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(super) machine: Machine,
    /// Runs of each program on each frame.
    pub(super) repeat: u32,
    /// Nanoseconds per packet.
    pub(super) costs: Vec<Cost>,
    /// Streams, then connections.
    pub(super) loads: Vec<Load>,
}

impl Figures {
    /// What they were measured on.
    pub(crate) const fn machine(&self) -> &Machine {
        &self.machine
    }
}

/// What a load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Sends bits.
    Stream,
    /// Opens and closes connections.
    Connections,
}

/// One load with nothing and with each daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) kind: Kind,
    /// Where.
    pub(super) place: String,
    /// In a second, with nothing.
    pub(super) nothing: Spread,
    /// With each.
    pub(super) kept: Vec<Kept>,
    /// What there is to warn of.
    pub(super) notes: Vec<String>,
    /// Every run.
    #[serde(skip_deserializing)]
    pub(super) rounds: Vec<Round>,
}

/// What was kept of the rate beside a daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// What it looks at.
    pub(super) looks_at: String,
    /// In a second.
    pub(super) rate: Spread,
    /// Against nothing.
    pub(super) share: Spread,
    /// Where segments are hooked, if they are.
    pub(super) hooks: Option<String>,
    /// Records that were lost in all rounds.
    pub(super) lost: u64,
}

impl Load {
    /// What `rounds` come to; `None` of none.
    pub(super) fn of(kind: Kind, place: &str, rounds: Vec<Round>) -> Option<Self> {
        let kept = [STATES, SEGMENTS].into_iter().filter_map(|name| {
            let verdict = rounds::verdict(&rounds, name)?;
            let runs = rounds.iter().flat_map(|round| &round.runs);
            let hooks = runs.filter(|run| run.tracer == name).find_map(|run| run.hooks.clone());
            Some(Kept {
                looks_at: name.to_owned(),
                rate: verdict.rate,
                share: verdict.kept,
                hooks,
                lost: verdict.events.map_or(0, |events| events.lost),
            })
        });
        Some(Self {
            kind,
            place: place.to_owned(),
            nothing: rounds::nothing(&rounds)?.rate,
            kept: kept.collect(),
            notes: super::super::unrest::rate(&rounds).into_iter().collect(),
            rounds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{rounds::Beside, tracer::Events},
        *,
    };

    #[test]
    fn each_daemon_is_held_against_nothing() {
        let run = |tracer: &str, rate: f64, hooks: Option<&str>| Beside {
            tracer: tracer.to_owned(),
            sample: rate.into(),
            hooks: hooks.map(str::to_owned),
            events: Some(Events { seen: 1, lost: 2 }),
        };
        let round = Round {
            nothing: [95.0.into(), 105.0.into()],
            runs: vec![run(SEGMENTS, 95.0, Some("tcx in, tcx out")), run(STATES, 99.0, None)],
        };
        let load = Load::of(Kind::Stream, "lo", vec![round.clone(), round]).unwrap();
        let [states, segments] = &*load.kept else { panic!("{load:?}") };
        assert_eq!((&*states.looks_at, states.share.median, &states.hooks), (STATES, 0.99, &None));
        assert_eq!((&*segments.looks_at, segments.share.median), (SEGMENTS, 0.95));
        assert_eq!(segments.hooks.as_deref(), Some("tcx in, tcx out"));
        assert_eq!(segments.lost, 4);
        assert!(load.notes.is_empty());
        assert!(Load::of(Kind::Stream, "lo", Vec::new()).is_none());
    }

    #[test]
    fn figures_of_a_guest_can_be_read() {
        let load = Load::of(
            Kind::Connections,
            "lo",
            vec![Round { nothing: [1.0.into(), 1.0.into()], runs: Vec::new() }],
        );
        let figures = Figures {
            machine: Machine::here(),
            repeat: 1,
            costs: Vec::new(),
            loads: Vec::from_iter(load),
        };
        let text = serde_json::to_string(&figures).unwrap();
        let read: Figures = serde_json::from_str(&text).unwrap();
        assert_eq!((read.loads[0].kind, read.machine), (Kind::Connections, figures.machine));
        assert!(text.contains("rounds") && read.loads[0].rounds.is_empty());
    }
}
