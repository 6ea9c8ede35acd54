//! Where the daemon listens: a Unix socket with everything, TCP addresses with the metrics.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};

use super::{
    Tracer,
    accept::{self, Listener},
    guard::Guard,
    metrics::ProcessReader,
    origin::is_loopback,
    routes::{self, App},
    socket_file::{self, SocketError, SocketFile},
    tally::Tally,
    web::{
        Web,
        error::WebError,
        follow::{self, WebFile},
        passwords::Passwords,
    },
};

/// Why the daemon cannot listen.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    /// The Unix socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Somebody else has the port.
    #[error(
        "{address} is in use by another program; choose another with --web.listen-address ADDRESS:PORT"
    )]
    InUse {
        /// The address as given.
        address: String,
    },
    /// The address cannot be had for another reason.
    #[error(
        "cannot listen on {address}: {source}; --web.listen-address takes ADDRESS:PORT, such as 127.0.0.1:10435, [::]:10435 or :10435"
    )]
    Address {
        /// The address as given.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Connections would be shown to everybody.
    #[error(
        "--web.api would show connections to everybody who reaches {address}: name basic_auth_users, or client_auth_type RequireAndVerifyClientCert with a client_ca_file, in the file of --web.config.file; or listen on 127.0.0.1"
    )]
    Unproved {
        /// The address that is not loopback.
        address: SocketAddr,
    },
    /// Nothing to make secrets of.
    #[error("the kernel gives no random numbers, without which no password can be checked")]
    NoRandomness,
}

/// How TCP is served.
#[derive(Debug, Default)]
pub(crate) struct Network {
    file: Option<WebFile>,
    api: bool,
}

impl Network {
    /// As the web configuration in `file` says, if there is one; with the API where `api` is set.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub(crate) fn open(file: Option<&Path>, api: bool) -> Result<Self, WebError> {
        Ok(Self { file: file.map(WebFile::open).transpose()?, api })
    }

    fn web(&self) -> Arc<Web> {
        self.file.as_ref().map(WebFile::web).unwrap_or_default()
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.web().tls.is_some() { "https" } else { "http" }
    }
}

/// Sockets that are bound and not yet served.
#[derive(Debug)]
pub(crate) struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
}

impl Listeners {
    /// Binds every address of `addresses` (`HOST:PORT`, or `:PORT` for all interfaces) and the Unix
    /// socket at `socket`.
    ///
    /// # Errors
    /// Names the address or path, and the flag that chooses another; then nothing stays bound.
    pub(crate) async fn bind(
        addresses: &[String],
        socket: Option<&Path>,
    ) -> Result<Self, ListenError> {
        // The socket first: that another daemon runs says more than that its port is taken.
        let unix = match socket {
            Some(path) => Some(socket_file::bind(path).await?),
            None => None,
        };
        let mut tcp = Vec::new();
        for address in addresses {
            tcp.push(bind_tcp(address).await?);
        }
        Ok(Self { tcp, unix })
    }

    /// Whether what `network` shows may be shown on these addresses.
    ///
    /// # Errors
    /// Names the address where anybody could see connections.
    pub(crate) fn allow(&self, network: &Network) -> Result<(), ListenError> {
        if !network.api || network.web().authenticates() {
            return Ok(());
        }
        let open = self.addresses().into_iter().find(|address| !is_loopback(address.ip()));
        open.map_or(Ok(()), |address| Err(ListenError::Unproved { address }))
    }

    /// TCP addresses, with the port that the system chose where 0 was asked for.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

/// Whether every address has the form of one; names are not looked up.
///
/// # Errors
/// Names the first that has not.
pub(crate) fn well_formed(addresses: &[String]) -> Result<(), ListenError> {
    let has_port = |address: &&String| {
        address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    };
    match addresses.iter().find(|address| !has_port(address)) {
        None => Ok(()),
        Some(address) => Err(ListenError::Address {
            address: address.clone(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "it has no port"),
        }),
    }
}

async fn bind_tcp(address: &str) -> Result<TcpListener, ListenError> {
    let bound = match address.strip_prefix(':') {
        // As Prometheus' exporters read it: every address, IPv6 and IPv4, where there is IPv6.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
            bound => bound,
        },
        None => TcpListener::bind(address).await,
    };
    bound.map_err(|source| {
        let address = address.to_owned();
        match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Address { address, source },
        }
    })
}

/// Serves until `shutdown`; then event streams end at once and running requests get a short grace.
/// The Unix socket's file is removed at the end.
///
/// # Errors
/// Where no password could be checked.
pub(crate) async fn run<T: Tracer>(
    listeners: Listeners,
    network: Network,
    tracer: T,
    shutdown: watch::Receiver<bool>,
) -> Result<(), ListenError> {
    let process = ProcessReader::new(&PathBuf::from("/proc"));
    let tally = Arc::new(Tally::default());
    let socket = listeners.unix.as_ref().map(|(_, file)| file.path());
    let app = App::new(tracer, process, Arc::clone(&tally), shutdown.clone(), socket);
    let passwords = Passwords::new().ok_or(ListenError::NoRandomness)?;
    let guard = Guard { passwords, tally: Arc::clone(&tally) };
    let router = routes::network(app.clone(), guard, network.api);
    let (tell, told) = watch::channel(network.web());
    if let Some(file) = &network.file {
        tally.loaded(file.read_at);
    }
    let mut servers = JoinSet::new();
    for listener in listeners.tcp {
        let listener = Listener::Tcp(listener, told.clone());
        let tally = Arc::clone(&tally);
        servers.spawn(accept::serve(listener, router.clone(), tally, shutdown.clone()));
    }
    drop(told);
    let mut socket = None;
    if let Some((listener, file)) = listeners.unix {
        let listener = Listener::Unix(listener);
        servers.spawn(accept::serve(listener, routes::local(app), Arc::clone(&tally), shutdown));
        socket = Some(file);
    }
    let follower = network.file.map(|file| tokio::spawn(follow::follow(file, tell, tally)));
    while let Some(ended) = servers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a listener failed");
        }
    }
    if let Some(follower) = follower {
        follower.abort();
    }
    drop(socket);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_form_of_address_is_bound() {
        let addresses = ["127.0.0.1:0", ":0", "localhost:0"].map(str::to_owned);
        let listeners = Listeners::bind(&addresses, None).await.unwrap();
        assert_eq!(listeners.addresses().len(), 3);
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_the_flag_that_helps() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let error =
            Listeners::bind(std::slice::from_ref(&address), Some(&socket)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{address} is in use by another program; choose another with \
                 --web.listen-address ADDRESS:PORT"
            )
        );
        assert!(!socket.exists(), "nothing stays behind");
    }

    #[tokio::test]
    async fn nonsense_is_told_apart_from_a_taken_port() {
        for address in ["", "10435", "127.0.0.1", "127.0.0.1:70000", "[::1:80", ":x", "192.0.2.1:0"]
        {
            let error = Listeners::bind(&[address.to_owned()], None).await.unwrap_err();
            assert!(matches!(error, ListenError::Address { .. }), "{address:?}: {error}");
            let form = well_formed(&[address.to_owned()]);
            let formed = ["[::1:80", "192.0.2.1:0"].contains(&address);
            assert_eq!(form.is_ok(), formed, "{address:?}");
        }
    }
}
