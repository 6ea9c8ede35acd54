//! `doctor`: what this host allows.

use super::{
    page::Page,
    style::{Paint, Style},
    words,
};
use crate::{
    api::{Check, CheckOutcome, Doctor},
    kernel::host::{BtfPresence, CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, HostFacts, Lockdown},
};

/// Capabilities that matter here, most needed first.
const CAPABILITIES: [(u8, &str); 5] = [
    (CAP_BPF, "BPF"),
    (CAP_PERFMON, "PERFMON"),
    (12, "NET_ADMIN"),
    (CAP_SYS_ADMIN, "SYS_ADMIN"),
    (19, "SYS_PTRACE"),
];

/// Columns kept for an outcome and the first words of its reason.
const OUTCOME: usize = 24;

/// Facts, then feature by feature, then what to do.
pub(crate) fn report(doctor: &Doctor, style: &Style) -> String {
    let mut page = Page::new(style);
    page.parts(&facts(&doctor.facts), "   ", 2).newline();
    let widest = |cell: fn(&Check) -> &str| {
        doctor.checks.iter().map(|check| style.columns(cell(check))).max().unwrap_or(0)
    };
    let means = 2 + widest(|check| &check.feature) + 2;
    // A long one is broken, so that the outcome stands beside it however narrow the terminal.
    let room = style.width.saturating_sub(means + 2 + OUTCOME).max(OUTCOME);
    let outcome = means + widest(|check| &check.means).min(room) + 2;
    for (number, check) in doctor.checks.iter().enumerate() {
        let before = &doctor.checks[..number];
        // A long reason that has been read once is only pointed at.
        let said = before.iter().find(|one| one.outcome == check.outcome && one.is_like(check));
        feature(&mut page, check, said, (means, outcome));
    }
    let (paint, verdict) = verdict(doctor);
    page.wrap(paint, &verdict, 0).newline();
    if doctor.tried && !doctor.segments.on && !doctor.segments.interfaces.is_empty() {
        page.wrap(Paint::Dim, SURVEYED, 0).newline();
    }
    if !doctor.tried {
        page.wrap(Paint::Dim, "Judged from facts alone: no hook was attached.", 0);
    }
    page.finish()
}

const SURVEYED: &str = "Packet programs: as serve would attach them; none was. With --segments on \
                        each is attached for a moment.";

impl Check {
    /// Whether the same reason stands against another, and is too long to be read twice.
    fn is_like(&self, other: &Self) -> bool {
        self.reason == other.reason && self.reason.as_ref().is_some_and(|why| why.len() > 40)
    }
}

fn facts(facts: &HostFacts) -> Vec<(Paint, String)> {
    let btf = match &facts.btf {
        BtfPresence::Kernel => "yes".to_owned(),
        BtfPresence::File(path) => format!("from {path}"),
        BtfPresence::Missing(why) => format!("no ({why})"),
    };
    let lockdown = match facts.lockdown {
        Lockdown::None => "none",
        Lockdown::Integrity => "integrity",
        Lockdown::Confidentiality => "confidentiality",
        Lockdown::Unknown => "unknown",
    };
    let held: Vec<_> =
        CAPABILITIES.iter().filter(|(bit, _)| facts.has(*bit)).map(|(_, name)| *name).collect();
    let held = if held.is_empty() { "none of use".to_owned() } else { held.join(" ") };
    [
        format!("kernel {} {}", facts.kernel, facts.arch),
        format!("BTF {btf}"),
        format!("lockdown {lockdown}"),
        format!("capabilities {held}"),
    ]
    .map(|fact| (Paint::Plain, fact))
    .to_vec()
}

fn feature(
    page: &mut Page<'_>,
    check: &Check,
    said: Option<&Check>,
    (means, outcome): (usize, usize),
) {
    let (paint, word) = match check.outcome {
        CheckOutcome::Ok => (Paint::Green, "ok"),
        CheckOutcome::Unused => (Paint::Dim, "unused"),
        CheckOutcome::Reduced => (Paint::Yellow, "reduced"),
        CheckOutcome::Missing => (Paint::Red, "MISSING"),
    };
    page.at(2).put(Paint::Plain, &check.feature);
    for (number, line) in page.lines(&check.means, outcome - 2 - means).iter().enumerate() {
        if number > 0 {
            page.newline();
        }
        page.at(means).put(Paint::Plain, line);
    }
    page.at(outcome).put(paint, word);
    if let Some(reason) = &check.reason {
        let likewise = said.map(|one| format!("as {}", one.feature));
        let reason = likewise.as_deref().unwrap_or(reason);
        page.put(paint, ":");
        let column = page.column() + 1;
        page.at(column).wrap(Paint::Plain, reason, means + 2);
    }
    page.newline();
    if let Some(fallback) = &check.fallback {
        page.at(means).wrap(Paint::Plain, &format!("→ fallback: {fallback}"), means + 2).newline();
    }
    if let Some(loses) = &check.loses {
        page.at(means).wrap(Paint::Plain, &format!("you lose: {loses}"), means + 2).newline();
    }
}

