//! Samples as they were scraped, one series at a time: whether they go on, and counters only up.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::scene::INTERVAL;

/// Labels whose values come and go with processes and destinations.
const PASSING: [&str; 3] = ["process", "cause", "destination"];
/// What names of counters end with, and those of a histogram's parts.
const COUNTERS: [&str; 4] = ["_total", "_bucket", "_sum", "_count"];

/// Longest time between two samples of a series that goes on, in seconds: one scrape may be lost.
fn patience() -> f64 {
    f64::from(INTERVAL) * 2.0 + 0.5
}

/// When the daemon was gone, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// Its end.
    pub(super) from: f64,
    /// When it was back.
    pub(super) to: f64,
}

/// Samples of one series, as Prometheus has kept them.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// Its metric.
    pub(super) name: String,
    labels: BTreeMap<String, String>,
    /// Times in seconds since 1970, and values.
    points: Vec<(f64, f64)>,
}

/// As the API writes it.
#[derive(Deserialize)]
struct Raw {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Series {
    /// Those that the daemon exports, and `up`, of a range query's `result`.
    pub(super) fn all(result: &Value) -> Result<Vec<Self>> {
        let raw: Vec<Raw> =
            serde_json::from_value(result.clone()).context("samples are not as expected")?;
        let mut all = Vec::new();
        for Raw { mut metric, values } in raw {
            let name = metric.remove("__name__").unwrap_or_default();
            let exported = name.starts_with("tcp_trace_") || name.starts_with("process_");
            // Rules record under names with colons.
            if name.contains(':') || !(exported || name == "up") {
                continue;
            }
            let number = |(time, value): (f64, String)| -> Result<(f64, f64)> {
                Ok((time, value.parse().with_context(|| format!("{value} is no number"))?))
            };
            let points = values.into_iter().map(number).collect::<Result<_>>()?;
            all.push(Self { name, labels: metric, points });
        }
        Ok(all)
    }

    /// Whether it may only go up.
    pub(super) fn is_counter(&self) -> bool {
        COUNTERS.iter().any(|ending| self.name.ends_with(ending))
    }

    /// Whether it is there for as long as the daemon is.
    fn stays(&self) -> bool {
        !PASSING.iter().any(|label| self.labels.contains_key(*label))
    }

