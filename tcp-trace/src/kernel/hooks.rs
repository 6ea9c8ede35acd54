//! Every hook beside that of the state changes: what it is for, what carries it, and which program
//! fits this kernel. Pure: the kernel's types and the user's choice in, candidates out.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    btf::Btf,
    plan::{Backend, BackendChoice},
};

mod catalogue;
mod role;

pub use catalogue::CATALOGUE;
pub use role::Role;

/// What carries a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// A raw tracepoint with typed arguments (5.5).
    TpBtf,
    /// A raw tracepoint (4.17).
    RawTp,
    /// A function's entry, by trampoline (5.5).
    Fentry,
    /// A function's return, by trampoline (5.5).
    Fexit,
    /// A function's entry, by breakpoint or ftrace.
    Kprobe,
    /// A function's return, likewise.
    Kretprobe,
}

impl Mechanism {
    /// Name in metrics and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
        }
    }

    /// The backend of state changes that needs the same from the host.
    #[must_use]
    pub const fn backend(self) -> Backend {
        match self {
            Self::TpBtf => Backend::TpBtf,
            Self::RawTp => Backend::RawTp,
            Self::Fentry | Self::Fexit => Backend::Fentry,
            Self::Kprobe | Self::Kretprobe => Backend::Kprobe,
        }
    }

    const fn is_tracepoint(self) -> bool {
        matches!(self, Self::TpBtf | Self::RawTp)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A program of the object and the place it hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What it is for.
    pub role: Role,
    /// Its name in the object.
    pub program: &'static str,
    /// What carries it.
    pub mechanism: Mechanism,
    /// The function or tracepoint.
    pub target: &'static str,
    /// How many arguments the target must take.
    pub arguments: Arguments,
}

/// How many arguments a hook's target takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// This many, no more: the answer stands behind them, or their meaning is known for these only.
    Exactly(usize),
    /// At least this many.
    AtLeast(usize),
}

/// What can be tried for one role, best first, and what cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The role.
    pub role: Role,
    /// Worth trying.
    pub candidates: Vec<Hook>,
    /// Not worth trying, and why.
    pub excluded: Vec<(Hook, String)>,
}

/// Chooses for every role. `ruled_out` says which backends this host does not give, and why.
#[must_use]
pub fn choose(btf: &Btf, choice: BackendChoice, ruled_out: &[(Backend, String)]) -> Vec<Choice> {
    Role::ALL.into_iter().map(|role| choose_for(role, btf, choice, ruled_out)).collect()
}

fn choose_for(
    role: Role,
    btf: &Btf,
    choice: BackendChoice,
    ruled_out: &[(Backend, String)],
) -> Choice {
    let mut chosen = Choice { role, candidates: Vec::new(), excluded: Vec::new() };
    for hook in CATALOGUE.iter().filter(|hook| hook.role == role) {
        let backend = hook.mechanism.backend();
        let by_host = ruled_out.iter().find(|(ruled_out, _)| *ruled_out == backend);
        let why = by_choice(hook.mechanism, choice)
            .or_else(|| by_host.map(|(_, why)| why.clone()))
            .or_else(|| unfit(btf, hook));
        match why {
            None => chosen.candidates.push(*hook),
            Some(why) => chosen.excluded.push((*hook, why)),
        }
    }
    chosen
}

/// Why the user does not want it.
fn by_choice(mechanism: Mechanism, choice: BackendChoice) -> Option<String> {
    let wanted = match choice {
        BackendChoice::Auto => true,
        BackendChoice::Tracepoint => mechanism.is_tracepoint(),
        BackendChoice::TpBtf => mechanism == Mechanism::TpBtf,
        BackendChoice::RawTp => mechanism == Mechanism::RawTp,
        // Some things only a tracepoint tells.
        BackendChoice::Fentry => {
            mechanism.is_tracepoint() || mechanism.backend() == Backend::Fentry
        }
        BackendChoice::Kprobe => {
            mechanism == Mechanism::RawTp || mechanism.backend() == Backend::Kprobe
        }
    };
    (!wanted).then(|| "left out by --backend".to_owned())
}

/// Why the target is not what the program expects, by the kernel's types.
fn unfit(btf: &Btf, hook: &Hook) -> Option<String> {
    let found = if hook.mechanism.is_tracepoint() {
        // The typedef's first parameter is the tracepoint's own data pointer.
        btf.typedef_function_parameters(&format!("btf_trace_{}", hook.target))
            .map(|count| count.saturating_sub(1))
    } else {
        btf.function_parameters(hook.target)
    };
    match (found, hook.arguments) {
        (Ok(found), Arguments::Exactly(needed)) if found == needed => None,
        (Ok(found), Arguments::AtLeast(needed)) if found >= needed => None,
        (Ok(found), _) => Some(format!("{} takes {found} arguments here", hook.target)),
        (Err(error), _) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
