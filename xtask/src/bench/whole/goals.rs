//! What was to be reached, and what was.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{
    super::{
        cps::{self, Measured},
        roster, table,
    },
    daemon,
    part::Part,
    record::Record,
};

/// Least share of connections kept with states, owners and `TIME_WAIT`.
const KEPT: f64 = 0.95;
/// How many times as many as beside tcplife.
const AGAINST_LIFE: f64 = 1.5;
/// Least share of connections kept with segments on `lo`.
const SEGMENTS: f64 = 0.90;
/// Most microseconds for an event.
const EVENT_US: f64 = 0.5;
/// Least events a second, on one core.
const EVENTS: f64 = 2e6;
/// Most resident bytes for a live connection, known by state changes and calls.
const BYTES: f64 = 400.0;
/// Most milliseconds for a scrape.
const SCRAPE_MS: f64 = 10.0;
/// How many times as long it may take with many connections as with few, to be the same.
const SAME: f64 = 1.5;
/// Fewest connections, and most.
const FEW_AND_MANY: (u32, u32) = (100, 1_000_000);
/// Most milliseconds from start to ready.
const READY_MS: f64 = 300.0;
/// Most of a processor at rest.
const IDLE: f64 = 0.001;

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
struct Goal {
    figure: String,
    wanted: String,
    reached: Reached,
}

#[derive(Clone, Debug, PartialEq)]
enum Reached {
    /// What was measured, and by how much that is too little or too much; 0 where it is enough.
    Measured(String, f64),
    /// Why there is nothing.
    Not(String),
}

impl Goal {
    fn row(&self) -> Vec<String> {
        let (reached, verdict) = match &self.reached {
            Reached::Measured(reached, missed) if *missed <= 0.0 => (&**reached, "reached".into()),
            Reached::Measured(reached, missed) => {
                (&**reached, format!("MISSED by {}", table::percent(*missed)))
            }
            Reached::Not(why) => ("-", format!("not measured: {why}")),
        };
        vec![self.figure.clone(), self.wanted.clone(), reached.to_owned(), verdict]
    }
}

/// The table.
pub(super) fn text(record: &Record) -> Result<String> {
    let mut goals = Vec::new();
    let cps: Option<cps::Figures> = record.part(Part::Cps)?;
    match &cps {
        Some(figures) => connections(figures, "", &mut goals),
        None => goals.push(Goal {
            figure: "connections kept".into(),
            wanted: at_least(KEPT),
            reached: Reached::Not("`cargo xtask bench`".into()),
        }),
    }
    let guests: Option<BTreeMap<String, cps::Figures>> = record.part(Part::Vm)?;
    for (line, figures) in guests.unwrap_or_default() {
        connections(&figures, &format!(", in a guest with {line}"), &mut goals);
    }
    if let Some(figures) = record.part::<daemon::Figures>(Part::Engine)? {
        engine(&figures, &mut goals);
    }
    let rows: Vec<_> = goals.iter().map(Goal::row).collect();
    Ok(table::text(&["figure", "goal", "measured", "verdict"], &rows))
}

