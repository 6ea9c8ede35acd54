//! Which path answers what.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
    routing::get,
};
use tokio::sync::watch;

use super::{
    Tracer,
    answer::{Failure, PATIENCE, asked, json, long_json, text_of_type},
    events,
    filter::{FilterArgs, printable},
    landing,
    metrics::{self, ProcessReader},
    thresholds::ThresholdArgs,
};
use crate::core::connection::ConnectionId;

/// Connections listed where no limit is named.
const DEFAULT_LIMIT: usize = 1000;
/// How soon a tracer that is ready answers.
const READY: Duration = Duration::from_secs(1);

/// What every handler works with.
#[derive(Clone, Debug)]
pub(super) struct App<T> {
    /// Whom to ask.
    pub(super) tracer: T,
    /// Figures about this process.
    pub(super) process: Arc<ProcessReader>,
    /// Turns true when event streams must end.
    pub(super) shutdown: watch::Receiver<bool>,
}

type Answer = Result<Response, Failure>;

/// Everything, for the Unix socket that only root may open.
pub(super) fn local<T: Tracer>(app: App<T>) -> Router {
    common(landing::local)
        .route("/api/v1/status", get(status::<T>))
        .route("/api/v1/connections", get(connections::<T>))
        .route("/api/v1/connections/{id}", get(connection::<T>))
        .route("/api/v1/diagnosis", get(diagnosis::<T>))
        .route("/api/v1/events", get(events::<T>))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_route)
        .with_state(app)
}

/// What anybody who reaches a TCP port may see: figures, but no addresses, processes' ids or paths.
pub(super) fn network<T: Tracer>(app: App<T>) -> Router {
    common(landing::network)
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_network_route)
        .with_state(app)
}

fn common<T: Tracer>(landing: fn() -> String) -> Router<App<T>> {
    Router::new()
        .route(
            "/",
            get(async move || text_of_type(StatusCode::OK, "text/html; charset=utf-8", landing())),
        )
        .route(
            "/healthz",
            get(async || text_of_type(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")),
        )
        .route("/readyz", get(ready::<T>))
        .route("/metrics", get(scrape::<T>))
}

async fn ready<T: Tracer>(State(app): State<App<T>>) -> Answer {
    asked(READY, app.tracer.status()).await?;
    Ok(text_of_type(StatusCode::OK, "text/plain; charset=utf-8", "ready\n"))
}

async fn scrape<T: Tracer>(State(app): State<App<T>>) -> Answer {
    let figures = asked(PATIENCE, app.tracer.figures()).await?;
    let text = metrics::render(&figures, &app.process.read())?;
    Ok(text_of_type(StatusCode::OK, metrics::CONTENT_TYPE, text))
}

async fn status<T: Tracer>(State(app): State<App<T>>) -> Answer {
    json(&asked(PATIENCE, app.tracer.status()).await?)
}

async fn connections<T: Tracer>(State(app): State<App<T>>, RawQuery(query): RawQuery) -> Answer {
    let args = FilterArgs::from_query_string(&query.unwrap_or_default())?;
    let limit = args.limit.unwrap_or(DEFAULT_LIMIT);
    let answer = app.tracer.connections(args.to_query()?, limit, args.closed);
    long_json(asked(PATIENCE, answer).await?).await
}

async fn connection<T: Tracer>(
    State(app): State<App<T>>,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
) -> Answer {
    // The path may hold escapes that are no text.
    let Ok(Path(text)) = id else { return Err(Failure::BadId(printable(uri.path()))) };
    let Ok(id) = text.parse::<ConnectionId>() else {
        return Err(Failure::BadId(printable(&text)));
    };
    match asked(PATIENCE, app.tracer.connection(id)).await? {
        Some(connection) => json(&connection),
        None => Err(Failure::NoConnection(id.to_string())),
    }
}

async fn diagnosis<T: Tracer>(State(app): State<App<T>>, RawQuery(query): RawQuery) -> Answer {
    let args = ThresholdArgs::from_query_string(&query.unwrap_or_default())?;
    long_json(asked(PATIENCE, app.tracer.diagnosis(args.to_asked()?)).await?).await
}

async fn events<T: Tracer>(
    State(app): State<App<T>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let args = FilterArgs::from_query_string(&query.unwrap_or_default())?;
    let query = args.to_event_query()?;
    Ok(events::answer(app.tracer, query, &headers, app.shutdown))
}

async fn wrong_method(uri: Uri) -> Failure {
    Failure::Method(printable(uri.path()))
}

async fn no_route(uri: Uri) -> Failure {
    Failure::NoRoute(printable(uri.path()))
}

async fn no_network_route(uri: Uri) -> Failure {
    let path = printable(uri.path());
    if path.starts_with("/api/") { Failure::LocalOnly(path) } else { Failure::NoRoute(path) }
}
