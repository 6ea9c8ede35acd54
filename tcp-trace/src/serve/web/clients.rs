//! Certificates of clients: Go's five ways to ask for them, and the names that are let in.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{document::Tls, error::Problem, tls};

const AUTH: &str = "tls_server_config.client_auth_type";
const CA: &str = "tls_server_config.client_ca_file";
const SANS: &str = "tls_server_config.client_allowed_sans";

/// Who is let in.
pub(super) fn verifier(
    tls: &Tls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let (required, verified) = match tls.client_auth_type.as_str() {
        "" | "NoClientCert" => {
            if has_authority(tls) {
                let problem = "with client_ca_file it must be RequireAndVerifyClientCert, \
                               VerifyClientCertIfGiven, RequireAnyClientCert or RequestClientCert";
                return Err(Problem::field(AUTH, problem));
            }
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        "RequestClientCert" => (false, false),
        "RequireAnyClientCert" | "RequireClientCert" => (true, false),
        "VerifyClientCertIfGiven" => (false, true),
        "RequireAndVerifyClientCert" => (true, true),
        other => return Err(Problem::field(AUTH, format!("{other:?} is none"))),
    };
    let authority = match (verified, has_authority(tls)) {
        (true, true) => Some(authority(tls, required, Arc::clone(&provider))?),
        // Go would take every authority that the host trusts, and thereby anybody.
        (true, false) => {
            let problem = format!("it is missing: {} needs it", tls.client_auth_type);
            return Err(Problem::field(CA, problem));
        }
        (false, _) => None,
    };
    if let Some(email) = tls.client_allowed_sans.iter().find(|name| is_email(name)) {
        let problem = format!(
            "{email:?}: e-mail addresses are not compared; name a DNS name, \
                               an IP address or a URI"
        );
        return Err(Problem::field(SANS, problem));
    }
    let sans = tls.client_allowed_sans.clone();
    Ok(Arc::new(Clients { authority, required, sans, provider }))
}

fn has_authority(tls: &Tls) -> bool {
    !tls.client_ca.is_empty() || !tls.client_ca_file.as_os_str().is_empty()
}

fn is_email(name: &str) -> bool {
    name.contains('@') && !name.contains("://")
}

fn authority(
    tls: &Tls,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let text = if tls.client_ca_file.as_os_str().is_empty() {
        tls.client_ca.as_bytes().to_vec()
    } else {
        tls::read("tls_server_config.client_ca_file: ", &tls.client_ca_file)?
    };
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates(CA, &text)? {
        roots.add(certificate)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    Ok(builder.build()?)
}

/// Asks for a certificate.
#[derive(Debug)]
struct Clients {
    /// Who must have signed it; `None` where that is not looked at.
    authority: Option<Arc<dyn ClientCertVerifier>>,
    /// Whether nobody gets in without one.
    required: bool,
    /// The names of which it must have one; none named is any.
    sans: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    fn is_named(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        let certificate = webpki::EndEntityCert::try_from(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let mut names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        if names.any(|name| self.sans.iter().any(|san| san == name)) {
            return Ok(true);
        }
        let addresses = self.sans.iter().filter_map(|san| san.parse::<IpAddr>().ok());
        let mut addresses = addresses.map(|address| ServerName::IpAddress(address.into()));
        Ok(addresses.any(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok()))
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority.as_ref().map_or(&[], |authority| authority.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authority) = &self.authority {
            authority.verify_client_cert(end_entity, intermediates, now)?;
        }
        if !self.sans.is_empty() && !self.is_named(end_entity)? {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
