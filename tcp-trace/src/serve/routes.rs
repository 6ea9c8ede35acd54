//! Which path answers what.

use std::{path::Path as FilePath, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri},
    middleware::from_fn_with_state,
    response::Response,
    routing::get,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    Tracer,
    answer::{Failure, PATIENCE, asked, json, long_json, text_of_type},
    events, exposition,
    filter::{FilterArgs, printable},
    guard::{self, Guard},
    landing,
    metrics::{self, ProcessReader},
    runbooks,
    tally::{Refused, Tally},
    thresholds::ThresholdArgs,
};
use crate::core::connection::ConnectionId;

/// Connections listed where no limit is named.
const DEFAULT_LIMIT: usize = 1000;
/// How soon a tracer that is ready answers.
const READY: Duration = Duration::from_secs(1);
/// Scrapes that are answered at once; one is enough for each Prometheus.
const SCRAPES: usize = 4;

/// What every handler works with.
#[derive(Clone, Debug)]
pub(super) struct App<T> {
    /// Whom to ask.
    pub(super) tracer: T,
    /// Figures about this process.
    process: Arc<ProcessReader>,
    /// Figures about this server.
    pub(super) tally: Arc<Tally>,
    scrapes: Arc<Semaphore>,
    /// The Unix socket on which everything is served.
    socket: Arc<str>,
    /// Turns true when event streams must end.
    pub(super) shutdown: watch::Receiver<bool>,
}

impl<T> App<T> {
    pub(super) fn new(
        tracer: T,
        process: ProcessReader,
        tally: Arc<Tally>,
        shutdown: watch::Receiver<bool>,
        socket: Option<&FilePath>,
    ) -> Self {
        let scrapes = Arc::new(Semaphore::new(SCRAPES));
        let socket = socket.map_or_else(|| "SOCKET".into(), FilePath::to_string_lossy);
        Self { tracer, process: Arc::new(process), tally, scrapes, socket: socket.into(), shutdown }
    }
}

type Answer = Result<Response, Failure>;

/// Everything, for the Unix socket that only root may open.
pub(super) fn local<T: Tracer>(app: App<T>) -> Router {
    common(landing::local())
        .merge(api())
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_route)
        .with_state(app)
}

/// What anybody who reaches a TCP port may see, if the web configuration lets them in: figures, but
/// no addresses, processes' ids or paths. Those only with `with_api`, to whom [`guard::api`] lets.
pub(super) fn network<T: Tracer>(app: App<T>, guard: Guard, with_api: bool) -> Router {
    let guard = Arc::new(guard);
    let router = if with_api {
        let guarded = from_fn_with_state(Arc::clone(&guard), guard::api);
        common(landing::local()).merge(api().route_layer(guarded)).fallback(no_route)
    } else {
        common(landing::network(&app.socket)).fallback(no_network_route::<T>)
    };
    router
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(guard, guard::every_request))
        .with_state(app)
}

fn api<T: Tracer>() -> Router<App<T>> {
    Router::new()
        .route("/api/v1/status", get(status::<T>))
        .route("/api/v1/connections", get(connections::<T>))
        .route("/api/v1/connections/{id}", get(connection::<T>))
        .route("/api/v1/diagnosis", get(diagnosis::<T>))
        .route("/api/v1/events", get(events::<T>))
}

fn common<T: Tracer>(landing: String) -> Router<App<T>> {
    Router::new()
        .route("/", get(async move || page(landing)))
        .route("/healthz", get(async || plain("ok\n")))
        .route("/readyz", get(ready::<T>))
        .route("/metrics", get(scrape::<T>))
        .route("/runbooks", get(async || page(runbooks::index())))
        .route("/runbooks/", get(async || page(runbooks::index())))
        .route("/runbooks/{name}", get(runbook))
}

fn page(html: String) -> Response {
    text_of_type(StatusCode::OK, "text/html; charset=utf-8", html)
}

fn plain(text: &'static str) -> Response {
    text_of_type(StatusCode::OK, "text/plain; charset=utf-8", text)
}

async fn runbook(uri: Uri, name: Result<Path<String>, PathRejection>) -> Answer {
    let Ok(Path(name)) = name else { return Err(Failure::NoRunbook(printable(uri.path()))) };
    let found = runbooks::find(&name).ok_or_else(|| Failure::NoRunbook(printable(&name)))?;
    Ok(plain(found.text))
}

async fn ready<T: Tracer>(State(app): State<App<T>>) -> Answer {
    asked(READY, app.tracer.status()).await?;
    Ok(plain("ready\n"))
}

async fn scrape<T: Tracer>(State(app): State<App<T>>, headers: HeaderMap) -> Answer {
    let Some(place) = app.place_to_scrape().await else {
        app.tally.refused(Refused::ScrapeQueue);
        return Err(Failure::Refused(Refused::ScrapeQueue));
    };
    let figures = asked(PATIENCE, app.tracer.figures()).await?;
    let (format, gzip) = (exposition::format(&headers), exposition::takes_gzip(&headers));
    // Some thousand lines take their time: not on the threads that drain the perf buffers.
    spawn_blocking(move || {
        let text = metrics::render(format, &figures, &app.process.read(), &app.tally.figures())?;
        drop(place);
        Ok(exposition::answer(text, format, gzip))
    })
    .await?
}

impl<T> App<T> {
    async fn place_to_scrape(&self) -> Option<OwnedSemaphorePermit> {
        let place = timeout(PATIENCE, Arc::clone(&self.scrapes).acquire_owned()).await;
        place.ok()?.ok()
    }
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

async fn no_network_route<T: Tracer>(State(app): State<App<T>>, uri: Uri) -> Failure {
    let path = printable(uri.path());
    if path.starts_with("/api/") {
        Failure::LocalOnly { path, socket: app.socket.to_string() }
    } else {
        Failure::NoRoute(path)
    }
}
