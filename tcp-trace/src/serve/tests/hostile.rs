//! Clients that mean harm, while Prometheus goes on scraping.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::{
    network::{RIGHT, WRONG, users, with_file},
    tls::{Authority, TLS, lay_out},
    *,
};

/// Longer than any honest scrape takes here, and shorter than Prometheus waits.
const PROMPT: Duration = Duration::from_secs(5);

/// A scrape as Prometheus makes it.
async fn scrape(address: SocketAddr, headers: &str) -> (u16, String) {
    let scrape = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (status, _, body) = exchange(stream, &request("GET", "/metrics", headers)).await;
        (status, body)
    };
    timeout(PROMPT, scrape).await.expect("the scrape is prompt")
}

/// Prometheus' own linter, where it is installed.
fn lint(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        println!("left out: promtool is not installed (Debian: prometheus)");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_silent_connections_keep_nobody_out() {
    let server = server(Mood::Well).await;
    let mut crowd = Vec::new();
    for number in 0..1000 {
        let mut stream = server.tcp().await;
        if number % 2 == 0 {
            // Half of them begin a request and never end it.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ").await;
        }
        crowd.push(stream);
        if number % 250 == 249 {
            let (status, body) = scrape(server.address, "").await;
            assert_eq!(status, 200);
            lint(&body);
        }
    }
    assert_eq!(server.get("/healthz").await.0, 200, "the Unix socket has places of its own");
    let cut = "tcp_trace_web_connections_dropped_total{reason=\"no_place\"}";
    let cut = server.metric(cut).await;
    assert!((870.0..=1010.0).contains(&cut), "{cut}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_writers_and_slow_readers_keep_nobody_out() {
    let server = server(Mood::Well).await;
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut stream = server.tcp().await;
        let text: &[u8] = if number % 2 == 0 {
            b"GET /metrics HTTP/1.1\r\n"
        } else {
            // It asks and asks, and reads nothing.
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        };
        let _ = stream.write_all(text).await;
        slow.push(stream);
    }
    for _ in 0..5 {
        for stream in &mut slow {
            let _ = stream.write_all(b"X: y\r\n").await;
        }
        let (status, body) = scrape(server.address, "").await;
        assert_eq!(status, 200);
        lint(&body);
        assert_eq!(server.get("/metrics").await.0, 200);
    }
}

/// The worst for places: connections that have had an answer each, read none, and stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_have_had_their_answer_keep_nobody_out() {
    let server = server(Mood::Well).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = server.tcp().await;
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        idle.push(stream);
    }
    for number in 0..50 {
        // Beside each scrape another comes and says nothing.
        idle.push(server.tcp().await);
        assert_eq!(scrape(server.address, "").await.0, 200, "{number}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_no_harm() {
    let server = server(Mood::Well).await;
    let long = "b".repeat(200_000);
    let rows: Vec<(Vec<u8>, &[&str])> = vec![
        (request("GET", "/metrics", &format!("X: {long}\r\n")).into(), &["431", ""]),
        (request("GET", "/metrics", &"X: y\r\n".repeat(500)).into(), &["431", ""]),
        (request("GET", &format!("/{long}"), "").into(), &["414", "431", "400", ""]),
        (request("POST", "/metrics", "Content-Length: 10000000\r\n").into(), &["405"]),
        (
            request("GET", "/metrics", "Transfer-Encoding: chunked\r\n")
                .into_bytes()
                .into_iter()
                .chain(*b"5\r\nhello\r\n0\r\n\r\n")
                .collect(),
            &["200"],
        ),
        (request("GET", "/metrics", "Content-Length: 5\r\nContent-Length: 6\r\n").into(), &["400"]),
        (request("GET", "/metrics", "Content-Length: -1\r\n").into(), &["400"]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), &["400", "405", ""]),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), &["400", ""]),
        (b"\n\n\n\n\n\n\n".to_vec(), &["400", ""]),
        ((0..=255).cycle().take(100_000).collect(), &["400", "431", ""]),
        (
            b"CONNECT evil.example:80 HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
            &["404", "405", "400"],
        ),
    ];
    for (hostile, expected) in rows {
        let mut stream = server.tcp().await;
        let start = String::from_utf8_lossy(&hostile[..hostile.len().min(40)]).into_owned();
        // It may hang up before it has read all.
        let _ = stream.write_all(&hostile).await;
        if expected.contains(&"") {
            // Nobody would answer what never ends.
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let end = timeout(PROMPT, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "{start:?} is let go: {}", String::from_utf8_lossy(&answer));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or("");
        assert!(expected.contains(&status), "{start:?}: {answer:.100}");
    }
    let (status, body) = scrape(server.address, "").await;
    assert_eq!(status, 200);
    lint(&body);
}

#[tokio::test]
async fn requests_one_behind_the_other_are_all_answered() {
    let server = server(Mood::Well).await;
    let mut stream = server.tcp().await;
    let one = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = request("GET", "/healthz", "");
    stream.write_all((one.repeat(99) + &last).as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PROMPT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords_by_the_dozen_keep_the_right_one_waiting_for_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = ["127.0.0.1:0", "127.0.0.2:0"];
    let server = with_file(folder.path(), &users(), &addresses, false).await;
    // Prometheus has been here before: it is known.
    assert_eq!(scrape(server.address, RIGHT).await.0, 200);
    let (address, hammers) = (server.address, 60);
    let hammering: Vec<_> = (0..hammers)
        .map(|_| {
            tokio::spawn(async move {
                let mut statuses = Vec::new();
                for _ in 0..5 {
                    let stream = TcpStream::connect(address).await.unwrap();
                    statuses.push(exchange(stream, &request("GET", "/metrics", WRONG)).await.0);
                }
                statuses
            })
        })
        .collect();
    for address in &server.addresses {
        assert_eq!(scrape(*address, RIGHT).await.0, 200);
    }
    let mut statuses = Vec::new();
    for one in hammering {
        statuses.extend(one.await.unwrap());
    }
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    assert_eq!(statuses.len(), 5 * hammers);
    assert_eq!(scrape(server.address, RIGHT).await.0, 200);
}

#[tokio::test]
async fn garbage_on_a_tls_port_is_dropped() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    lay_out(folder.path(), &authority.pair("localhost"), &authority);
    let server = with_file(folder.path(), TLS, &["127.0.0.1:0"], false).await;
    let hello = b"\x16\x03\x01\xff\xff\x01\0\xff\xfb\x03\x03";
    let garbage: [Vec<u8>; 4] = [
        vec![0; 100_000],
        vec![0x16; 100_000],
        hello.iter().copied().chain(vec![0xff; 70_000]).collect(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ];
    for hostile in garbage {
        let mut stream = server.tcp().await;
        let _ = stream.write_all(&hostile).await;
        let end = timeout(PROMPT, stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "it is let go: {:?}", &hostile[..4]);
    }
    let dropped = "tcp_trace_web_connections_dropped_total{reason=\"tls_handshake\"}";
    assert!((server.metric(dropped).await - 4.0).abs() < 0.5);
    assert_eq!(server.get("/metrics").await.0, 200);
}
