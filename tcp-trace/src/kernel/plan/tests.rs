use super::*;

/// A host on which everything works, save what a test takes away.
fn facts() -> HostFacts {
    HostFacts {
        kernel: "6.18.0".to_owned(),
        arch: "x86_64".to_owned(),
        capabilities: u64::MAX,
        lockdown: Lockdown::None,
        btf: BtfPresence::Kernel,
        perf_event_paranoid: Some(2),
        unprivileged_bpf_disabled: Some(2),
        cpus: vec![0],
        netns: Some(1),
    }
}

/// The running kernel's own types; without them these tests cannot decide anything.
fn kernel_btf() -> Option<Vec<u8>> {
    let bytes = std::fs::read(crate::kernel::host::KERNEL_BTF).ok();
    if bytes.is_none() {
        println!("left out: this kernel has no BTF");
    }
    bytes
}

fn auto(facts: &HostFacts, btf: Option<Vec<u8>>) -> Result<Plan, PlanError> {
    plan(facts, btf, BackendChoice::Auto, &[])
}

#[test]
fn the_missing_capabilities_are_named_with_the_way_to_grant_them() {
    let mut facts = facts();
    facts.capabilities = 1 << CAP_BPF;
    let text = auto(&facts, None).unwrap_err().to_string();
    assert!(text.contains("CAP_PERFMON") && text.contains("setcap"), "{text}");
    assert!(!text.contains("CAP_BPF and"), "{text}");
    facts.capabilities = 1 << CAP_SYS_ADMIN;
    assert!(matches!(auto(&facts, None), Err(PlanError::NoBtf { .. })));
}

#[test]
fn no_btf_names_the_way_out() {
    let mut facts = facts();
    facts.btf = BtfPresence::Missing("/sys/kernel/btf/vmlinux: no such file".to_owned());
    let text = auto(&facts, None).unwrap_err().to_string();
    assert!(text.contains("--btf FILE") && text.contains("/sys/kernel/btf/vmlinux"), "{text}");
}

#[test]
fn nonsense_instead_of_btf_is_refused() {
    assert!(matches!(auto(&facts(), Some(vec![1, 2, 3])), Err(PlanError::BadBtf(_))));
}

#[test]
fn the_typed_tracepoint_comes_first() {
    let Some(btf) = kernel_btf() else { return };
    let plan = auto(&facts(), Some(btf)).unwrap();
    assert_eq!(plan.backends, Backend::ALL);
    assert_eq!(plan.degradations, []);
}

#[test]
fn confidentiality_leaves_typed_programs_only() {
    let Some(btf) = kernel_btf() else { return };
    let mut facts = facts();
    facts.lockdown = Lockdown::Confidentiality;
    let plan = auto(&facts, Some(btf.clone())).unwrap();
    assert_eq!(plan.backends, [Backend::TpBtf, Backend::Fentry]);
    assert!(plan.excluded.iter().all(|(_, why)| why.contains("confidentiality")));
    assert_eq!(plan.degradations.len(), 1);
    let forced = super::plan(&facts, Some(btf), BackendChoice::Kprobe, &[]).unwrap_err();
    assert!(forced.to_string().contains("kprobe: lockdown"), "{forced}");
}

#[test]
fn a_btf_file_serves_the_untyped_programs() {
    let Some(btf) = kernel_btf() else { return };
    let mut facts = facts();
    facts.btf = BtfPresence::File("/tmp/vmlinux.btf".to_owned());
    let plan = auto(&facts, Some(btf)).unwrap();
    assert_eq!(plan.backends, [Backend::RawTp, Backend::Kprobe]);
}

#[test]
fn the_filter_has_a_bound() {
    let Some(btf) = kernel_btf() else { return };
    let plan = super::plan(&facts(), Some(btf.clone()), BackendChoice::Auto, &[5, 6]).unwrap();
    assert_eq!(plan.settings.netns, [5, 6, 0, 0]);
    let error = super::plan(&facts(), Some(btf), BackendChoice::Auto, &[1, 2, 3, 4, 5]);
    assert!(matches!(error, Err(PlanError::TooManyNamespaces)));
}

#[test]
fn what_is_given_up_is_read_back_from_a_recording() {
    let lacks = |feature: &str, reason: &str, effect: &str| Degradation {
        feature: feature.to_owned(),
        reason: reason.to_owned(),
        effect: effect.to_owned(),
    };
    for known in [
        lacks("connect()", "fentry: EPERM (os error 1); kprobe: none", "lost: cgroup (v2) of it"),
        lacks("cookies", "too old", "by address"),
        lacks("x", "", ""),
    ] {
        assert_eq!(Degradation::from_line(&known.to_line()), Some(known));
    }
    for line in ["", "no colon", "a: b", "a: b)", "a: (b)", "a: b) c)"] {
        assert_eq!(Degradation::from_line(line), None, "{line}");
    }
}
