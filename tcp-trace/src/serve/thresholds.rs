//! Thresholds of a diagnosis as text: query strings here, flags in the client.

use std::{str::FromStr, time::Duration};

use super::{
    filter::{FilterError, bad, decode, encode, printable},
    span,
};
use crate::core::diagnosis::Asked;

/// Longest query string looked at.
const LONGEST: usize = 1024;

/// Thresholds as the user wrote them; what is not given stays as the tracer has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThresholdArgs {
    /// How long a socket must have stood still.
    pub(crate) older_than: Option<String>,
    /// How many sockets make a finding.
    pub(crate) at_least: Option<String>,
    /// The share of a bound that is too much, in percent.
    pub(crate) share: Option<String>,
    /// How far back failures are counted.
    pub(crate) window: Option<String>,
    /// How many of those make a finding.
    pub(crate) failures: Option<String>,
}

impl ThresholdArgs {
    /// What a query string asks for.
    ///
    /// # Errors
    /// Names the parameter, what was given and what is accepted.
    pub(crate) fn from_query_string(text: &str) -> Result<Self, FilterError> {
        if text.len() > LONGEST {
            return Err(FilterError::TooLong);
        }
        let mut args = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, slot) = match decode(name)?.as_str() {
                "older_than" => ("older_than", &mut args.older_than),
                "at_least" => ("at_least", &mut args.at_least),
                "share" => ("share", &mut args.share),
                "window" => ("window", &mut args.window),
                "failures" => ("failures", &mut args.failures),
                other => return Err(FilterError::UnknownThreshold(printable(other))),
            };
            if slot.replace(decode(value)?).is_some() {
                return Err(FilterError::Twice(name));
            }
        }
        Ok(args)
    }

    /// The query string that [`from_query_string`](Self::from_query_string) reads back.
    pub(crate) fn to_query_string(&self) -> String {
        let all = [
            ("older_than", &self.older_than),
            ("at_least", &self.at_least),
            ("share", &self.share),
            ("window", &self.window),
            ("failures", &self.failures),
        ];
        let given = all.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
    }

    /// The thresholds that are meant.
    ///
    /// # Errors
    /// Names the parameter, what was given and what is accepted.
    pub(crate) fn to_asked(&self) -> Result<Asked, FilterError> {
        let share = number("share", self.share.as_ref(), "a percentage, 1 to 100")?;
        if share.is_some_and(|share: f64| !(1.0..=100.0).contains(&share)) {
            let given = self.share.as_deref().unwrap_or_default();
            return Err(bad("share", given, "a percentage, 1 to 100"));
        }
        Ok(Asked {
            older_than: time("older_than", self.older_than.as_ref())?,
            at_least: number("at_least", self.at_least.as_ref(), "a whole number")?,
            share: share.map(|share| share / 100.0),
            window: time("window", self.window.as_ref())?,
            failures: number("failures", self.failures.as_ref(), "a whole number")?,
        })
    }
}

fn time(name: &'static str, text: Option<&String>) -> Result<Option<Duration>, FilterError> {
    text.map(|text| span::parse(text).ok_or_else(|| bad(name, text, span::ACCEPTED))).transpose()
}

fn number<T: FromStr>(
    name: &'static str,
    text: Option<&String>,
    accepted: &'static str,
) -> Result<Option<T>, FilterError> {
    text.map(|text| text.trim().parse().map_err(|_| bad(name, text, accepted))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_is_read_back() {
        let args = ThresholdArgs::from_query_string("older_than=5m&share=80&at_least=1").unwrap();
        let expected = Asked {
            older_than: Some(Duration::from_mins(5)),
            at_least: Some(1),
            share: Some(0.8),
            ..Asked::default()
        };
        assert_eq!(args.to_asked(), Ok(expected));
        assert_eq!(ThresholdArgs::from_query_string(&args.to_query_string()), Ok(args));
        assert_eq!(ThresholdArgs::from_query_string(""), Ok(ThresholdArgs::default()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, says) in [
            ("state=close_wait", "older_than at_least share window failures"),
            ("share=0", "1 to 100"),
            ("share=nan", "1 to 100"),
            ("older_than=soon", "older_than: 'soon'"),
            ("at_least=-1", "at_least"),
            ("window=1s&window=2s", "twice"),
            ("%zz", "percent-encoded"),
        ] {
            let error = ThresholdArgs::from_query_string(text)
                .and_then(|args| args.to_asked())
                .unwrap_err()
                .to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
