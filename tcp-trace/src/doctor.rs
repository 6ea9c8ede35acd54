//! What this host allows, hook by hook: by trying, or from saved facts alone.

use std::path::Path;

use crate::{
    api::{Check, CheckOutcome, Doctor},
    kernel::{
        attach::Outcomes,
        btf::Btf,
        folding,
        hooks::Role,
        host::{BtfPresence, HostFacts},
        load, offsets,
        plan::{self, Backend, BackendChoice, PlanError},
        segments::{self, InterfaceStanding, Standing},
        transport,
    },
};

/// Examines the host this runs on; every hook is really attached for a moment.
///
/// `segments` is what `serve` would do. The packet programs are attached for a moment only where
/// `try_segments` says so; otherwise it is said how they would be.
pub(crate) fn examine(
    btf: Option<&Path>,
    segments: &segments::Config,
    try_segments: bool,
) -> Doctor {
    let facts = HostFacts::gather(btf);
    let bytes = load::read_btf(btf).ok();
    judge(facts, bytes, Some((segments, try_segments)))
}

/// Judges facts saved elsewhere. Nothing is tried; the kernel's types are those of `btf`, if given.
pub(crate) fn judge_facts(facts: HostFacts, btf: Option<&Path>) -> Doctor {
    let bytes = btf.and_then(|path| load::read_btf(Some(path)).ok());
    judge(facts, bytes, None)
}

/// `tried` says how the packet programs are to be tried, where anything is.
fn judge(
    facts: HostFacts,
    btf: Option<Vec<u8>>,
    tried: Option<(&segments::Config, bool)>,
) -> Doctor {
    let mut checks = Vec::new();
    let mut standing = Standing::default();
    let (hooks, works) = match (&facts.btf, btf, tried) {
        // Facts from elsewhere come without that kernel's types: judge all but the fields.
        (BtfPresence::Kernel | BtfPresence::File(_), None, None) => from_facts_alone(&facts),
        (_, btf, _) => {
            checks.extend(field_check(btf.as_deref()));
            match plan::plan(&facts, btf, BackendChoice::Auto, &[]) {
                Err(error) => (vec![nothing_works(&error)], false),
                Ok(plan) => match tried {
                    Some((segments, attach)) => {
                        let (checks, works, found) = hook_checks(&facts, plan, segments, attach);
                        standing = found;
                        (checks, works)
                    }
                    None => planned_checks(&plan),
                },
            }
        }
    };
    checks.splice(0..0, hooks);
    let reduced = checks.iter().filter(|check| check.outcome == CheckOutcome::Reduced).count();
    let tried = tried.is_some();
    Doctor { facts, checks, works, reduced: reduced as u64, tried, segments: standing }
}

/// The fields that the programs read.
fn field_check(btf: Option<&[u8]>) -> Option<Check> {
    let btf = Btf::parse(btf?).ok()?;
    let (outcome, reason, loses) = match offsets::resolve(&btf) {
        Err(error) => (CheckOutcome::Missing, Some(error.to_string()), None),
        Ok((_, missing)) if missing.is_empty() => (CheckOutcome::Ok, None, None),
        Ok((_, missing)) => {
            let names: Vec<_> = missing.iter().map(|field| field.field.as_str()).collect();
            let effects: Vec<_> = missing.iter().map(|field| field.effect).collect();
            let reason = format!("this kernel has no {}", names.join(", "));
            (CheckOutcome::Reduced, Some(reason), Some(effects.join("; ")))
        }
    };
    let means = "31 offsets from the kernel's BTF, checked for size and kind".to_owned();
    Some(Check { feature: "fields".to_owned(), means, outcome, reason, fallback: None, loses })
}

fn nothing_works(error: &PlanError) -> Check {
    let mut check = state_check(None, CheckOutcome::Missing, Some(error.to_string()));
    check.loses = Some("everything: nothing can be traced".to_owned());
    check
}

fn state_check(backend: Option<Backend>, outcome: CheckOutcome, reason: Option<String>) -> Check {
    let means = backend.map_or_else(
        || "tp_btf, raw_tp, fentry or kprobe".to_owned(),
        |backend| format!("{backend} {}", backend.hook()),
    );
    let feature = "state changes".to_owned();
    Check { feature, means, outcome, reason, fallback: None, loses: None }
}

