//! The server as its clients meet it: over sockets, with a made-up tracer behind it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    fake::{self, Fake, Mood},
    listen::{self, ListenError, Listeners, Network},
};
use crate::api::{ErrorBody, Event};

mod hostile;
mod network;
mod tls;

struct Server {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    /// The first of its TCP addresses.
    address: SocketAddr,
    addresses: Vec<SocketAddr>,
    tracer: Fake,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ListenError>>,
}

async fn server(mood: Mood) -> Server {
    Server::start(Fake::new(mood), &["127.0.0.1:0"], Network::default()).await
}

impl Server {
    async fn start(tracer: Fake, addresses: &[&str], network: Network) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("t.sock");
        let addresses: Vec<_> = addresses.iter().map(|text| (*text).to_owned()).collect();
        let listeners = Listeners::bind(&addresses, Some(&socket)).await.unwrap();
        let addresses = listeners.addresses();
        let (stop, shutdown) = watch::channel(false);
        let task =
            tokio::spawn(Box::pin(listen::run(listeners, network, tracer.clone(), shutdown)));
        let address = addresses[0];
        Self { _directory: directory, socket, address, addresses, tracer, stop, task }
    }

    async fn unix(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Status, head and body of the answer on the Unix socket.
    async fn get(&self, target: &str) -> (u16, String, String) {
        exchange(self.unix().await, &request("GET", target, "")).await
    }

    async fn get_tcp(&self, target: &str) -> (u16, String, String) {
        exchange(self.tcp().await, &request("GET", target, "")).await
    }

    /// The value of a series, as the Unix socket tells it.
    async fn metric(&self, series: &str) -> f64 {
        let (status, _, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix(series)).expect(series);
        line.trim().parse().unwrap()
    }
}

fn request(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> (u16, String, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn error(body: &str) -> String {
    serde_json::from_str::<ErrorBody>(body).unwrap().error
}

#[tokio::test]
async fn the_unix_socket_serves_everything() {
    let server = server(Mood::Well).await;
    for target in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/connections",
        "/api/v1/connections/3f",
        "/api/v1/diagnosis",
        "/api/v1/diagnosis?older_than=5m&at_least=1",
    ] {
        let (status, head, body) = server.get(target).await;
        assert_eq!(status, 200, "{target}: {body}");
        let json = target.starts_with("/api/");
        assert_eq!(head.contains("content-type: application/json"), json, "{target}: {head}");
    }
    let (_, head, body) = server.get("/metrics").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("\ntcp_trace_connections{state=\"close_wait\"} 3\n"), "{body}");
}

#[tokio::test]
async fn tcp_serves_figures_but_no_connections() {
    let server = server(Mood::Well).await;
    for target in ["/", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.get_tcp(target).await.0, 200, "{target}");
    }
    for target in [
        "/api/v1/status",
        "/api/v1/connections",
        "/api/v1/connections/3f",
        "/api/v1/diagnosis",
        "/api/v1/events",
    ] {
        let (status, _, body) = server.get_tcp(target).await;
        assert_eq!(status, 404, "{target}");
        let socket =
            format!("curl --unix-socket {} http://localhost{target}", server.socket.display());
        assert!(error(&body).contains("Unix socket only"), "{body}");
        assert!(error(&body).contains(&socket), "{body}");
    }
}

