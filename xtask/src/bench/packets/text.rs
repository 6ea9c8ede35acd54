//! The figures for people, beside what they are to reach.

use std::fmt::Write as _;

use super::{
    figures::{Figures, Kept, Kind, Load, SEGMENTS},
    program::Cost,
};

/// Frames, in the table's order, as the program calls them and as people do.
const FRAMES: [(&str, &str); 4] =
    [("data", "data"), ("ack", "bare ACK"), ("syn", "SYN"), ("udp", "no TCP")];

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    /// Most nanoseconds for a data segment; none where time means nothing.
    data_ns: Option<f64>,
    /// Least share of a stream.
    stream: f64,
    /// Least share of connections.
    connections: f64,
}

impl Targets {
    /// On a machine of its own.
    pub(crate) const MACHINE: Self = Self { data_ns: Some(40.0), stream: 0.97, connections: 0.90 };
    /// In a guest, whose processor is made of software.
    pub(crate) const GUEST: Self = Self { data_ns: None, stream: 0.88, connections: 0.90 };

    const fn least(self, kind: Kind) -> f64 {
        match kind {
            Kind::Stream => self.stream,
            Kind::Connections => self.connections,
        }
    }
}

/// All of it.
pub(crate) fn text(figures: &Figures, targets: Targets) -> String {
    let (mut text, mut missed) = (String::new(), Vec::new());
    costs(&mut text, &mut missed, figures, targets);
    for load in &figures.loads {
        text.push('\n');
        self::load(&mut text, &mut missed, load, targets.least(load.kind));
    }
    text.push('\n');
    if missed.is_empty() {
        text.push_str("every target is reached\n");
    }
    for line in missed {
        let _ = writeln!(text, "MISSED: {line}");
    }
    text
}

fn costs(text: &mut String, missed: &mut Vec<String>, figures: &Figures, targets: Targets) {
    let _ = writeln!(
        text,
        "ns per packet, IPv4 / IPv6: median of runs of {} on one frame, with what the kernel's loop \
         itself takes, as the empty programs show\n",
        figures.repeat
    );
    let titles = FRAMES.map(|(_, title)| format!("{title:>12}")).concat();
    let _ = writeln!(text, "{:<16}{titles}", "");
    let mut programs: Vec<&str> = Vec::new();
    for cost in &figures.costs {
        if !programs.contains(&&*cost.program) {
            programs.push(&cost.program);
        }
    }
    for program in programs {
        let ns = |frame, ip| ns_of(figures, program, frame, ip);
        let _ = write!(text, "{program:<16}");
        for (frame, _) in FRAMES {
            let cell = ["v4", "v6"].map(|ip| {
                ns(frame, ip)
                    .map_or_else(|| "-".to_owned(), |cost| format!("{:.0}", cost.ns.median))
            });
            let _ = write!(text, "{:>12}", cell.join(" / "));
        }
        text.push('\n');
        let Some(most) = targets.data_ns.filter(|_| !program.starts_with("empty")) else {
            continue;
        };
        for ip in ["v4", "v6"] {
            if let Some(cost) = ns("data", ip).filter(|cost| cost.ns.median > most) {
                let kind = if program.starts_with("segments_xdp") { "xdp" } else { "tc" };
                let empty = ns_of(figures, &format!("empty_{kind}"), "data", "v4")
                    .map_or(0.0, |cost| cost.ns.median);
                missed.push(format!(
                    "{program} takes {:.0} ns for a data segment over IP{ip}, {empty:.0} of them \
                     the loop's own; at most {most:.0} are wanted",
                    cost.ns.median
                ));
            }
        }
    }
    if let Some(most) = targets.data_ns {
        let _ = writeln!(text, "{:<16}{:>12}", "target", format!("<= {most:.0}"));
    }
}

fn ns_of<'a>(figures: &'a Figures, program: &str, frame: &str, ip: &str) -> Option<&'a Cost> {
    let mut costs = figures.costs.iter();
    costs.find(|cost| (&*cost.program, &*cost.frame, &*cost.ip) == (program, frame, ip))
}

