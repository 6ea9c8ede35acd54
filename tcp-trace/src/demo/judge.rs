//! What was planted against what was found. Pure.

use serde::Serialize;

use super::{role::Role, scene};
use crate::api::{Diagnosis, Finding};

/// Something that must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planted {
    /// Whose doing.
    pub(crate) who: Role,
    /// What it does.
    pub(crate) what: &'static str,
    kind: &'static str,
    cause: Option<&'static str>,
    count: Count,
}

/// How many of them must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    AtLeast(u64),
    Just(u64),
    /// As often as the process itself has met it.
    Met,
}

const fn leak(who: Role, what: &'static str, cause: &'static str, count: Count) -> Planted {
    Planted { who, what, kind: "close_wait_leak", cause: Some(cause), count }
}

/// All that is planted.
pub(crate) const PLANTED: [Planted; 5] = [
    leak(Role::ShopApi, "forgets close()", "not_closed", Count::AtLeast(scene::FORGOTTEN)),
    leak(Role::Reports, "stops reading", "not_read", Count::Just(scene::UNHEARD)),
    leak(Role::LoginSvc, "stops accepting", "not_accepted", Count::Just(scene::UNHEARD)),
    Planted {
        who: Role::Pricing,
        what: "burns through its ports",
        kind: "port_pressure",
        cause: Some("time_wait"),
        count: Count::AtLeast(1),
    },
    Planted {
        who: Role::Pricing,
        what: "until none is left",
        kind: "no_port_left",
        cause: None,
        count: Count::Met,
    },
];

/// What the scene itself knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// How many seconds before the first `connect()` failed that was foretold.
    pub(crate) foretold_seconds: Option<f64>,
    /// How often it failed.
    pub(crate) failures: u64,
    /// Connections that the pool has replaced.
    pub(crate) replaced: u64,
}

/// What became of one that was planted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// Its process.
    pub(crate) process: &'static str,
    /// What it does.
    pub(crate) does: &'static str,
    /// The kind of the finding that tells of it.
    pub(crate) kind: &'static str,
    /// Its cause, where there are several.
    pub(crate) cause: Option<&'static str>,
    /// Whether it was found, in full.
    pub(crate) found: bool,
    /// In words: what was found, or what was missed.
    pub(crate) says: String,
}

/// How the diagnosis did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Judgement {
    /// What was planted, in its order.
    pub(crate) planted: Vec<Verdict>,
    /// Findings that nobody planted: kind and process.
    pub(crate) unexpected: Vec<String>,
    /// Connections that the healthy pool has replaced meanwhile.
    pub(crate) pool_replaced: u64,
    /// How many seconds before the first `connect()` failed that was foretold.
    pub(crate) foretold_seconds: Option<f64>,
}

impl Judgement {
    /// Compares.
    pub(crate) fn of(diagnosis: &Diagnosis, facts: Facts) -> Self {
        let told = |planted: &Planted, found: &&Finding| planted.is_told_by(found);
        let planted = PLANTED.iter().map(|planted| {
            let found = diagnosis.findings.iter().find(|found| told(planted, found));
            planted.judge(found, facts)
        });
        let planted = planted.collect();
        let unexpected = diagnosis.findings.iter();
        let unexpected = unexpected
            .filter(|found| !PLANTED.iter().any(|planted| told(planted, found)))
            .map(|found| match &found.process {
                Some(owner) => format!("{} of {}", found.title, owner.comm),
                None => found.title.clone(),
            });
        Self {
            planted,
            unexpected: unexpected.collect(),
            pool_replaced: facts.replaced,
            foretold_seconds: facts.foretold_seconds,
        }
    }

    /// Whether all that was planted was found, and nothing else.
    pub(crate) fn is_good(&self) -> bool {
        self.missing().is_empty() && self.unexpected.is_empty()
    }

    /// What was planted and not found.
    pub(crate) fn missing(&self) -> Vec<String> {
        let missed = self.planted.iter().filter(|verdict| !verdict.found);
        missed.map(|one| format!("{} ({}): {}", one.process, one.does, one.says)).collect()
    }
}

impl Planted {
    pub(crate) fn is_told_by(&self, found: &Finding) -> bool {
        found.kind == self.kind
            && found.cause.as_deref() == self.cause
            && found.process.as_ref().is_some_and(|owner| owner.comm == self.who.name())
    }

    fn judge(&self, found: Option<&Finding>, facts: Facts) -> Verdict {
        let verdict = |found, says| Verdict {
            process: self.who.name(),
            does: self.what,
            kind: self.kind,
            cause: self.cause,
            found,
            says,
        };
        let Some(finding) = found else {
            let came = self.count != Count::Met || facts.failures > 0;
            let says = if came { "not found" } else { "it did not come to that in time" };
            return verdict(false, says.to_owned());
        };
        let count = finding.count;
        let complaint = match self.count {
            Count::AtLeast(least) if count < least => Some(format!("{count} of {least} at least")),
            Count::Just(just) if count != just => Some(format!("{count}, and there are {just}")),
            // Of one that no snapshot has shown yet the cause is a guess.
            Count::AtLeast(_) | Count::Just(_) if self.is_leak() && alike(finding) != count => {
                Some(format!("{} of {count} for this reason", alike(finding)))
            }
            Count::Met if count != facts.failures => {
                Some(format!("{count}, and connect() failed {} times", facts.failures))
            }
            _ if self.foretells() && facts.foretold_seconds.is_none() => {
                Some("found, but not before connect() failed".to_owned())
            }
            _ => None,
        };
        let told = complaint.is_none();
        verdict(told, complaint.unwrap_or_else(|| self.says(finding, facts)))
    }