/// Attaches each backend in turn for a moment, then what goes beside the best.
fn hook_checks(
    facts: &HostFacts,
    mut plan: plan::Plan,
    wanted: &segments::Config,
    try_segments: bool,
) -> (Vec<Check>, bool, Standing) {
    let mut works = false;
    let mut checks = Vec::new();
    let buffer = transport::default_buffer_bytes(facts.cpus.len()).min(256 << 10);
    for backend in Backend::ALL {
        if let Some((_, why)) = plan.excluded.iter().find(|(excluded, _)| *excluded == backend) {
            checks.push(refused(backend, why, works));
            continue;
        }
        let alone = plan::Plan {
            backends: vec![backend],
            excluded: Vec::new(),
            choices: Vec::new(),
            ..plan.clone()
        };
        match load::attach(&alone, &facts.cpus, buffer, 0) {
            Ok(_) => {
                let outcome = if works { CheckOutcome::Unused } else { CheckOutcome::Ok };
                checks.push(state_check(Some(backend), outcome, None));
                works = true;
            }
            Err(load::LoadError::Transport(error)) => {
                let mut check = state_check(None, CheckOutcome::Missing, Some(error.to_string()));
                "transport".clone_into(&mut check.feature);
                "perf buffers".clone_into(&mut check.means);
                return (vec![check], false, Standing::default());
            }
            Err(load::LoadError::Refused(why)) => {
                let why = why.into_iter().map(|(_, why)| why).next_back().unwrap_or_default();
                checks.push(refused(backend, &why, works));
            }
        }
    }
    if !works {
        for check in &mut checks {
            check.outcome = CheckOutcome::Missing;
        }
    }
    let place = segments::place(wanted, facts, &[]);
    let kernel = facts.version();
    segments::set(&mut plan.settings, place.as_ref().ok(), wanted.rate, kernel);
    let mut standing = Standing::default();
    if let Ok(mut attached) = load::attach(&plan, &facts.cpus, buffer, 0) {
        checks.extend(role_checks(&attached.hooks));
        checks.extend(stack_checks(&attached.hooks));
        standing = if try_segments {
            segments::start(place, &mut attached.ebpf, wanted, kernel).standing().clone()
        } else {
            segments::survey(place, &mut attached.ebpf, wanted, kernel)
        };
        // Last: it takes maps away, which packet programs are loaded with.
        checks.push(folding_check(&mut attached));
        checks.extend(segment_checks(&standing));
    }
    (checks, works, standing)
}

/// The packet programs, interface by interface.
fn segment_checks(standing: &Standing) -> Vec<Check> {
    let check = |means: String, outcome, reason, loses: Option<String>| Check {
        feature: "segments".to_owned(),
        means,
        outcome,
        reason,
        fallback: None,
        loses,
    };
    let off = standing.reason.iter().map(|why| {
        let loses = Some(segments::LOSES.to_owned());
        let outcome = if standing.refused { CheckOutcome::Missing } else { CheckOutcome::Unused };
        check("XDP and TC".to_owned(), outcome, Some(why.clone()), loses)
    });
    let row = |row: &InterfaceStanding| {
        let means = format!("{} {}", row.name, row.ways());
        if row.is_whole() {
            return check(means, CheckOutcome::Ok, Some(row.story()), None);
        }
        let seen = row.ingress.is_some() || row.egress.is_some();
        let outcome = if seen { CheckOutcome::Reduced } else { CheckOutcome::Missing };
        let said = if row.refusals.is_empty() { row.why.clone() } else { row.refusals.join("; ") };
        check(means, outcome, Some(said), Some(row.loses()))
    };
    off.chain(standing.interfaces.iter().map(row)).collect()
}

/// The other hooks, as they were attached for a moment.
fn role_checks(outcomes: &Outcomes) -> Vec<Check> {
    let missing = outcomes.missing();
    let check = |role: Role| {
        let mut check = Check {
            feature: role.feature().to_owned(),
            means: String::new(),
            outcome: CheckOutcome::Ok,
            reason: None,
            fallback: None,
            loses: None,
        };
        if let Some(hook) = outcomes.attached(role) {
            check.means = format!("{} {}", hook.mechanism, hook.target);
            return Some(check);
        }
        let (_, why) = missing.iter().find(|(missing, _)| *missing == role)?;
        let without = role.without();
        role.target().clone_into(&mut check.means);
        check.outcome = CheckOutcome::Reduced;
        check.reason = Some(why.clone());
        check.fallback = Some(without.fallback.to_owned());
        check.loses = Some(without.loses.to_owned());
        Some(check)
    };
    Role::ALL.into_iter().filter_map(check).collect()
}

