//! What the daemon itself takes, of what `bench engine` tells.

use std::fmt::Write as _;

use serde::Deserialize;

use super::super::{engine::Rest, machine::Machine, statistics::Spread, table};

/// The figures.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    pub(super) streams: Vec<Stream>,
    pub(super) crowds: Vec<Crowd>,
    /// Bytes for a closed connection that is kept, by the hooks there are.
    #[serde(default)]
    pub(super) closed: Vec<(String, f64)>,
    pub(super) rest: Option<Rest>,
}

/// Events that pass.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Stream {
    pub(super) mix: String,
    pub(super) event_us: Spread,
    pub(super) held_back_ms: (f64, f64),
}

/// Connections that are there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Crowd {
    pub(super) mix: String,
    pub(super) live: u32,
    pub(super) bytes: f64,
    pub(super) scrape_ms: f64,
    pub(super) list_ms: f64,
    pub(super) status_ms: f64,
    pub(super) diagnose_ms: f64,
}

/// The hooks that a mix of events comes from, in words.
pub(super) fn words(mix: &str) -> &str {
    match mix {
        "states" => "state changes",
        "calls" => "with calls, requests, TIME_WAIT",
        "all" => "with segments, too",
        other => other,
    }
}

impl Figures {
    /// The crowd of a size, known by the hooks of a mix.
    pub(super) fn crowd(&self, mix: &str, live: u32) -> Option<&Crowd> {
        self.crowds.iter().find(|crowd| crowd.mix == mix && crowd.live == live)
    }

    /// As Markdown.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{}\n\nConnections that are made up, whose raw records go the way of live ones; processor \
             time of the thread, so that others' work does not count.\n\n",
            self.machine
        );
        let streams: Vec<_> = self.streams.iter().map(Stream::row).collect();
        let titles =
            ["events, with 10,000 connections", "µs each", "min - max", "a second, on a core"];
        text.push_str(&table::text(&titles, &streams));
        text.push('\n');
        let crowds: Vec<_> = self.crowds.iter().map(Crowd::row).collect();
        let titles = ["connections", "bytes each", "scrape", "list", "status", "diagnose"];
        text.push_str(&table::text(&titles, &crowds));
        for (mix, bytes) in &self.closed {
            let _ = writeln!(
                text,
                "\nA closed connection that is kept, {}: {bytes:.0} bytes.",
                words(mix)
            );
        }
        if let Some(rest) = &self.rest {
            let _ = write!(text, "\n{}", rest.text());
        }
        if let Some((least, most)) = self.streams.first().map(|stream| stream.held_back_ms) {
            let _ = writeln!(
                text,
                "\nBy design an event is held back for {least:.0} ms, so that older ones of other CPUs \
                 come first, and until the next drain: {most:.0} ms at most."
            );
        }
        text
    }
}

impl Stream {
    fn row(&self) -> Vec<String> {
        let Spread { median, min, max } = self.event_us;
        vec![
            words(&self.mix).to_owned(),
            format!("{median:.2}"),
            format!("{min:.2} - {max:.2}"),
            format!("{:.0}", 1e6 / median),
        ]
    }
}

impl Crowd {
    fn row(&self) -> Vec<String> {
        let ms = |ms: f64| format!("{ms:.2} ms");
        // A few connections take a page or none.
        let bytes = if self.live < 10_000 { "-".to_owned() } else { format!("{:.0}", self.bytes) };
        vec![
            format!("{}, {}", self.live, words(&self.mix)),
            bytes,
            ms(self.scrape_ms),
            ms(self.list_ms),
            ms(self.status_ms),
            ms(self.diagnose_ms),
        ]
    }
}

impl Rest {
    /// What it takes, with and without snapshots where that is known.
    fn processor(&self) -> String {
        let all = format!("{:.2} %", self.cpu * 100.0);
        match (self.without_snapshots(), self.seconds) {
            (Some(without), Some(seconds)) => {
                format!("{all}, without snapshots {:.2} %, over {seconds} s", without * 100.0)
            }
            _ => all,
        }
    }

    fn text(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "sizes of programs and maps")]
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let ms = |spread: Spread| {
            let Spread { median, min, max } = spread;
            format!("{median:.0} ms ({min:.0} - {max:.0})")
        };
        let rows = [
            ("start to ready, of five starts", ms(self.ready_ms)),
            ("state change to line of `watch`", ms(self.delay_ms)),
            ("processor at rest", self.processor()),
            ("resident at rest", mib(self.memory)),
            ("maps in the kernel", mib(self.maps)),
            ("perf buffers, of all CPUs", mib(self.buffers)),
            ("program, stripped", mib(self.program)),
        ];
        let rows = rows.map(|(name, figure)| vec![name.to_owned(), figure]);
        table::text(&["the daemon", ""], &rows)
    }
}
