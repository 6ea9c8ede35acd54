//! Attaches the hooks beside that of the state changes: for each role the first that the kernel takes.

use aya::{Ebpf, programs::Program};

use super::{
    hooks::{Choice, Hook, Role},
    load::{KernelTypes, chain},
    loading::{self, Ways},
    plan::Backend,
};

/// What became of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The hook.
    pub(crate) hook: Hook,
    /// `None` where it is attached, else why not.
    pub(crate) refusal: Option<Refusal>,
}

/// Why a hook is not attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The host does not give it.
    Refused(String),
    /// It is not needed beside what is attached.
    NotNeeded(String),
}

impl Refusal {
    /// In words.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Refused(why) | Self::NotNeeded(why) => why,
        }
    }
}

/// All hooks, attached or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes(pub(crate) Vec<Outcome>);

impl Outcomes {
    /// The hook that is attached for `role`.
    pub(crate) fn attached(&self, role: Role) -> Option<&Hook> {
        let found = |outcome: &&Outcome| outcome.hook.role == role && outcome.refusal.is_none();
        self.0.iter().find(found).map(|outcome| &outcome.hook)
    }

    /// Names of the attached programs.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &'static str> + '_ {
        let attached = self.0.iter().filter(|outcome| outcome.refusal.is_none());
        attached.map(|outcome| outcome.hook.program)
    }

    /// Names of those among them that are kprobes.
    pub(crate) fn kprobes(&self) -> impl Iterator<Item = &'static str> + '_ {
        let attached = self.0.iter().filter(|outcome| outcome.refusal.is_none());
        attached
            .map(|outcome| outcome.hook)
            .filter(|hook| hook.mechanism.backend() == Backend::Kprobe)
            .map(|hook| hook.program)
    }

    /// Roles that nothing fills though something was wanted to, each with what the kernel said.
    pub(crate) fn missing(&self) -> Vec<(Role, String)> {
        let missing = |role: &Role| self.attached(*role).is_none();
        Role::ALL
            .into_iter()
            .filter(missing)
            .filter_map(|role| Some((role, self.reasons(role)?)))
            .collect()
    }

    /// Everything that was said against `role`, each reason once.
    fn reasons(&self, role: Role) -> Option<String> {
        let mut reasons: Vec<String> = Vec::new();
        for outcome in self.0.iter().filter(|outcome| outcome.hook.role == role) {
            if let Some(Refusal::Refused(why)) = &outcome.refusal {
                let reason = format!("{}: {why}", outcome.hook.mechanism.backend());
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

/// Hands to the verifier what will be attached beside the state backend. That takes its time, and
/// all hooks are to see the same connections from their beginning.
pub(super) fn load_all(ebpf: &mut Ebpf, state: Backend, choices: &[Choice], types: &KernelTypes) {
    // What stands in for another is loaded when that turns out to fail.
    let is_spare = |choice: &&Choice| {
        let needless = || needless(choice.role, state, &Outcomes::default()).is_some();
        choice.role == Role::Destroyed
            || matches!(choice.role, Role::Listen | Role::Child) && needless()
    };
    let ways = |choice: &Choice| -> Ways<'static> {
        choice.candidates.iter().map(|hook| (hook.program, hook.target)).collect()
    };
    let groups: Vec<_> = choices.iter().filter(|choice| !is_spare(choice)).map(ways).collect();
    // What is refused is told of when it is tried again.
    let _ = loading::load_each(ebpf, &groups, types);
}

/// Attaches what can be had of `choices` beside the state backend.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    state: Backend,
    choices: &[Choice],
    types: &KernelTypes,
) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for choice in choices {
        let needless = needless(choice.role, state, &outcomes);
        let mut attached = None;
        for (hook, why) in &choice.excluded {
            // One made for another kernel's shape is no loss where its like fits this one.
            let backend = hook.mechanism.backend();
            let has_like = choice.candidates.iter().any(|c| c.mechanism.backend() == backend);
            let refusal = if has_like { Refusal::NotNeeded } else { Refusal::Refused };
            outcomes.0.push(Outcome { hook: *hook, refusal: Some(refusal(why.clone())) });
        }
        for hook in &choice.candidates {
            let refusal = match (&needless, attached) {
                (Some(why), _) => Some(Refusal::NotNeeded(why.clone())),
                (None, Some(mechanism)) => {
                    Some(Refusal::NotNeeded(format!("not needed beside {mechanism}")))
                }
                (None, None) => attach(ebpf, hook, types).err().map(Refusal::Refused),
            };
            if refusal.is_none() {
                attached = Some(hook.mechanism);
            }
            outcomes.0.push(Outcome { hook: *hook, refusal });
        }
    }
    outcomes
}

