//! The thread that looks: `/proc` and the cgroup tree, away from who traces.

use std::{
    collections::HashSet,
    num::NonZeroU64,
    sync::{Arc, mpsc::Receiver},
    time::Instant,
};

use super::{Question, Whereabouts};
use crate::kernel::{
    cgroups::{Cgroup, Cgroups},
    process_facts::{self, ProcessFacts},
};

/// Different texts kept once for all who have them; when there are more, keeping begins anew.
const TEXTS: usize = 4096;

/// What it remembers between two questions.
#[derive(Debug)]
pub(super) struct Resolver {
    cgroups: Cgroups,
    // Programs' paths are chosen by whoever runs them: a hash that resists attack.
    texts: HashSet<Arc<str>>,
}

impl Resolver {
    pub(super) fn of_host() -> Self {
        Self::with(Cgroups::of_host())
    }

    pub(super) fn with(cgroups: Cgroups) -> Self {
        Self { cgroups, texts: HashSet::new() }
    }

    /// Answers until nobody is left to ask.
    pub(super) fn answer_all(mut self, questions: &Receiver<Question>) {
        for Question { key, cgroup, answer } in questions {
            let facts = process_facts::ask(key.pid, key.start);
            // Asked once each, so it is empty.
            let _ = answer.0.set(self.resolve(facts, cgroup));
        }
    }

    /// Puts together what the process tells, if it is still there, and what its cgroup's id does.
    pub(super) fn resolve(
        &mut self,
        facts: Option<ProcessFacts>,
        cgroup: Option<NonZeroU64>,
    ) -> Whereabouts {
        let ProcessFacts { exe, cgroup: told } = facts.unwrap_or_default();
        let by_id = cgroup.and_then(|id| self.cgroups.find(id.get(), Instant::now()));
        // The id is of the moment of the call, so it wins; but in the root of v2 sits everybody on a
        // host that sorts its processes by v1 hierarchies.
        let found = match (by_id, told) {
            (Some(by_id), Some(told)) if by_id.path == "/" => Some(Arc::new(Cgroup::new(told))),
            (Some(by_id), _) => Some(by_id),
            (None, told) => told.map(|path| Arc::new(Cgroup::new(path))),
        };
        Whereabouts {
            exe: exe.map(|path| self.text(&path)),
            cgroup: found.as_ref().map(|cgroup| self.text(&cgroup.path)),
            place: found.map(|cgroup| Arc::new(cgroup.place.clone())).unwrap_or_default(),
        }
    }

    /// The same text for all who have it: a server's thousand processes run one program.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        if self.texts.len() >= TEXTS {
            self.texts.clear();
        }
        let new = Arc::from(text);
        self.texts.insert(Arc::clone(&new));
        new
    }
}
