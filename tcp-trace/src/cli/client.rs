//! The client's side of the daemon's API, over its Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{Stream, stream};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::{
    api,
    serve::{
        filter::{FilterArgs, encode},
        thresholds::ThresholdArgs,
    },
};

/// How long the daemon may take to answer; longer than it gives its own tracer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer taken into memory.
const LONGEST_ANSWER: usize = 1 << 30;
/// Longest error taken into memory.
const LONGEST_ERROR: usize = 64 * 1024;
/// Longest event: a timeline of some 50 steps is far below.
const LONGEST_LINE: usize = 1 << 20;

/// Why the daemon did not answer as hoped.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// There is no socket, or nobody listens on it.
    #[error("no tcp-trace daemon answers on {}; start one with `sudo tcp-trace serve`, or name its socket with --socket", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
    },
    /// There is a socket, and not for this user.
    #[error("this user may not talk to the daemon on {}; run the command with sudo", path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The connection fails for another reason.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The daemon says no.
    #[error("the daemon on {} refuses {target}: {error}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What was asked for.
        target: String,
        /// HTTP status: 400 for a bad filter, 404 for an unknown connection, 503 for a tracer that
        /// has stopped.
        status: u16,
        /// The daemon's words.
        error: String,
    },
    /// The daemon, or what stands in its place, does not answer as it should.
    #[error("asking the daemon on {} for {target}: {problem}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// What was asked for.
        target: String,
        /// What went wrong.
        problem: Problem,
    },
}

/// What can go wrong with an answer.
#[derive(Debug, Error)]
pub(crate) enum Problem {
    /// The daemon is stuck.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// The connection broke, or what answers does not speak HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer is not what this version expects.
    #[error("the answer is not understood ({0}); is the daemon of another version?")]
    Strange(#[from] serde_json::Error),
    /// The answer is longer than any that the daemon gives.
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
    /// The stream stopped in the middle of an event.
    #[error("the stream broke off in the middle of an event")]
    CutOff,
}

/// A daemon that can be asked. Every question takes a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    path: PathBuf,
}

impl Client {
    /// Makes sure that a daemon listens on `path`.
    ///
    /// # Errors
    /// [`ClientError::NoDaemon`] where none does, [`ClientError::Permission`] where this user may
    /// not ask it.
    pub(crate) async fn connect(path: &Path) -> Result<Self, ClientError> {
        connect(path).await?;
        Ok(Self { path: path.to_owned() })
    }

    /// How the tracer stands.
    ///
    /// # Errors
    /// Where the daemon does not answer, refuses, or is not understood.
    pub(crate) async fn status(&self) -> Result<api::Status, ClientError> {
        self.ask("/api/v1/status".to_owned()).await
    }

    /// Connections that pass `filter`.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub(crate) async fn connections(
        &self,
        filter: &FilterArgs,
    ) -> Result<api::ConnectionList, ClientError> {
        self.ask(with_filter("/api/v1/connections", filter)).await
    }

    /// One connection with its timeline.
    ///
    /// # Errors
    /// As [`status`](Self::status); [`ClientError::Refused`] with 404 where it is not known.
    pub(crate) async fn connection(&self, id: &str) -> Result<api::Connection, ClientError> {
        self.ask(format!("/api/v1/connections/{}", encode(id))).await
    }

    /// What is wrong.
    ///
    /// # Errors
    /// As [`status`](Self::status); [`ClientError::Refused`] with 400 where a threshold is none.
    pub(crate) async fn diagnosis(
        &self,
        args: &ThresholdArgs,
    ) -> Result<api::Diagnosis, ClientError> {
        self.ask(format!("/api/v1/diagnosis?{}", args.to_query_string())).await
    }

    /// Events from now on that pass `filter`, until the daemon ends. After an error the stream is
    /// over.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub(crate) async fn events(
        &self,
        filter: &FilterArgs,
    ) -> Result<
        impl Stream<Item = Result<api::Event, ClientError>> + Send + Unpin + use<>,
        ClientError,
    > {
        let asked = self.asked(with_filter("/api/v1/events", filter));
        let body = asked.timely(asked.request()).await?.into_body();
        let lines = Lines { asked, body, buffer: Vec::new(), start: 0 };
        Ok(Box::pin(stream::unfold(Some(lines), async |lines| {
            let mut lines = lines?;
            let event = lines.next_event().await?;
            let more = event.is_ok().then_some(lines);
            Some((event, more))
        })))
    }

    async fn ask<T: DeserializeOwned>(&self, target: String) -> Result<T, ClientError> {
        let asked = self.asked(target);
        let answer = async {
            let answer = asked.request().await?;
            asked.read(answer, LONGEST_ANSWER).await
        };
        let bytes = asked.timely(answer).await?;
        serde_json::from_slice(&bytes).map_err(|source| asked.failed(source))
    }

    fn asked(&self, target: String) -> Asked {
        Asked { path: self.path.clone(), target }
    }
}

