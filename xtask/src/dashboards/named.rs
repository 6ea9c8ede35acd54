//! The metrics that a query names.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use promql_parser::{
    parser::{self, Expr, VectorSelector},
    util::{ExprVisitor, walk_expr},
};

use super::promql::SHORT;

/// A metric that a query names, and the labels it asks of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    /// Its name.
    pub(super) metric: String,
    /// Labels that are matched.
    pub(super) labels: BTreeSet<String>,
}

/// Every metric that a query names.
pub(super) fn named(query: &str) -> Result<Vec<Named>> {
    let parsed = parser::parse(&SHORT.fill(query))
        .map_err(|error| anyhow!("no PromQL: {error}: {query}"))?;
    let mut selectors = Selectors::default();
    walk_expr(&mut selectors, &parsed).map_err(|error| anyhow!("{error}"))?;
    Ok(selectors.0)
}

#[derive(Default)]
struct Selectors(Vec<Named>);

impl Selectors {
    fn add(&mut self, selector: &VectorSelector) {
        let labels = selector.matchers.matchers.iter().map(|matcher| matcher.name.clone());
        self.0.push(Named {
            metric: selector.name.clone().unwrap_or_default(),
            labels: labels.collect(),
        });
    }
}

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(selector) => self.add(selector),
            Expr::MatrixSelector(matrix) => self.add(&matrix.vs),
            _ => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_wherever_they_stand() {
        let query = r#"sum by (le) (rate(a_bucket{job=~"$job", le!="x"}[$__rate_interval])) / b > on (x) max_over_time(c[1h])"#;
        let found = named(query).unwrap();
        let metrics: Vec<_> = found.iter().map(|named| named.metric.as_str()).collect();
        assert_eq!(metrics, ["a_bucket", "b", "c"]);
        assert_eq!(found[0].labels, ["job", "le"].map(str::to_owned).into());
        assert!(super::named("sum by (").is_err());
    }
}