#[tokio::test]
async fn errors_are_json_and_help() {
    let server = server(Mood::Well).await;
    let long = format!("/api/v1/connections?process={}", "x".repeat(9000));
    let rows = [
        ("/nowhere", 404, "there is nothing at /nowhere"),
        ("/api/v1/connections?colour=red", 400, "'colour' is no parameter"),
        ("/api/v1/connections?older_than=soon", 400, "older_than: 'soon' does not fit"),
        ("/api/v1/connections?process=%ff%fe", 400, "'%ff%fe' is no percent-encoded UTF-8"),
        ("/api/v1/connections?%ff=1", 400, "'%ff' is no percent-encoded UTF-8"),
        (&long, 400, "the query string is longer than"),
        ("/api/v1/connections/40", 404, "no connection has the id 40"),
        ("/api/v1/connections/xyz", 400, "'xyz' is no connection id"),
        ("/api/v1/connections/%ff", 400, "'/api/v1/connections/%ff' is no connection id"),
        ("/api/v1/connections/fffffffffffffffff", 400, "'fffffffffffffffff' is no"),
        ("/api/v1/connections/", 404, "there is nothing at"),
        ("/api/v1/diagnosis?state=close_wait", 400, "'state' is no parameter"),
        ("/api/v1/diagnosis?share=0", 400, "share: '0' does not fit"),
        ("/api/v1/events?limit=3", 400, "limit does not apply to a stream of events"),
    ];
    for (target, expected, text) in rows {
        let (status, head, body) = server.get(target).await;
        assert_eq!(status, expected, "{target}: {body}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(error(&body).starts_with(text), "{target}: {body}");
    }
    let (status, head, body) =
        exchange(server.unix().await, &request("DELETE", "/metrics", "")).await;
    assert_eq!((status, error(&body)), (405, "/metrics can only be read: use GET".to_owned()));
    assert!(head.contains("allow: get,head"), "{head}");
}

#[tokio::test]
async fn what_is_no_http_or_endless_is_refused() {
    let server = server(Mood::Well).await;
    for hostile in [
        "\0\0\0\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        request("GET", &format!("/{}", "a".repeat(200_000)), ""),
        request("GET", "/", &format!("X: {}\r\n", "b".repeat(200_000))),
        request("GET", "/", &"X: y\r\n".repeat(200)),
    ] {
        let mut stream = server.unix().await;
        // It may hang up before it has read all.
        let _ = stream.write_all(hostile.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let start = hostile.get(..20).unwrap_or(&hostile);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{start:?} {answer}");
    }
    assert_eq!(server.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn the_default_limit_is_a_thousand() {
    let server = server(Mood::Well).await;
    for (query, total) in [("", 1000), ("?limit=0", 0), ("?limit=7", 7)] {
        let (_, _, body) = server.get(&format!("/api/v1/connections{query}")).await;
        let end = format!("\"total\":{total},\"folding\":false}}");
        assert!(body.ends_with(&end), "{query}: {body}");
    }
}

#[tokio::test]
async fn a_tracer_that_has_stopped_is_unavailable() {
    let server = server(Mood::Gone).await;
    for target in
        ["/readyz", "/metrics", "/api/v1/status", "/api/v1/connections/3f", "/api/v1/diagnosis"]
    {
        let (status, _, body) = server.get(target).await;
        assert_eq!((status, error(&body).as_str()), (503, "the tracer has stopped"), "{target}");
    }
    assert_eq!(server.get("/healthz").await.0, 200, "the process is up all the same");
}

#[tokio::test]
async fn a_tracer_that_takes_its_time_is_not_ready() {
    let server = server(Mood::Slow(Duration::from_mins(1))).await;
    let (status, _, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(error(&body), "the tracer did not answer within 1 s; try again");
}

#[tokio::test]
async fn a_browser_gets_server_sent_events() {
    let server = server(Mood::Well).await;
    let mut stream = server.unix().await;
    let ask = request("GET", "/api/v1/events?state=close_wait", "Accept: text/event-stream\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"keep-alive\n\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    let head = String::from_utf8(std::mem::take(&mut answer)).unwrap().to_ascii_lowercase();
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    let sender = &server.tracer.sender;
    sender.send(Arc::new(fake::state_event("syn_recv", "established", None))).unwrap();
    sender.send(Arc::new(fake::state_event("established", "close_wait", None))).unwrap();
    while !answer.ends_with(b"}\n\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    let start = Instant::now();
    server.stop.send(true).unwrap();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "a stream ends at once");
    assert!(answer.ends_with(b"\r\n0\r\n\r\n"), "and in order");
    let text = String::from_utf8(answer).unwrap();
    let mut events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let event: Event = serde_json::from_str(events.next().unwrap()).unwrap();
    assert_eq!(event, fake::state_event("established", "close_wait", None));
    assert_eq!(events.next(), None, "the filter holds");
}

#[tokio::test]
async fn running_requests_get_a_grace_and_no_more() {
    let server = server(Mood::Slow(Duration::from_millis(300))).await;
    let mut idle = server.unix().await;
    idle.write_all(b"GET /").await.unwrap();
    let socket = server.socket.clone();
    let slow = tokio::spawn(async move {
        exchange(UnixStream::connect(&socket).await.unwrap(), &request("GET", "/metrics", "")).await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.send(true).unwrap();
    assert_eq!(slow.await.unwrap().0, 200);
    timeout(Duration::from_secs(4), server.task)
        .await
        .expect("an idle client holds up nobody")
        .unwrap()
        .unwrap();
    assert!(!server.socket.exists());
}

#[tokio::test]
async fn a_stop_that_is_only_a_dropped_sender_is_a_stop() {
    let server = server(Mood::Well).await;
    drop(server.stop);
    timeout(Duration::from_secs(1), server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn who_is_being_answered_keeps_its_place() {
    let server = server(Mood::Well).await;
    let mut crowd = Vec::new();
    for _ in 0..128 {
        let mut stream = server.unix().await;
        stream.write_all(request("GET", "/api/v1/events", "").as_bytes()).await.unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        crowd.push(stream);
    }
    let patient = server.get("/healthz");
    let mut patient = std::pin::pin!(patient);
    assert!(timeout(Duration::from_millis(200), patient.as_mut()).await.is_err(), "no place yet");
    crowd.pop();
    // The stream's end is noticed with its next line.
    server
        .tracer
        .sender
        .send(Arc::new(fake::state_event("syn_recv", "established", None)))
        .unwrap();
    assert_eq!(timeout(Duration::from_secs(2), patient).await.unwrap().0, 200);
}
