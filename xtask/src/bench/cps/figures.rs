//! All that was measured, as it goes to a file, and for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        bars,
        machine::Machine,
        roster,
        rounds::{Round, Verdict},
        statistics::Spread,
        table::{self, percent},
    },
    scene::Scene,
};

/// Columns of each table.
const TITLES: [&str; 8] =
    ["", "a second", "kept", "min - max", "p50 µs", "p99 µs", "events", "lost"];

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    /// Connections in each run.
    pub(crate) count: u32,
    /// Rounds.
    pub(crate) rounds: u32,
    /// Every load.
    pub(crate) scenes: Vec<Measured>,
}

/// A load beside everybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The load.
    #[serde(flatten)]
    pub(crate) scene: Scene,
    /// Nothing first, then each tracer.
    pub(crate) lines: Vec<Line>,
    /// What there is to warn of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// Every run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::bench) rounds: Vec<Round>,
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Whose.
    pub(crate) name: String,
    /// What it comes to.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What the rounds say, or why there were none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The figures.
    Measured(Verdict),
    /// The reason.
    NotMeasured(String),
}

impl Line {
    fn verdict(&self) -> Option<&Verdict> {
        match &self.outcome {
            Outcome::Measured(verdict) => Some(verdict),
            Outcome::NotMeasured(_) => None,
        }
    }
}

impl Measured {
    /// What the rounds say of the tracer of this `name`.
    pub(crate) fn verdict(&self, name: &str) -> Option<&Verdict> {
        self.lines.iter().find(|line| line.name == name)?.verdict()
    }

    fn table(&self) -> String {
        let measured = |line: &Line| Some(row(&line.name, line.verdict()?));
        let rows: Vec<_> = self.lines.iter().filter_map(measured).collect();
        let mut text = table::text(&TITLES, &rows);
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }
}

impl Figures {
    /// Events that tcp-trace lost in all rounds.
    pub(crate) fn lost(&self) -> u64 {
        let lines = self.scenes.iter().flat_map(|scene| &scene.lines);
        lines.filter_map(|line| line.verdict()?.events).map(|events| events.lost).sum()
    }

    /// Events that it saw.
    pub(crate) fn seen(&self) -> u64 {
        let lines = self.scenes.iter().flat_map(|scene| &scene.lines);
        lines.filter_map(|line| line.verdict()?.events).map(|events| events.seen).sum()
    }

    /// Why the tracer of this `name` was not measured, if so.
    pub(crate) fn obstacle(&self, name: &str) -> Option<&str> {
        let lines = self.scenes.iter().flat_map(|scene| &scene.lines);
        lines.filter(|line| line.name == name).find_map(|line| match &line.outcome {
            Outcome::Measured(_) => None,
            Outcome::NotMeasured(why) => Some(&**why),
        })
    }

    /// Who keeps how much, as bars: where both ends run on one CPU, so that nothing but the tracer
    /// makes a difference, or else of the first load.
    pub(crate) fn picture(&self) -> Option<String> {
        let steadiest = |measured: &&Measured| measured.scene.is_steadiest();
        let Measured { scene, lines, .. } =
            self.scenes.iter().find(steadiest).or_else(|| self.scenes.first())?;
        // Whoever says what it counted is one of ours.
        let row = |line: &Line| {
            let verdict = line.verdict()?;
            let ours = if verdict.events.is_some() { "tcp-trace: " } else { "" };
            Some((format!("{ours}{}", line.name), verdict.kept.median))
        };
        let rows: Vec<_> = lines.iter().filter_map(row).collect();
        Some(format!(
            "```text\nconnections a second that are kept: {}\n\n{}```\n",
            scene.phrase(),
            bars::text(&rows)
        ))
    }

    /// As Markdown, under headings of this `level`.
    pub(crate) fn text(&self, level: &str) -> String {
        let Self { machine, count, rounds, .. } = self;
        let mut text = format!(
            "{machine}\n\n\
             {count} connections a run on the loopback of a network namespace of its own, in each \
             thread one after the other: connect, 2 bytes, 1 byte back, close. {rounds} rounds, \
             each with every tracer once between two runs of nothing: *kept* is the rate against \
             the mean of those two, *p50* and *p99* what a connection takes from connect to close: \
             with nothing, and how much longer beside a tracer. Medians of the rounds; events and \
             losses of all together. Tracers see the whole host; what others print goes to \
             /dev/null.\n"
        );
        for measured in &self.scenes {
            let _ = write!(text, "\n{level} {}\n\n{}", measured.scene.phrase(), measured.table());
        }
        self.absent(&mut text);
        text
    }

    /// Those that were not measured, each once: what keeps them does so whatever the load is.
    fn absent(&self, text: &mut String) {
        let Some(first) = self.scenes.first() else { return };
        for Line { name, outcome } in &first.lines {
            if let Outcome::NotMeasured(why) = outcome {
                let _ = writeln!(text, "\n{name}: not measured: {why}");
            }
        }
        if first.verdict(roster::COUNTERS).is_some() {
            let _ = writeln!(
                text,
                "\n*{}* is `serve --netns` of a namespace in which nothing happens: each hook reads \
                 the socket's namespace and raises one exact counter, and no event leaves the \
                 kernel. *{}* is `serve --backend tracepoint`, *{}* what a daemon does by itself \
                 where the host lets it.",
                roster::COUNTERS,
                roster::STATES,
                roster::FULL
            );
        }
    }
}

