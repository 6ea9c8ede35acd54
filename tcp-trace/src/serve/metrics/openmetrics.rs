//! The `OpenMetrics` 1.0 text format, written by its specification
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>); the `prometheus` crate has the older
//! one alone.
//!
//! Neither `# UNIT` nor `_created` is written: both are optional, and a unit would have to be the end
//! of the name. Timestamps and exemplars there are none.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

/// The text of `families`.
pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        encode_family(family, &mut text);
    }
    text += "# EOF\n";
    text
}

fn encode_family(family: &MetricFamily, text: &mut String) {
    let kind = family.get_field_type();
    // A counter's family is named without what its samples end in.
    let name = match kind {
        MetricType::COUNTER => family.name().strip_suffix("_total").unwrap_or(family.name()),
        _ => family.name(),
    };
    let type_name = match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY | MetricType::UNTYPED => "unknown",
    };
    // Writing to a string does not fail, here and below.
    let help = escaped(family.help());
    let _ = write!(text, "# TYPE {name} {type_name}\n# HELP {name} {help}\n");
    for metric in family.get_metric() {
        let labels = metric.get_label();
        match kind {
            MetricType::COUNTER => {
                sample(text, name, "_total", labels, None, metric.get_counter().get_value());
            }
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let mut last = 0.0;
                for bucket in histogram.get_bucket() {
                    last = bucket.upper_bound();
                    let count = whole(bucket.cumulative_count());
                    sample(text, name, "_bucket", labels, Some(last), count);
                }
                let count = whole(histogram.get_sample_count());
                if last < f64::INFINITY {
                    sample(text, name, "_bucket", labels, Some(f64::INFINITY), count);
                }
                sample(text, name, "_count", labels, None, count);
                sample(text, name, "_sum", labels, None, histogram.get_sample_sum());
            }
            _ => sample(text, name, "", labels, None, metric.get_gauge().get_value()),
        }
    }
}

fn sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[LabelPair],
    bound: Option<f64>,
    value: f64,
) {
    *text += name;
    *text += suffix;
    let mut before = '{';
    for label in labels {
        let _ = write!(text, "{before}{}=\"{}\"", label.name(), escaped(label.value()));
        before = ',';
    }
    if let Some(bound) = bound {
        let _ = write!(text, "{before}le=\"{}\"", canonical(bound));
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {}", number(value));
}

#[expect(clippy::cast_precision_loss, reason = "the format knows floating point only")]
fn whole(count: u64) -> f64 {
    count as f64
}

/// A number as the specification spells it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value}")
    }
}

/// A number as a label's value, spelt as Go does and the specification recommends: whole ones end in
/// `.0`, below 1e-4 and from 1e6 on there is an exponent of two digits.
fn canonical(value: f64) -> String {
    if value.is_infinite() {
        return number(value);
    }
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

/// Backslash, quote and end of line, in labels and help alike.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