    fn is_leak(&self) -> bool {
        self.kind == "close_wait_leak"
    }

    /// Whether it must be told before it comes to the worst.
    fn foretells(&self) -> bool {
        self.kind == "port_pressure"
    }

    fn says(&self, finding: &Finding, facts: Facts) -> String {
        match (self.count, facts.foretold_seconds) {
            (Count::Met, _) => {
                format!("EADDRNOTAVAIL, each of the {} times", finding.count)
            }
            (_, Some(seconds)) if self.foretells() => {
                format!("foretold {seconds:.0} s before connect() failed")
            }
            _ => {
                let grows = finding.growth.map_or("", |_| ", and growing");
                let cause = self.cause.unwrap_or_default();
                format!("{cause}: {} sockets{grows}", finding.count)
            }
        }
    }
}

/// How many are there for the reason that the finding names.
fn alike(finding: &Finding) -> u64 {
    let cause = finding.cause.as_deref().and_then(|cause| finding.counts.get(cause));
    cause.copied().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::text::fixtures::owner;

    fn finding(planted: &Planted, count: u64) -> Finding {
        Finding {
            kind: planted.kind.to_owned(),
            title: "A title".to_owned(),
            process: Some(owner(planted.who.name(), 7)),
            cause: planted.cause.map(str::to_owned),
            counts: planted.cause.map(|cause| (cause.to_owned(), count)).into_iter().collect(),
            count,
            ..Finding::default()
        }
    }

    pub(crate) const FACTS: Facts =
        Facts { foretold_seconds: Some(7.6), failures: 10, replaced: 20 };

    /// One that has found everything.
    pub(crate) fn complete() -> Diagnosis {
        let counts = [30, 8, 8, 400, 10];
        let findings = PLANTED.iter().zip(counts).map(|(planted, count)| finding(planted, count));
        Diagnosis { findings: findings.collect(), ..Diagnosis::default() }
    }

    #[test]
    fn all_of_it_and_nothing_else_is_good() {
        let judged = Judgement::of(&complete(), FACTS);
        assert!(judged.is_good(), "{judged:#?}");
        let says: Vec<_> = judged.planted.iter().map(|verdict| verdict.says.as_str()).collect();
        assert_eq!(
            says,
            [
                "not_closed: 30 sockets",
                "not_read: 8 sockets",
                "not_accepted: 8 sockets",
                "foretold 8 s before connect() failed",
                "EADDRNOTAVAIL, each of the 10 times",
            ]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for (left_out, planted) in PLANTED.iter().enumerate() {
            let mut told = complete();
            told.findings.remove(left_out);
            let judged = Judgement::of(&told, FACTS);
            let missed = format!("{} ({}): not found", planted.who, planted.what);
            assert_eq!((judged.is_good(), judged.missing()), (false, vec![missed]));
        }
    }

    #[test]
    fn the_figures_must_be_right() {
        for (which, wrong) in [(0, 11), (1, 7), (2, 9), (4, 9)] {
            let mut told = complete();
            told.findings[which].count = wrong;
            let judged = Judgement::of(&told, FACTS);
            assert_eq!(judged.missing().len(), 1, "{judged:#?}");
        }
        let mut told = complete();
        told.findings[1].counts.insert("not_read".to_owned(), 6);
        let missing = Judgement::of(&told, FACTS).missing();
        assert_eq!(missing, ["reports (stops reading): 6 of 8 for this reason"]);
        let mut told = complete();
        told.findings.pop();
        let missing = Judgement::of(&told, Facts { failures: 0, ..FACTS }).missing();
        assert_eq!(missing, ["pricing (until none is left): it did not come to that in time"]);
        let late = Facts { foretold_seconds: None, ..FACTS };
        let missing = Judgement::of(&complete(), late).missing();
        assert!(missing.len() == 1 && missing[0].contains("not before"), "{missing:?}");
    }

    #[test]
    fn another_cause_or_process_is_not_what_was_planted() {
        let mut told = complete();
        told.findings[0].cause = Some("not_read".to_owned());
        let judged = Judgement::of(&told, FACTS);
        assert_eq!(judged.unexpected, ["A title of shop-api"]);
        assert_eq!(judged.missing().len(), 1);
        let mut told = complete();
        let control = Planted { who: Role::Orders, ..PLANTED[0] };
        told.findings.push(finding(&control, 6));
        told.findings.push(Finding { process: None, ..finding(&control, 6) });
        let judged = Judgement::of(&told, FACTS);
        assert_eq!(judged.unexpected, ["A title of orders", "A title"]);
        assert!(judged.missing().is_empty() && !judged.is_good());
    }
}