fn row(name: &str, verdict: &Verdict) -> Vec<String> {
    let Verdict { rate, kept, p50_us, p99_us, events } = verdict;
    let count = |of: Option<u64>| of.map_or_else(|| "-".into(), |count| count.to_string());
    let sign = name != "nothing";
    let us = |spread: &Option<Spread>| match spread {
        Some(Spread { median, .. }) if sign => format!("{median:+.1}"),
        Some(Spread { median, .. }) => format!("{median:.1}"),
        None => "-".to_owned(),
    };
    vec![
        name.to_owned(),
        format!("{:.0}", rate.median),
        percent(kept.median),
        format!("{} - {}", percent(kept.min), percent(kept.max)),
        us(p50_us),
        us(p99_us),
        count(events.map(|events| events.seen)),
        count(events.map(|events| events.lost)),
    ]
}

#[cfg(test)]
pub(in crate::bench) mod tests {
    use super::{super::super::tracer::Events, *};

    fn all(figure: f64) -> Spread {
        Spread { median: figure, min: figure, max: figure }
    }

    /// One that keeps this share of 20,000 and loses so many events.
    pub(in crate::bench) fn verdict(kept: f64, lost: Option<u64>) -> Verdict {
        let events = lost.map(|lost| Events { seen: 600_000, lost });
        let (p50_us, p99_us) = (Some(all(1.25)), None);
        Verdict { rate: all(kept * 2e4), kept: all(kept), p50_us, p99_us, events }
    }

    /// Loads beside these.
    pub(in crate::bench) fn figures(scenes: &[&str], lines: &[(&str, Outcome)]) -> Figures {
        let line = |(name, outcome): &(&str, Outcome)| Line {
            name: (*name).to_owned(),
            outcome: outcome.clone(),
        };
        let measured = |scene: &&str| Measured {
            scene: scene.parse().unwrap(),
            lines: lines.iter().map(line).collect(),
            notes: Vec::new(),
            rounds: Vec::new(),
        };
        Figures {
            machine: Machine::here(),
            count: 10,
            rounds: 1,
            scenes: scenes.iter().map(measured).collect(),
        }
    }

    #[test]
    fn the_picture_is_of_the_steadiest_load() {
        let lines = [
            ("nothing", Outcome::Measured(verdict(1.0, None))),
            ("states", Outcome::Measured(verdict(0.5, Some(0)))),
            ("tcplife", Outcome::NotMeasured("not installed".into())),
        ];
        let picture = |scenes: &[&str]| figures(scenes, &lines).picture();
        let some = picture(&["rst-1-apart", "rst-2-together", "fin-1-together"]).unwrap();
        assert!(some.contains("FIN, 1 thread, both on one CPU\n"), "{some}");
        assert!(some.contains("\ntcp-trace: states  █") && some.contains("    50 %\n"), "{some}");
        assert!(!some.contains("tcplife"), "{some}");
        assert!(picture(&["rst-1-apart"]).unwrap().contains("RST"), "better than none");
        assert_eq!(picture(&[]), None);
    }

    #[test]
    fn what_was_not_measured_has_no_number() {
        let figures = figures(
            &["rst-1-apart", "fin-1-apart"],
            &[
                ("nothing", Outcome::Measured(verdict(1.0, None))),
                ("states", Outcome::Measured(verdict(0.93, Some(0)))),
                ("tcplife", Outcome::NotMeasured("not installed".into())),
            ],
        );
        let text = figures.text("###");
        let table = "\
### RST, 1 thread, each on a CPU of its own

|         | a second |    kept |         min - max | p50 µs | p99 µs | events | lost |
| ------- | -------: | ------: | ----------------: | -----: | -----: | -----: | ---: |
| nothing |    20000 | 100.0 % | 100.0 % - 100.0 % |    1.2 |      - |      - |    - |
| states  |    18600 |  93.0 % |   93.0 % - 93.0 % |   +1.2 |      - | 600000 |    0 |
";
        assert!(text.contains(table), "{text}");
        assert_eq!(text.matches("tcplife: not measured: not installed").count(), 1);
        assert_eq!(figures.obstacle("tcplife"), Some("not installed"));
        assert_eq!((figures.lost(), figures.seen()), (0, 1_200_000));
    }

    #[test]
    fn figures_are_read_as_they_are_written() {
        let figures = figures(
            &["rst-1-apart"],
            &[
                ("nothing", Outcome::Measured(verdict(1.0, None))),
                ("tcplife", Outcome::NotMeasured("not installed".into())),
            ],
        );
        let text = serde_json::to_string(&figures).unwrap();
        let read: Figures = serde_json::from_str(&text).unwrap();
        assert_eq!(read.scenes[0].lines, figures.scenes[0].lines);
        assert_eq!(read.text("##"), figures.text("##"));
    }
}
