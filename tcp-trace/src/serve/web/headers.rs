//! Headers that the file may add to every answer: exporter-toolkit's list.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::error::Problem;

const FIELD: &str = "http_server_config.headers";

/// The headers, and the values that each may have; none named is any.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// The headers, if all of them may be set so.
pub(super) fn checked(headers: &BTreeMap<String, String>) -> Result<HeaderMap, Problem> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let Some((_, values)) = ALLOWED.iter().find(|(allowed, _)| allowed == name) else {
            let names: Vec<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
            let problem = format!("{name:?} cannot be set; these can: {}", names.join(", "));
            return Err(Problem::field(FIELD, problem));
        };
        if !values.is_empty() && !values.contains(&value.as_str()) {
            let problem = format!("{name} takes {}, not {value:?}", values.join(" or "));
            return Err(Problem::field(FIELD, problem));
        }
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value))
        else {
            return Err(Problem::field(FIELD, format!("the value of {name} is no header's")));
        };
        map.insert(name, value);
    }
    Ok(map)
}
