//! Every query of every panel, annotation and variable, asked for real; one that brings nothing is a
//! fault.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    board::Board,
    promql::{self, SHORT},
    server::Server,
};

/// What a dashboard's panels were answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    /// The dashboard's name.
    pub(super) uid: String,
    /// By panel and query.
    pub(super) answers: Vec<Answer>,
}

/// What one query was answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    /// The panel's number.
    pub(super) panel: u32,
    /// The query's letter.
    pub(super) ref_id: String,
    /// Prometheus's `result`.
    pub(super) result: Value,
}

/// The stretch of time that is asked for, in seconds of the epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// From.
    pub(super) start: u64,
    /// To.
    pub(super) end: u64,
    /// Between two points.
    pub(super) step: u64,
}

/// Asks everything; the answers, and a line for each query that brought nothing.
pub(super) fn all(
    server: &Server,
    boards: &[Board],
    stretch: Stretch,
) -> Result<(Vec<Answered>, Vec<String>)> {
    let mut answered = Vec::new();
    let mut empty = Vec::new();
    for board in boards {
        let mut answers = Vec::new();
        for panel in board.asking() {
            for target in &panel.targets {
                let result = ask(server, &target.expr, target.instant, stretch)
                    .with_context(|| format!("{}, '{}'", board.title, panel.title))?;
                if is_empty(&result) {
                    let place = format!("{}, '{}' {}", board.title, panel.title, target.ref_id);
                    empty.push(format!("{place}: {}", target.expr));
                }
                answers.push(Answer { panel: panel.id, ref_id: target.ref_id.clone(), result });
            }
        }
        for annotation in &board.annotations.list {
            // Mostly nothing has happened that is worth a mark.
            ask(server, &annotation.expr, false, stretch)
                .with_context(|| format!("{}, mark '{}'", board.title, annotation.name))?;
        }
        for variable in &board.templating.list {
            if let Some(definition) = variable.definition()
                && is_empty(&values(server, definition, stretch)?)
            {
                empty.push(format!("{}, variable '{}': {definition}", board.title, variable.name));
            }
        }
        answered.push(Answered { uid: board.uid.clone(), answers });
    }
    Ok((answered, empty))
}

fn ask(server: &Server, expr: &str, instant: bool, stretch: Stretch) -> Result<Value> {
    let query = SHORT.fill(expr);
    let (start, end, step) =
        (stretch.start.to_string(), stretch.end.to_string(), stretch.step.to_string());
    let mut data = if instant {
        server.ask("/api/v1/query", &[("query", &query), ("time", &end)])?
    } else {
        let parameters = [("query", &*query), ("start", &start), ("end", &end), ("step", &step)];
        server.ask("/api/v1/query_range", &parameters)?
    };
    Ok(data["result"].take())
}

/// As Grafana asks for `label_values(selector, label)`.
fn values(server: &Server, definition: &str, stretch: Stretch) -> Result<Value> {
    let (selector, label) = promql::label_values(definition)?;
    let parameters = [
        ("match[]", SHORT.fill(&selector)),
        ("start", stretch.start.to_string()),
        ("end", stretch.end.to_string()),
    ];
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, &**value)).collect();
    server.ask(&format!("/api/v1/label/{label}/values"), &parameters)
}

fn is_empty(result: &Value) -> bool {
    result.as_array().is_none_or(Vec::is_empty)
}
