//! Tests that dashboards, rules and alerts name only what is exported, and all of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    board::{Board, Variable},
    mixin, named, promql,
};
use crate::checkout::Checkout;

/// Suffixes under which a histogram's parts are asked for.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];
/// Labels that Prometheus itself adds, and a histogram's.
const ADDED: [&str; 3] = ["job", "instance", "le"];
/// Metrics of Prometheus itself.
const FOREIGN: [&str; 1] = ["up"];

/// Every metric that is exported, with the names of its labels: from the page about them, which is
/// made of the program's own declarations.
fn exported(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let words = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let rows = page.lines().filter_map(|line| line.strip_prefix("| [`")?.split_once('`'));
    rows.map(|(name, rest)| {
        // Its kind stands between.
        let labels = rest.split(" | ").nth(2).unwrap_or_default();
        (name.to_owned(), words(labels).into_iter().collect())
    })
    .collect()
}

/// A query, and where it stands.
struct Query {
    place: String,
    expr: String,
    /// Whether it must be limited to what was chosen.
    chosen: bool,
}

fn queries(checkout: &Checkout, boards: &[Board]) -> (Vec<Query>, BTreeSet<String>) {
    let mut queries = Vec::new();
    let mut recorded = BTreeSet::new();
    for (file, key) in [("rules.yaml", "record"), ("alerts.yaml", "alert")] {
        for (name, expr) in mixin::expressions(checkout, file, key).unwrap() {
            recorded.insert(name.clone());
            queries.push(Query { place: name, expr, chosen: false });
        }
    }
    for board in boards {
        let mut add = |place: String, expr: &str, chosen| {
            queries.push(Query { place, expr: expr.to_owned(), chosen });
        };
        for panel in board.asking() {
            for target in &panel.targets {
                add(format!("{}, '{}'", board.title, panel.title), &target.expr, true);
            }
        }
        for annotation in &board.annotations.list {
            add(format!("{}, mark '{}'", board.title, annotation.name), &annotation.expr, true);
        }
        for variable in board.templating.list.iter().filter_map(Variable::definition) {
            let (selector, _) = promql::label_values(variable).unwrap();
            add(board.title.clone(), &selector, false);
        }
    }
    (queries, recorded)
}

#[test]
fn what_is_shown_is_exported_and_what_is_exported_is_shown() {
    let checkout = Checkout::own();
    let exported = exported(&checkout.text("dashboards/METRICS.md").unwrap());
    assert!(exported.len() > 50, "{exported:?}");
    let boards = Board::all(&checkout).unwrap();
    let (queries, recorded) = queries(&checkout, &boards);
    let family = |name: &str| {
        let cut = PARTS.iter().find_map(|part| name.strip_suffix(part));
        cut.filter(|family| exported.contains_key(*family)).unwrap_or(name).to_owned()
    };
    let mut used = BTreeSet::new();
    let mut faults = Vec::new();
    for Query { place, expr, chosen } in &queries {
        for named in named::named(expr).unwrap() {
            let metric = family(&named.metric);
            if *chosen {
                let free =
                    ["job", "instance"].into_iter().filter(|&label| !named.labels.contains(label));
                faults.extend(
                    free.map(|label| format!("{place}: {metric} is not limited by '{label}'")),
                );
            }
            if recorded.contains(&metric) || FOREIGN.contains(&metric.as_str()) {
                continue;
            }
            match exported.get(&metric) {
                None => faults.push(format!("{place}: nobody exports {metric}")),
                Some(labels) => {
                    let asked =
                        named.labels.iter().filter(|label| !ADDED.contains(&label.as_str()));
                    let strange = asked.filter(|label| !labels.contains(*label));
                    faults.extend(
                        strange.map(|label| format!("{place}: {metric} has no label '{label}'")),
                    );
                }
            }
            used.insert(metric);
        }
    }
    let unseen = exported.keys().filter(|name| !used.contains(*name));
    faults.extend(unseen.map(|name| format!("nobody shows {name}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_page_about_metrics_is_read() {
    let page = "| metric | type | labels |\n|---|---|---|\n\
                | [`a_total`](#a_total) | counter | `b`, `c` |\n| [`e`](#e) | gauge |  |\n\
                ## `a_total`\nOf `d`.\n";
    let exported = exported(page);
    assert_eq!(exported["a_total"], ["b", "c"].map(str::to_owned).into());
    assert!(exported["e"].is_empty());
    assert_eq!(exported.len(), 2);
}
