//! Filters over connections as text: query strings here, flags in the client. One struct serves
//! both sides, so that `list --older-than 5m` and `?older_than=5m` cannot come to differ.

use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::span;
use crate::core::{event::Comm, query::Query, tcp_state::TcpState};

/// Longest query string looked at; every filter there is fits many times.
const LONGEST: usize = 8 * 1024;

/// Bytes that need no escape in a query string.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

const NUMBER: &str = "a whole number";
const ADDRESS: &str =
    "10.0.0.1, 10.0.0.0/8, 10.0.0.0/8:443, [2001:db8::]/32, [::1]:443, :443 or 443";

/// A filter as the user wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilterArgs {
    /// In one of these states; each may be several, separated by commas.
    pub(crate) state: Vec<String>,
    /// In its state for at least this long.
    pub(crate) older_than: Option<String>,
    /// Owned by this process.
    pub(crate) pid: Option<String>,
    /// Owned by a process of this name.
    pub(crate) process: Option<String>,
    /// This host's address, prefix or port.
    pub(crate) local: Option<String>,
    /// The other end's address, prefix or port.
    pub(crate) remote: Option<String>,
    /// Either end has this port.
    pub(crate) port: Option<String>,
    /// Inode of the network namespace.
    pub(crate) netns: Option<String>,
    /// Those that have ended, too.
    pub(crate) closed: bool,
    /// No more than this many; 0 for all.
    pub(crate) limit: Option<usize>,
}

/// Why a filter is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum FilterError {
    /// A value does not fit its parameter.
    #[error("{name}: '{given}' does not fit; it takes {accepted}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What was given, cut short and made printable.
        given: String,
        /// What would do.
        accepted: &'static str,
    },
    /// There is no such parameter.
    #[error(
        "'{0}' is no parameter; the parameters are: state (may be repeated) older_than pid process local remote port netns closed limit"
    )]
    Unknown(String),
    /// There is no such threshold.
    #[error("'{0}' is no parameter; the parameters are: older_than at_least share window failures")]
    UnknownThreshold(String),
    /// A parameter that can be given once was given again.
    #[error("{0} is given twice; only state may be repeated")]
    Twice(&'static str),
    /// Escapes that are none, or bytes that are no text.
    #[error("'{0}' is no percent-encoded UTF-8 text")]
    Encoding(String),
    /// The query string is too long.
    #[error("the query string is longer than {LONGEST} bytes")]
    TooLong,
    /// The parameter makes no sense here.
    #[error("{0} does not apply to a stream of events; it belongs to /api/v1/connections")]
    NotForEvents(&'static str),
}

impl FilterArgs {
    /// What a query string asks for.
    ///
    /// # Errors
    /// Names the parameter, what was given and what is accepted.
    pub(crate) fn from_query_string(text: &str) -> Result<Self, FilterError> {
        if text.len() > LONGEST {
            return Err(FilterError::TooLong);
        }
        let mut args = Self::default();
        let mut seen = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = args.set(&decode(name)?, decode(value)?)?;
            if name != "state" && seen.contains(&name) {
                return Err(FilterError::Twice(name));
            }
            seen.push(name);
        }
        Ok(args)
    }

    /// Sets one parameter; returns its name.
    fn set(&mut self, name: &str, value: String) -> Result<&'static str, FilterError> {
        let (name, slot) = match name {
            "state" => {
                self.state.push(value);
                return Ok("state");
            }
            "closed" => {
                self.closed = flag(&value)?;
                return Ok("closed");
            }
            "limit" => {
                self.limit = parsed("limit", Some(&value), "a whole number, 0 for all")?;
                return Ok("limit");
            }
            "older_than" => ("older_than", &mut self.older_than),
            "pid" => ("pid", &mut self.pid),
            "process" => ("process", &mut self.process),
            "local" => ("local", &mut self.local),
            "remote" => ("remote", &mut self.remote),
            "port" => ("port", &mut self.port),
            "netns" => ("netns", &mut self.netns),
            other => return Err(FilterError::Unknown(printable(other))),
        };
        *slot = Some(value);
        Ok(name)
    }

    /// The filter that is meant. [`closed`](Self::closed) and [`limit`](Self::limit) are no part
    /// of it: they say how much of the answer is wanted.
    ///
    /// # Errors
    /// Names the parameter, what was given and what is accepted.
    pub(crate) fn to_query(&self) -> Result<Query, FilterError> {
        let bad_span = |text: &String| bad("older_than", text, span::ACCEPTED);
        Ok(Query {
            states: self.states()?,
            older_than: self
                .older_than
                .as_ref()
                .map(|text| span::parse(text).ok_or_else(|| bad_span(text)))
                .transpose()?,
            pid: parsed("pid", self.pid.as_deref(), NUMBER)?,
            process: self.process.as_deref().map(process).transpose()?,
            local: parsed("local", self.local.as_deref(), ADDRESS)?,
            remote: parsed("remote", self.remote.as_deref(), ADDRESS)?,
            port: parsed("port", self.port.as_deref(), "a port, 0 to 65535")?,
            netns: parsed("netns", self.netns.as_deref(), "the inode of a network namespace")?,
        })
    }

    /// The filter for a stream of events, where nothing else applies.
    ///
    /// # Errors
    /// As [`to_query`](Self::to_query), and for parameters that only a list can take.
    pub(crate) fn to_event_query(&self) -> Result<Query, FilterError> {
        if self.closed {
            return Err(FilterError::NotForEvents("closed"));
        }
        if self.limit.is_some() {
            return Err(FilterError::NotForEvents("limit"));
        }
        self.to_query()
    }

    /// The query string that [`from_query_string`](Self::from_query_string) reads back.
    pub(crate) fn to_query_string(&self) -> String {
        let closed = self.closed.then(|| "true".to_owned());
        let limit = self.limit.map(|limit| limit.to_string());
        let single = [
            ("older_than", &self.older_than),
            ("pid", &self.pid),
            ("process", &self.process),
            ("local", &self.local),
            ("remote", &self.remote),
            ("port", &self.port),
            ("netns", &self.netns),
            ("closed", &closed),
            ("limit", &limit),
        ];
        let single = single.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?)));
        let states = self.state.iter().map(|state| ("state", state));
        let pair = |(name, value): (_, &String)| format!("{name}={}", encode(value));
        states.chain(single).map(pair).collect::<Vec<_>>().join("&")
    }

    fn states(&self) -> Result<Vec<TcpState>, FilterError> {
        const ACCEPTED: &str = "one or more, with commas between, of established syn_sent \
                                syn_recv fin_wait1 fin_wait2 time_wait close close_wait last_ack \
                                listen closing new_syn_recv";
        let mut states = Vec::new();
        for text in self.state.iter().flat_map(|list| list.split(',')) {
            let state = text.parse().map_err(|_| bad("state", text, ACCEPTED))?;
            if !states.contains(&state) {
                states.push(state);
            }
        }
        Ok(states)
    }
}

