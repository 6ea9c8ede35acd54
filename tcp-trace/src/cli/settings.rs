//! Settings: flags and `TCP_TRACE_*`, then the settings file, then the defaults.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::args::{Global, Segments, Switch, Tracing, Web};
use crate::{
    core::{fold::Mode, table::Limits},
    engine::live::Config,
    kernel::{
        plan::BackendChoice,
        segments::{self, InterfaceName, Wishes, XdpWish},
        stacks::StackWishes,
    },
    serve::span,
};

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
    web_config_file: Option<PathBuf>,
    web_api: Option<bool>,
    process_series: Option<usize>,
    older_than: Option<String>,
    backend: Option<BackendChoice>,
    netns: Option<Vec<String>>,
    btf: Option<PathBuf>,
    buffer_size: Option<usize>,
    max_connections: Option<usize>,
    max_closed: Option<usize>,
    segments: Option<Switch>,
    interfaces: Option<Vec<InterfaceName>>,
    xdp: Option<Vec<XdpWish>>,
    segment_rate: Option<u32>,
    stacks: Option<StackWishes>,
    mode: Option<Mode>,
    fold_above: Option<u32>,
}

/// How long a command traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// As long as it is let: segments are looked at unless said otherwise.
    Long,
    /// For a moment, in which few segments pass: they are looked at only where it is asked to.
    Moment,
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
    pub(crate) fn listen(&self, web: &Web) -> Vec<String> {
        match (&web.listen, &self.listen_address) {
            (flags, _) if !flags.is_empty() => flags.clone(),
            (_, Some(file)) => file.clone(),
            _ => vec![DEFAULT_LISTEN.to_owned()],
        }
    }

    /// How old is old, where the file says it.
    pub(crate) fn older_than(&self) -> anyhow::Result<Option<Duration>> {
        let parse = |text: &String| {
            span::parse(text).with_context(|| {
                format!("older-than '{text}' is wrong: it takes {}", span::ACCEPTED)
            })
        };
        self.older_than.as_ref().map(parse).transpose()
    }

    /// TLS and users for TCP, if there is such a file, and whether the API is served there.
    pub(crate) fn network(&self, web: &Web) -> (Option<PathBuf>, bool) {
        let file = web.config_file.clone().or_else(|| self.web_config_file.clone());
        (file, web.api || self.web_api.unwrap_or(false))
    }

    /// Whether and where to look at segments.
    pub(crate) fn segments(&self, flags: &Segments, stay: Stay) -> segments::Config {
        fn first<T: Clone>(flags: &[T], file: Option<&Vec<T>>) -> Vec<T> {
            if flags.is_empty() { file.cloned().unwrap_or_default() } else { flags.to_vec() }
        }
        let by_default = match stay {
            Stay::Long => self.segments.unwrap_or(Switch::On),
            Stay::Moment => Switch::Off,
        };
        segments::Config {
            on: flags.on.unwrap_or(by_default) == Switch::On,
            wishes: Wishes {
                interfaces: first(&flags.interfaces, self.interfaces.as_ref()),
                xdp: first(&flags.xdp, self.xdp.as_ref()),
            },
            rate: flags.rate.or(self.segment_rate).unwrap_or(segments::Config::RATE),
        }
    }

    /// How to trace.
    pub(crate) fn tracing(
        &self,
        flags: &Tracing,
        stay: Stay,
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
            segments: self.segments(&flags.segments, stay),
            stacks: flags.stacks.clone().or_else(|| self.stacks.clone()).unwrap_or_default(),
            process_limit: process_series.or(self.process_series).unwrap_or(defaults.process_limit),
            mode: flags.mode.or(self.mode).unwrap_or_default(),
            fold_above: flags.fold_above.or(self.fold_above).unwrap_or(defaults.fold_above),
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
        let config = file.tracing(&flags, Stay::Long, None).unwrap();
        assert_eq!(config.limits, Limits { live: 7, closed: 6 });
        assert_eq!((config.netns, config.process_limit), (vec!["a".to_owned()], 50));
    }

    #[test]
    fn how_old_is_old_stands_in_the_file_too() {
        let age = |text: &str| FileSettings::parse(text).unwrap().older_than();
        assert_eq!(age("").unwrap(), None);
        assert_eq!(age("older-than = '2m'").unwrap(), Some(Duration::from_mins(2)));
        let text = age("older-than = 'soon'").unwrap_err().to_string();
        assert!(text.contains("'soon'") && text.contains("it takes"), "{text}");
    }

    #[test]
    fn segments_are_looked_at_unless_it_is_for_a_moment() {
        let on = |text: &str, flag, stay| {
            let flags = Segments { on: flag, ..Segments::default() };
            FileSettings::parse(text).unwrap().segments(&flags, stay).on
        };
        assert!(on("", None, Stay::Long));
        assert!(!on("", None, Stay::Moment));
        assert!(on("", Some(Switch::On), Stay::Moment));
        assert!(!on("segments = 'off'", None, Stay::Long));
        assert!(on("segments = 'off'", Some(Switch::On), Stay::Long));
        assert!(!on("segments = 'on'", None, Stay::Moment));
    }

    #[test]
    fn interfaces_in_the_file_are_as_good_as_flags() {
        let file = "interfaces = ['eth0']\nxdp = ['lo=generic']\nsegment-rate = 5";
        let file = FileSettings::parse(file).unwrap();
        let config = file.segments(&Segments::default(), Stay::Long);
        assert_eq!(config.wishes.interfaces, ["eth0".parse().unwrap()]);
        assert_eq!(config.wishes.xdp, ["lo=generic".parse().unwrap()]);
        assert_eq!(config.rate, 5);
        let flags = Segments { interfaces: vec!["v0".parse().unwrap()], ..Segments::default() };
        let config = file.segments(&flags, Stay::Long);
        assert_eq!(config.wishes.interfaces, ["v0".parse().unwrap()]);
        let text = format!("{:#}", FileSettings::parse("xdp = ['lo=fast']").unwrap_err());
        assert!(text.contains("fast"), "{text}");
    }

    #[test]
    fn what_is_served_on_tcp_may_stand_in_the_file() {
        let file = "listen-address = ['[::]:1']\nweb-config-file = '/w.yml'\nweb-api = true";
        let file = FileSettings::parse(file).unwrap();
        assert_eq!(file.listen(&Web::default()), ["[::]:1"]);
        assert_eq!(file.network(&Web::default()), (Some("/w.yml".into()), true));
        let flags = Web { config_file: Some("/x.yml".into()), ..Web::default() };
        assert_eq!(file.network(&flags), (Some("/x.yml".into()), true));
        assert_eq!(FileSettings::default().network(&Web::default()), (None, false));
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
        assert!(FileSettings::default().tracing(&flags, Stay::Long, None).is_err());
    }
}
