//! All conversations of a capture, bounded.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use super::{conversation::Conversation, endpoint::Out};
use crate::core::{
    clock::Ts,
    errno,
    event::{Event, Flow},
    segment::SegmentHeader,
};

/// Conversations held at most.
pub const CONVERSATION_LIMIT: usize = 1 << 18;
/// Segments of a conversation that are compared with the next one.
const RECENT: usize = 8;
/// How far apart two sightings of one segment are at most.
const SAME: Duration = Duration::from_millis(1);
/// The first wait for the answer to a SYN.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait (`TCP_RTO_MAX`).
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// A segment as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When.
    pub at: Ts,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// The identification of its IPv4 header; 0 for IPv6.
    pub identification: u16,
    /// What its TCP header says.
    pub header: SegmentHeader,
}

/// What became of segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Taken into account.
    pub taken: u64,
    /// Seen before, on another interface.
    pub doubles: u64,
    /// Of connections of which nothing else was captured, or that do not fit theirs.
    pub strangers: u64,
    /// Between one end and itself.
    pub to_itself: u64,
    /// Not looked at, for want of room for another conversation.
    pub refused: u64,
}

/// All conversations.
#[derive(Debug)]
pub struct Conversations {
    limit: usize,
    held: HashMap<(SocketAddr, SocketAddr), Held>,
    /// Those that were over when they were put here.
    over: VecDeque<(SocketAddr, SocketAddr)>,
    asking: BinaryHeap<Reverse<(Ts, SocketAddr, SocketAddr)>>,
    last_socket: u64,
    figures: Figures,
}

#[derive(Debug)]
struct Held {
    conversation: Conversation,
    recent: VecDeque<(bool, Sighting)>,
    asks: [Option<Asks>; 2],
    /// Whether it stands in the heap of those that wait for an answer.
    waits: bool,
    /// Whether it stands among those that are over.
    is_over: bool,
}

/// SYNs without an answer.
#[derive(Clone, Copy, Debug)]
struct Asks {
    initial: u32,
    last: Ts,
    count: u32,
    wait: Duration,
}

impl Asks {
    /// When the next SYN should have been sent.
    fn next(self) -> Ts {
        self.last.after(self.wait)
    }

    /// When it has surely not been.
    fn due(self) -> Ts {
        self.next().after(self.wait / 4).after(FIRST_WAIT)
    }
}

impl Default for Conversations {
    fn default() -> Self {
        Self::new(CONVERSATION_LIMIT)
    }
}

