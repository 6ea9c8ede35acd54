//! Rules for dashboards: what Grafana's own linter asks, and that nothing overlaps.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{
    board::{Board, Datasource, Panel},
    none_of, promql,
};

/// Kinds of panels whose figures have no one unit.
const WITHOUT_UNIT: [&str; 2] = ["heatmap", "table"];

/// Every fault of every dashboard.
pub(super) fn check(boards: &[Board]) -> Result<String> {
    let mut faults = Vec::new();
    let mut uids = BTreeSet::new();
    for board in boards {
        if !uids.insert(&board.uid) {
            faults.push(format!("{}: another has the uid {}", board.title, board.uid));
        }
        faults.extend(
            self::board(board).into_iter().map(|fault| format!("{}: {fault}", board.title)),
        );
    }
    let panels: usize = boards.iter().map(|board| board.asking().count()).sum();
    none_of(&faults, format!("{} dashboards, {panels} panels", boards.len()))
}

/// The faults of one.
fn board(board: &Board) -> Vec<String> {
    let mut faults = Vec::new();
    if !(39..=42).contains(&board.schema_version) {
        faults.push(format!("schemaVersion {} is not 39 to 42", board.schema_version));
    }
    if board.description.is_empty() || board.tags.is_empty() || board.uid.is_empty() {
        faults.push("it lacks a uid, tags or a description".to_owned());
    }
    faults.extend(variables(board));
    faults.extend(overlaps(board));
    for panel in board.panels.iter().filter(|panel| panel.kind != "row") {
        faults.extend(
            self::panel(panel).into_iter().map(|fault| format!("'{}': {fault}", panel.title)),
        );
    }
    faults
}

/// A source, jobs and instances can be chosen; the last two several at a time.
fn variables(board: &Board) -> Vec<String> {
    let mut faults = Vec::new();
    let list = &board.templating.list;
    if !list.iter().any(|variable| variable.name == "datasource" && variable.kind == "datasource") {
        faults.push("there is no variable 'datasource'".to_owned());
    }
    for name in ["job", "instance"] {
        let Some(variable) = list.iter().find(|variable| variable.name == name) else {
            faults.push(format!("there is no variable '{name}'"));
            continue;
        };
        if !variable.multi || !variable.include_all {
            faults.push(format!("of '{name}' several must be possible, and all"));
        }
    }
    for variable in list.iter().filter(|variable| variable.kind == "query") {
        if variable.label.is_empty() || !is_chosen(variable.datasource.as_ref()) {
            faults.push(format!("variable '{}' lacks a label or the chosen source", variable.name));
        }
        let definition = variable.definition().unwrap_or_default();
        if let Err(error) = promql::label_values(definition) {
            faults.push(format!("variable '{}': {error}", variable.name));
        }
    }
    faults
}

fn is_chosen(datasource: Option<&Datasource>) -> bool {
    datasource.is_some_and(|it| it.kind == "prometheus" && it.uid == "${datasource}")
}

fn overlaps(board: &Board) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in &board.panels {
        if !ids.insert(panel.id) {
            faults.push(format!("two panels have the number {}", panel.id));
        }
        let at = panel.grid_pos;
        if at.x + at.w > 24 || at.w == 0 || at.h == 0 {
            faults.push(format!("'{}' does not fit the grid", panel.title));
        }
        let cells = (at.x..at.x + at.w).flat_map(|x| (at.y..at.y + at.h).map(move |y| (x, y)));
        let free = cells.map(|cell| taken.insert(cell)).filter(|free| !free).count() == 0;
        if !free {
            faults.push(format!("'{}' stands on another", panel.title));
        }
    }
    faults
}

fn panel(panel: &Panel) -> Vec<String> {
    let mut faults = Vec::new();
    if panel.title.is_empty() || panel.description.is_empty() {
        faults.push("it lacks a title or a description".to_owned());
    }
    if panel.kind == "text" {
        return faults;
    }
    if panel.targets.is_empty() {
        faults.push("it asks nothing".to_owned());
    }
    if !is_chosen(panel.datasource.as_ref()) {
        faults.push("it does not use the chosen source".to_owned());
    }
    let unit = panel.field_config.as_ref().and_then(|config| config.defaults.unit.as_deref());
    if unit.is_none() && !WITHOUT_UNIT.contains(&&*panel.kind) {
        faults.push("it has no unit".to_owned());
    }
    for target in &panel.targets {
        faults.extend(
            query(&target.expr).into_iter().map(|fault| format!("{}: {fault}", target.ref_id)),
        );
        if !is_chosen(target.datasource.as_ref()) {
            faults.push(format!("{}: it does not use the chosen source", target.ref_id));
        }
    }
    faults
}

/// Its rates go by the scrape interval. That it is `PromQL`, and limited to what was chosen, is a
/// test of `closure`.
fn query(expr: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for function in ["rate(", "irate(", "increase("] {
        for (at, _) in expr.match_indices(function) {
            let interval = expr[at..].split_once('[').and_then(|(_, rest)| rest.split_once(']'));
            let interval = interval.map(|(interval, _)| interval);
            if !matches!(interval, Some("$__rate_interval" | "$__range")) {
                faults.push(format!(
                    "{function}…[{}]) goes by no $__rate_interval",
                    interval.unwrap_or_default()
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::Checkout;

    #[test]
    fn those_in_git_have_no_fault() {
        check(&Board::all(&Checkout::own()).unwrap()).unwrap();
    }

    #[test]
    fn every_fault_is_found() {
        let good = Board::all(&Checkout::own()).unwrap().remove(0);
        let faults = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut json = good.json.clone();
            change(&mut json);
            board(&Board::of(json).unwrap()).join("; ")
        };
        assert_eq!(faults(&|_| {}), "");
        let panel = good.panels.iter().position(|panel| panel.kind == "timeseries").unwrap();
        for (pointer, value, says) in [
            ("/schemaVersion", serde_json::json!(36), "schemaVersion 36"),
            ("/description", serde_json::json!(""), "lacks a uid"),
            ("/templating/list/0/name", serde_json::json!("source"), "no variable 'datasource'"),
            ("/templating/list/1/multi", serde_json::json!(false), "several must be possible"),
            ("/panels/P/id", serde_json::json!(1), "two panels have the number 1"),
            ("/panels/P/gridPos/x", serde_json::json!(23), "does not fit the grid"),
            ("/panels/P/gridPos/y", serde_json::json!(0), "stands on another"),
            ("/panels/P/description", serde_json::json!(""), "lacks a title or a description"),
            ("/panels/P/datasource/uid", serde_json::json!("abc"), "not use the chosen source"),
            ("/panels/P/fieldConfig/defaults/unit", serde_json::Value::Null, "has no unit"),
            (
                "/panels/P/targets/0/expr",
                serde_json::json!(r#"rate(up{job="", instance=""}[5m])"#),
                "goes by no $__rate_interval",
            ),
        ] {
            let pointer = pointer.replace("/P/", &format!("/{panel}/"));
            let found = faults(&|json| *json.pointer_mut(&pointer).unwrap() = value.clone());
            assert!(found.contains(says), "{pointer}: {found}");
        }
    }
}
