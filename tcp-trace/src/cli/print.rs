//! Standard output.

use std::io::{self, Write as _};

use serde::Serialize;

use super::text::escape_json;

/// Prints a line, now.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Says something on standard error, which may be closed.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints an object of the API, for people and programs alike.
pub(super) fn json(object: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(&escape_json(&serde_json::to_string_pretty(object)?))?)
}

/// Prints an object of the API on a line of its own.
pub(super) fn json_line(object: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(&escape_json(&serde_json::to_string(object)?))?)
}
