//! Which alerts the demo must raise, and that it raises no other.

use std::collections::BTreeSet;

use anyhow::Result;

use super::server::Server;

/// Alerts, with the labels that tell whom they mean.
const EXPECTED: [&str; 8] = [
    "TcpTraceCloseWaitLeak login-svc not_accepted warning",
    "TcpTraceCloseWaitLeak reports not_read warning",
    "TcpTraceCloseWaitLeak shop-api not_closed warning",
    "TcpTraceCloseWaitLeakGrows shop-api warning",
    "TcpTraceFdExhaustionAhead shop-api warning",
    "TcpTraceFdExhaustionNear shop-api critical",
    "TcpTraceNoPortLeft critical",
    "TcpTracePortPressure 127.0.0.1:8083 warning",
];
/// Labels that tell whom an alert means.
const LABELS: [&str; 6] = ["alertname", "process", "cause", "destination", "kind", "severity"];

/// Alerts that have fired so far.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeSet<String>);

impl Alarms {
    /// Adds those that fire now.
    pub(super) fn look(&mut self, server: &Server) -> Result<()> {
        let data = server.ask("/api/v1/alerts", &[])?;
        let alerts = data["alerts"].as_array().into_iter().flatten();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        self.0.extend(firing.map(|alert| {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default();
            let words: Vec<_> =
                LABELS.into_iter().map(label).filter(|word| !word.is_empty()).collect();
            words.join(" ")
        }));
        Ok(())
    }

    /// Those that ought to have fired and have not.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        EXPECTED.into_iter().filter(|alert| !self.0.contains(*alert)).collect()
    }

    /// Those, and the others that have fired and ought not.
    pub(super) fn faults(&self) -> Vec<String> {
        let missing = self.missing().into_iter().map(|alert| format!("does not fire: {alert}"));
        let strange = self.0.iter().filter(|alert| !EXPECTED.contains(&alert.as_str()));
        missing.chain(strange.map(|alert| format!("fires, and ought not: {alert}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_too_few_and_too_many_are_faults() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.faults().len(), EXPECTED.len());
        alarms.0.extend(EXPECTED.map(str::to_owned));
        assert!(alarms.faults().is_empty());
        alarms.0.insert("TcpTraceDown critical".to_owned());
        assert_eq!(alarms.faults(), ["fires, and ought not: TcpTraceDown critical"]);
    }
}
