//! TLS as clients meet it, with certificates made for the occasion.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    network::{RIGHT, WRONG, rewrite, users, web_file, with_file},
    *,
};

/// An authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(super) struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pair(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// What a client needs who trusts this authority, and shows `own`.
    fn client(&self, own: Option<&Pair>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Puts certificate, key and the clients' authority where the configuration says.
pub(super) fn lay_out(folder: &Path, pair: &Pair, clients: &Authority) {
    fs::write(folder.join("server.crt"), &pair.certificate).unwrap();
    fs::write(folder.join("server.key"), &pair.key).unwrap();
    fs::write(folder.join("clients.crt"), clients.0.pem()).unwrap();
}

pub(super) const TLS: &str =
    "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

async fn connect(
    address: SocketAddr,
    client: &TlsConnector,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// The answer's status; `None` where there is no TLS.
async fn status(address: SocketAddr, client: &TlsConnector, headers: &str) -> Option<u16> {
    let mut stream = connect(address, client).await.ok()?;
    stream.write_all(request("GET", "/metrics", headers).as_bytes()).await.ok()?;
    // With TLS 1.3 a client learns only here that its certificate was refused.
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_scrape_over_tls_with_a_password() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    lay_out(folder.path(), &authority.pair("localhost"), &authority);
    let server =
        with_file(folder.path(), &(TLS.to_owned() + &users()), &["127.0.0.1:0"], false).await;
    let client = authority.client(None);
    assert_eq!(status(server.address, &client, RIGHT).await, Some(200));
    assert_eq!(status(server.address, &client, WRONG).await, Some(401));
    assert_eq!(status(server.address, &Authority::new().client(None), RIGHT).await, None);
    // A person who forgets the s is told so.
    let (refused, _, body) = server.get_tcp("/metrics").await;
    assert_eq!(refused, 400);
    assert!(body.contains("https://"), "{body}");
    let dropped = "tcp_trace_web_connections_dropped_total{reason=\"tls_handshake\"}";
    assert!((server.metric(dropped).await - 2.0).abs() < 0.5);
}

#[tokio::test]
async fn a_client_certificate_of_the_right_authority_and_name() {
    let (folder, authority, clients) =
        (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    lay_out(folder.path(), &authority.pair("localhost"), &clients);
    let text = format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n"
    );
    let server = with_file(folder.path(), &text, &["127.0.0.1:0"], false).await;
    let good = authority.client(Some(&clients.pair("prometheus.example")));
    let other = authority.client(Some(&clients.pair("other.example")));
    let by_address = authority.client(Some(&clients.pair("192.0.2.9")));
    let wrong = authority.client(Some(&Authority::new().pair("prometheus.example")));
    let none = authority.client(None);
    for (client, expected) in
        [(&good, Some(200)), (&other, Some(200)), (&wrong, None), (&none, None)]
    {
        assert_eq!(status(server.address, client, "").await, expected);
    }
    let sans = text.clone() + "  client_allowed_sans: [prometheus.example, 192.0.2.9]\n";
    rewrite(&server, folder.path(), &sans).await;
    for (client, expected) in
        [(&good, Some(200)), (&by_address, Some(200)), (&other, None), (&wrong, None)]
    {
        assert_eq!(status(server.address, client, "").await, expected);
    }
    // Asked for, and not looked at.
    rewrite(&server, folder.path(), &format!("{TLS}  client_auth_type: RequireAnyClientCert\n"))
        .await;
    for (client, expected) in [(&wrong, Some(200)), (&none, None)] {
        assert_eq!(status(server.address, client, "").await, expected);
    }
    let given = text.replace("RequireAndVerify", "Verify").replace("Cert\n", "CertIfGiven\n");
    rewrite(&server, folder.path(), &given).await;
    for (client, expected) in [(&good, Some(200)), (&none, Some(200)), (&wrong, None)] {
        assert_eq!(status(server.address, client, "").await, expected);
    }
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart() {
    let (folder, before, after) =
        (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    lay_out(folder.path(), &before.pair("localhost"), &before);
    let server = with_file(folder.path(), TLS, &["127.0.0.1:0"], false).await;
    let kept = connect(server.address, &before.client(None)).await;
    assert_eq!(status(server.address, &before.client(None), "").await, Some(200));
    assert_eq!(status(server.address, &after.client(None), "").await, None);
    // First the certificate alone, as a careless copy does: the old pair stays in force.
    let pair = after.pair("localhost");
    fs::write(folder.path().join("server.crt"), &pair.certificate).unwrap();
    let good = "tcp_trace_web_config_reload_successful ";
    let start = Instant::now();
    while server.metric(good).await > 0.5 {
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status(server.address, &before.client(None), "").await, Some(200));
    fs::write(folder.path().join("server.key"), &pair.key).unwrap();
    while server.metric(good).await < 0.5 {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status(server.address, &after.client(None), "").await, Some(200));
    assert_eq!(status(server.address, &before.client(None), "").await, None);
    // Who was let in by the old one comes in again by the new one.
    let mut kept = kept.unwrap();
    let end = timeout(Duration::from_secs(2), kept.read(&mut [0])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn plain_text_becomes_tls_and_back() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    lay_out(folder.path(), &authority.pair("localhost"), &authority);
    let server = with_file(folder.path(), "", &["127.0.0.1:0"], false).await;
    let client = authority.client(None);
    assert_eq!(server.get_tcp("/metrics").await.0, 200);
    rewrite(&server, folder.path(), TLS).await;
    assert_eq!(status(server.address, &client, "").await, Some(200));
    rewrite(&server, folder.path(), "{}").await;
    assert_eq!(server.get_tcp("/metrics").await.0, 200);
    drop(web_file(folder.path(), ""));
}
