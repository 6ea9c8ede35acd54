//! Whether the machine was at rest; where it was not, the figures say little.

use super::{
    roster,
    rounds::{self, Round},
    statistics::Spread,
};

/// How far apart the runs of nothing may be, against their mean.
const RATE: f64 = 0.2;
/// By how much the events of two runs with the same tracer may differ, against their median: every
/// run makes the same connections.
const EVENTS: f64 = 0.05;
/// One changes its mode by itself, now sooner, now later; and how many segments a connection takes
/// depends on who is quicker.
const UNSTEADY: [&str; 4] = [roster::AUTO, roster::SEGMENTS, roster::TC, roster::DEFAULT];

/// What there is to warn of where the load is connections.
pub(super) fn notes(rounds: &[Round]) -> Vec<String> {
    let mut notes = Vec::from_iter(rate(rounds));
    let runs = rounds.first().map_or(&[][..], |round| &round.runs);
    let steady = |tracer: &&str| !UNSTEADY.contains(tracer);
    for tracer in runs.iter().map(|run| &*run.tracer).filter(steady) {
        let Some(Spread { median, min, max }) = Spread::of(rounds::events(rounds, tracer)) else {
            continue;
        };
        if max - min > EVENTS * median {
            notes.push(format!(
                "Not to be trusted: {tracer} saw between {min:.0} and {max:.0} events in a run. \
                 Something else on this host made connections, or events were missed."
            ));
        }
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
        super::{rounds::Beside, tracer::Events},
        *,
    };

    fn round(nothing: [f64; 2], seen: &[(&str, u64)]) -> Round {
        let run = |(tracer, seen): &(&str, u64)| Beside {
            tracer: (*tracer).to_owned(),
            sample: 1.0.into(),
            hooks: None,
            events: Some(Events { seen: *seen, lost: 0 }),
        };
        Round { nothing: nothing.map(Into::into), runs: seen.iter().map(run).collect() }
    }

    #[test]
    fn unrest_of_either_kind_is_named() {
        let [calm, less] = [[95.0, 105.0], [50.0, 51.0]];
        assert!(notes(&[round(calm, &[("t", 600)]), round(less, &[("t", 601)])]).is_empty());
        let rate = notes(&[round([30.0, 170.0], &[("t", 600)])]).concat();
        assert!(rate.contains("between 30 % and 170 %"), "{rate}");
        let events = notes(&[round(calm, &[("t", 600)]), round(calm, &[("t", 700)])]).concat();
        assert!(events.contains("t saw between 600 and 700 events"), "{events}");
    }

    #[test]
    fn a_tracer_is_compared_with_itself_alone() {
        let modes = [("full", 600), ("folded", 120), (roster::AUTO, 300)];
        let later = [("full", 600), ("folded", 121), (roster::AUTO, 500)];
        assert!(notes(&[round([1.0, 1.0], &modes), round([1.0, 1.0], &later)]).is_empty());
    }
}
