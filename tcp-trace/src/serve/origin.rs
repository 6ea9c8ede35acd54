//! Where a request on TCP comes from.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::http::{HeaderMap, Uri, header, uri::Authority};

use super::web::Web;

/// Put beside each request by the connection that it came on.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The address listened on.
    pub(super) listener: SocketAddr,
    /// The client's.
    pub(super) peer: Option<IpAddr>,
    /// The web configuration under which the connection was let in. It ends when that changes.
    pub(super) web: Arc<Web>,
}

impl Origin {
    /// Whether the listener can be reached from this host alone.
    pub(super) fn is_local(&self) -> bool {
        is_loopback(self.listener.ip())
    }

    /// Whether the request names this host by an address of its own, or as `localhost`. A page from
    /// elsewhere, for which a name server has been made to answer with 127.0.0.1, names another.
    pub(super) fn names_this_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let host = match uri.authority() {
            Some(authority) => Some(authority.clone()),
            None => headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .and_then(|host| host.parse::<Authority>().ok()),
        };
        let Some(host) = host else { return false };
        let host = host.host();
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.is_ok_and(|address| is_loopback(address) || address == self.listener.ip())
    }
}

/// Whether `address` is loopback, written as IPv4, IPv6 or the one in the other.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_elsewhere_is_not_this_host() {
        let listener = "127.0.0.5:10435".parse().unwrap();
        let origin = Origin { listener, peer: None, web: Arc::default() };
        let named = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            origin.names_this_host(&Uri::from_static("/api/v1/status"), &headers)
        };
        for host in [
            "localhost",
            "LOCALHOST:10435",
            "127.0.0.1:10435",
            "127.0.0.5",
            "[::1]:10435",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(named(host), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:10435", "192.0.2.1", "", "127.0.0.1.nip.io"]
        {
            assert!(!named(host), "{host}");
        }
        let uri = Uri::from_static("http://evil.example/api/v1/status");
        let headers = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        assert!(!origin.names_this_host(&uri, &headers), "the target comes before the header");
        assert!(!origin.names_this_host(&Uri::from_static("/"), &HeaderMap::new()));
    }
}
