//! Who is measured beside whom.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;

use super::{
    rival::{Output, Rival},
    tracer::{TcpTrace, Tracer},
};
use crate::{
    daemon::Serve,
    namespace::Network,
    tool::{BPFTRACE, TCPLIFE, TCPSTATES, TCPTRACER, Tool},
};

/// What the tables call it that counts in the kernel, and sends nothing.
pub(super) const COUNTERS: &str = "counters only";
/// That looks at state changes by tracepoints alone.
pub(super) const STATES: &str = "states";
/// That has all it wants.
pub(super) const FULL: &str = "states, owners, TIME_WAIT";
/// That has segments as well.
pub(super) const SEGMENTS: &str = "all, segments on lo";
/// The same, with XDP left out.
pub(super) const TC: &str = "all, segments on lo by TC";
/// That folds when it must.
pub(super) const AUTO: &str = "auto";
/// That is left as it is by default.
pub(super) const DEFAULT: &str = "auto, segments on lo";
/// The closest of its peers.
pub(super) const LIFE: &str = TCPLIFE.name;

const COUNT: &str =
    "tracepoint:sock:inet_sock_set_state { @[args->oldstate, args->newstate] = count(); }";
const PRINT: &str = "tracepoint:sock:inet_sock_set_state { \
                     printf(\"%d %d %d\\n\", pid, args->oldstate, args->newstate); }";

/// Who can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Who {
    /// The hooks and exact counters, and no event: a daemon whose namespace is another
    Counters,
    /// State changes by tracepoints alone
    States,
    /// State changes, owners and `TIME_WAIT`: all that a daemon looks at by itself
    Full,
    /// The same, short connections in one record
    Folded,
    /// The same, folded under a storm
    Auto,
    /// The same in full, and segments
    Segments,
    /// The same, with segments looked at by TC alone
    Tc,
    /// A daemon as it is by default: folded under a storm, and segments
    Default,
    /// State changes, owners and `TIME_WAIT` by fentry
    Fentry,
    /// State changes, owners and `TIME_WAIT` by kprobes
    Kprobe,
    /// Of libbpf-tools
    Tcpstates,
    /// Of libbpf-tools
    Tcplife,
    /// Of libbpf-tools
    Tcptracer,
    /// A line that counts state changes
    BpftraceCount,
    /// A line that prints state changes
    BpftracePrint,
}

impl Who {
    /// How it runs; a daemon is this program.
    pub(super) fn tracer(self, program: &Path) -> Result<Tracer> {
        let serve = Serve::states(program);
        Ok(match self {
            // A namespace of its own, in which nothing happens.
            Self::Counters => {
                ours(COUNTERS, serve.by("tracepoint").within(&Network::new()?).and_no_other())
            }
            Self::States => ours(STATES, serve.by("tracepoint")),
            Self::Full => with_calls(FULL, serve),
            Self::Folded => ours("folded", serve.in_mode("folded")),
            Self::Auto => ours(AUTO, serve.in_mode("auto")),
            Self::Segments => within(SEGMENTS, serve.and_segments("lo")),
            Self::Tc => within(TC, serve.and_segments("lo").and_xdp("lo=off")),
            Self::Default => within(DEFAULT, serve.and_segments("lo").in_mode("auto")),
            Self::Fentry => with_calls("the same by fentry", serve.by("fentry")),
            Self::Kprobe => with_calls("the same by kprobes", serve.by("kprobe")),
            Self::Tcpstates => tool(TCPSTATES, "SKADDR"),
            Self::Tcplife => tool(TCPLIFE, "PID"),
            Self::Tcptracer => tool(TCPTRACER, "T"),
            Self::BpftraceCount => bpftrace("bpftrace, counts", &["-e", COUNT], Output::Counts),
            Self::BpftracePrint => bpftrace("bpftrace, prints", &["-e", PRINT], Output::Lines),
        })
    }
}

fn ours(name: &'static str, serve: Serve) -> Tracer {
    Tracer::TcpTrace(TcpTrace { name, serve, within: false, calls: false })
}

fn within(name: &'static str, serve: Serve) -> Tracer {
    Tracer::TcpTrace(TcpTrace { name, serve, within: true, calls: false })
}

fn with_calls(name: &'static str, serve: Serve) -> Tracer {
    Tracer::TcpTrace(TcpTrace { name, serve, within: false, calls: true })
}

fn tool(tool: Tool, header: &'static str) -> Tracer {
    let name = tool.name;
    Tracer::Rival(Rival { name, tool, arguments: &[], header, output: Output::Lines })
}

fn bpftrace(name: &'static str, arguments: &'static [&'static str], output: Output) -> Tracer {
    let header = "Attaching 1 probe";
    Tracer::Rival(Rival { name, tool: BPFTRACE, arguments, header, output })
}