fn verdict(doctor: &Doctor) -> (Paint, String) {
    if !doctor.works {
        return (Paint::Red, format!("Tracing does not work here. {}", way_out(doctor)));
    }
    let missing = doctor.checks.iter().filter(|check| check.outcome == CheckOutcome::Missing);
    let missing = u64::try_from(missing.count()).unwrap_or(u64::MAX);
    let lacks: Vec<_> = [(doctor.reduced, "reduced"), (missing, "missing")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| {
            let verb = if number == 1 { "is" } else { "are" };
            format!("{} {verb} {word}", words::counted(number, "feature"))
        })
        .collect();
    let text = if lacks.is_empty() {
        "Everything works.".to_owned()
    } else {
        format!("Everything needed works; {}.", lacks.join(", "))
    };
    (Paint::Green, text)
}

/// What to do where tracing does not work at all.
fn way_out(doctor: &Doctor) -> &'static str {
    let facts = &doctor.facts;
    let may_load = facts.has(CAP_SYS_ADMIN) || facts.has(CAP_BPF) && facts.has(CAP_PERFMON);
    if !may_load {
        "Run it with sudo, or give the binary what it needs: sudo setcap \
         cap_bpf,cap_perfmon,cap_net_admin,cap_sys_resource,cap_ipc_lock+ep $(command -v tcp-trace) \
         (cap_net_admin for segments, by XDP and TC; cap_sys_admin besides for the sockets of other \
         network namespaces)"
    } else if matches!(facts.btf, BtfPresence::Missing(_)) {
        "Use a kernel built with CONFIG_DEBUG_INFO_BTF, or name this very kernel's BTF file \
         (BTFHub has them) with --btf FILE."
    } else {
        "What is MISSING above has to be allowed first."
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};
    use crate::kernel::segments::Standing;

    fn check(feature: &str, means: &str, outcome: CheckOutcome, reason: Option<&str>) -> Check {
        Check {
            feature: feature.to_owned(),
            means: means.to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
            fallback: None,
            loses: None,
        }
    }

    fn sketch() -> Doctor {
        let facts = HostFacts {
            kernel: "6.18.15".to_owned(),
            arch: "x86_64".to_owned(),
            capabilities: 1 << CAP_BPF | 1 << CAP_PERFMON | 1 << 12,
            lockdown: Lockdown::Integrity,
            btf: BtfPresence::Kernel,
            perf_event_paranoid: Some(2),
            unprivileged_bpf_disabled: Some(2),
            cpus: vec![0, 1],
            netns: None,
        };
        let owners = Check {
            fallback: Some("connect owner from the state change, accepted sockets from iter/task_file every 30 s".to_owned()),
            loses: Some("the thread and stack of accept()".to_owned()),
            ..check("owners", "fexit inet_csk_accept", CheckOutcome::Reduced, Some("the kernel forbids fentry/fexit (EPERM)"))
        };
        let checks = vec![
            check("state changes", "tp_btf inet_sock_set_state", CheckOutcome::Ok, None),
            check(
                "state changes",
                "kprobe tcp_set_state",
                CheckOutcome::Unused,
                Some("tp_btf works"),
            ),
            owners,
        ];
        Doctor {
            facts,
            checks,
            works: true,
            reduced: 1,
            tried: true,
            segments: Standing::default(),
        }
    }

    #[test]
    fn a_host_that_will_do() {
        let text = "\
kernel 6.18.15 x86_64   BTF yes   lockdown integrity   capabilities BPF PERFMON NET_ADMIN
  state changes  tp_btf inet_sock_set_state  ok
  state changes  kprobe tcp_set_state        unused: tp_btf works
  owners         fexit inet_csk_accept       reduced: the kernel forbids fentry/fexit (EPERM)
                 → fallback: connect owner from the state change, accepted sockets from
                   iter/task_file every 30 s
                 you lose: the thread and stack of accept()
Everything needed works; 1 feature is reduced.";
        assert_eq!(report(&sketch(), &plain(100)), text);
    }

    #[test]
    fn eighty_columns_of_ascii_do() {
        let text = "\
kernel 6.18.15 x86_64   BTF yes   lockdown integrity
  capabilities BPF PERFMON NET_ADMIN
  state changes  tp_btf inet_sock_set_state  ok
  state changes  kprobe tcp_set_state        unused: tp_btf works
  owners         fexit inet_csk_accept       reduced: the kernel forbids
                   fentry/fexit (EPERM)
                 -> fallback: connect owner from the state change, accepted
                   sockets from iter/task_file every 30 s
                 you lose: the thread and stack of accept()
Everything needed works; 1 feature is reduced.";
        assert_eq!(report(&sketch(), &ascii(80)), text);
    }

    #[test]
    fn without_privilege_it_says_how_to_get_it() {
        let mut doctor = Doctor { works: false, tried: false, ..sketch() };
        doctor.facts.capabilities = 0;
        doctor.facts.btf = BtfPresence::Missing("no such file".to_owned());
        doctor.facts.lockdown = Lockdown::Unknown;
        doctor.checks = vec![check(
            "state changes",
            "tp_btf",
            CheckOutcome::Missing,
            Some("line one\n\x1b[2Jline two"),
        )];
        let text = "\
kernel 6.18.15 x86_64   BTF no (no such file)   lockdown unknown   capabilities none of use
  state changes  tp_btf  MISSING: line one [2Jline two
Tracing does not work here. Run it with sudo, or give the binary what it needs: sudo setcap
cap_bpf,cap_perfmon,cap_net_admin,cap_sys_resource,cap_ipc_lock+ep $(command -v tcp-trace)
(cap_net_admin for segments, by XDP and TC; cap_sys_admin besides for the sockets of other network
namespaces)
Judged from facts alone: no hook was attached.";
        assert_eq!(report(&doctor, &plain(100)), text);
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let verdict_of = |change: fn(&mut Doctor)| {
            let mut doctor = sketch();
            change(&mut doctor);
            verdict(&doctor).1
        };
        let everything = verdict_of(|doctor| doctor.reduced = 0);
        assert_eq!(everything, "Everything works.");
        let lacking = verdict_of(|doctor| {
            doctor.reduced = 2;
            doctor.checks.push(check("segments", "xdp", CheckOutcome::Missing, None));
        });
        assert_eq!(
            lacking,
            "Everything needed works; 2 features are reduced, 1 feature is missing."
        );
        let no_types = verdict_of(|doctor| {
            doctor.works = false;
            doctor.facts.btf = BtfPresence::Missing(String::new());
        });
        assert!(no_types.contains("--btf FILE"), "{no_types}");
        let refused = verdict_of(|doctor| doctor.works = false);
        assert!(refused.contains("MISSING above"), "{refused}");
    }

    #[test]
    fn a_long_reason_is_said_once() {
        let mut doctor = sketch();
        let why = "fentry: BPF_PROG_LOAD answered: Operation not permitted (os error 1)";
        for feature in ["connect()", "accept()"] {
            doctor.checks.push(check(feature, "x", CheckOutcome::Reduced, Some(why)));
        }
        let shown = report(&doctor, &plain(140));
        assert_eq!(shown.matches(why).count(), 1, "{shown}");
        assert!(shown.contains("reduced: as connect()"), "{shown}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut doctor = sketch();
        let means = "31 offsets from the kernel's BTF, checked for size and kind";
        doctor.checks.push(check("fields", means, CheckOutcome::Ok, None));
        let why = "fentry: BPF_PROG_LOAD answered: Operation not permitted (os error 1)";
        doctor.checks.push(check("x", means, CheckOutcome::Reduced, Some(why)));
        for width in 60..160 {
            let shown = report(&doctor, &plain(width));
            let widest = shown.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}:\n{shown}");
            assert!(shown.lines().all(|line| !line.ends_with(' ')), "{width}:\n{shown}");
        }
    }

    #[test]
    fn programs_that_were_not_attached_are_said_to_be_judged_alone() {
        use crate::kernel::segments::InterfaceStanding;
        let mut doctor = sketch();
        doctor.segments.interfaces.push(InterfaceStanding::default());
        assert!(report(&doctor, &plain(200)).ends_with(&format!("reduced.\n{SURVEYED}")));
        doctor.segments.on = true;
        assert!(!report(&doctor, &plain(200)).contains(SURVEYED));
    }

    #[test]
    fn outcomes_are_painted_and_spelled() {
        let shown = report(&sketch(), &colour(100));
        for painted in ["\x1b[32mok\x1b[0m", "\x1b[2munused\x1b[0m", "\x1b[33mreduced\x1b[0m"] {
            assert!(shown.contains(painted), "{shown:?}");
        }
    }
}
