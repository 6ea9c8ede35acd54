//! `demo`.

use std::path::PathBuf;

use clap::Args;

use super::{Segments, Switch, Tracing};
use crate::{demo::role::Role, kernel::plan::BackendChoice};

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Print one object: what was planted, what was found, the diagnosis
    #[arg(long, conflicts_with = "keep")]
    pub(crate) json: bool,
    /// Leave the scene on afterwards, for other commands, until Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
    /// How to hook state changes: auto, tracepoint (`tp_btf` or `raw_tp`), fentry, kprobe [default: auto]
    #[arg(long, env = "TCP_TRACE_BACKEND", value_name = "HOW")]
    backend: Option<BackendChoice>,
    /// BTF file of this very kernel, where the kernel has none of its own
    #[arg(long, env = "TCP_TRACE_BTF", value_name = "FILE")]
    btf: Option<PathBuf>,
    /// Look at segments: on or off [default: on]
    #[arg(long, env = "TCP_TRACE_SEGMENTS", value_name = "WHETHER")]
    segments: Option<Switch>,
}

impl Demo {
    /// How to trace it, as other commands are told.
    pub(crate) fn tracing(&self) -> Tracing {
        Tracing {
            backend: self.backend,
            btf: self.btf.clone(),
            segments: Segments { on: self.segments, ..Segments::default() },
            ..Tracing::default()
        }
    }
}

/// `demo-actor`.
#[derive(Debug, Args)]
pub(crate) struct DemoActor {
    /// Which
    #[arg(value_name = "ROLE")]
    pub(crate) role: Role,
}
