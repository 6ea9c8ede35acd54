//! Connections to the daemon: taken, limited, and let go at shutdown.
//!
//! hyper speaks HTTP; what stands here is what a server on a port needs besides. A client that
//! sends nothing, reads nothing or opens one connection after the other costs a bounded amount.

mod places;
mod tls;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{
    body::Incoming,
    http::{Request, Response},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    origin::Origin,
    shutdown::stopped,
    tally::{Dropped, Tally},
    web::Web,
};
use places::{Place, Places};

/// Connections served at once on one listener; beyond it somebody has to go, see [`places`].
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
    /// On TCP, with what the web configuration says at the time.
    Tcp(TcpListener, watch::Receiver<Arc<Web>>),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// A client that has just come.
enum Client {
    Tcp(TcpStream, Origin, watch::Receiver<Arc<Web>>),
    Unix(UnixStream),
}

/// Any kind of stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Client> {
        match self {
            Self::Tcp(listener, told) => {
                let (stream, peer) = listener.accept().await?;
                let mut told = told.clone();
                let web = Arc::clone(&told.borrow_and_update());
                let peer = Some(peer.ip().to_canonical());
                let listener = listener.local_addr()?;
                Ok(Client::Tcp(stream, Origin { listener, peer, web }, told))
            }
            Self::Unix(listener) => Ok(Client::Unix(listener.accept().await?.0)),
        }
    }
}

impl Client {
    fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, origin, _) => origin.peer,
            Self::Unix(_) => None,
        }
    }

    async fn serve(
        self,
        router: Router,
        place: Arc<Place>,
        tally: &Tally,
        shutdown: watch::Receiver<bool>,
    ) {
        let (stream, told, origin): (Box<dyn Stream>, _, _) = match self {
            // Root's event streams may last; strangers' connections may not.
            Self::Unix(stream) => {
                return connection(Box::new(stream), router, None, place, stopped_by(shutdown))
                    .await;
            }
            Self::Tcp(stream, origin, told) => match &origin.web.tls {
                None => (Box::new(stream), told, origin),
                Some(config) => match tls::handshake(stream, Arc::clone(config)).await {
                    Some(stream) => (Box::new(stream), told, origin),
                    None => return tally.dropped(Dropped::Handshake),
                },
            },
        };
        let end = ended_by(told, shutdown);
        connection(stream, router, Some(Arc::new(origin)), place, end).await;
    }
}

async fn stopped_by(mut shutdown: watch::Receiver<bool>) {
    stopped(&mut shutdown).await;
}

/// Returns when a TCP connection must come to its end: at shutdown, after its time, or when it was
/// let in under a web configuration that is no more.
async fn ended_by(mut told: watch::Receiver<Arc<Web>>, mut shutdown: watch::Receiver<bool>) {
    let changed = async {
        if told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = stopped(&mut shutdown) => {}
        () = changed => {}
        () = sleep(LIFE) => {}
    }
}

/// Serves `router` on `listener` until `shutdown`, then gives what is running a short grace.
pub(super) async fn serve(
    listener: Listener,
    router: Router,
    tally: Arc<Tally>,
    mut shutdown: watch::Receiver<bool>,
) {
    let places = Places::new(CONNECTIONS);
    let mut connections = JoinSet::new();
    loop {
        let client = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(_) = connections.join_next() => continue,
            client = next(&listener) => client,
        };
        // Apart from the next client: whoever has come must not be forgotten when another leaves.
        let Some(place) = ({
            let mut place = std::pin::pin!(places.take(client.peer()));
            loop {
                tokio::select! {
                    biased;
                    () = stopped(&mut shutdown) => break None,
                    Some(_) = connections.join_next() => {}
                    place = &mut place => break Some(place),
                }
            }
        }) else {
            break;
        };
        let (router, tally, shutdown) = (router.clone(), Arc::clone(&tally), shutdown.clone());
        connections.spawn(async move {
            let place = Arc::new(place);
            let served = client.serve(router, Arc::clone(&place), &tally, shutdown);
            tokio::select! {
                biased;
                () = served => {}
                () = place.cut() => tally.dropped(Dropped::NoPlace),
            }
        });
    }
    // Nobody new is let in while the others finish.
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        tracing::debug!(left = connections.len(), "connections are cut at shutdown");
    }
}

/// The next client.
async fn next(listener: &Listener) -> Client {
    loop {
        match listener.accept().await {
            Ok(client) => return client,
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

/// Serves one connection until `end`, then gives a running request a short grace.
async fn connection(
    stream: Box<dyn Stream>,
    router: Router,
    origin: Option<Arc<Origin>>,
    place: Arc<Place>,
    end: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(origin) = &origin {
            request.extensions_mut().insert(Arc::clone(origin));
        }
        let answering = place.answering();
        let answer = service.call(request);
        async move {
            let answer: Response<Body> = answer.await?;
            let worth = !answer.status().is_client_error();
            let end = |body| answering.until_the_end_of(body, worth);
            Ok::<_, std::convert::Infallible>(answer.map(end))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        // A client that breaks the protocol or goes away has nothing more to hear.
        _ = connection.as_mut() => return,
        () = end => {}
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
            let place = Arc::new(Places::new(1).take(None).await);
            let end = async {
                match life {
                    Some(life) => sleep(life).await,
                    None => std::future::pending().await,
                }
            };
            connection(Box::new(server), router, None, place, end).await;
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
