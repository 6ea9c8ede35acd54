//! Stacks in a recording: each is written once, and then told by its number.

use std::{collections::HashMap, num::NonZeroU64, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::core::{
    clock::Ts,
    event::SocketId,
    stack::{Stack, StackEvent},
};

/// Stacks remembered at most, on either side.
const REMEMBERED: usize = 1 << 14;

/// Where in its program a connection was opened or accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackNews {
    /// When that was known, nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// When the call was made, likewise.
    pub called: u64,
    /// The socket's cookie, 0 where it has none.
    pub cookie: u64,
    /// The socket's address, made meaningless as in records.
    pub sk: u64,
    /// The stack's number.
    pub number: u64,
    /// The stack, where it is told for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
}

/// Which stacks a recording holds already.
#[derive(Debug, Default)]
pub struct Told {
    numbers: HashMap<Arc<Stack>, u64>,
    last: u64,
}

impl Told {
    /// What to write of `event`, whose socket's address is written as `sk`.
    pub fn news(&mut self, at: Ts, event: &StackEvent, sk: u64) -> StackNews {
        let known = self.numbers.get(&event.stack).copied();
        let number = known.unwrap_or_else(|| {
            if self.numbers.len() >= REMEMBERED {
                self.numbers.clear();
            }
            self.last += 1;
            self.numbers.insert(Arc::clone(&event.stack), self.last);
            self.last
        });
        StackNews {
            at: at.0,
            called: event.called.0,
            cookie: event.socket.cookie.map_or(0, NonZeroU64::get),
            sk,
            number,
            stack: known.is_none().then(|| (*event.stack).clone()),
        }
    }
}

/// The stacks that a recording has told of so far.
#[derive(Debug, Default)]
pub struct Untold(HashMap<u64, Arc<Stack>>);

impl Untold {
    /// The event that a recording tells; `None` where it names a stack that it never told.
    pub fn event(&mut self, news: StackNews) -> Option<StackEvent> {
        if let Some(stack) = news.stack {
            if self.0.len() >= REMEMBERED {
                self.0.clear();
            }
            self.0.insert(news.number, Arc::new(stack));
        }
        let stack = Arc::clone(self.0.get(&news.number)?);
        let socket = SocketId { cookie: NonZeroU64::new(news.cookie), sk: news.sk };
        Some(StackEvent { socket, called: Ts(news.called), stack })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stack::{Frame, StackCall};

    fn event(function: &str, cookie: u64) -> StackEvent {
        let frame = Frame { function: Some(function.to_owned()), ..Frame::default() };
        let stack = Stack { call: StackCall::Connect, frames: Ok(vec![frame]), cut: false };
        let socket = SocketId { cookie: NonZeroU64::new(cookie), sk: 9 };
        StackEvent { socket, called: Ts(7), stack: Arc::new(stack) }
    }

    #[test]
    fn a_stack_is_written_once_and_read_each_time() {
        let (mut told, mut untold) = (Told::default(), Untold::default());
        let mut written = Vec::new();
        for (function, cookie) in [("a", 1), ("b", 2), ("a", 3)] {
            let event = event(function, cookie);
            let news = told.news(Ts(8), &event, 9);
            written.push(news.stack.is_some());
            assert_eq!(untold.event(news), Some(event));
        }
        assert_eq!(written, [true, true, false]);
        let unknown = StackNews { at: 1, called: 1, cookie: 1, sk: 1, number: 77, stack: None };
        assert_eq!(untold.event(unknown), None);
    }
}
