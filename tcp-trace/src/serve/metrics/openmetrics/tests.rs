use std::collections::BTreeSet;

use prometheus::proto;
use proptest::prelude::*;

use super::*;

/// One sample as read back: name, labels in their order, value.
type Read = (String, Vec<(String, String)>, f64);

/// Reads an exposition strictly by the specification's grammar, as far as it is used here; panics
/// where it is broken.
fn read(text: &str) -> Vec<(String, String, Vec<Read>)> {
    let body = text.strip_suffix("# EOF\n").expect("it ends in # EOF");
    let mut families: Vec<(String, String, Vec<Read>)> = Vec::new();
    let mut names = BTreeSet::new();
    for line in body.split_terminator('\n') {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(names.insert(name.to_owned()), "a family is there twice: {name}");
            families.push((name.to_owned(), kind.to_owned(), Vec::new()));
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            let (family, _, samples) = families.last().unwrap();
            assert_eq!((name, samples.len()), (family.as_str(), 0), "metadata come first");
            unescaped(help);
        } else {
            assert!(!line.is_empty() && !line.starts_with('#'), "{line:?}");
            let sample = sample_of(line);
            let (family, kind, samples) = families.last_mut().unwrap();
            let suffix = sample.0.strip_prefix(family.as_str()).expect("of this family");
            let fits: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_count", "_sum"],
                other => panic!("{other}"),
            };
            assert!(fits.contains(&suffix), "{line}");
            if kind == "counter" {
                assert!(sample.2 >= 0.0 && sample.2.is_finite(), "{line}");
            }
            samples.push(sample);
        }
    }
    families
}

fn sample_of(line: &str) -> Read {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{name}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        let mut inside = inside;
        loop {
            let (label, after) = inside.split_once("=\"").unwrap();
            let mut escape = false;
            let quote = after
                .char_indices()
                .find(|(_, c)| {
                    let ends = *c == '"' && !escape;
                    escape = *c == '\\' && !escape;
                    ends
                })
                .unwrap()
                .0;
            labels.push((label.to_owned(), unescaped(&after[..quote])));
            inside = &after[quote + 1..];
            match inside.strip_prefix(',') {
                Some(next) => inside = next,
                None => break,
            }
        }
        rest = inside.strip_prefix('}').unwrap();
    }
    let value = rest.strip_prefix(' ').unwrap();
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => {
            assert!(!number.contains("inf") && !number.contains("nan"), "{line}");
            number.parse().unwrap()
        }
    };
    (name.to_owned(), labels, value)
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next().unwrap() {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                c => panic!("\\{c} is no escape"),
            },
            '"' => panic!("a bare quote"),
            c => c,
        });
    }
    plain
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn family(name: &str, kind: MetricType, metrics: Vec<proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help("Says \"so\", \\ and\nso.".to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> proto::Metric {
    let mut metric = proto::Metric::from_label(labels);
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

#[test]
fn every_kind_is_written_by_the_specification() {
    let mut counted = proto::Metric::from_label(vec![pair("a", "b")]);
    let mut three = proto::Counter::default();
    three.set_value(3.0);
    counted.set_counter(three);
    let mut observed = proto::Metric::from_label(Vec::new());
    let mut histogram = proto::Histogram::default();
    let buckets = [(0.000_064, 1), (0.001, 2), (1.0, 2), (1_048_576.0, 3)];
    let buckets = buckets.map(|(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    histogram.set_bucket(buckets.to_vec());
    histogram.set_sample_count(4);
    histogram.set_sample_sum(2.5);
    observed.set_histogram(histogram);
    let text = encode(&[
        family("x_things_total", MetricType::COUNTER, vec![counted]),
        family("x_left", MetricType::GAUGE, vec![gauge(Vec::new(), f64::INFINITY)]),
        family("x_seconds", MetricType::HISTOGRAM, vec![observed]),
    ]);
    assert_eq!(
        text,
        "# TYPE x_things counter\n\
         # HELP x_things Says \\\"so\\\", \\\\ and\\nso.\n\
         x_things_total{a=\"b\"} 3\n\
         # TYPE x_left gauge\n\
         # HELP x_left Says \\\"so\\\", \\\\ and\\nso.\n\
         x_left +Inf\n\
         # TYPE x_seconds histogram\n\
         # HELP x_seconds Says \\\"so\\\", \\\\ and\\nso.\n\
         x_seconds_bucket{le=\"6.4e-05\"} 1\n\
         x_seconds_bucket{le=\"0.001\"} 2\n\
         x_seconds_bucket{le=\"1.0\"} 2\n\
         x_seconds_bucket{le=\"1.048576e+06\"} 3\n\
         x_seconds_bucket{le=\"+Inf\"} 4\n\
         x_seconds_count 4\n\
         x_seconds_sum 2.5\n\
         # EOF\n"
    );
    assert_eq!(read(&text).len(), 3);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        values in proptest::collection::vec((any::<String>(), any::<f64>()), 0..20),
    ) {
        let rows = values.iter().map(|(text, value)| gauge(vec![pair("l", text)], *value));
        let text = encode(&[family("x", MetricType::GAUGE, rows.collect())]);
        let families = read(&text);
        prop_assert_eq!(families[0].2.len(), values.len());
        for ((_, labels, read), (label, value)) in families[0].2.iter().zip(&values) {
            prop_assert_eq!(&labels[0].1, label);
            prop_assert!(read.total_cmp(value).is_eq() || read.is_nan() && value.is_nan());
        }
    }
}

/// Both formats tell the same.
#[test]
fn the_whole_table_is_good() {
    use crate::serve::{
        fake,
        metrics::{Format, ProcessFacts, WebFigures, render, table},
    };
    let facts = ProcessFacts { open_fds: Some(5.0), ..ProcessFacts::default() };
    let render = |format| render(format, &fake::figures(), &facts, &WebFigures::default()).unwrap();
    let (open, text) = (render(Format::OpenMetrics), render(Format::Text));
    let families = read(&open);
    let samples: usize = families.iter().map(|(_, _, samples)| samples.len()).sum();
    let in_text = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples, in_text);
    // No family's samples may be taken for another's.
    let names: BTreeSet<_> = families.iter().map(|(name, ..)| name.as_str()).collect();
    for name in &names {
        for suffix in ["_total", "_bucket", "_count", "_sum", "_created", "_info"] {
            assert!(!names.contains(format!("{name}{suffix}").as_str()), "{name}{suffix}");
        }
    }
    for metric in table().filter(|metric| metric.kind == MetricType::COUNTER) {
        assert!(metric.name.ends_with("_total"), "{}", metric.name);
    }
}
