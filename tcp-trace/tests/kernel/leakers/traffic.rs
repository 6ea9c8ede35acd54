//! The other side: clients as a program's users have them, and a server that closes what it has
//! answered.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::super::{deadline::until, netns::Netns};

/// Longest wait for an answer that must come.
const ANSWER: Duration = Duration::from_secs(20);
/// Of an answer as a status page gives it: far more than a client buffers before it is asked to.
const PAGE: usize = 64 << 10;

/// Port `port` of the namespace's own host.
pub(super) fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A connection from within the namespace, to somebody who may not listen yet.
pub(super) fn connect(netns: &Netns, port: u16) -> TcpStream {
    let connect = || netns.within(|| TcpStream::connect(at(port))).ok();
    let stream = until(|| format!("nobody listens on port {port}"), connect);
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    stream
}

/// Asks for a line and closes.
pub(super) fn ask_for_a_line(netns: &Netns, port: u16) {
    let mut stream = connect(netns, port);
    stream.write_all(b"hello\n").unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"you said hello\n");
}

/// Sends lines, says that they are all, reads how many they were and closes.
pub(super) fn have_lines_counted(netns: &Netns, port: u16) {
    let mut stream = connect(netns, port);
    stream.write_all(b"one\ntwo\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"2 lines\n");
}

/// Sends a request for `path`; its answer is for others to wait for.
pub(super) fn request(netns: &Netns, port: u16, path: &str) -> TcpStream {
    let mut stream = connect(netns, port);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

/// Sends one and reads its answer to the end.
pub(super) fn get(netns: &Netns, port: u16, path: &str) {
    let mut answer = String::new();
    request(netns, port, path).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// A server that answers each connection's first request with a page, and closes. Dropping it ends
/// it.
#[derive(Debug)]
pub(super) struct Pages {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
    served: Arc<AtomicU64>,
}

impl Pages {
    pub(super) fn start(netns: &Netns) -> Self {
        let listener = netns.within(|| TcpListener::bind(at(0))).unwrap();
        let accepts = listener.try_clone().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&served);
        let serve = move || {
            // Where accept() fails the listener was shut down.
            for stream in accepts.incoming().map_while(Result::ok) {
                answer(stream);
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        Self { listener, thread: Some(std::thread::spawn(serve)), served }
    }

    /// How many it has answered.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(count @ 1..) => request.extend_from_slice(&part[..count]),
            _ => return,
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {PAGE}\r\nConnection: close\r\n\r\n");
    // A client may close before it has it all.
    let _ = stream.write_all(&[head.as_bytes(), &vec![b'.'; PAGE]].concat());
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
