//! The command line, as `clap` reads it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
pub(crate) use segments::{Segments, Switch};

mod segments;

use crate::{
    core::{connection::ConnectionId, fold::Mode},
    kernel::{plan::BackendChoice, stacks::StackWishes},
    serve::span,
};

mod demo;
mod diagnose;
mod filter;
mod web;

pub(crate) use demo::{Demo, DemoActor};
pub(crate) use diagnose::{Diagnose, Judge};
pub(crate) use filter::Filter;
pub(crate) use web::Web;

/// Tells why a server is stuck in `CLOSE_WAIT`, drowning in `TIME_WAIT` or losing connections.
#[derive(Debug, Parser)]
#[command(
    name = "tcp-trace",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 diagnose has findings, 4 missing privilege or \
                  kernel support."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The daemon's Unix socket [default: /run/tcp-trace.sock]
    #[arg(long, global = true, env = "TCP_TRACE_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Settings file [default: /etc/tcp-trace.toml, if it is there]
    #[arg(long, global = true, env = "TCP_TRACE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What to write to the log on standard error: error, warn, info, debug, trace
    #[arg(long, global = true, env = "TCP_TRACE_LOG_LEVEL", value_name = "LEVEL")]
    pub(crate) log_level: Option<tracing::level_filters::LevelFilter>,
    /// Colour the output
    #[arg(
        long,
        global = true,
        env = "TCP_TRACE_COLOR",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub(crate) color: When,
}

/// Whether to do something that suits a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon: trace, and serve metrics and the API (root)
    Serve(Serve),
    /// Stream state changes and finished connections as they happen
    Watch(Watch),
    /// List the connections of this moment
    List(List),
    /// Show one connection's timeline
    Show(Show),
    /// Say what is wrong, worst first, on what evidence, and the way out (exits with 3 if anything is)
    Diagnose(Diagnose),
    /// Say how the tracer stands: hooks, losses, what is reduced
    Status(Status),
    /// Say what this host allows, hook by hook, and what is lost without it
    Doctor(Doctor),
    /// Save the raw records to a file (root)
    Record(Record),
    /// Watch, list and show from a recording or a packet capture; needs no root
    Replay(Replay),
    /// Play a scene of sick servers in a network namespace of its own, trace and diagnose it (root)
    Demo(Demo),
    /// A player of the demo
    #[command(hide = true)]
    DemoActor(DemoActor),
    /// Run the packet programs on frames that nobody sends, and say how long each takes (root)
    #[command(hide = true)]
    PacketCosts(super::packet_costs::PacketCosts),
    /// Take made-up events as the tracer would, and say what that costs
    #[command(hide = true)]
    BenchEngine(super::bench_engine::BenchEngine),
}

/// How to trace. A daemon's own settings hold where one is asked.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Tracing {
    /// How to hook state changes: auto, tracepoint (`tp_btf` or `raw_tp`), fentry, kprobe [default: auto]
    #[arg(long, env = "TCP_TRACE_BACKEND", value_name = "HOW")]
    pub(crate) backend: Option<BackendChoice>,
    /// Trace this network namespace only: a name, a path, an inode number or 'self' (up to 4 times)
    #[arg(long, env = "TCP_TRACE_NETNS", value_name = "NAMESPACE", value_delimiter = ',')]
    pub(crate) netns: Vec<String>,
    /// BTF file of this very kernel, where the kernel has none of its own
    #[arg(long, env = "TCP_TRACE_BTF", value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,
    /// Perf buffer for each CPU, in bytes [default: 64 MiB shared out, 256 KiB to 4 MiB each]
    #[arg(long, env = "TCP_TRACE_BUFFER_SIZE", value_name = "BYTES")]
    pub(crate) buffer_size: Option<usize>,
    /// Open connections held at most [default: 1000000]
    #[arg(long, env = "TCP_TRACE_MAX_CONNECTIONS", value_name = "N")]
    pub(crate) max_connections: Option<usize>,
    /// Closed connections kept for questions [default: 10000]
    #[arg(long, env = "TCP_TRACE_MAX_CLOSED", value_name = "N")]
    pub(crate) max_closed: Option<usize>,
    /// Say where in the code connections are opened and accepted: of all processes, or of those named
    /// by number or name, at each call or one of N; costs a microsecond each [default: off]
    #[arg(
        long,
        env = "TCP_TRACE_STACKS",
        value_name = "all|PID|NAME|1/N,...",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all"
    )]
    pub(crate) stacks: Option<StackWishes>,
    /// When short connections are told in one record, which costs the host less: full (never), folded
    /// (always) or auto (under a storm of them, or when records are lost or about to be)
    /// [default: auto]
    #[arg(long, env = "TCP_TRACE_MODE", value_name = "full|folded|auto")]
    pub(crate) mode: Option<Mode>,
    /// Events a second above which auto folds [default: 50000]
    #[arg(
        long,
        env = "TCP_TRACE_FOLD_ABOVE",
        value_name = "EVENTS",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) fold_above: Option<u32>,
    #[command(flatten)]
    pub(crate) segments: Segments,
}