fn load(text: &mut String, missed: &mut Vec<String>, load: &Load, least: f64) {
    let (what, unit) = match load.kind {
        Kind::Stream => ("one stream", "Gbit/s"),
        Kind::Connections => ("connections", "a second"),
    };
    let Load { kind, place, nothing, kept, notes, .. } = load;
    let _ = writeln!(
        text,
        "{:<28}{unit:>8}{:>9}{:>19}{:>9}{:>7}  hooks",
        format!("{what}, {place}"),
        "kept",
        "min - max",
        "target",
        "lost"
    );
    let _ = writeln!(text, "  {:<26}{:>8}", "nothing", rate(*kind, nothing.median));
    for Kept { looks_at, rate: with, share, hooks, lost } in kept {
        let is_held = looks_at == SEGMENTS;
        let target = if is_held { format!(">= {:.0} %", least * 100.0) } else { "-".to_owned() };
        let _ = writeln!(
            text,
            "  {looks_at:<26}{:>8}{:>9}{:>19}{target:>9}{lost:>7}  {}",
            rate(*kind, with.median),
            percent(share.median),
            format!("{} - {}", percent(share.min), percent(share.max)),
            hooks.as_deref().unwrap_or("-"),
        );
        if is_held && share.median < least {
            missed.push(format!(
                "{what}, {place}: {} are kept; at least {} are wanted",
                percent(share.median),
                percent(least)
            ));
        }
    }
    for note in notes {
        let _ = writeln!(text, "  {note}");
    }
}

fn rate(kind: Kind, rate: f64) -> String {
    match kind {
        Kind::Stream => format!("{:.2}", rate / 1e9),
        Kind::Connections => format!("{rate:.0}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::{machine::Machine, statistics::Spread},
            figures::STATES,
        },
        *,
    };

    fn figures(data: f64, share: f64) -> Figures {
        let spread = |median| Spread { median, min: median, max: median };
        let cost = |frame: &str, ip: &str, ns| Cost {
            program: "segments_in".into(),
            frame: frame.into(),
            ip: ip.into(),
            ns: spread(ns),
        };
        let kept = |looks_at: &str, share, hooks: Option<&str>| Kept {
            looks_at: looks_at.into(),
            rate: spread(share * 2e10),
            share: spread(share),
            hooks: hooks.map(str::to_owned),
            lost: 0,
        };
        Figures {
            machine: Machine::here(),
            repeat: 1000,
            costs: vec![
                Cost { program: "empty_tc".into(), ..cost("data", "v4", 43.0) },
                cost("data", "v4", data),
                cost("data", "v6", 30.0),
                cost("udp", "v4", 9.4),
            ],
            loads: vec![Load {
                kind: Kind::Stream,
                place: "lo".into(),
                nothing: spread(2e10),
                kept: vec![
                    kept(STATES, 1.0, None),
                    kept(SEGMENTS, share, Some("xdp_generic in, tcx out")),
                ],
                notes: vec!["Not to be trusted.".into()],
                rounds: Vec::new(),
            }],
        }
    }

    #[test]
    fn figures_stand_beside_their_targets() {
        let expected = "\
ns per packet, IPv4 / IPv6: median of runs of 1000 on one frame, with what the kernel's loop itself \
                        takes, as the empty programs show

                        data    bare ACK         SYN      no TCP
empty_tc              43 / -       - / -       - / -       - / -
segments_in          25 / 30       - / -       - / -       9 / -
target                 <= 40

one stream, lo                Gbit/s     kept          min - max   target   lost  hooks
  nothing                      20.00
  states                       20.00  100.0 %  100.0 % - 100.0 %        -      0  -
  states, segments             19.60   98.0 %    98.0 % - 98.0 %  >= 97 %      0  xdp_generic in, tcx out
  Not to be trusted.

every target is reached
";
        assert_eq!(text(&figures(25.0, 0.98), Targets::MACHINE), expected);
    }

    #[test]
    fn what_is_missed_is_said() {
        let figures = figures(41.0, 0.9);
        let here = text(&figures, Targets::MACHINE);
        assert!(
            here.contains("MISSED: segments_in takes 41 ns for a data segment over IPv4, 43 of"),
            "{here}"
        );
        assert!(
            here.contains("MISSED: one stream, lo: 90.0 % are kept; at least 97.0 %"),
            "{here}"
        );
        let guest = text(&figures, Targets::GUEST);
        assert!(guest.ends_with("every target is reached\n"), "{guest}");
    }
}
