//! A user stack, function by function.

use super::{page::Page, style::Paint, words};
use crate::api::{Frame, Stack};

/// Where functions stand.
const INDENT: usize = 2;

/// Draws it, innermost first.
pub(super) fn draw(page: &mut Page<'_>, stack: &Stack) {
    let call = if stack.call == "accept" { "accepted at" } else { "opened at" };
    page.put(Paint::Bold, call);
    if let Some(reason) = &stack.reason {
        page.put(Paint::Plain, " ").wrap(Paint::Plain, reason, INDENT).newline();
        return;
    }
    page.newline();
    for frame in &stack.frames {
        page.at(INDENT).wrap(Paint::Plain, &line(frame), INDENT + 2).newline();
    }
    if stack.cut {
        page.at(INDENT).put(Paint::Dim, "…").newline();
    }
}

fn line(frame: &Frame) -> String {
    let module = frame.module.as_deref().unwrap_or(words::UNKNOWN);
    let place = match (&frame.function, &frame.source) {
        (None, _) => return format!("{module}+{:#x}", frame.offset),
        (Some(function), _) if frame.inlined => format!("{function} (inlined)"),
        (Some(function), _) => format!("{function}+{:#x}", frame.offset),
    };
    let source = frame.source.as_ref().map_or_else(String::new, |source| format!(", {source}"));
    format!("{place}  {module}{source}")
}
