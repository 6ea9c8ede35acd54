//! `dashboards/METRICS.md` is made of the declarations themselves: `BLESS=1` writes it anew.

use std::{fmt::Write as _, fs};

use super::*;

fn reference() -> String {
    let mut page = "# Metrics\n\n\
        What `tcp-trace serve` says at `/metrics`, in Prometheus' text format or OpenMetrics 1.0. \
        Made of the declarations in `tcp-trace/src/serve/metrics/`; do not edit (`BLESS=1 cargo test \
        -p tcp-trace --lib metrics::tests::reference` writes it).\n\n\
        | metric | type | labels |\n|---|---|---|\n"
        .to_owned();
    for metric in table() {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name, kind(metric));
        let _ = writeln!(page, "| [`{name}`](#{name}) | {kind} | {} |", labels.join(", "));
    }
    for metric in table() {
        let _ = write!(page, "\n## {}\n\n{}\n", metric.name, metric.help);
    }
    page
}

fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY | MetricType::UNTYPED => "unknown",
    }
}

#[test]
fn the_page_says_what_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/METRICS.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, reference()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference(), "dashboards/METRICS.md is out of date: run this with BLESS=1");
}
