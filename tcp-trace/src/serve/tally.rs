//! What the server counts of itself.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::SystemTime,
};

/// Why a request is refused before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No password, or a wrong one.
    Unauthenticated,
    /// Too many passwords of one address wait to be checked.
    PasswordQueue,
    /// More requests than `rate_limit` lets in.
    RateLimit,
    /// The API, from where nobody has proved who they are.
    Unproved,
    /// The API, under a name that is not this host's own.
    ForeignHost,
    /// Too many scrapes at once.
    ScrapeQueue,
}

impl Refused {
    pub(super) const ALL: [Self; 6] = [
        Self::Unauthenticated,
        Self::PasswordQueue,
        Self::RateLimit,
        Self::Unproved,
        Self::ForeignHost,
        Self::ScrapeQueue,
    ];

    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::PasswordQueue => "password_queue",
            Self::RateLimit => "rate_limit",
            Self::Unproved => "unproved",
            Self::ForeignHost => "foreign_host",
            Self::ScrapeQueue => "scrape_queue",
        }
    }
}

/// Why a connection is let go before its client has had an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Another one needed its place.
    NoPlace,
    /// No TLS came of it: no certificate, a wrong one, no TLS at all, or nothing in time.
    Handshake,
}

impl Dropped {
    pub(super) const ALL: [Self; 2] = [Self::NoPlace, Self::Handshake];

    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NoPlace => "no_place",
            Self::Handshake => "tls_handshake",
        }
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    refused: [AtomicU64; Refused::ALL.len()],
    dropped: [AtomicU64; Dropped::ALL.len()],
    reload_failed: AtomicBool,
    /// Bits of seconds since the epoch.
    loaded_at: AtomicU64,
}

impl Tally {
    pub(super) fn refused(&self, why: Refused) {
        if let Some(counter) = self.refused.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn dropped(&self, why: Dropped) {
        if let Some(counter) = self.dropped.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// The web configuration file was good, and is in force since `at`.
    pub(super) fn loaded(&self, at: SystemTime) {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.loaded_at.store(since.as_secs_f64().to_bits(), Relaxed);
        self.reload_failed.store(false, Relaxed);
    }

    /// It has become wrong.
    pub(super) fn not_loaded(&self) {
        self.reload_failed.store(true, Relaxed);
    }

    /// The figures now.
    pub(super) fn figures(&self) -> WebFigures {
        WebFigures {
            refused: self.refused.each_ref().map(|counter| counter.load(Relaxed)),
            dropped: self.dropped.each_ref().map(|counter| counter.load(Relaxed)),
            reload_failed: self.reload_failed.load(Relaxed),
            loaded_at: f64::from_bits(self.loaded_at.load(Relaxed)),
        }
    }
}

/// What a [`Tally`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct WebFigures {
    /// In the order of [`Refused::ALL`].
    pub(super) refused: [u64; Refused::ALL.len()],
    /// In the order of [`Dropped::ALL`].
    pub(super) dropped: [u64; Dropped::ALL.len()],
    /// Whether the web configuration file was wrong when it was last read.
    pub(super) reload_failed: bool,
    /// When what is in force was read, in seconds since the epoch; 0 without a file.
    pub(super) loaded_at: f64,
}
