//! What is wrong with a web configuration file.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// A file that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum WebError {
    /// It cannot be read.
    #[error("cannot read the web configuration file {}: {source}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It can be read, and is not right.
    #[error(
        "the web configuration file {} is wrong: {problem}; promtool check web-config {} checks one",
        path.display(),
        path.display()
    )]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: Problem,
    },
}

impl WebError {
    /// What `problem` is of the file at `path`.
    pub(super) fn of(path: &Path, problem: Problem) -> Self {
        let path = path.to_owned();
        match problem {
            Problem::Read { field: "", source, .. } => Self::Unread { path, source },
            problem => Self::Wrong { path, problem },
        }
    }
}

/// What is wrong with it. Never a part of its text, as there may be keys in it.
#[derive(Debug, Error)]
pub(crate) enum Problem {
    /// A file cannot be read.
    #[error("{field}cannot read {}: {source}", path.display())]
    Read {
        /// Which setting names it, with a colon; empty for the file itself.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No YAML, or not of this form.
    #[error("{0}")]
    Form(String),
    /// A setting that makes no sense.
    #[error("{field}: {problem}")]
    Field {
        /// The setting.
        field: &'static str,
        /// Why not, and what would.
        problem: String,
    },
    /// Certificate and key do not belong together.
    #[error(
        "tls_server_config: the key in key_file is not that of the certificate in cert_file (the first in it): they must be issued together"
    )]
    OtherKey,
    /// rustls does not take it.
    #[error("tls_server_config: {0}")]
    Tls(#[from] rustls::Error),
    /// rustls does not take the client's authority.
    #[error("tls_server_config.client_ca_file: {0}")]
    Clients(#[from] rustls::server::VerifierBuilderError),
}

impl Problem {
    pub(super) fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Field { field, problem: problem.into() }
    }
}
