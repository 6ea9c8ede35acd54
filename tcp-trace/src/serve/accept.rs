//! Connections to the daemon: taken, limited, and let go at shutdown.
//!
//! hyper speaks HTTP; what stands here is what a server on a port needs besides. A client that
//! sends nothing, reads nothing or opens one connection after the other costs a bounded amount.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::shutdown::stopped;

/// Connections served at once on one listener; more wait in its backlog.
const CONNECTIONS: usize = 128;
/// Time for a request's head, and for the next one on a kept connection: more than a minute, so
/// that a Prometheus with the usual interval finds its connection open.
const HEAD: Duration = Duration::from_secs(75);
/// Longest life of a TCP connection. Against clients that never read; others just open a new one.
const LIFE: Duration = Duration::from_mins(10);
/// About how much of a request's head is kept in memory.
const HEAD_BYTES: usize = 64 * 1024;
/// Time for running requests after the end has begun.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a failure to accept that is not the client's: no descriptor left, most likely.
const PAUSE: Duration = Duration::from_millis(200);

/// A bound socket.
#[derive(Debug)]
pub(super) enum Listener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// Either kind of stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }

    /// Root's event streams may last; strangers' connections may not.
    fn life(&self) -> Option<Duration> {
        match self {
            Self::Tcp(_) => Some(LIFE),
            Self::Unix(_) => None,
        }
    }
}

/// Serves `router` on `listener` until `shutdown`, then gives what is running a short grace.
pub(super) async fn serve(listener: Listener, router: Router, mut shutdown: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let (place, stream) = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(_) = connections.join_next() => continue,
            next = next(&listener, &places) => next,
        };
        let (router, shutdown, life) = (router.clone(), shutdown.clone(), listener.life());
        connections.spawn(async move {
            connection(stream, router, life, shutdown).await;
            drop(place);
        });
    }
    // Nobody new is let in while the others finish.
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        tracing::debug!(left = connections.len(), "connections are cut at shutdown");
    }
}

/// The next client, as soon as there is a place for it.
async fn next(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, Box<dyn Stream>) {
    // The semaphore is never closed, so there always is a permit.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok(stream) => return (place, stream),
            // The client has gone again; the next one may be there already.
            Err(error) if is_the_client_s(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_the_client_s(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: Box<dyn Stream>,
    router: Router,
    life: Option<Duration>,
    mut shutdown: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let life = async {
        match life {
            Some(life) => sleep(life).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        // A client that breaks the protocol or goes away has nothing more to hear.
        _ = connection.as_mut() => return,
        () = stopped(&mut shutdown) => {}
        () = life => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;

    /// A client's end, and the time after which the server has let go of it.
    fn client(life: Option<Duration>) -> (DuplexStream, impl Future<Output = Duration>) {
        let (client, server) = duplex(64);
        let router = Router::new().fallback(async || "#".repeat(100_000));
        let start = Instant::now();
        let task = tokio::spawn(async move {
            let (_stop, shutdown) = watch::channel(false);
            connection(Box::new(server), router, life, shutdown).await;
        });
        (client, async move {
            task.await.unwrap();
            start.elapsed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_finish_a_request_is_let_go() {
        let (mut client, served) = client(None);
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let after = served.await;
        assert!((HEAD..HEAD + GRACE).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_let_go() {
        let (mut client, served) = client(Some(LIFE));
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(served.await, LIFE + GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_scrapes_every_minute_keeps_its_connection() {
        let (mut client, served) = client(Some(LIFE));
        let mut byte = [0];
        for _ in 0..9 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut read = 0;
            while read < 100_000 {
                assert_ne!(client.read(&mut byte).await.unwrap(), 0);
                read += usize::from(byte == *b"#");
            }
            sleep(Duration::from_mins(1)).await;
        }
        drop(client);
        assert!(served.await >= Duration::from_mins(9));
    }
}
