//! Go's names of cipher suites and curves, which the file uses, and what stands for them in rustls.

use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, crypto::CryptoProvider};

use super::error::Problem;

const SUITES: &str = "tls_server_config.cipher_suites";
const CURVES: &str = "tls_server_config.curve_preferences";

/// Suites of TLS 1.2 that rustls has; Go calls two of them by a shorter name, too.
const KNOWN: [(&str, CipherSuite); 11] = [
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

/// Suites that Go has and rustls has not, as they are weak: left out where they are named.
const WEAK: [&str; 11] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Narrows the suites of TLS 1.2 to `names`; those of TLS 1.3 are not chosen, as in Go.
pub(super) fn choose_suites(
    provider: &mut CryptoProvider,
    names: &[String],
) -> Result<(), Problem> {
    if names.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::new();
    for name in names {
        match KNOWN.iter().find(|(known, _)| known == name) {
            Some((_, suite)) => wanted.push(*suite),
            None if WEAK.contains(&name.as_str()) || name.ends_with("_CBC_SHA256") => {
                tracing::warn!("{SUITES}: {name} is weak and left out");
            }
            None => {
                return Err(Problem::field(SUITES, format!("{name:?} is no cipher suite")));
            }
        }
    }
    provider.cipher_suites.retain(|suite| match suite {
        SupportedCipherSuite::Tls12(suite) => wanted.contains(&suite.common.suite),
        SupportedCipherSuite::Tls13(_) => true,
    });
    Ok(())
}

/// Puts the curves of key exchange in the order of `names`.
pub(super) fn choose_curves(
    provider: &mut CryptoProvider,
    names: &[String],
) -> Result<(), Problem> {
    if names.is_empty() {
        return Ok(());
    }
    let mut groups = Vec::new();
    for name in names {
        let group = match name.as_str() {
            "CurveP256" => NamedGroup::secp256r1,
            "CurveP384" => NamedGroup::secp384r1,
            "CurveP521" => NamedGroup::secp521r1,
            "X25519" => NamedGroup::X25519,
            _ => {
                let problem =
                    format!("{name:?} is none of CurveP256, CurveP384, CurveP521, X25519");
                return Err(Problem::field(CURVES, problem));
            }
        };
        if let Some(known) = provider.kx_groups.iter().find(|known| known.name() == group) {
            groups.push(*known);
        } else {
            tracing::warn!("{CURVES}: {name} is not at hand and left out");
        }
    }
    if groups.is_empty() {
        return Err(Problem::field(CURVES, "none of those named is at hand; add X25519"));
    }
    provider.kx_groups = groups;
    Ok(())
}