    fn faults(&self, outage: Outage, (first, last): (f64, f64)) -> Vec<String> {
        let mut faults = Vec::new();
        for pair in self.points.windows(2) {
            let [(before, old), (after, new)] = *pair else { continue };
            // The last answer may have been given when the end came, at the time of its scrape.
            let across = before <= outage.from && after >= outage.from;
            if after <= before {
                faults.push(format!("has two samples at {before}"));
            }
            if self.is_counter() && new < old && !across {
                faults.push(format!("steps back from {old} to {new} at {after}"));
            }
            let allowed = patience() + if across { outage.to - outage.from } else { 0.0 };
            if self.stays() && after - before > allowed {
                faults.push(format!("is missing for {:.1} s from {before} on", after - before));
            }
        }
        let ends = self.points.first().zip(self.points.last());
        // Which program takes a hook is chosen anew at each start.
        let chosen_anew = self.labels.contains_key("program")
            && ends.is_some_and(|(begun, ended)| ended.0 <= outage.from || begun.0 >= outage.from);
        if self.stays()
            && !chosen_anew
            && ends.is_none_or(|(begun, ended)| {
                begun.0 - first > patience() || last - ended.0 > patience()
            })
        {
            faults.push("is not there from the first scrape to the last".to_owned());
        }
        if self.name == "up" {
            let good = |time: f64| time < outage.from || time > outage.to + f64::from(INTERVAL);
            let down = self.points.iter().filter(|(time, up)| *up < 1.0 && good(*time));
            faults.extend(down.map(|(time, _)| format!("says that the scrape at {time} failed")));
        }
        let whose = format!("{} {:?}", self.name, self.labels);
        faults.into_iter().map(|fault| format!("{whose} {fault}")).collect()
    }
}

/// What is wrong with any of them.
pub(super) fn faults(series: &[Series], outage: Outage) -> Vec<String> {
    let times = |pick: fn(f64, f64) -> f64| {
        series.iter().flat_map(|series| &series.points).map(|(time, _)| *time).reduce(pick)
    };
    let Some(span) = times(f64::min).zip(times(f64::max)) else {
        return vec!["nothing was scraped".to_owned()];
    };
    series.iter().flat_map(|series| series.faults(outage, span)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OUTAGE: Outage = Outage { from: 9.0, to: 17.0 };
    /// Seconds of the scrapes that were answered.
    const TIMES: [f64; 8] = [2.0, 4.0, 6.0, 8.0, 18.0, 20.0, 22.0, 24.0];

    fn found(name: &str, labels: Value, values: [f64; 8]) -> Vec<String> {
        found_at(name, labels, &TIMES.into_iter().zip(values).collect::<Vec<_>>())
    }

    fn found_at(name: &str, mut labels: Value, points: &[(f64, f64)]) -> Vec<String> {
        labels["__name__"] = name.into();
        let values: Vec<_> =
            points.iter().map(|(at, value)| json!([at, value.to_string()])).collect();
        let clock: Vec<_> = TIMES.iter().map(|at| json!([at, "1"])).collect();
        let result = json!([
            {"metric": labels, "values": values},
            {"metric": {"__name__": "tcp_trace_namespaces"}, "values": clock},
        ]);
        faults(&Series::all(&result).unwrap(), OUTAGE)
    }

    #[test]
    fn a_counter_starts_anew_with_the_daemon_alone() {
        let good = [1., 2., 2., 9., 0., 1., 1., 3.];
        assert!(found("tcp_trace_a_total", json!({}), good).is_empty());
        for at in [1, 2, 3, 5, 7] {
            let mut bad = good;
            bad[at] = -1.0;
            let faults = found("tcp_trace_a_total", json!({}), bad);
            assert!(faults.iter().any(|fault| fault.contains("steps back")), "{at}: {faults:?}");
            assert!(found("tcp_trace_gauge", json!({}), bad).is_empty(), "gauges may");
        }
    }

    #[test]
    fn who_is_missing_longer_than_the_daemon_is_told() {
        let all: Vec<_> = TIMES.iter().map(|at| (*at, 1.0)).collect();
        let without = |left: &[usize]| -> Vec<_> {
            let kept = all.iter().enumerate().filter(|(number, _)| !left.contains(number));
            kept.map(|(_, point)| *point).collect()
        };
        for good in [&[][..], &[1], &[4], &[0], &[7]] {
            assert!(found_at("tcp_trace_a", json!({}), &without(good)).is_empty(), "{good:?}");
        }
        for bad in [&[1, 2][..], &[3, 4], &[4, 5], &[0, 1, 2], &[5, 6, 7]] {
            assert!(!found_at("tcp_trace_a", json!({}), &without(bad)).is_empty(), "{bad:?}");
            let of_a_process = found_at("tcp_trace_a", json!({"process": "p"}), &without(bad));
            assert!(of_a_process.is_empty(), "processes come and go");
        }
    }

    #[test]
    fn a_program_may_come_or_go_with_the_daemon_alone() {
        let of = |times: &[f64]| {
            let points: Vec<_> = times.iter().map(|at| (*at, 1.0)).collect();
            found_at("tcp_trace_a_total", json!({"program": "p"}), &points)
        };
        assert!(of(&TIMES[..4]).is_empty() && of(&TIMES[4..]).is_empty());
        for bad in [&[2., 4., 20., 22., 24.][..], &[8., 18., 20., 22., 24.], &[2., 4., 6., 8., 18.]]
        {
            assert!(!of(bad).is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_told_twice_or_not_answered_is_told() {
        let mut twice: Vec<_> = TIMES.iter().map(|at| (*at, 1.0)).collect();
        twice.insert(2, twice[2]);
        assert!(found_at("tcp_trace_a", json!({}), &twice)[0].contains("two samples"));
        let up = |times: &[(f64, f64)]| found_at("up", json!({}), times);
        let every: Vec<_> = (1..=12).map(|number| f64::from(number) * 2.0).collect();
        let answered = |fails: &[f64]| -> Vec<_> {
            every.iter().map(|at| (*at, f64::from(u8::from(!fails.contains(at))))).collect()
        };
        assert!(up(&answered(&[10., 12., 14., 16., 18.])).is_empty());
        assert!(up(&answered(&[4.]))[0].contains("scrape at 4 failed"));
        assert!(up(&answered(&[22.]))[0].contains("scrape at 22 failed"));
    }
}