impl Conversations {
    /// None yet, and at most `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            held: HashMap::new(),
            over: VecDeque::new(),
            asking: BinaryHeap::new(),
            last_socket: 0,
            figures: Figures::default(),
        }
    }

    /// What became of the segments so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Takes a segment; what it tells is added to `events`.
    pub fn take(&mut self, sighting: &Sighting, events: &mut Vec<Event>) {
        self.pass(sighting.at, events);
        let Sighting { source, destination, header, at, .. } = *sighting;
        if source == destination {
            self.figures.to_itself += 1;
            return;
        }
        let second = source > destination;
        let key = if second { (destination, source) } else { (source, destination) };
        if !self.held.contains_key(&key) && !self.has_room() {
            self.figures.refused += 1;
            return;
        }
        let held = self.held.entry(key).or_insert_with(|| Held::new(key, at));
        if held.is_double(second, sighting) {
            self.figures.doubles += 1;
            return;
        }
        let mut out = Out { at, events, last_socket: &mut self.last_socket };
        if held.conversation.take(second, header, &mut out) {
            self.figures.taken += 1;
        } else {
            self.figures.strangers += 1;
        }
        if header.flags.is_syn() {
            held.asked(second, header.seq, at);
        }
        if let Some(due) = held.due().filter(|_| !held.waits) {
            held.waits = true;
            self.asking.push(Reverse((due, key.0, key.1)));
        }
        if held.conversation.is_over() && !held.is_over {
            held.is_over = true;
            self.over.push_back(key);
        }
    }

    /// Time goes on to `now`: who has waited too long for an answer has given up.
    pub fn pass(&mut self, now: Ts, events: &mut Vec<Event>) {
        while let Some(&Reverse((due, first, second))) = self.asking.peek()
            && due <= now
        {
            self.asking.pop();
            let key = (first, second);
            let Some(held) = self.held.get_mut(&key) else { continue };
            held.give_up(now, &mut self.last_socket, events);
            held.waits = held.due().is_some();
            if let Some(due) = held.due() {
                self.asking.push(Reverse((due, first, second)));
            }
            if held.conversation.is_over() && !held.is_over {
                held.is_over = true;
                self.over.push_back(key);
            }
        }
    }

    /// The capture ends at `now`.
    pub fn finish(&mut self, now: Ts, events: &mut Vec<Event>) {
        self.pass(now, events);
        // In an order of their own, so that the same capture always tells the same.
        let mut held: Vec<_> = self.held.iter().collect();
        held.sort_unstable_by_key(|(key, _)| **key);
        for (_, held) in held {
            let mut out = Out { at: now, events, last_socket: &mut self.last_socket };
            held.conversation.tell(&mut out);
        }
    }

    /// Whether there is room for one more, made by forgetting one that is over where need be.
    fn has_room(&mut self) -> bool {
        while self.held.len() >= self.limit {
            let Some(key) = self.over.pop_front() else { return false };
            if let Some(held) = self.held.get_mut(&key) {
                held.is_over = false;
                if held.conversation.is_over() {
                    self.held.remove(&key);
                }
            }
        }
        true
    }
}

impl Held {
    fn new((local, remote): (SocketAddr, SocketAddr), at: Ts) -> Self {
        Self {
            conversation: Conversation::new(Flow { local, remote }, at),
            recent: VecDeque::new(),
            asks: [None; 2],
            waits: false,
            is_over: false,
        }
    }

    /// Whether the same segment was captured a moment ago, on another interface; if not, it is
    /// remembered.
    fn is_double(&mut self, second: bool, sighting: &Sighting) -> bool {
        let same = |(way, seen): &(bool, Sighting)| {
            *way == second
                && seen.identification == sighting.identification
                && seen.header == sighting.header
                && sighting.at.since(seen.at) <= SAME
        };
        if self.recent.iter().any(same) {
            return true;
        }
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((second, *sighting));
        false
    }

    fn asked(&mut self, second: bool, initial: u32, at: Ts) {
        let Some(asks) = self.asks.get_mut(usize::from(second)) else { return };
        *asks = Some(match *asks {
            Some(before) if before.initial == initial => {
                // The kernel doubles its patience each time, or sooner or later begins to.
                let wait = at.since(before.last).saturating_mul(2);
                let wait = wait.clamp(FIRST_WAIT, LONGEST_WAIT);
                Asks { initial, last: at, count: before.count.saturating_add(1), wait }
            }
            _ => Asks { initial, last: at, count: 1, wait: FIRST_WAIT },
        });
    }

    /// When the first of its ends must have given up.
    fn due(&self) -> Option<Ts> {
        self.asks.iter().flatten().map(|asks| asks.due()).min()
    }

    fn give_up(&mut self, now: Ts, last_socket: &mut u64, events: &mut Vec<Event>) {
        for (end, slot) in self.asks.iter_mut().enumerate() {
            let Some(asks) = slot.filter(|asks| asks.due() <= now) else { continue };
            *slot = None;
            if self.conversation.is_asking(end) {
                // The kernel would have asked again at least once; a process that closes does not.
                let error = if asks.count > 1 { errno::ETIMEDOUT } else { 0 };
                let mut out = Out { at: asks.next(), events, last_socket };
                self.conversation.give_up(end, error, &mut out);
            }
        }
    }
}
