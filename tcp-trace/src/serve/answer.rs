//! Answers: JSON, errors among them.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use thiserror::Error;

use super::{filter::FilterError, tally::Refused};
use crate::{api::ErrorBody, engine::Gone};

/// How long the tracer may take to answer a question.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Why a request is not answered with what it asked for.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The filter is none.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// What stands for an id is none.
    #[error(
        "'{0}' is no connection id: an id is a hexadecimal number, as /api/v1/connections gives it"
    )]
    BadId(String),
    /// No connection has this id.
    #[error(
        "no connection has the id {0}: it ended long enough ago to be forgotten, or never was; /api/v1/connections?closed=true lists those that are known"
    )]
    NoConnection(String),
    /// No route.
    #[error("there is nothing at {0}; / lists what there is")]
    NoRoute(String),
    /// The route exists on the Unix socket only.
    #[error(
        "{path} is served on the Unix socket only: curl --unix-socket {socket} http://localhost{path} (serve --web.api brings it to TCP)"
    )]
    LocalOnly {
        /// What was asked for.
        path: String,
        /// The socket.
        socket: String,
    },
    /// The guard of TCP has not let it in.
    #[error("{}", refused(*.0))]
    Refused(Refused),
    /// No runbook.
    #[error("there is no runbook '{0}'; /runbooks/ lists them")]
    NoRunbook(String),
    /// Not a `GET`.
    #[error("{0} can only be read: use GET")]
    Method(String),
    /// The tracer is no more.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The tracer is busy beyond measure, or stuck.
    #[error("the tracer did not answer within {} s; try again", .0.as_secs())]
    Slow(Duration),
    /// An answer could not be written down.
    #[error("cannot encode the answer: {0}")]
    Json(#[from] serde_json::Error),
    /// The metrics could not be written down.
    #[error("cannot encode the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The thread that wrote the answer down was lost.
    #[error("the answer was not finished: {0}")]
    Unfinished(#[from] tokio::task::JoinError),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Filter(_) | Self::BadId(_) => StatusCode::BAD_REQUEST,
            Self::NoConnection(_)
            | Self::NoRoute(_)
            | Self::LocalOnly { .. }
            | Self::NoRunbook(_) => StatusCode::NOT_FOUND,
            Self::Refused(Refused::Unauthenticated) => StatusCode::UNAUTHORIZED,
            Self::Refused(Refused::PasswordQueue | Refused::RateLimit) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Refused(Refused::Unproved | Refused::ForeignHost) => StatusCode::FORBIDDEN,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused(Refused::ScrapeQueue) | Self::Gone(_) | Self::Slow(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Json(_) | Self::Metrics(_) | Self::Unfinished(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

fn refused(why: Refused) -> &'static str {
    match why {
        Refused::Unauthenticated => {
            "a name and its password are wanted (HTTP basic authentication)"
        }
        Refused::PasswordQueue => {
            "too many passwords of your address wait to be checked; try again"
        }
        Refused::RateLimit => "there are more requests than rate_limit lets in; try again",
        Refused::Unproved => {
            "connections are shown to nobody who has not proved who they are: the web configuration \
             needs basic_auth_users, or client_auth_type RequireAndVerifyClientCert"
        }
        Refused::ForeignHost => {
            "connections are shown under this host's own name only: ask localhost or 127.0.0.1"
        }
        Refused::ScrapeQueue => "too many scrapes are being answered; try again",
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        // A tracer that has stopped or is slow speaks for itself; this is a fault of ours.
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %self, "a request failed");
        }
        let body = ErrorBody { error: self.to_string() };
        // One string in an object has no way to fail; if it had, the status would still tell.
        let text = serde_json::to_vec(&body).unwrap_or_default();
        text_of_type(status, "application/json", text)
    }
}

/// The tracer's answer, unless it takes longer than `patience`.
pub(super) async fn asked<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, Gone>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Slow(patience)),
    }
}

/// `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<Response, Failure> {
    Ok(text_of_type(StatusCode::OK, "application/json", serde_json::to_vec(value)?))
}

/// `value` as JSON, written down on a thread that may take its time: a list of every connection
/// of a busy host would hold up the threads that drain the perf buffers.
pub(super) async fn long_json(value: impl Serialize + Send + 'static) -> Result<Response, Failure> {
    tokio::task::spawn_blocking(move || json(&value)).await?
}

/// `body` under a media type that the browser is told to believe.
pub(super) fn text_of_type(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let before = tokio::time::Instant::now();
        let slow = asked::<()>(PATIENCE, pending()).await.unwrap_err();
        assert_eq!(before.elapsed(), PATIENCE);
        assert_eq!(slow.to_string(), "the tracer did not answer within 5 s; try again");
        assert_eq!(slow.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
        let gone = asked::<()>(PATIENCE, ready(Err(Gone))).await.unwrap_err();
        assert_eq!(gone.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(asked(PATIENCE, ready(Ok(1))).await.is_ok());
    }
}
