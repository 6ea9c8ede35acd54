//! What a scrape is answered with: its format, and whether it is packed.

use std::io::Write as _;

use axum::http::{HeaderMap, HeaderValue, header, response::Response};
use axum::{body::Body, http::StatusCode};
use flate2::{Compression, write::GzEncoder};

use super::{answer::text_of_type, metrics::Format};

/// Below it a packet holds the answer anyway.
const WORTH_PACKING: usize = 1024;

/// One choice of an `Accept` or `Accept-Encoding` header.
struct Choice<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// How welcome it is, 0 to 1.
    quality: f64,
}

impl Choice<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut of_that_name = self.parameters.iter().filter(|(known, _)| *known == name);
        of_that_name.next().map(|(_, value)| *value)
    }
}

fn choices(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = Choice<'_>> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|choice| {
        let mut parts = choice.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
            .collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q").map(|(_, value)| *value);
        let quality = quality.map_or(1.0, |text| text.parse().unwrap_or(0.0));
        Choice { name, parameters, quality }
    })
}

/// The format to answer with: `OpenMetrics` for whoever likes it at least as much as the other.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let (mut open, mut text) = (0.0_f64, 0.0_f64);
    for choice in choices(headers, header::ACCEPT) {
        match choice.name {
            "application/openmetrics-text" => {
                if matches!(choice.parameter("version"), None | Some("1.0.0" | "0.0.1")) {
                    open = open.max(choice.quality);
                }
            }
            "text/plain" if matches!(choice.parameter("version"), None | Some("0.0.4")) => {
                text = text.max(choice.quality);
            }
            _ => {}
        }
    }
    if open > 0.0 && open >= text { Format::OpenMetrics } else { Format::Text }
}

/// Whether the client unpacks gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let welcome = |wanted| {
        let mut of_it = choices(headers, header::ACCEPT_ENCODING).filter(|c| c.name == wanted);
        of_it.next().map(|choice| choice.quality > 0.0)
    };
    welcome("gzip").or_else(|| welcome("*")).unwrap_or(false)
}

/// `text` as an answer, packed where that is wanted and worth it.
pub(super) fn answer(text: String, format: Format, gzip: bool) -> Response<Body> {
    let packed = if gzip && text.len() >= WORTH_PACKING { pack(text.as_bytes()) } else { None };
    let is_packed = packed.is_some();
    let body = packed.unwrap_or_else(|| text.into_bytes());
    let mut response = text_of_type(StatusCode::OK, format.media_type(), body);
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if is_packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Quickly: the text repeats itself enough.
fn pack(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn each_prometheus_gets_what_it_asks_for() {
        let rows = [
            // 2.42
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            // 3.5
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Text),
            ("text/plain, application/openmetrics-text;q=0.5", Format::Text),
            ("application/openmetrics-text; version=2.0.0", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("", Format::Text),
            (";;q=;,=,q=nan;;;", Format::Text),
        ];
        for (accept, expected) in rows {
            assert_eq!(format(&with(header::ACCEPT, accept)), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn gzip_is_for_those_who_ask() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&with(header::ACCEPT_ENCODING, value)), expected, "{value}");
        }
    }
}
