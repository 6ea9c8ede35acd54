//! Which alerts the demo must raise, and that it raises no other.

use std::collections::BTreeSet;

use anyhow::Result;

use super::server::Server;

/// Alerts and the labels that tell whom they mean.
const EXPECTED: &[&str] = &[];

/// Alerts that fire and ought not, and those that ought and do not.
pub(super) fn faults(server: &Server) -> Result<Vec<String>> {
    let data = server.ask("/api/v1/alerts", &[])?;
    let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    let found: BTreeSet<String> = firing
        .map(|alert| {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default();
            let labels = ["alertname", "process", "cause", "destination", "kind", "severity"];
            let words: Vec<_> =
                labels.into_iter().map(label).filter(|word| !word.is_empty()).collect();
            words.join(" ")
        })
        .collect();
    let expected: BTreeSet<String> = EXPECTED.iter().map(|words| (*words).to_owned()).collect();
    let mut faults = Vec::new();
    faults.extend(expected.difference(&found).map(|alert| format!("does not fire: {alert}")));
    faults
        .extend(found.difference(&expected).map(|alert| format!("fires, and ought not: {alert}")));
    Ok(faults)
}
