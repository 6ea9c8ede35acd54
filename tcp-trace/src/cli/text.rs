//! What the commands print on a terminal: objects of the API in, text out.
//!
//! Nothing here reads a clock, a terminal or a file. The caller decides the [`Style`] once and
//! prints what comes back; no text ends in a line break.
//!
//! Names of processes, programs and units are chosen by whoever runs them, and a daemon may be a
//! remote one, so every string on its way out passes [`sanitize`]: through [`page::Page`], which
//! alone writes control sequences, or by hand in the two renderers that mimic other tools.

mod command;
pub(crate) mod demo;
pub(crate) mod diagnosis;
pub(crate) mod doctor;
mod ending;
mod ladder;
pub(crate) mod list;
mod page;
mod sanitize;
pub(crate) mod show;
mod stack;
pub(crate) mod status;
mod style;
mod table;
pub(crate) mod tcplife;
pub(crate) mod tcpstates;
mod verdict;
pub(crate) mod watch;
mod watch_columns;
mod words;

#[cfg(test)]
pub(crate) mod fixtures;

pub(crate) use command::Command;
pub(crate) use sanitize::{escape_json, sanitize};
pub(crate) use style::Style;