/// Why `role` is not to be filled, given what is attached already.
fn needless(role: Role, state: Backend, outcomes: &Outcomes) -> Option<String> {
    let attached = |role| outcomes.attached(role).is_some();
    match role {
        Role::Listen | Role::Child if matches!(state, Backend::TpBtf | Backend::RawTp) => {
            Some(format!("{state} sees births itself"))
        }
        Role::Destroyed if attached(Role::Close) => Some("close() itself is hooked".to_owned()),
        Role::TimeWaitBorn if !attached(Role::TimeWaitEnded) => {
            Some("of no use without the ends".to_owned())
        }
        Role::TimeWaitEnter | Role::TimeWaitLeave | Role::TimeWaitReuse | Role::TimeWaitRefused
            if !attached(Role::TimeWaitBorn) =>
        {
            Some("of no use without births and ends".to_owned())
        }
        _ => None,
    }
}

/// Hands one program to the verifier and attaches it.
fn attach(ebpf: &mut Ebpf, hook: &Hook, types: &KernelTypes) -> Result<(), String> {
    let program = ebpf
        .program_mut(hook.program)
        .ok_or_else(|| format!("the object has no program {}", hook.program))?;
    let done = load(program, hook.target, types).and_then(|()| attach_loaded(program, hook.target));
    if let Err(why) = &done {
        tracing::debug!(program = hook.program, target = hook.target, why, "hook refused");
    }
    done
}

/// Hands one program to the verifier, once.
pub(super) fn load(program: &mut Program, target: &str, types: &KernelTypes) -> Result<(), String> {
    if program.fd().is_ok() {
        return Ok(());
    }
    match program {
        Program::BtfTracePoint(program) => program.load(target, types.get()?),
        Program::FEntry(program) => program.load(target, types.get()?),
        Program::FExit(program) => program.load(target, types.get()?),
        Program::RawTracePoint(program) => program.load(),
        Program::KProbe(program) => program.load(),
        _ => return Err(WRONG_KIND.to_owned()),
    }
    .map_err(|error| chain(&error))
}

/// Attaches a loaded program.
pub(super) fn attach_loaded(program: &mut Program, target: &str) -> Result<(), String> {
    match program {
        Program::BtfTracePoint(program) => program.attach().map(drop),
        Program::FEntry(program) => program.attach().map(drop),
        Program::FExit(program) => program.attach().map(drop),
        Program::RawTracePoint(program) => program.attach(target).map(drop),
        Program::KProbe(program) => program.attach(target, 0).map(drop),
        _ => return Err(WRONG_KIND.to_owned()),
    }
    .map_err(|error| chain(&error))
}

/// The object and this catalogue disagree.
const WRONG_KIND: &str = "the object's program is of another kind";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::hooks::{Arguments, CATALOGUE, Mechanism};

    fn outcome(role: Role, mechanism: Mechanism, refusal: Option<Refusal>) -> Outcome {
        let hook =
            Hook { role, program: "p", mechanism, target: "t", arguments: Arguments::AtLeast(1) };
        Outcome { hook, refusal }
    }

    #[test]
    fn a_role_is_missing_with_every_reason_once() {
        let no = |why: &str| Some(Refusal::Refused(why.to_owned()));
        let outcomes = Outcomes(vec![
            outcome(Role::Accept, Mechanism::Fexit, no("EPERM")),
            outcome(Role::Accept, Mechanism::Fexit, no("EPERM")),
            outcome(Role::Accept, Mechanism::Kretprobe, no("none here")),
            outcome(Role::Connect, Mechanism::Fentry, no("EPERM")),
            outcome(Role::Connect, Mechanism::Kprobe, None),
        ]);
        let missing = outcomes.missing();
        assert_eq!(missing, [(Role::Accept, "fentry: EPERM; kprobe: none here".to_owned())]);
        assert_eq!(outcomes.attached(Role::Connect).unwrap().mechanism, Mechanism::Kprobe);
    }

    #[test]
    fn births_are_hooked_only_where_the_state_hook_misses_them() {
        let none = Outcomes::default();
        assert!(needless(Role::Child, Backend::TpBtf, &none).is_some());
        assert!(needless(Role::Child, Backend::Kprobe, &none).is_none());
        assert!(needless(Role::TimeWaitBorn, Backend::TpBtf, &none).is_some());
    }

    #[test]
    fn every_mechanism_has_programs() {
        for mechanism in [
            Mechanism::TpBtf,
            Mechanism::RawTp,
            Mechanism::Fentry,
            Mechanism::Fexit,
            Mechanism::Kprobe,
            Mechanism::Kretprobe,
        ] {
            assert!(CATALOGUE.iter().any(|hook| hook.mechanism == mechanism), "{mechanism}");
        }
    }
}
