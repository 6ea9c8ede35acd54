//! What to try on this host, in which order, and what is given up: decided from facts alone.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use tcp_trace_common::{NETNS_FILTER_SLOTS, Offsets, Settings};
use thiserror::Error;

use super::{
    btf::{Btf, BtfError},
    hooks::{self, Choice},
    host::{BtfPresence, CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, HostFacts, Lockdown},
    offsets,
};

mod pairing;

/// A way of hooking state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// `tp_btf/inet_sock_set_state` (5.5): every change, typed reads.
    TpBtf,
    /// `raw_tp/inet_sock_set_state` (4.17): every change, copied reads, no cookie.
    RawTp,
    /// `fentry/tcp_set_state` (5.5): not the births of listeners and children.
    Fentry,
    /// `kprobe/tcp_set_state`: as fentry, copied reads, no cookie.
    Kprobe,
}

impl Backend {
    /// In order of preference.
    pub const ALL: [Self; 4] = [Self::TpBtf, Self::RawTp, Self::Fentry, Self::Kprobe];

    /// Name in metrics and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        }
    }

    /// What it hooks.
    #[must_use]
    pub const fn hook(self) -> &'static str {
        match self {
            Self::TpBtf | Self::RawTp => "inet_sock_set_state",
            Self::Fentry | Self::Kprobe => "tcp_set_state",
        }
    }

    /// The program in the object.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::TpBtf => "state_tp_btf",
            Self::RawTp => "state_raw_tp",
            Self::Fentry => "state_fentry",
            Self::Kprobe => "state_kprobe",
        }
    }

    /// Its second copy, which takes what the kernel skips the first for. A kprobe is skipped while
    /// any is at work on its CPU, so a second would be too.
    #[must_use]
    pub const fn second(self) -> Option<&'static str> {
        match self {
            Self::TpBtf => Some("second_tp_btf"),
            Self::RawTp => Some("second_raw_tp"),
            Self::Fentry => Some("second_fentry"),
            Self::Kprobe => None,
        }
    }

    /// Its programs in the order in which they are attached: that which runs first comes first at a
    /// tracepoint, and last at a trampoline, which puts each before those it has.
    #[must_use]
    pub fn programs(self) -> Vec<&'static str> {
        let mut programs: Vec<_> = std::iter::once(self.program()).chain(self.second()).collect();
        if self == Self::Fentry {
            programs.reverse();
        }
        programs
    }

    /// Whether the verifier must know the kernel's types.
    #[must_use]
    pub const fn is_typed(self) -> bool {
        matches!(self, Self::TpBtf | Self::Fentry)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the user asks for with `--backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendChoice {
    /// The best that works.
    #[default]
    Auto,
    /// The tracepoint, typed or raw.
    Tracepoint,
    /// The typed tracepoint only.
    TpBtf,
    /// The raw tracepoint only.
    RawTp,
    /// `fentry` only.
    Fentry,
    /// `kprobe` only.
    Kprobe,
}

impl BackendChoice {
    fn backends(self) -> &'static [Backend] {
        match self {
            Self::Auto => &Backend::ALL,
            Self::Tracepoint => &[Backend::TpBtf, Backend::RawTp],
            Self::TpBtf => &[Backend::TpBtf],
            Self::RawTp => &[Backend::RawTp],
            Self::Fentry => &[Backend::Fentry],
            Self::Kprobe => &[Backend::Kprobe],
        }
    }
}

impl FromStr for BackendChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "tracepoint" => Ok(Self::Tracepoint),
            "tp_btf" => Ok(Self::TpBtf),
            "raw_tp" => Ok(Self::RawTp),
            "fentry" => Ok(Self::Fentry),
            "kprobe" => Ok(Self::Kprobe),
            other => Err(format!(
                "'{other}' is none of auto, tracepoint, tp_btf, raw_tp, fentry, kprobe"
            )),
        }
    }
}

/// Something this host does not give, and what that costs the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degradation {
    /// The feature.
    pub feature: String,
    /// Why it is reduced.
    pub reason: String,
    /// What is lost, or what stands in its place.
    pub effect: String,
}

impl Degradation {
    /// In one line, as recordings keep it.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("{}: {} ({})", self.feature, self.reason, self.effect)
    }

    /// From such a line; `None` where it is none.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        let (feature, rest) = line.split_once(": ")?;
        let inner = rest.strip_suffix(')')?;
        // The effect may have brackets of its own.
        let mut open = 1u32;
        let start = inner.char_indices().rev().find_map(|(at, c)| {
            match c {
                ')' => open += 1,
                '(' => open -= 1,
                _ => {}
            }
            (open == 0).then_some(at)
        })?;
        let (reason, effect) = (inner.get(..start)?.strip_suffix(' ')?, inner.get(start + 1..)?);
        let [feature, reason, effect] = [feature, reason, effect].map(str::to_owned);
        Some(Self { feature, reason, effect })
    }
}

/// What to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Backends to try, best first.
    pub backends: Vec<Backend>,
    /// Backends not worth trying, and why.
    pub excluded: Vec<(Backend, String)>,
    /// What can be hooked beside state changes.
    pub choices: Vec<Choice>,
    /// Field offsets of the running kernel.
    pub offsets: Offsets,
    /// Whether the kernel's `TW` and `TWKilled` count mini-sockets as their time runs out, not as it
    /// begins to run. So it was while they had a `tw_kill` to remember which (before 5.19).
    pub time_wait_counted_at_end: bool,
    /// Whether programs on tracepoints can be preempted: from 7.0 on, or where nobody knows.
    pub preemptible_tracepoints: bool,
    /// Load-time settings, without the cookie helper, which only loading can tell.
    pub settings: Settings,
    /// What is given up already.
    pub degradations: Vec<Degradation>,
}

/// Why there is nothing to try.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The process may not load programs.
    #[error("tracing needs {}, which this process does not have; run it with sudo, or give them to the binary: sudo setcap cap_bpf,cap_perfmon,cap_net_admin,cap_sys_resource,cap_ipc_lock+ep $(command -v tcp-trace)", missing.join(" and "))]
    Privilege {
        /// The capabilities missing.
        missing: Vec<&'static str>,
    },
    /// The kernel's types are unknown.
    #[error(
        "the kernel does not describe its types ({why}), so no field can be found safely; use a kernel built with CONFIG_DEBUG_INFO_BTF, or name this very kernel's BTF file (BTFHub has them) with --btf FILE"
    )]
    NoBtf {
        /// What was tried.
        why: String,
    },
    /// The types are there and cannot be read.
    #[error("the kernel's types cannot be read: {0}")]
    BadBtf(#[from] BtfError),
    /// A needed field is not as expected.
    #[error("{0}; refusing to guess: please report this kernel")]
    Offsets(String),
    /// Every backend is ruled out.
    #[error("no way to hook state changes is left on this host:{}", lines(excluded))]
    NothingLeft {
        /// Each backend, and why not.
        excluded: Vec<(Backend, String)>,
    },
    /// Too many namespaces.
    #[error("at most {NETNS_FILTER_SLOTS} network namespaces can be named")]
    TooManyNamespaces,
}

fn lines(excluded: &[(Backend, String)]) -> String {
    excluded
        .iter()
        .fold(String::new(), |text, (backend, why)| text + &format!("\n  {backend}: {why}"))
}

/// Decides. `btf` are the bytes of the kernel's BTF, where the facts say there are any.
///
/// # Errors
/// Where nothing on this host is worth trying.
pub fn plan(
    facts: &HostFacts,
    btf: Option<Vec<u8>>,
    choice: BackendChoice,
    netns: &[u32],
) -> Result<Plan, PlanError> {
    let ruled_out = rule_out(facts)?;
    let bytes = btf.ok_or_else(|| PlanError::NoBtf { why: "it could not be read".to_owned() })?;
    let btf = Btf::parse(bytes)?;
    let (offsets, absent) =
        offsets::resolve(&btf).map_err(|error| PlanError::Offsets(error.to_string()))?;
    let mut settings = settings(&btf, netns)?;
    settings.read_kernel = u32::from(facts.lockdown != Lockdown::Confidentiality);
    let choices = hooks::choose(&btf, choice, &ruled_out);
    let mut degradations: Vec<_> = absent
        .into_iter()
        .map(|field| Degradation {
            feature: field.field,
            reason: field.why,
            effect: format!("without it: no {}", field.effect),
        })
        .collect();
    let (mut backends, mut excluded) = (Vec::new(), Vec::new());
    for &backend in choice.backends() {
        let by_facts = ruled_out.iter().find(|(ruled_out, _)| *ruled_out == backend);
        match by_facts.map(|(_, why)| why.clone()).or_else(|| unknown_shape(&btf, backend)) {
            None => backends.push(backend),
            Some(why) => excluded.push((backend, why)),
        }
    }
    if backends.is_empty() {
        return Err(PlanError::NothingLeft { excluded });
    }
    if facts.lockdown == Lockdown::Confidentiality {
        degradations.push(Degradation {
            feature: "lockdown".to_owned(),
            reason: "the kernel is locked down (confidentiality)".to_owned(),
            effect: "only typed programs may read kernel memory: no raw_tp, no kprobe".to_owned(),
        });
    }
    let tw_kill = btf.member("inet_timewait_sock", "tw_kill");
    let time_wait_counted_at_end = matches!(tw_kill, Ok(_) | Err(BtfError::Bitfield { .. }));
    Ok(Plan {
        backends,
        excluded,
        choices,
        offsets,
        time_wait_counted_at_end,
        preemptible_tracepoints: !((1, 0)..(7, 0)).contains(&facts.version()),
        settings,
        degradations,
    })
}

/// `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`, which includes both.
fn missing_capabilities(facts: &HostFacts) -> Vec<&'static str> {
    if facts.has(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !facts.has(*capability))
        .map(|(_, name)| name)
        .collect()
}

fn settings(btf: &Btf, netns: &[u32]) -> Result<Settings, PlanError> {
    let mut settings = Settings::DEFAULT;
    if netns.len() > settings.netns.len() {
        return Err(PlanError::TooManyNamespaces);
    }
    for (slot, inode) in settings.netns.iter_mut().zip(netns) {
        *slot = *inode;
    }
    let bit = |name, fallback| {
        btf.enum_value("sock_flags", name)
            .ok()
            .and_then(|v| u32::try_from(v).ok())
            .unwrap_or(fallback)
    };
    settings.dead_bit = bit("SOCK_DEAD", settings.dead_bit);
    settings.done_bit = bit("SOCK_DONE", settings.done_bit);
    // (sk, skb) up to 6.9, (sk, skb, reason) since; the data pointer comes first.
    let reset = btf.typedef_function_parameters("btf_trace_tcp_send_reset");
    settings.reset_reason = u32::from(reset.is_ok_and(|count| count >= 4));
    Ok(settings)
}

/// Backends not worth trying, by what the facts alone say.
///
/// # Errors
/// Where nothing is worth trying.
pub fn rule_out(facts: &HostFacts) -> Result<Vec<(Backend, String)>, PlanError> {
    let missing = missing_capabilities(facts);
    if !missing.is_empty() {
        return Err(PlanError::Privilege { missing });
    }
    if let BtfPresence::Missing(why) = &facts.btf {
        return Err(PlanError::NoBtf { why: why.clone() });
    }
    let refusal = |backend: Backend| {
        if backend.is_typed() && facts.btf != BtfPresence::Kernel {
            Some("typed programs need BTF in the kernel itself, a file will not do".to_owned())
        } else if !backend.is_typed() && facts.lockdown == Lockdown::Confidentiality {
            Some("lockdown (confidentiality) forbids bpf_probe_read_kernel".to_owned())
        } else if backend == Backend::Kprobe && facts.arch != "x86_64" {
            Some(format!("this object reads registers of x86_64, not of {}", facts.arch))
        } else {
            None
        }
    };
    Ok(Backend::ALL.into_iter().filter_map(|b| refusal(b).map(|why| (b, why))).collect())
}

/// Why `backend`'s hook is not what its program expects, by the kernel's types.
fn unknown_shape(btf: &Btf, backend: Backend) -> Option<String> {
    match backend {
        Backend::TpBtf | Backend::RawTp => {
            // The typedef's first parameter is the tracepoint's own data pointer.
            match btf.typedef_function_parameters("btf_trace_inet_sock_set_state") {
                Ok(4) => None,
                Ok(other) => Some(format!(
                    "the tracepoint inet_sock_set_state takes {} arguments here, not 3",
                    other.saturating_sub(1)
                )),
                Err(error) => Some(error.to_string()),
            }
        }
        Backend::Fentry | Backend::Kprobe => match btf.function_parameters("tcp_set_state") {
            Ok(2) => None,
            Ok(other) => Some(format!("tcp_set_state takes {other} arguments here, not 2")),
            Err(error) => Some(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests;
