//! Settings: flags and `TCP_TRACE_*`, then the settings file, then the defaults.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::args::{Global, Serve, Tracing};
use crate::{core::table::Limits, engine::live::Config, kernel::plan::BackendChoice};

/// The settings file, where none is named.
const DEFAULT_FILE: &str = "/etc/tcp-trace.toml";
/// The daemon's socket, where none is named.
const DEFAULT_SOCKET: &str = "/run/tcp-trace.sock";
/// Where the metrics are, unless said otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:10435";

/// The settings file. Unknown keys are refused: a misspelt setting is no setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct FileSettings {
    socket: Option<PathBuf>,
    log_level: Option<String>,
    listen_address: Option<Vec<String>>,
    process_series: Option<usize>,
    backend: Option<BackendChoice>,
    netns: Option<Vec<String>>,
    btf: Option<PathBuf>,
    buffer_size: Option<usize>,
    max_connections: Option<usize>,
    max_closed: Option<usize>,
}

impl FileSettings {
    /// Reads the file. Its absence matters only where it was named.
    pub(crate) fn read(named: Option<&Path>) -> anyhow::Result<Self> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("reading the settings file {} failed", path.display())
                });
            }
        };
        Self::parse(&text).with_context(|| format!("the settings file {} is wrong", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// The daemon's socket.
    pub(crate) fn socket(&self, global: &Global) -> PathBuf {
        let chosen = global.socket.clone().or_else(|| self.socket.clone());
        chosen.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }

    /// What goes to the log; `info` for the daemon, `warn` for the other commands.
    pub(crate) fn log_level(
        &self,
        global: &Global,
        daemon: bool,
    ) -> anyhow::Result<tracing::level_filters::LevelFilter> {
        use tracing::level_filters::LevelFilter;
        match (global.log_level, &self.log_level) {
            (Some(level), _) => Ok(level),
            (None, Some(text)) => text.parse().ok().with_context(|| {
                format!("log-level '{text}' is none of off, error, warn, info, debug, trace")
            }),
            (None, None) if daemon => Ok(LevelFilter::INFO),
            (None, None) => Ok(LevelFilter::WARN),
        }
    }

    /// Where the daemon serves its metrics.
    pub(crate) fn listen(&self, serve: &Serve) -> Vec<String> {
        match (&serve.listen, &self.listen_address) {
            (flags, _) if !flags.is_empty() => flags.clone(),
            (_, Some(file)) => file.clone(),
            _ => vec![DEFAULT_LISTEN.to_owned()],
        }
    }

    /// How to trace.
    pub(crate) fn tracing(
        &self,
        flags: &Tracing,
        process_series: Option<usize>,
    ) -> anyhow::Result<Config> {
        let defaults = Config::default();
        let buffer = flags.buffer_size.or(self.buffer_size);
        if buffer.is_some_and(|bytes| !(4096..=1 << 30).contains(&bytes)) {
            bail!("a perf buffer has 4 KiB to 1 GiB for each CPU (--buffer-size)");
        }
        Ok(Config {
            btf: flags.btf.clone().or_else(|| self.btf.clone()),
            backend: flags.backend.or(self.backend).unwrap_or_default(),
            netns: if flags.netns.is_empty() {
                self.netns.clone().unwrap_or_default()
            } else {
                flags.netns.clone()
            },
            buffer,
            limits: Limits {
                live: flags
                    .max_connections
                    .or(self.max_connections)
                    .unwrap_or(defaults.limits.live),
                closed: flags.max_closed.or(self.max_closed).unwrap_or(defaults.limits.closed),
            },
            process_limit: process_series.or(self.process_series).unwrap_or(defaults.process_limit),
            log_level: defaults.log_level,
            thresholds: defaults.thresholds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_the_file_and_the_file_before_the_defaults() {
        let file =
            FileSettings::parse("max-connections = 5\nmax-closed = 6\nnetns = ['a']").unwrap();
        let flags = Tracing { max_connections: Some(7), ..Tracing::default() };
        let config = file.tracing(&flags, None).unwrap();
        assert_eq!(config.limits, Limits { live: 7, closed: 6 });
        assert_eq!((config.netns, config.process_limit), (vec!["a".to_owned()], 50));
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let text = format!("{:#}", FileSettings::parse("max-conections = 5").unwrap_err());
        assert!(text.contains("max-conections"), "{text}");
    }

    #[test]
    fn a_named_file_must_be_there() {
        assert!(FileSettings::read(Some(Path::new("/nonexistent.toml"))).is_err());
    }

    #[test]
    fn an_absurd_buffer_is_refused() {
        let flags = Tracing { buffer_size: Some(1), ..Tracing::default() };
        assert!(FileSettings::default().tracing(&flags, None).is_err());
    }
}
