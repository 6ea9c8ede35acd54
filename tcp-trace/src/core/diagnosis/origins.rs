//! Where in the code: connections by the stack that opened or accepted them.

use std::{collections::HashMap, sync::Arc};

use super::{finding::Line, survey::Survey, talk};
use crate::core::stack::{StackCall, StackId, Stacks};

/// Stacks told apart in one group; a leak has one or two.
const APART: usize = 64;
/// Stacks that are told of.
const TOLD: usize = 3;

/// How many came from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    by_stack: Vec<(StackId, u64)>,
    /// Those of further stacks.
    others: u64,
    /// Those whose stack is not known.
    unknown: u64,
    /// In words, the most first; made once all are counted.
    named: Vec<(StackCall, Arc<str>, u64)>,
    /// Whether stacks are asked for; of a file nobody knows.
    asked: Option<bool>,
}

impl Origins {
    /// One more.
    pub fn add(&mut self, stack: Option<StackId>) {
        let Some(id) = stack else {
            self.unknown += 1;
            return;
        };
        let room = self.by_stack.len() < APART;
        match self.by_stack.iter_mut().find(|(known, _)| *known == id) {
            Some((_, count)) => *count += 1,
            None if room => self.by_stack.push((id, 1)),
            None => self.others += 1,
        }
    }

    /// Puts names to them. Stacks that read alike are one: the same line of code in two workers.
    pub fn name(&mut self, stacks: &Stacks) {
        self.asked = stacks.asked();
        for (id, count) in self.by_stack.drain(..) {
            let Some((call, headline)) = stacks.headline(id) else {
                self.unknown += count;
                continue;
            };
            match self.named.iter_mut().find(|(kind, text, _)| *kind == call && text == headline) {
                Some((.., known)) => *known += count,
                None => self.named.push((call, Arc::clone(headline), count)),
            }
        }
        self.named.sort_by(|(_, a, one), (_, b, other)| other.cmp(one).then_with(|| a.cmp(b)));
    }

    /// The evidence: `shop::handler ← main (812 of 812 share this stack)`, or the most frequent few.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let told: u64 = self.named.iter().map(|(.., count)| count).sum();
        let all = told + self.others + self.unknown;
        let line = |(call, headline, count): &(StackCall, Arc<str>, u64)| {
            let share = match (*count, all) {
                (1, 1) => String::new(),
                (count, all) if count == all => {
                    format!("  (all {} share this stack)", talk::number(all))
                }
                (count, all) => {
                    format!("  ({} of {})", talk::number(count), talk::number(all))
                }
            };
            Line::new(call.done(), format!("{headline}{share}"))
        };
        let mut lines: Vec<_> = self.named.iter().take(TOLD).map(line).collect();
        let more = self.named.len().saturating_sub(TOLD);
        if more > 0 || self.others > 0 {
            let rest = self.named.iter().skip(TOLD).map(|(.., count)| count).sum::<u64>();
            let text = format!("{} from elsewhere", talk::number(rest + self.others));
            lines.push(Line::new(self.named.first().map_or("", |(call, ..)| call.done()), text));
        }
        lines
    }

    /// What is not known of it, and how it could be.
    #[must_use]
    pub fn unseen(&self) -> Option<String> {
        let known = self.others > 0 || !self.named.is_empty();
        match self.asked {
            Some(false) if !known => {
                Some("where in the code: that takes user stacks (--stacks)".to_owned())
            }
            Some(true) if !known => Some(
                "where in the code: they were there before, or no stack of theirs could be had"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Puts names to all that a look has counted.
pub(super) fn name_all(survey: &mut Survey, stacks: &Stacks) {
    let groups = [&mut survey.close_wait, &mut survey.fin_wait2, &mut survey.last_ack];
    let groups = groups.into_iter().flat_map(HashMap::values_mut);
    let piles = groups.flat_map(|group| &mut group.piles).map(|pile| &mut pile.origins);
    let routes = survey.routes.values_mut().map(|ports| &mut ports.origins);
    piles.chain(routes).for_each(|origins| origins.name(stacks));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stack::{Frame, Stack};

    fn stacks_of(names: &[&str]) -> (Stacks, Vec<StackId>) {
        let mut stacks = Stacks::default();
        let keep = |(place, name): (usize, &&str)| {
            let frame = Frame {
                function: Some((*name).to_owned()),
                offset: place as u64,
                ..Frame::default()
            };
            let frames = Ok(vec![frame]);
            stacks.keep(&Arc::new(Stack { call: StackCall::Accept, frames, cut: false }))
        };
        let ids = names.iter().enumerate().map(keep).collect();
        (stacks, ids)
    }

    fn told(origins: &Origins) -> Vec<(&'static str, String)> {
        origins.lines().into_iter().map(|line| (line.label, line.text)).collect()
    }

    #[test]
    fn one_stack_is_one_line_wherever_in_the_function() {
        let (stacks, ids) = stacks_of(&["handler", "handler"]);
        let mut origins = Origins::default();
        (0..812).for_each(|number| origins.add(Some(ids[number % 2])));
        origins.name(&stacks);
        let text = "handler  (all 812 share this stack)".to_owned();
        assert_eq!(told(&origins), [("accepted at", text)]);
        assert_eq!(origins.unseen(), None);
    }

    #[test]
    fn of_many_the_most_frequent_are_told() {
        let (stacks, ids) = stacks_of(&["a", "b", "c", "d"]);
        let mut origins = Origins::default();
        for (id, count) in ids.iter().zip([1, 5, 3, 2]) {
            (0..count).for_each(|_| origins.add(Some(*id)));
        }
        origins.add(None);
        origins.name(&stacks);
        let lines: Vec<_> = told(&origins).into_iter().map(|(_, text)| text).collect();
        assert_eq!(lines, ["b  (5 of 12)", "c  (3 of 12)", "d  (2 of 12)", "1 from elsewhere"]);
    }

    #[test]
    fn what_is_not_known_is_said_where_somebody_could_ask() {
        let (mut stacks, _) = stacks_of(&[]);
        for (asked, says) in [(None, false), (Some(false), true), (Some(true), true)] {
            if let Some(asked) = asked {
                stacks.set_asked(asked);
            }
            let mut origins = Origins::default();
            origins.add(None);
            origins.name(&stacks);
            assert_eq!((told(&origins), origins.unseen().is_some()), (Vec::new(), says));
        }
    }

    #[test]
    fn stacks_without_end_are_counted_together() {
        let names: Vec<_> = (0..APART + 9).map(|number| format!("f{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let (stacks, ids) = stacks_of(&names);
        let mut origins = Origins::default();
        for id in ids {
            origins.add(Some(id));
        }
        origins.name(&stacks);
        assert_eq!(told(&origins).last().unwrap().1, "70 from elsewhere");
    }
}
