//! What is served on TCP, on the command line.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};

/// What is served on TCP, where, and to whom.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Web {
    /// Where Prometheus finds the metrics (repeatable) [default: 127.0.0.1:10435]
    #[arg(
        long = "web.listen-address",
        env = "TCP_TRACE_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub(crate) listen: Vec<String>,
    /// TLS, users and headers for TCP: a web configuration file as Prometheus' exporters take it,
    /// read again when it changes
    #[arg(long = "web.config.file", env = "TCP_TRACE_WEB_CONFIG_FILE", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Serve connections and events (/api/v1) on TCP, too; off loopback that needs users or client
    /// certificates in the web configuration file
    #[arg(
        long = "web.api",
        env = "TCP_TRACE_WEB_API",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) api: bool,
}
