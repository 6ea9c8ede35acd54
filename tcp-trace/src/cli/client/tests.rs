use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
    task::JoinHandle,
    time::Instant,
};

use super::*;
use crate::{
    api::Event,
    serve::{
        fake::{self, Fake, Mood},
        listen::{self, ListenError, Listeners, Network},
    },
};

/// The daemon's own server, with a made-up tracer behind it.
struct Server {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    tracer: Fake,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ListenError>>,
}

async fn server() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("t.sock");
    let listeners = Listeners::bind(&[], Some(&socket)).await.unwrap();
    let tracer = Fake::new(Mood::Well);
    let (stop, shutdown) = watch::channel(false);
    let task = tokio::spawn(listen::run(listeners, Network::default(), tracer.clone(), shutdown));
    Server { _directory: directory, socket, tracer, stop, task }
}

/// A daemon that answers every question with `answer` and hangs up.
fn daemon(answer: String) -> (tempfile::TempDir, Client) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (directory, Client { path })
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn what_does_not_speak_http_is_told_apart() {
    let (_directory, client) = daemon("220 mail.example ESMTP\r\n".to_owned());
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Failed { problem: Problem::Broken(_), .. }), "{error}");
}

#[tokio::test]
async fn an_answer_of_another_version_is_told_apart() {
    let (_directory, client) = daemon(ok("{\"version\":9}"));
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Failed { problem: Problem::Strange(_), .. }), "{error}");
    assert!(error.to_string().contains("/api/v1/status"), "{error}");
}

#[tokio::test]
async fn an_error_without_json_still_has_its_status() {
    let (_directory, client) =
        daemon("HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno".to_owned());
    let error = client.status().await.unwrap_err().to_string();
    assert!(error.ends_with("500 Internal Server Error"), "{error}");
}

#[tokio::test]
async fn a_line_without_end_is_given_up() {
    let (_directory, client) = daemon(ok(&"x".repeat(LONGEST_LINE + 100)));
    let mut events = client.events(&FilterArgs::default()).await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Failed { problem: Problem::TooLong(_), .. }), "{error}");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn an_event_cut_short_is_an_error() {
    let (_directory, client) = daemon(ok("{\"type\":\"lost\",\"at\""));
    let mut events = client.events(&FilterArgs::default()).await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Failed { problem: Problem::CutOff, .. }), "{error}");

    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ty";
    let (_directory, client) = daemon(chunked.to_owned());
    let mut events = client.events(&FilterArgs::default()).await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Failed { problem: Problem::Broken(_), .. }), "{error}");
}

#[tokio::test]
async fn lines_are_found_wherever_the_frames_break() {
    let line = "{\"type\":\"lost\",\"at\":\"\",\"stage\":\"s\",\"count\":1}\n";
    let text = line.repeat(3);
    let frames = text
        .as_bytes()
        .chunks(7)
        .map(|frame| format!("{:x}\r\n{}\r\n", frame.len(), String::from_utf8_lossy(frame)));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let answer = frames.fold(head, |text, frame| text + &frame) + "0\r\n\r\n";
    let (_directory, client) = daemon(answer);
    let events = client.events(&FilterArgs::default()).await.unwrap();
    let events: Vec<_> = events.collect().await;
    assert!(events.len() == 3 && events.iter().all(Result::is_ok), "{events:?}");
}

#[tokio::test]
async fn a_client_asks_and_is_answered() {
    let server = server().await;
    let client = Client::connect(&server.socket).await.unwrap();
    assert_eq!(client.status().await.unwrap().pid, 812);
    let filter = FilterArgs {
        state: vec!["close_wait,listen".to_owned()],
        process: Some("a&b=c%".to_owned()),
        limit: Some(2),
        ..FilterArgs::default()
    };
    let list = client.connections(&filter).await.unwrap();
    assert_eq!((list.connections.len(), list.total), (2, 2));
    assert_eq!(list.connections[0].state, "close_wait");
    assert_eq!(client.connection("3f").await.unwrap().id, "3f");
    for (id, expected) in [("40", 404), ("../../metrics", 400), ("a b%\r\n", 400), ("", 404)] {
        let error = client.connection(id).await.unwrap_err();
        let ClientError::Refused { status, .. } = error else { panic!("{id:?}: {error}") };
        assert_eq!(status, expected, "{id:?}");
    }
    let bad = FilterArgs { pid: Some("x".to_owned()), ..FilterArgs::default() };
    let error = client.connections(&bad).await.unwrap_err().to_string();
    assert!(error.ends_with("pid: 'x' does not fit; it takes a whole number"), "{error}");
}

#[tokio::test]
async fn a_client_follows_events_to_the_end() {
    let server = server().await;
    let client = Client::connect(&server.socket).await.unwrap();
    let filter = FilterArgs { state: vec!["close_wait".to_owned()], ..FilterArgs::default() };
    let mut events = client.events(&filter).await.unwrap();
    let wanted = [
        fake::state_event("established", "close_wait", Some(1.0)),
        fake::closed_event(),
        fake::lost_event(),
    ];
    let other = fake::state_event("syn_sent", "established", None);
    for event in [&other].into_iter().chain(&wanted) {
        server.tracer.sender.send(Arc::new(event.clone())).unwrap();
    }
    for event in wanted {
        assert_eq!(events.next().await.unwrap().unwrap(), event);
    }
    let start = Instant::now();
    server.stop.send(true).unwrap();
    assert!(events.next().await.is_none(), "an orderly end is no error");
    server.task.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "nobody is waited for");
    assert!(!server.socket.exists());
}

#[tokio::test]
async fn a_client_that_cannot_keep_up_learns_what_it_missed() {
    let server = server().await;
    let client = Client::connect(&server.socket).await.unwrap();
    let mut events = client.events(&FilterArgs::default()).await.unwrap();
    // Without an await between them, the server gets no turn, and its queue holds 8.
    for _ in 0..100 {
        server.tracer.sender.send(Arc::new(fake::lost_event())).unwrap();
    }
    let Event::Lost(lost) = events.next().await.unwrap().unwrap() else { panic!() };
    assert_eq!((lost.stage.as_str(), lost.count), ("subscriber", 92));
    assert_eq!(events.next().await.unwrap().unwrap(), fake::lost_event());
}

#[tokio::test]
async fn without_a_daemon_the_client_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("t.sock");
    let error = Client::connect(&socket).await.unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = Client::connect(&socket).await.unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
    assert!(error.to_string().contains(&socket.display().to_string()), "{error}");
}