/// What `cps` tells, here or elsewhere.
fn connections(figures: &cps::Figures, place: &str, goals: &mut Vec<Goal>) {
    let mut goal = |figure: &str, wanted: String, reached: Reached| {
        goals.push(Goal { figure: format!("{figure}{place}"), wanted, reached });
    };
    let is_asked = |name: &str| {
        figures.obstacle(name).is_some()
            || figures.scenes.iter().any(|scene| scene.verdict(name).is_some())
    };
    let folding = Some(roster::AUTO).filter(|name| is_asked(name));
    for name in [roster::FULL, roster::STATES].into_iter().chain(folding) {
        let kept = |scene: &Measured| Some(scene.verdict(name)?.kept.median);
        goal(
            &format!("connections kept: {name}"),
            at_least(KEPT),
            worst(figures, name, KEPT, kept),
        );
    }
    // Whichever can be had: all, or states alone.
    let name = [roster::FULL, roster::STATES]
        .into_iter()
        .find(|name| figures.scenes.iter().any(|scene| scene.verdict(name).is_some()))
        .unwrap_or(roster::FULL);
    let times = |scene: &Measured| {
        let life = scene.verdict(roster::LIFE)?.kept.median;
        Some(scene.verdict(name)?.kept.median / life)
    };
    let reached = match figures.obstacle(roster::LIFE) {
        Some(why) => Reached::Not(why.to_owned()),
        None => worst_times(figures, AGAINST_LIFE, times),
    };
    let figure = format!("connections kept: {name}, against {}", roster::LIFE);
    goal(&figure, format!("≥ {AGAINST_LIFE} times"), reached);
    let folding = Some(roster::DEFAULT).filter(|name| is_asked(name));
    for name in [roster::SEGMENTS].into_iter().chain(folding) {
        let kept = |scene: &Measured| Some(scene.verdict(name)?.kept.median);
        goal(
            &format!("connections kept: {name}"),
            at_least(SEGMENTS),
            worst(figures, name, SEGMENTS, kept),
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share = figures.lost() as f64 / figures.seen().max(1) as f64;
    let counted = format!("{} of {}", figures.lost(), figures.seen());
    goal("events lost at full load", "0".into(), Reached::Measured(counted, share));
}

fn at_least(share: f64) -> String {
    format!("≥ {:.0} %", share * 100.0)
}

/// The range of a share over all loads, and which of them is the worst.
fn worst(
    figures: &cps::Figures,
    name: &str,
    least: f64,
    share: impl Fn(&Measured) -> Option<f64>,
) -> Reached {
    let Some((all, worst, phrase)) = range(figures, share) else {
        let why = figures.obstacle(name).unwrap_or("not asked for");
        return Reached::Not(why.to_owned());
    };
    let most = all.iter().copied().fold(worst, f64::max);
    let told = format!("{} - {}, least: {phrase}", table::percent(worst), table::percent(most));
    Reached::Measured(told, (least - worst) / least)
}

fn worst_times(
    figures: &cps::Figures,
    least: f64,
    times: impl Fn(&Measured) -> Option<f64>,
) -> Reached {
    let Some((all, worst, phrase)) = range(figures, times) else {
        return Reached::Not("not asked for".into());
    };
    let most = all.iter().copied().fold(worst, f64::max);
    let told = format!("{worst:.2} - {most:.2} times, least: {phrase}");
    Reached::Measured(told, (least - worst) / least)
}

/// The figure of each load that has one, the least, and of which load it is.
fn range(
    figures: &cps::Figures,
    figure: impl Fn(&Measured) -> Option<f64>,
) -> Option<(Vec<f64>, f64, String)> {
    let each = figures.scenes.iter().filter_map(|scene| Some((figure(scene)?, scene.scene)));
    let each: Vec<_> = each.collect();
    let (worst, scene) = each.iter().copied().min_by(|one, other| one.0.total_cmp(&other.0))?;
    Some((each.iter().map(|(figure, _)| *figure).collect(), worst, scene.phrase()))
}

/// What the daemon itself takes.
fn engine(figures: &daemon::Figures, goals: &mut Vec<Goal>) {
    let mut goal = |figure: String, wanted: String, reached: Option<Reached>| {
        let reached = reached.unwrap_or_else(|| Reached::Not("not asked for".into()));
        goals.push(Goal { figure, wanted, reached });
    };
    for stream in &figures.streams {
        let us = stream.event_us.median;
        let told = format!("{us:.2} µs, {:.2} million a second", 1.0 / us);
        let missed = (us / EVENT_US - 1.0).max(1.0 - 1e6 / us / EVENTS);
        goal(
            format!("user space for an event: {}", daemon::words(&stream.mix)),
            format!("≤ {EVENT_US} µs, ≥ {:.0} million a second", EVENTS / 1e6),
            Some(Reached::Measured(told, missed)),
        );
    }
    let (few, many) = FEW_AND_MANY;
    goal(
        format!("memory for a live connection, of {many}"),
        format!("≤ {BYTES} bytes"),
        figures
            .crowd("calls", many)
            .map(|crowd| at_most(format!("{:.0} bytes", crowd.bytes), crowd.bytes, BYTES)),
    );
    let scrape = |live| Some(figures.crowd("calls", live)?.scrape_ms);
    let scrape = scrape(few).zip(scrape(many)).map(|(few, many)| {
        let missed = (many / SCRAPE_MS - 1.0).max(many / (few * SAME) - 1.0);
        Reached::Measured(format!("{many:.2} ms, with {} {few:.2} ms", FEW_AND_MANY.0), missed)
    });
    goal(
        format!("scrape with {many} connections"),
        format!("≤ {SCRAPE_MS} ms, as with {few}"),
        scrape,
    );
    let rest = figures.rest.as_ref();
    goal(
        "start to ready".into(),
        format!("≤ {READY_MS} ms"),
        rest.map(|rest| {
            let ms = rest.ready_ms;
            let told = format!("{:.0} ms ({:.0} - {:.0})", ms.median, ms.min, ms.max);
            at_most(told, ms.median, READY_MS)
        }),
    );
    goal(
        "processor at rest".into(),
        format!("≤ {:.1} %", IDLE * 100.0),
        rest.map(|rest| at_most(format!("{:.2} %", rest.cpu * 100.0), rest.cpu, IDLE)),
    );
}

fn at_most(told: String, figure: f64, most: f64) -> Reached {
    Reached::Measured(told, figure / most - 1.0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::cps::tests::{Outcome, figures, verdict},
        *,
    };

    fn goals(lines: &[(&str, Outcome)]) -> Vec<Goal> {
        let mut goals = Vec::new();
        connections(&figures(&["rst-1-apart", "fin-1-apart"], lines), "", &mut goals);
        goals
    }

    fn kept(share: f64) -> Outcome {
        Outcome::Measured(verdict(share, Some(0)))
    }

    #[test]
    fn what_the_host_refuses_is_not_measured_and_not_missed() {
        let goals = goals(&[
            (roster::FULL, Outcome::NotMeasured("the host refuses".into())),
            (roster::STATES, kept(0.96)),
            (roster::LIFE, kept(0.6)),
            (roster::SEGMENTS, kept(0.81)),
        ]);
        let [full, states, against, segments, lost] = &goals[..] else { panic!("{goals:?}") };
        assert_eq!(full.row()[2..], ["-", "not measured: the host refuses"]);
        assert_eq!(states.row()[3], "reached");
        assert_eq!(against.figure, "connections kept: states, against tcplife");
        assert_eq!(against.row()[3], "reached");
        assert_eq!(segments.row()[3], "MISSED by 10.0 %");
        assert!(segments.row()[2].starts_with("81.0 % - 81.0 %, least: RST"), "{segments:?}");
        assert_eq!(lost.row()[2..], ["0 of 3600000", "reached"]);
    }

    #[test]
    fn folding_is_judged_where_it_was_measured() {
        let goals = goals(&[
            (roster::STATES, kept(0.91)),
            (roster::AUTO, kept(0.96)),
            (roster::SEGMENTS, kept(0.81)),
            (roster::DEFAULT, kept(0.89)),
        ]);
        let verdict = |name: &str| {
            let figure = format!("connections kept: {name}");
            goals.iter().find(|goal| goal.figure == figure).map(|goal| goal.row()[3].clone())
        };
        assert_eq!(verdict(roster::AUTO).as_deref(), Some("reached"));
        assert_eq!(verdict(roster::DEFAULT).as_deref(), Some("MISSED by 1.1 %"));
        assert_eq!(verdict(roster::STATES).as_deref(), Some("MISSED by 4.2 %"));
    }

    #[test]
    fn one_lost_event_is_too_many() {
        let goals = goals(&[(roster::FULL, Outcome::Measured(verdict(0.99, Some(1))))]);
        let lost = goals.last().unwrap().row();
        assert!(lost[3].starts_with("MISSED"), "{lost:?}");
        assert_eq!(goals[0].row()[3], "reached");
        assert_eq!(goals[2].row()[3], "not measured: not asked for");
    }

    #[test]
    fn the_daemon_is_judged_by_its_own_figures() {
        let json = r#"{"machine":{"kernel":"k","architecture":"a","cpus":2,"cpu":"c"},
            "streams":[{"mix":"states","event_us":{"median":0.6,"min":0.5,"max":0.7},
                "held_back_ms":[30,50]}],
            "crowds":[{"mix":"calls","live":100,"bytes":1,"scrape_ms":1,"list_ms":1,"status_ms":1,
                "diagnose_ms":1},{"mix":"calls","live":1000000,"bytes":390,"scrape_ms":2,"list_ms":1,
                "status_ms":1,"diagnose_ms":1}],
            "rest":{"ready_ms":{"median":270,"min":260,"max":400},"delay_ms":{"median":41,"min":31,
                "max":52},"cpu":0.0005,"snapshots":0.0002,"seconds":90,"memory":1,"maps":1,"buffers":1,
                "program":1}}"#;
        let figures: daemon::Figures = serde_json::from_str(json).unwrap();
        let mut goals = Vec::new();
        engine(&figures, &mut goals);
        let verdicts: Vec<_> = goals.iter().map(|goal| goal.row()[3].clone()).collect();
        let [event, memory, scrape, ready, idle] = &verdicts[..] else { panic!("{verdicts:?}") };
        assert_eq!(event, "MISSED by 20.0 %");
        assert_eq!([memory, ready, idle], ["reached"; 3]);
        // Twice as long as with few is not the same.
        assert_eq!(scrape, "MISSED by 33.3 %");
        assert!(figures.text().contains("41 ms (31 - 52)"));
        let processor = "0.05 %, without snapshots 0.03 %, over 90 s";
        assert!(figures.text().contains(processor), "{}", figures.text());
    }
}