fn with_filter(path: &str, filter: &FilterArgs) -> String {
    format!("{path}?{}", filter.to_query_string())
}

async fn connect(path: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(path).await.map_err(|source| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NoDaemon { path }
            }
            io::ErrorKind::PermissionDenied => ClientError::Permission { path },
            _ => ClientError::Connect { path, source },
        }
    })
}

/// One question, for messages about it.
#[derive(Debug)]
struct Asked {
    path: PathBuf,
    target: String,
}

impl Asked {
    /// Sends the question; returns the answer, its body yet to come, if it is one.
    async fn request(&self) -> Result<Response<Incoming>, ClientError> {
        let stream = TokioIo::new(connect(&self.path).await?);
        let (mut sender, connection) =
            http1::handshake(stream).await.map_err(|source| self.failed(source))?;
        // It drives the exchange, and ends when the body is read or dropped; what goes wrong with
        // it, the body tells, too.
        tokio::spawn(connection);
        let request = Request::get(self.target.as_str())
            .header(header::HOST, "localhost")
            .body(Empty::<Bytes>::new());
        let request =
            request.map_err(|error| self.refused(StatusCode::BAD_REQUEST, error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|source| self.failed(source))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let body = self.read(answer, LONGEST_ERROR).await?;
        let said = serde_json::from_slice::<api::ErrorBody>(&body);
        Err(self.refused(status, said.map_or_else(|_| status.to_string(), |said| said.error)))
    }

    /// The whole body.
    async fn read(&self, answer: Response<Incoming>, limit: usize) -> Result<Bytes, ClientError> {
        match Limited::new(answer.into_body(), limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(source) => self.failed(*source),
                Err(_) => self.failed(Problem::TooLong(limit)),
            }),
        }
    }

    async fn timely<T>(
        &self,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.unwrap_or_else(|_| Err(self.failed(Problem::Slow)))
    }

    fn refused(&self, status: StatusCode, error: String) -> ClientError {
        let (path, target) = (self.path.clone(), self.target.clone());
        ClientError::Refused { path, target, status: status.as_u16(), error }
    }

    fn failed(&self, problem: impl Into<Problem>) -> ClientError {
        let (path, target) = (self.path.clone(), self.target.clone());
        ClientError::Failed { path, target, problem: problem.into() }
    }
}

/// A body of lines, each an event.
struct Lines {
    asked: Asked,
    body: Incoming,
    buffer: Vec<u8>,
    /// Where in `buffer` the next line begins.
    start: usize,
}

impl Lines {
    /// The next event; `None` at the end.
    async fn next_event(&mut self) -> Option<Result<api::Event, ClientError>> {
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.get(..length).unwrap_or_default();
                self.start += length + 1;
                let event = serde_json::from_slice(line);
                return Some(event.map_err(|source| self.asked.failed(source)));
            }
            if rest.len() > LONGEST_LINE {
                return Some(Err(self.asked.failed(Problem::TooLong(LONGEST_LINE))));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend(frame.into_data().unwrap_or_default()),
                Some(Err(source)) => return Some(Err(self.asked.failed(source))),
                None if self.buffer.is_empty() => return None,
                None => {
                    return Some(Err(self.asked.failed(Problem::CutOff)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
