//! Metrics in Prometheus' text format, made of figures that are kept up to date anyway: a scrape
//! costs the same with ten connections as with a million.

mod connections;
mod coverage;
mod leaks;
mod lives;
mod openmetrics;
mod own_process;
mod process_facts;
mod processes;
mod segments;
mod tracer;
mod web;

use std::path::Path;

use prometheus::{
    TextEncoder,
    proto::{self, LabelPair, MetricFamily, MetricType},
};

use super::tally::WebFigures;
use crate::{core::histogram::Histogram, engine::figures::Figures};

pub(crate) use process_facts::{ProcessFacts, ProcessReader};

/// How the metrics are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' own text.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One metric: what is said about it, and where its samples come from.
pub(crate) struct Metric {
    /// Its name.
    pub(crate) name: &'static str,
    /// Counter, gauge or histogram.
    pub(crate) kind: MetricType,
    /// Names of its labels.
    pub(crate) labels: &'static [&'static str],
    /// What it tells, and what to do with it.
    pub(crate) help: &'static str,
    /// Where its samples come from.
    fill: fn(&Scrape<'_>, &mut Samples),
}

/// Every metric there is, group by group: the one table that rendering and documentation share.
pub(crate) fn table() -> impl Iterator<Item = &'static Metric> {
    [
        connections::METRICS,
        lives::METRICS,
        processes::METRICS,
        segments::METRICS,
        leaks::METRICS,
        tracer::METRICS,
        coverage::METRICS,
        web::METRICS,
        own_process::METRICS,
    ]
    .into_iter()
    .flatten()
}

/// The figures of one scrape.
struct Scrape<'a> {
    figures: &'a Figures,
    process: &'a ProcessFacts,
    web: &'a WebFigures,
}

/// The text of all metrics.
///
/// # Errors
/// Where the encoder refuses a family, which a test rules out for every row of [`table`].
pub(super) fn render(
    format: Format,
    figures: &Figures,
    process: &ProcessFacts,
    web: &WebFigures,
) -> Result<String, prometheus::Error> {
    let scrape = Scrape { figures, process, web };
    // A family without samples has nothing to say, and the encoder refuses it.
    let families: Vec<_> = table()
        .map(|metric| metric.family(&scrape))
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    if format == Format::OpenMetrics {
        return Ok(openmetrics::encode(&families));
    }
    let text = TextEncoder::new().encode_to_string(&families)?;
    // The encoder writes infinity as Rust does; no other line ends so.
    Ok(text.replace(" inf\n", " +Inf\n"))
}

/// The text of all metrics in either format, as a scrape makes it; for the benchmark.
///
/// # Errors
/// As [`render`].
pub(crate) fn in_both_formats(figures: &Figures) -> Result<[String; 2], prometheus::Error> {
    let (process, web) = (ProcessReader::new(Path::new("/proc")).read(), WebFigures::default());
    let render = |format| render(format, figures, &process, &web);
    Ok([render(Format::Text)?, render(Format::OpenMetrics)?])
}

impl Metric {
    fn family(&self, scrape: &Scrape<'_>) -> MetricFamily {
        let mut samples = Samples { kind: self.kind, labels: self.labels, rows: Vec::new() };
        (self.fill)(scrape, &mut samples);
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(samples.rows);
        family
    }
}

/// The samples of one metric, while they are collected.
struct Samples {
    kind: MetricType,
    labels: &'static [&'static str],
    rows: Vec<proto::Metric>,
}

impl Samples {
    /// Adds a sample; `values` stand in the order of the metric's labels.
    fn value(&mut self, values: &[&str], value: f64) {
        let mut row = self.row(values);
        if self.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            row.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            row.set_gauge(gauge);
        }
        self.rows.push(row);
    }

    /// Adds a sample that is a whole number.
    #[expect(clippy::cast_precision_loss, reason = "the format knows floating point only")]
    fn count(&mut self, values: &[&str], count: u64) {
        self.value(values, count as f64);
    }

    /// Adds a histogram of durations in seconds.
    fn histogram(&mut self, values: &[&str], durations: &Histogram) {
        let buckets = durations.cumulative().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(durations.count());
        histogram.set_sample_sum(durations.sum_seconds());
        let mut row = self.row(values);
        row.set_histogram(histogram);
        self.rows.push(row);
    }

    fn row(&self, values: &[&str]) -> proto::Metric {
        debug_assert_eq!(self.labels.len(), values.len(), "a value for each label");
        let pairs = self.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        proto::Metric::from_label(pairs.collect())
    }
}

#[cfg(test)]
mod tests;
