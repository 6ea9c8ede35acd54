//! TCP without TLS: what is shown to whom, and in which form.

use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

use super::*;

/// `alice`'s and `right`, at the least cost.
pub(super) fn users() -> String {
    format!("basic_auth_users:\n  alice: {}\n", bcrypt::hash("right", 4).unwrap())
}

pub(super) const RIGHT: &str = "Authorization: Basic YWxpY2U6cmlnaHQ=\r\n";
pub(super) const WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";

pub(super) fn web_file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("web.yml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

pub(super) async fn with_file(folder: &Path, text: &str, addresses: &[&str], api: bool) -> Server {
    let network = Network::open(Some(&web_file(folder, text)), api).unwrap();
    Server::start(Fake::new(Mood::Well), addresses, network).await
}

/// Writes the file anew, and waits until the daemon has it.
pub(super) async fn rewrite(server: &Server, folder: &Path, text: &str) {
    let since = "tcp_trace_web_config_reload_success_timestamp_seconds ";
    let before = server.metric(since).await;
    web_file(folder, text);
    let start = Instant::now();
    while server.metric(since).await <= before {
        assert!(start.elapsed() < Duration::from_secs(10), "the change is noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ask(address: SocketAddr, target: &str, headers: &str) -> (u16, String, String) {
    exchange(TcpStream::connect(address).await.unwrap(), &request("GET", target, headers)).await
}

#[tokio::test]
async fn every_path_wants_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let headers = "http_server_config: {headers: {X-Frame-Options: deny}}";
    let server = with_file(folder.path(), &(users() + headers), &["127.0.0.1:0"], false).await;
    for target in
        ["/", "/healthz", "/readyz", "/metrics", "/runbooks/", "/nowhere", "/api/v1/status"]
    {
        for wrong in ["", WRONG] {
            let (status, head, body) = ask(server.address, target, wrong).await;
            assert_eq!(status, 401, "{target}");
            assert!(head.contains("www-authenticate: basic"), "{head}");
            assert!(head.contains("x-frame-options: deny"), "{head}");
            assert!(error(&body).contains("password"), "{body}");
        }
        let (status, head, _) = ask(server.address, target, RIGHT).await;
        let expected = if target.starts_with("/api/") || target == "/nowhere" { 404 } else { 200 };
        assert_eq!(status, expected, "{target}");
        assert!(head.contains("x-frame-options: deny"), "{head}");
    }
    let refused = "tcp_trace_web_requests_refused_total{reason=\"unauthenticated\"}";
    assert!((server.metric(refused).await - 14.0).abs() < 0.5);
    assert_eq!(server.get("/metrics").await.0, 200, "root needs no password");
}

#[tokio::test]
async fn requests_beyond_the_rate_are_sent_away() {
    let folder = tempfile::tempdir().unwrap();
    let text = "rate_limit: {interval: 1h, burst: 3}";
    let server = with_file(folder.path(), text, &["127.0.0.1:0"], false).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(server.get_tcp("/healthz").await.0);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(server.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn the_api_is_on_tcp_only_where_it_is_asked_for() {
    let network = Network::open(None, true).unwrap();
    let server = Server::start(Fake::new(Mood::Well), &["127.0.0.1:0"], network).await;
    for target in ["/api/v1/status", "/api/v1/connections", "/api/v1/connections/3f", "/"] {
        let (status, head, body) = server.get_tcp(target).await;
        assert_eq!(status, 200, "{target}: {body}");
        assert!(!head.contains("access-control"), "{head}");
    }
    for host in ["evil.example", "evil.example:10435"] {
        let asked =
            format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, _, body) = exchange(server.tcp().await, &asked).await;
        assert_eq!(status, 403, "{host}");
        assert!(error(&body).contains("localhost"), "{body}");
        let metrics = asked.replace("/api/v1/status", "/metrics");
        assert_eq!(exchange(server.tcp().await, &metrics).await.0, 200, "a proxy may scrape");
    }
}

#[tokio::test]
async fn off_loopback_nobody_sees_connections_unproved() {
    let open = Network::open(None, true).unwrap();
    for address in ["0.0.0.0:0", ":0"] {
        let listeners = Listeners::bind(&[address.to_owned()], None).await.unwrap();
        let error = listeners.allow(&open).unwrap_err().to_string();
        assert!(error.contains("--web.api would show connections to everybody"), "{error}");
        assert!(listeners.allow(&Network::default()).is_ok(), "metrics are no secret");
    }
    let loopback = ["127.0.0.1:0".to_owned(), "127.0.0.2:0".to_owned()];
    assert!(Listeners::bind(&loopback, None).await.unwrap().allow(&open).is_ok());

    let folder = tempfile::tempdir().unwrap();
    let server = with_file(folder.path(), &users(), &["127.0.0.1:0", "0.0.0.0:0"], true).await;
    let wide = SocketAddr::from(([127, 0, 0, 1], server.addresses[1].port()));
    for address in [server.address, wide] {
        assert_eq!(ask(address, "/api/v1/status", "").await.0, 401);
        assert_eq!(ask(address, "/api/v1/status", RIGHT).await.0, 200);
    }
    // The users are taken out of the file: the API is gone from where anybody can reach it.
    rewrite(&server, folder.path(), "").await;
    assert_eq!(ask(wide, "/api/v1/status", RIGHT).await.0, 403);
    assert_eq!(ask(wide, "/metrics", "").await.0, 200);
    assert_eq!(ask(server.address, "/api/v1/status", "").await.0, 200, "loopback needs none");
    let unproved = "tcp_trace_web_requests_refused_total{reason=\"unproved\"}";
    assert!((server.metric(unproved).await - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn a_file_that_has_become_wrong_changes_nothing_but_a_metric() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_file(folder.path(), &users(), &["127.0.0.1:0"], false).await;
    let good = "tcp_trace_web_config_reload_successful ";
    assert!(server.metric(good).await > 0.5);
    web_file(folder.path(), "basic_auth_users: [");
    let start = Instant::now();
    while server.metric(good).await > 0.5 {
        assert!(start.elapsed() < Duration::from_secs(5), "the change is noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(server.address, "/metrics", "").await.0, 401);
    assert_eq!(ask(server.address, "/metrics", RIGHT).await.0, 200);
    rewrite(&server, folder.path(), "{}").await;
    assert_eq!(ask(server.address, "/metrics", "").await.0, 200);
    assert!(server.metric(good).await > 0.5);
}

#[tokio::test]
async fn openmetrics_and_gzip_are_for_those_who_ask() {
    let server = server(Mood::Well).await;
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (_, head, body) = ask(server.address, "/metrics", accept).await;
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(body.ends_with("\n# EOF\n"));
    let (_, head, body) = server.get_tcp("/metrics").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    let mut stream = server.tcp().await;
    let asked = request("GET", "/metrics", "Accept-Encoding: gzip\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer[end + 4..]).read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), body.lines().count());
    assert!(answer.len() < body.len() / 4, "{} of {}", answer.len(), body.len());
}

#[tokio::test]
async fn runbooks_are_at_hand() {
    let server = server(Mood::Well).await;
    for index in ["/runbooks", "/runbooks/"] {
        let (status, head, body) = server.get_tcp(index).await;
        assert_eq!(status, 200);
        assert!(head.contains("text/html") && body.contains("/runbooks/TcpTraceDown"), "{body}");
    }
    let (status, head, body) = server.get_tcp("/runbooks/TcpTraceDown").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; charset=utf-8"), "{head}");
    assert!(body.starts_with("# TcpTraceDown"), "{body}");
    let (status, _, body) = server.get_tcp("/runbooks/%2e%2e%2fweb.yml").await;
    assert_eq!(status, 404);
    assert!(error(&body).contains("/runbooks/ lists them"), "{body}");
}

#[tokio::test]
async fn scrapes_at_once_are_bounded() {
    let server = server(Mood::Slow(Duration::from_secs(4))).await;
    let mut scrapes = Vec::new();
    for _ in 0..12 {
        let stream = server.tcp().await;
        let scrape = async move { exchange(stream, &request("GET", "/metrics", "")).await.0 };
        scrapes.push(tokio::spawn(scrape));
    }
    let mut statuses = Vec::new();
    for scrape in scrapes {
        statuses.push(scrape.await.unwrap());
    }
    statuses.sort_unstable();
    // Four at a time: the first after 4 s, those behind them would have to wait 8 s.
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 503, 503, 503, 503]);
}