impl Tracing {
    /// Whether the command line says anything of it; what the environment says is for the daemon.
    pub(crate) fn is_given(&self) -> bool {
        let said = [
            (self.backend.is_some(), "TCP_TRACE_BACKEND"),
            (!self.netns.is_empty(), "TCP_TRACE_NETNS"),
            (self.btf.is_some(), "TCP_TRACE_BTF"),
            (self.buffer_size.is_some(), "TCP_TRACE_BUFFER_SIZE"),
            (self.max_connections.is_some(), "TCP_TRACE_MAX_CONNECTIONS"),
            (self.max_closed.is_some(), "TCP_TRACE_MAX_CLOSED"),
            (self.stacks.is_some(), "TCP_TRACE_STACKS"),
            (self.mode.is_some(), "TCP_TRACE_MODE"),
            (self.fold_above.is_some(), "TCP_TRACE_FOLD_ABOVE"),
            (self.segments.on.is_some(), "TCP_TRACE_SEGMENTS"),
            (!self.segments.interfaces.is_empty(), "TCP_TRACE_INTERFACES"),
            (!self.segments.xdp.is_empty(), "TCP_TRACE_XDP"),
            (self.segments.rate.is_some(), "TCP_TRACE_SEGMENT_RATE"),
        ];
        said.into_iter().any(|(set, variable)| set && std::env::var_os(variable).is_none())
    }
}

fn parse_id(text: &str) -> Result<ConnectionId, String> {
    text.parse().map_err(|_| "it takes a number as list prints it, in hex, such as 3f9c".to_owned())
}

fn parse_span(text: &str) -> Result<Duration, String> {
    span::parse(text).ok_or_else(|| format!("it takes {}", span::ACCEPTED))
}

/// `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) web: Web,
    /// How long a socket must stand still in CLOSE_WAIT and the like to be stuck [default: 60s]
    #[arg(long, env = "TCP_TRACE_OLDER_THAN", value_name = "AGE", value_parser = parse_span)]
    pub(crate) older_than: Option<Duration>,
    /// Process names with metrics of their own; the rest is one series, 'other' [default: 50]
    #[arg(long, env = "TCP_TRACE_PROCESS_SERIES", value_name = "N")]
    pub(crate) process_series: Option<usize>,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
}

/// What `watch` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for a person.
    Text,
    /// One object of the API a line.
    Json,
    /// The columns of libbpf-tools' tcpstates.
    Tcpstates,
    /// The columns of libbpf-tools' tcplife.
    Tcplife,
}

/// How `watch` prints and when it ends.
#[derive(Clone, Debug, Args)]
pub(crate) struct Output {
    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Wide columns (tcpstates: addresses of 39 characters)
    #[arg(short, long)]
    pub(crate) wide: bool,
    /// A time before each line (tcpstates, tcplife)
    #[arg(short = 'T', long)]
    pub(crate) timestamp: bool,
    /// End after this many lines
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// End after this long, e.g. 30s
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    pub(crate) span: Option<Duration>,
}

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
}

