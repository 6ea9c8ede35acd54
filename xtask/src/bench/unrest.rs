//! Whether the machine was at rest; where it was not, the figures say little.

use super::{
    rounds::{self, Round},
    statistics::Spread,
};

/// How far apart the runs of nothing may be, against their mean.
const RATE: f64 = 0.2;
/// By how much the events of two runs may differ, against their median: every run makes the same
/// connections.
const EVENTS: f64 = 0.05;

/// What there is to warn of where the load is connections.
pub(super) fn notes(rounds: &[Round]) -> Vec<String> {
    let mut notes = Vec::from_iter(rate(rounds));
    if let Some(Spread { median, min, max }) = Spread::of(rounds::events(rounds))
        && max - min > EVENTS * median
    {
        notes.push(format!(
            "Not to be trusted: tcp-trace saw between {min:.0} and {max:.0} events in a run. \
             Something else on this host made connections."
        ));
    }
    notes
}

/// What there is to warn of, whatever the load is.
pub(super) fn rate(rounds: &[Round]) -> Option<String> {
    let Spread { min, max, .. } = rounds::nothing(rounds)?.kept;
    (max - min > RATE).then(|| {
        format!(
            "Not to be trusted: with no tracer at all, the rate moved between {:.0} % and {:.0} % \
             within a round. Something else was running, or the ends were moved to other CPUs.",
            min * 100.0,
            max * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{rounds::Run, tracer::Events},
        *,
    };

    fn round(nothing: [f64; 2], seen: u64) -> Round {
        let events = Some(Events { seen, lost: 0 });
        Round { nothing, runs: vec![Run { tracer: "t", rate: 1.0, hooks: None, events }] }
    }

    #[test]
    fn unrest_of_either_kind_is_named() {
        assert!(notes(&[round([95.0, 105.0], 600), round([50.0, 51.0], 601)]).is_empty());
        let rate = notes(&[round([30.0, 170.0], 600)]).concat();
        assert!(rate.contains("between 30 % and 170 %"), "{rate}");
        let events = notes(&[round([1.0, 1.0], 600), round([1.0, 1.0], 700)]).concat();
        assert!(events.contains("between 600 and 700 events"), "{events}");
    }
}
