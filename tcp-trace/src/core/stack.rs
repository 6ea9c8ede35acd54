//! User stacks: where in a program a connection was opened or accepted.
//!
//! What a process called is told as [`Frame`]s, innermost first. Connections hold a number alone:
//! of thousands of sockets opened at one place, the stack is kept once ([`Stacks`]).

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{clock::Ts, event::SocketId};

mod headline;

/// Stacks kept at most; the one that was met last the longest ago makes room.
const KEPT: usize = 4096;

/// Which call a stack was taken at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackCall {
    /// `connect()`.
    Connect,
    /// `accept()`.
    Accept,
}

impl StackCall {
    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
        }
    }

    /// What it does to a connection.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::Connect => "opened at",
            Self::Accept => "accepted at",
        }
    }
}

/// One function that had not returned yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Its name, demangled; `None` where nothing names it.
    pub function: Option<String>,
    /// File name of the program or library it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Bytes from the function's start, or where that is not known, from the file's.
    pub offset: u64,
    /// `file:line`, where the program's debug information tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether the compiler has put it into the next frame's function.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inlined: bool,
}

/// Why there are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unnamed {
    /// The process had ended, or its number was another's, before anybody could look.
    Ended,
    /// Its memory map or its files could not be read.
    Unreadable,
}

impl Unnamed {
    /// In plain words.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Ended => "its process ended before its stack could be read",
            Self::Unreadable => "the files that name its functions could not be read",
        }
    }
}

/// A stack as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stack {
    /// At which call it was taken.
    pub call: StackCall,
    /// Innermost first.
    pub frames: Result<Vec<Frame>, Unnamed>,
    /// Whether there are more than are kept.
    pub cut: bool,
}

impl Stack {
    /// The few functions that say the most, innermost first: the runtime's own are left out.
    #[must_use]
    pub fn headline(&self) -> String {
        match &self.frames {
            Ok(frames) => headline::of(frames),
            Err(why) => why.says().to_owned(),
        }
    }
}

/// News of a connection's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackEvent {
    /// Its socket.
    pub socket: SocketId,
    /// When the call was made.
    pub called: Ts,
    /// The stack.
    pub stack: Arc<Stack>,
}

/// Number of a stack; it is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(NonZeroU32);

/// A stack that is kept.
#[derive(Clone, Debug)]
struct Kept {
    stack: Arc<Stack>,
    headline: Arc<str>,
    /// Number of the last news that named it.
    met: u64,
}

/// The stacks of all connections, each once. Bounded.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    by_stack: HashMap<Arc<Stack>, StackId>,
    kept: HashMap<StackId, Kept>,
    last: u32,
    news: u64,
    forgotten: u64,
    strangers: u64,
    asked: Option<bool>,
}

impl Stacks {
    /// The number of a stack.
    pub fn keep(&mut self, stack: &Arc<Stack>) -> StackId {
        self.news += 1;
        let met = self.news;
        if let Some(id) = self.by_stack.get(stack)
            && let Some(kept) = self.kept.get_mut(id)
        {
            kept.met = met;
            return *id;
        }
        if self.kept.len() >= KEPT {
            self.forget_one();
        }
        self.last = self.last.wrapping_add(1).max(1);
        let id = StackId(NonZeroU32::new(self.last).unwrap_or(NonZeroU32::MIN));
        let headline = Arc::from(stack.headline());
        self.by_stack.insert(Arc::clone(stack), id);
        self.kept.insert(id, Kept { stack: Arc::clone(stack), headline, met });
        id
    }

    fn forget_one(&mut self) {
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.met).map(|(id, _)| *id);
        if let Some(kept) = oldest.and_then(|id| self.kept.remove(&id)) {
            self.by_stack.remove(&kept.stack);
            self.forgotten += 1;
        }
    }

    /// The number of a stack that is kept.
    #[must_use]
    pub fn number(&self, stack: &Arc<Stack>) -> Option<StackId> {
        self.by_stack.get(stack).copied()
    }

    /// The stack of this number, unless it had to make room.
    #[must_use]
    pub fn get(&self, id: StackId) -> Option<&Arc<Stack>> {
        self.kept.get(&id).map(|kept| &kept.stack)
    }

    /// What is said of it in one line.
    #[must_use]
    pub fn headline(&self, id: StackId) -> Option<(StackCall, &Arc<str>)> {
        self.kept.get(&id).map(|kept| (kept.stack.call, &kept.headline))
    }

    /// Stacks that had to make room.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Stacks of connections that were not known, or no longer.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Counts a stack whose connection is not known.
    pub(super) fn stranger(&mut self) {
        self.strangers += 1;
    }

    /// Says whether somebody has asked for stacks; of a file nobody knows.
    pub fn set_asked(&mut self, asked: bool) {
        self.asked = Some(asked);
    }

    /// Whether somebody has asked for them.
    #[must_use]
    pub fn asked(&self) -> Option<bool> {
        self.asked
    }
}

#[cfg(test)]
mod tests;
