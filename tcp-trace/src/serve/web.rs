//! The web configuration file: TLS, users, headers and a rate, as Prometheus' exporters take them
//! (exporter-toolkit's `--web.config.file`).
//!
//! Where exporter-toolkit reads the file for each request and fails those that meet a broken one,
//! here it is looked at every second ([`follow`]), and the last good one stays in force.

mod bucket;
mod clients;
mod curves;
mod document;
pub(super) mod error;
pub(crate) mod follow;
mod headers;
pub(super) mod passwords;
mod tls;
mod users;

use std::{path::Path, sync::Arc};

use axum::http::HeaderMap;
use rustls::ServerConfig;

use bucket::Bucket;
use document::Document;
use error::{Problem, WebError};
use users::Users;

/// What the file says, ready for use.
#[derive(Debug, Default)]
pub(crate) struct Web {
    /// TLS, where it is spoken.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Whether every client has shown a certificate of the named authority.
    verifies_clients: bool,
    /// Who may ask, by password; nobody named is everybody.
    pub(super) users: Users,
    /// What stands in every answer besides.
    pub(super) headers: HeaderMap,
    /// How many requests are let in.
    pub(super) rate: Option<Bucket>,
}

impl Web {
    /// Reads the file at `path` and the files it names.
    pub(super) fn read(path: &Path) -> Result<Self, WebError> {
        let read = || {
            let document = Document::read(path)?;
            Self::of(&document)
        };
        read().map_err(|problem| WebError::of(path, problem))
    }

    fn of(document: &Document) -> Result<Self, Problem> {
        let tls = tls::build(&document.tls)?;
        Ok(Self {
            verifies_clients: tls.is_some() && document.tls.verifies_clients(),
            tls,
            users: Users::new(&document.users)?,
            headers: headers::checked(&document.http.headers)?,
            rate: Bucket::new(&document.rate)?,
        })
    }

    /// Whether whoever gets an answer has proved who they are.
    pub(super) fn authenticates(&self) -> bool {
        self.verifies_clients || !self.users.is_empty()
    }
}

#[cfg(test)]
mod tests;
