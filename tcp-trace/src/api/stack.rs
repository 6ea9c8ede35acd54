//! User stacks as objects of the API.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Loss;
use crate::core::stack::{self, Stack as Known};

/// Where in its program a connection was opened or accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// At which call it was taken: `connect` or `accept`.
    pub call: String,
    /// The program's own functions in one line, innermost first.
    pub headline: String,
    /// All functions, innermost first.
    pub frames: Vec<Frame>,
    /// Whether there were more.
    pub cut: bool,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One function that had not returned yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its name; `null` where nothing names it.
    pub function: Option<String>,
    /// File name of the program or library.
    pub module: Option<String>,
    /// Bytes from the function's start, or where that is not known, from the file's.
    pub offset: u64,
    /// `file:line`, where the program's debug information tells it.
    pub source: Option<String>,
    /// Whether the compiler has put it into the next one.
    pub inlined: bool,
}

/// Whether user stacks are taken, and what has become of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// Whether they are.
    pub on: bool,
    /// By what has become of them; without those that are 0.
    pub fates: Vec<Loss>,
}

impl From<&Arc<Known>> for Stack {
    fn from(known: &Arc<Known>) -> Self {
        let frames = known.frames.as_deref().unwrap_or_default();
        Self {
            call: known.call.name().to_owned(),
            headline: known.headline(),
            frames: frames.iter().map(frame).collect(),
            cut: known.cut,
            reason: known.frames.as_ref().err().map(|why| why.says().to_owned()),
        }
    }
}

fn frame(known: &stack::Frame) -> Frame {
    let stack::Frame { function, module, offset, source, inlined } = known.clone();
    Frame { function, module, offset, source, inlined }
}
