//! TLS as the file wants it.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use super::{
    clients,
    curves::{choose_curves, choose_suites},
    document::{Tls, Version},
    error::Problem,
};

/// The configuration; `None` where the file says nothing of TLS.
pub(super) fn build(tls: &Tls) -> Result<Option<Arc<ServerConfig>>, Problem> {
    if !tls.is_enabled() {
        return Ok(None);
    }
    let mut provider = ring::default_provider();
    choose_suites(&mut provider, &tls.cipher_suites)?;
    choose_curves(&mut provider, &tls.curve_preferences)?;
    let provider = Arc::new(provider);
    let chain = chain(tls)?;
    let key = key(tls)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls)?)?
        .with_client_cert_verifier(clients::verifier(tls, provider)?)
        .with_single_cert(chain, key)
        .map_err(mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// What rustls calls inconsistent keys is, for whoever set this up, a key of another certificate.
fn mismatch(error: rustls::Error) -> Problem {
    match error {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => Problem::OtherKey,
        other => other.into(),
    }
}

fn versions(tls: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, Problem> {
    // Below 1.2 there is nothing to speak; a lower bound there is met all the same.
    let least = tls.min_version.unwrap_or(Version::Tls12);
    let most = tls.max_version.unwrap_or(Version::Tls13);
    let all = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)];
    let kept = all.into_iter().filter(|(version, _)| (least..=most).contains(version));
    let kept: Vec<_> = kept.map(|(_, version)| version).collect();
    if kept.is_empty() {
        let problem = "TLS12 and TLS13 are spoken, and min_version must not be above it";
        return Err(Problem::field("tls_server_config.max_version", problem));
    }
    Ok(kept)
}

fn chain(tls: &Tls) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let (field, text) = text(
        (&tls.cert_file, "tls_server_config.cert_file", "tls_server_config.cert_file: "),
        (&tls.cert, "tls_server_config.cert"),
    )?;
    certificates(field, &text)
}

/// The certificates in `text`; one at least.
pub(super) fn certificates(
    field: &'static str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(Problem::field(field, "there is no certificate in it; it must be PEM")),
        Err(error) => Err(Problem::field(field, format!("it is no PEM certificate: {error}"))),
    }
}

fn key(tls: &Tls) -> Result<PrivateKeyDer<'static>, Problem> {
    let (field, text) = text(
        (&tls.key_file, "tls_server_config.key_file", "tls_server_config.key_file: "),
        (&tls.key, "tls_server_config.key"),
    )?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| Problem::field(field, format!("it is no PEM private key: {error}")))
}

/// The text of the file, or else the text in the setting itself, and which it is.
fn text(
    (file, file_field, prefix): (&Path, &'static str, &'static str),
    (inline, inline_field): (&str, &'static str),
) -> Result<(&'static str, Vec<u8>), Problem> {
    if !file.as_os_str().is_empty() {
        return Ok((file_field, read(prefix, file)?));
    }
    if inline.is_empty() {
        return Err(Problem::field(file_field, "it is missing: TLS needs a certificate and a key"));
    }
    Ok((inline_field, inline.as_bytes().to_vec()))
}

/// The file's content; `prefix` names the setting in an error.
pub(super) fn read(prefix: &'static str, path: &Path) -> Result<Vec<u8>, Problem> {
    fs::read(path).map_err(|source| Problem::Read { field: prefix, path: path.to_owned(), source })
}
