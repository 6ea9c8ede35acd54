use super::*;

fn kernel_btf() -> Option<Btf> {
    let bytes = std::fs::read(crate::kernel::host::KERNEL_BTF).ok();
    if bytes.is_none() {
        println!("left out: this kernel has no BTF");
    }
    bytes.map(|bytes| Btf::parse(bytes).unwrap())
}

#[test]
fn every_role_has_candidates_on_a_current_kernel() {
    let Some(btf) = kernel_btf() else { return };
    for choice in choose(&btf, BackendChoice::Auto, &[]) {
        assert!(!choice.candidates.is_empty(), "{choice:?}");
        let programs: Vec<_> = choice.candidates.iter().map(|hook| hook.mechanism).collect();
        assert!(programs.is_sorted_by_key(|mechanism| mechanism.backend() as u8), "{programs:?}");
    }
}

#[test]
fn the_answer_is_taken_from_behind_the_arguments_this_kernel_has() {
    let Some(btf) = kernel_btf() else { return };
    let fits = |role| {
        let choice = choose_for(role, &btf, BackendChoice::Fentry, &[]);
        let exact = |hook: &&Hook| matches!(hook.arguments, Arguments::Exactly(_));
        choice.candidates.iter().filter(exact).count()
    };
    assert_eq!(fits(Role::Accept), 1);
    assert_eq!(fits(Role::TimeWaitLeave), 1);
}

#[test]
fn the_user_s_choice_leaves_only_its_own() {
    let Some(btf) = kernel_btf() else { return };
    let backends = |choice| {
        let all = choose(&btf, choice, &[]).into_iter().flat_map(|choice| choice.candidates);
        let mut backends: Vec<_> = all.map(|hook| hook.mechanism.backend()).collect();
        backends.dedup();
        backends.sort_unstable_by_key(|backend| *backend as u8);
        backends.dedup();
        backends
    };
    assert_eq!(backends(BackendChoice::Tracepoint), [Backend::TpBtf, Backend::RawTp]);
    assert_eq!(backends(BackendChoice::Kprobe), [Backend::RawTp, Backend::Kprobe]);
    assert_eq!(backends(BackendChoice::RawTp), [Backend::RawTp]);
}

#[test]
fn a_host_without_probes_says_so_for_each() {
    let Some(btf) = kernel_btf() else { return };
    let ruled_out = [(Backend::Fentry, "no".to_owned()), (Backend::Kprobe, "none".to_owned())];
    let choice = choose_for(Role::Accept, &btf, BackendChoice::Auto, &ruled_out);
    assert_eq!(choice.candidates, []);
    assert_eq!(choice.excluded.len(), 3);
}