/// What `list` shows.
#[derive(Clone, Debug, Args)]
pub(crate) struct Rows {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Those closed not long ago as well
    #[arg(long)]
    pub(crate) closed: bool,
    /// Rows at most, 0 for all
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) limit: usize,
    /// Print the API's object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) rows: Rows,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
}

/// Which connection `show` shows.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct One {
    /// Its number, as list and watch --json print it; or name it by the filters of list
    #[arg(value_name = "ID", conflicts_with = "Filter", value_parser = parse_id)]
    pub(crate) id: Option<ConnectionId>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Of those closed not long ago as well
    #[arg(long, conflicts_with = "id")]
    pub(crate) closed: bool,
    /// Of several the one longest in its state (the default)
    #[arg(long, conflicts_with_all = ["id", "newest"])]
    pub(crate) oldest: bool,
    /// Of several the one that came to its state last
    #[arg(long, conflicts_with = "id")]
    pub(crate) newest: bool,
    /// Print the API's object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `show`.
#[derive(Debug, Args)]
// Made by clap it would name every option that the environment has set.
#[command(
    override_usage = "tcp-trace show [OPTIONS] <ID>\n       tcp-trace show [OPTIONS] <FILTERS>"
)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) one: One,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
}

/// `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print the API's object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print the report as JSON; its 'facts' can be judged elsewhere with --facts
    #[arg(long)]
    pub(crate) json: bool,
    /// Judge facts saved from another host's doctor --json; nothing is tried
    #[arg(long, value_name = "FILE")]
    pub(crate) facts: Option<PathBuf>,
    /// BTF file of this very kernel, where the kernel has none of its own
    #[arg(long, env = "TCP_TRACE_BTF", value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) segments: Segments,
}

/// `record`.
#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The file to write; it must not be there yet
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// End after this long, e.g. 30s; without it, Ctrl-C ends
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    pub(crate) span: Option<Duration>,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
}

/// `replay`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct Replay {
    /// A recording of `tcp-trace record`, or a packet capture (pcap or pcapng)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Option<ReplayCommand>,
}

/// What to do with the file; without one, watch it.
#[derive(Debug, Subcommand)]
pub(crate) enum ReplayCommand {
    /// Stream state changes and finished connections
    Watch {
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        filter: Filter,
    },
    /// List the connections of the file's last moment
    List(Rows),
    /// Show one connection's timeline
    Show(One),
    /// Say what was wrong at the recording's last moment, as far as its events tell
    Diagnose(Judge),
    /// Say how the tracer stood
    Status(Status),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn show_takes_an_id_or_a_filter() {
        let parse =
            |args: &[&str]| Cli::try_parse_from(["tcp-trace", "show"].iter().chain(args)).map(drop);
        for good in [
            &["3f9c"][..],
            &["--state", "close_wait"],
            &["--local", ":8080", "--oldest"],
            &["--pid", "7", "--closed", "--newest", "--json"],
            // What names no connection is refused in words of our own.
            &[],
        ] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            &["3f9c", "--state", "close_wait"][..],
            &["3f9c", "--newest"],
            &["zz"],
            &[""],
            &["--pid", "7", "--oldest", "--newest"],
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn filters_are_checked_where_they_are_typed() {
        let parse = |flag, value| Cli::try_parse_from(["tcp-trace", "list", flag, value]);
        for (flag, good, bad) in [
            ("--state", "close_wait,FIN-WAIT1", "closewait"),
            ("--older-than", "1h30m", "soon"),
            ("--remote", "10.0.0.0/8:443", "10.0.0.0/40"),
            ("--port", "443", "65536"),
            ("--segments", "on", "perhaps"),
            ("--interface", "eth0,lo", "a/b"),
            ("--xdp", "eth0=native,lo=off", "lo=fast"),
            ("--segment-rate", "1000", "0"),
        ] {
            assert!(parse(flag, good).is_ok(), "{flag} {good}");
            assert_eq!(parse(flag, bad).map(drop).unwrap_err().exit_code(), 2, "{flag} {bad}");
        }
    }
}
