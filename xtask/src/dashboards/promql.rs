//! Queries: their macros, and what gives a variable's values.

use anyhow::{Result, anyhow};

/// What stands for a dashboard's choices when a query is asked: everything, over this long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choices {
    /// `$__rate_interval`.
    pub(super) rate_interval: &'static str,
    /// `$__range`.
    pub(super) range: &'static str,
}

/// Those of a scene that lasts a minute or two.
pub(super) const SHORT: Choices = Choices { rate_interval: "20s", range: "1m" };

impl Choices {
    /// `query` with them in their places.
    pub(super) fn fill(self, query: &str) -> String {
        query
            .replace("$__rate_interval", self.rate_interval)
            .replace("$__range", self.range)
            .replace("$job", ".+")
            .replace("$instance", ".+")
            .replace("$process", ".+")
    }
}

/// The metric of `label_values(metric{…}, label)`, and the label.
pub(super) fn label_values(definition: &str) -> Result<(String, String)> {
    let inside = definition
        .strip_prefix("label_values(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.rsplit_once(", "));
    let (selector, label) =
        inside.ok_or_else(|| anyhow!("not label_values(metric, label): {definition}"))?;
    Ok((selector.to_owned(), label.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read() {
        let read = label_values(r#"label_values(tcp_trace_build_info{job=~"$job"}, instance)"#);
        let expected = (r#"tcp_trace_build_info{job=~"$job"}"#.to_owned(), "instance".to_owned());
        assert_eq!(read.unwrap(), expected);
        assert!(label_values("query_result(x)").is_err());
    }

    #[test]
    fn choices_take_the_places_of_macros() {
        let filled = SHORT.fill(r#"rate(a{job=~"$job"}[$__rate_interval])"#);
        assert_eq!(filled, r#"rate(a{job=~".+"}[20s])"#);
    }
}
