use std::{fs, path::PathBuf, process::Command};

use super::*;

/// A folder with a certificate, its key and an authority that has signed it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("tcp-trace.crt"), certificate.cert.pem()).unwrap();
    fs::write(folder.path().join("tcp-trace.key"), certificate.signing_key.serialize_pem())
        .unwrap();
    folder
}

fn read(folder: &tempfile::TempDir, text: &str) -> Result<Web, WebError> {
    let path = folder.path().join("web.yml");
    fs::write(&path, text).unwrap();
    Web::read(&path)
}

const TLS: &str = "tls_server_config: {cert_file: tcp-trace.crt, key_file: tcp-trace.key";

#[test]
fn what_exporter_toolkit_takes_is_taken() {
    let folder = folder();
    let plain = |text: &str| read(&folder, text).unwrap();
    for nothing in ["", "# only a remark\n", "tls_server_config:\n", "{}", "basic_auth_users: {}"] {
        let web = plain(nothing);
        assert!(web.tls.is_none() && !web.authenticates(), "{nothing:?}");
    }
    let users = plain(
        "basic_auth_users:\n  alice: $2y$04$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi",
    );
    assert!(users.tls.is_none() && users.authenticates());
    assert_eq!(format!("{:?}", users.users), "{\"alice\"}", "hashes are not shown");
    for (rest, authenticates) in [
        ("}", false),
        (", client_auth_type: NoClientCert}", false),
        (", client_auth_type: RequestClientCert}", false),
        (", client_auth_type: RequireAnyClientCert}", false),
        (", client_auth_type: RequireClientCert}", false),
        (", client_auth_type: VerifyClientCertIfGiven, client_ca_file: tcp-trace.crt}", false),
        (", client_auth_type: RequireAndVerifyClientCert, client_ca_file: tcp-trace.crt}", true),
        (", min_version: TLS13, max_version: TLS13}", false),
        (", min_version: TLS10, prefer_server_cipher_suites: false}", false),
        (", curve_preferences: [CurveP521, X25519]}", false),
        (
            ", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_RC4_128_SHA]}",
            false,
        ),
    ] {
        let web = plain(&format!("{TLS}{rest}"));
        assert!(web.tls.is_some(), "{rest}");
        assert_eq!(web.authenticates(), authenticates, "{rest}");
    }
    let web = plain("http_server_config: {http2: false, headers: {X-Frame-Options: deny}}");
    assert_eq!(web.headers.get("x-frame-options").unwrap(), "deny");
}

#[test]
fn what_is_wrong_is_named_and_no_key_is_shown() {
    let folder = folder();
    fs::write(folder.path().join("junk"), "no certificate").unwrap();
    let rows = [
        ("tls_server_confg: {}", "tls_server_confg"),
        ("tls_server_config: {cert_fil: x}", "cert_fil"),
        ("basic_auth_users: {a: b, a: c}", "duplicate"),
        ("{", ""),
        (
            "tls_server_config: {cert_file: tcp-trace.crt}",
            "tls_server_config.key_file: it is missing",
        ),
        (
            "tls_server_config: {key_file: tcp-trace.key}",
            "tls_server_config.cert_file: it is missing",
        ),
        (
            "tls_server_config: {cert_file: none, key_file: none}",
            "tls_server_config.cert_file: cannot read /",
        ),
        (
            "tls_server_config: {cert_file: junk, key_file: tcp-trace.key}",
            "there is no certificate in it",
        ),
        (
            "tls_server_config: {cert_file: tcp-trace.crt, key_file: junk}",
            "it is no PEM private key",
        ),
        (
            "basic_auth_users: {alice: secret-password}",
            "what stands for \"alice\" is no bcrypt hash",
        ),
        ("http_server_config: {headers: {Server: x}}", "\"Server\" cannot be set"),
        ("http_server_config: {headers: {X-Frame-Options: all}}", "deny or sameorigin"),
        ("rate_limit: {interval: soon}", "rate_limit.interval: it takes"),
    ];
    let with_tls = [
        (", client_ca_file: tcp-trace.crt}", "client_auth_type: with client_ca_file it must be"),
        (", client_auth_type: RequireAndVerifyClientCert}", "client_ca_file: it is missing"),
        (", client_auth_type: Perhaps}", "\"Perhaps\" is none"),
        (", client_auth_type: RequireAnyClientCert, client_allowed_sans: [a@b]}", "e-mail"),
        (", min_version: TLS14}", "TLS14"),
        (", max_version: TLS11}", "max_version"),
        (", min_version: TLS13, max_version: TLS12}", "max_version"),
        (", cipher_suites: [TLS_INVENTED]}", "\"TLS_INVENTED\" is no cipher suite"),
        (", curve_preferences: [CurveP1]}", "\"CurveP1\" is none of"),
        (", curve_preferences: [CurveP521]}", "none of those named is at hand"),
    ];
    let with_tls = with_tls.map(|(rest, said)| (format!("{TLS}{rest}"), said));
    let rows = rows.map(|(text, said)| (text.to_owned(), said));
    for (text, said) in rows.into_iter().chain(with_tls) {
        let error = read(&folder, &text).map(drop).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
        assert!(error.contains("web.yml is wrong: "), "{error}");
        assert!(error.contains("promtool check web-config"), "{error}");
        assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
    }
    let error = Web::read(&PathBuf::from("/nonexistent/web.yml")).map(drop).unwrap_err();
    let error = error.to_string();
    let said = "cannot read the web configuration file /nonexistent/web.yml: No such file";
    assert!(error.starts_with(said) && !error.contains("wrong"), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (folder, other) = (folder(), folder());
    fs::copy(other.path().join("tcp-trace.key"), folder.path().join("other.key")).unwrap();
    let text = "tls_server_config: {cert_file: tcp-trace.crt, key_file: other.key}";
    let error = read(&folder, text).map(drop).unwrap_err().to_string();
    assert!(error.contains("the key in key_file is not that of the certificate"), "{error}");
}

/// The example in the repository, against Prometheus' own checker and ours.
#[test]
fn the_example_is_good() {
    let folder = folder();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/examples");
    let text = fs::read_to_string(examples.join("web-config.yml")).unwrap();
    let web = read(&folder, &text).unwrap();
    assert!(web.tls.is_some() && web.authenticates() && web.rate.is_none());
    // What stands there as a remark is good, too.
    let more = text.replace("# rate_limit", "rate_limit").replace("#   ", "  ");
    let more =
        more.replace("  # client_a", "  client_a").replace("prometheus-ca.crt", "tcp-trace.crt");
    let more = more.replace("  # client_ca_file", "  client_ca_file");
    let path = folder.path().join("more.yml");
    fs::write(&path, more).unwrap();
    let web = Web::read(&path).unwrap();
    assert!(web.rate.is_some() && web.verifies_clients);
    let path = folder.path().join("web.yml");
    match Command::new("promtool").args(["check", "web-config"]).arg(&path).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => println!("left out: promtool: {error} (Debian: prometheus)"),
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,200}") {
        let _ = Document::parse(&text);
    }
}