/// Escapes `text` for a query string or one segment of a path.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

pub(super) fn decode(text: &str) -> Result<String, FilterError> {
    let spaced = text.replace('+', " ");
    let is_escape = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let decoded = percent_decode_str(&spaced).decode_utf8().ok();
    decoded
        .filter(|_| spaced.split('%').skip(1).all(is_escape))
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| FilterError::Encoding(printable(text)))
}

fn parsed<T: FromStr>(
    name: &'static str,
    value: Option<&str>,
    accepted: &'static str,
) -> Result<Option<T>, FilterError> {
    value.map(|text| text.trim().parse().map_err(|_| bad(name, text, accepted))).transpose()
}

fn flag(value: &str) -> Result<bool, FilterError> {
    match value {
        "" | "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        other => Err(bad("closed", other, "true or false")),
    }
}

/// A name as the kernel would keep it: of a longer one, the first 15 bytes.
fn process(name: &str) -> Result<String, FilterError> {
    if name.is_empty() {
        return Err(bad("process", name, "the name of a process"));
    }
    Ok(Comm::from_text(name).text().into_owned())
}

pub(super) fn bad(name: &'static str, given: &str, accepted: &'static str) -> FilterError {
    FilterError::Value { name, given: printable(given), accepted }
}

/// At most 80 characters of `text`, without such as could play tricks on a terminal.
pub(crate) fn printable(text: &str) -> String {
    const MOST: usize = 80;
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    let mut out: String = text.chars().take(MOST).map(escape).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests;