/// Where user stacks can be taken.
fn stack_checks(outcomes: &Outcomes) -> [Check; 2] {
    let check = |means: String, outcome, reason: Option<String>, loses: Option<&str>| Check {
        feature: "stacks".to_owned(),
        means,
        outcome,
        reason,
        fallback: None,
        loses: loses.map(str::to_owned),
    };
    let connect = check("connect(), at its state change".to_owned(), CheckOutcome::Ok, None, None);
    let accept = if let Some(hook) = outcomes.attached(Role::Accept) {
        let means = format!("accept(), at {} {}", hook.mechanism, hook.target);
        check(means, CheckOutcome::Ok, None, None)
    } else {
        let why = outcomes.missing().into_iter().find(|(role, _)| *role == Role::Accept);
        let loses = "where in the code a connection was accepted (--stacks)";
        let (means, why) = ("accept()".to_owned(), why.map(|(_, why)| why));
        check(means, CheckOutcome::Missing, why, Some(loses))
    };
    [connect, accept]
}

/// Whether short connections can be told in one record. No program is loaded after it.
fn folding_check(attached: &mut load::Attached) -> Check {
    let mut check = Check {
        feature: "folding".to_owned(),
        means: "a map in the daemon's memory".to_owned(),
        outcome: CheckOutcome::Ok,
        reason: None,
        fallback: None,
        loses: None,
    };
    if let Err(why) = folding::try_out(&mut attached.ebpf) {
        check.outcome = CheckOutcome::Missing;
        check.reason = Some(why);
        check.loses = Some(
            "telling short connections in one record: under a storm each step costs its own, and \
             some may be lost (--mode)"
                .to_owned(),
        );
    } else if let Some(whose) = folding::unseen_births(&attached.hooks) {
        check.outcome = CheckOutcome::Reduced;
        check.reason = Some(format!("not folded: {whose}"));
        check.fallback = Some("their steps are told one by one, whatever the mode".to_owned());
    }
    check
}

/// A backend that cannot be had; no loss where a better one works.
fn refused(backend: Backend, why: &str, better_works: bool) -> Check {
    let (outcome, why) = if better_works {
        (CheckOutcome::Unused, format!("a better one works, and this one is refused here ({why})"))
    } else {
        (CheckOutcome::Reduced, format!("it is refused here ({why})"))
    };
    state_check(Some(backend), outcome, Some(why))
}

/// What would be tried.
fn planned_checks(plan: &plan::Plan) -> (Vec<Check>, bool) {
    let tried = plan.backends.iter().enumerate().map(|(index, backend)| {
        let outcome = if index == 0 { CheckOutcome::Ok } else { CheckOutcome::Unused };
        state_check(Some(*backend), outcome, None)
    });
    let excluded = plan.excluded.iter().map(|(backend, why)| refused(*backend, why, true));
    (tried.chain(excluded).collect(), true)
}

/// Without the kernel's types only privileges and lockdown can be judged.
fn from_facts_alone(facts: &HostFacts) -> (Vec<Check>, bool) {
    match plan::rule_out(facts) {
        Err(error) => (vec![nothing_works(&error)], false),
        Ok(excluded) => {
            let mut found = false;
            let checks = Backend::ALL.into_iter().map(|backend| {
                if let Some((_, why)) = excluded.iter().find(|(ruled_out, _)| *ruled_out == backend)
                {
                    return refused(backend, why, found);
                }
                let outcome = if found { CheckOutcome::Unused } else { CheckOutcome::Ok };
                found = true;
                state_check(Some(backend), outcome, Some("not tried: judged from facts".to_owned()))
            });
            (checks.collect::<Vec<_>>(), true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::host::Lockdown;

    fn facts() -> HostFacts {
        let mut facts = HostFacts::gather(None);
        facts.capabilities = u64::MAX;
        facts.btf = BtfPresence::Kernel;
        facts.arch = "x86_64".to_owned();
        facts.lockdown = Lockdown::Confidentiality;
        facts
    }

    #[test]
    fn a_locked_down_host_is_judged_from_its_facts() {
        let doctor = judge_facts(facts(), None);
        assert!(doctor.works && !doctor.tried);
        let refused: Vec<_> = doctor
            .checks
            .iter()
            .filter(|c| c.reason.as_ref().is_some_and(|why| why.contains("confidentiality")))
            .map(|c| c.means.as_str())
            .collect();
        assert_eq!(refused, ["raw_tp inet_sock_set_state", "kprobe tcp_set_state"]);
    }

    #[test]
    fn without_privileges_nothing_works_and_the_way_out_is_named() {
        let doctor = judge_facts(HostFacts { capabilities: 0, ..facts() }, None);
        assert!(!doctor.works);
        let reason = doctor.checks[0].reason.as_ref().unwrap();
        assert!(reason.contains("CAP_BPF") && reason.contains("sudo"), "{reason}");
    }

    #[test]
    fn a_host_without_btf_is_told_so() {
        let btf = BtfPresence::Missing("no such file".to_owned());
        let doctor = judge_facts(HostFacts { btf, ..facts() }, None);
        assert!(!doctor.works);
        assert!(doctor.checks[0].reason.as_ref().unwrap().contains("--btf"));
    }
}
