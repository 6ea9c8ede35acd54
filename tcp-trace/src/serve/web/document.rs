//! The file's form: exporter-toolkit's, unknown and repeated keys refused as there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};

use super::error::Problem;

/// The file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    #[serde(rename = "tls_server_config", deserialize_with = "or_nothing")]
    pub(super) tls: Tls,
    #[serde(rename = "http_server_config", deserialize_with = "or_nothing")]
    pub(super) http: Http,
    #[serde(rename = "rate_limit", deserialize_with = "or_nothing")]
    pub(super) rate: Rate,
    #[serde(rename = "basic_auth_users", deserialize_with = "or_nothing")]
    pub(super) users: BTreeMap<String, String>,
}

/// `tls_server_config`; an empty text is as good as none.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    #[serde(deserialize_with = "or_nothing")]
    pub(super) cert: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) key: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) client_ca: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) cert_file: PathBuf,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) key_file: PathBuf,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) client_ca_file: PathBuf,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) client_auth_type: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) client_allowed_sans: Vec<String>,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) cipher_suites: Vec<String>,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) curve_preferences: Vec<String>,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) min_version: Option<Version>,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) max_version: Option<Version>,
    /// Without effect, as in Go since 1.17.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: Option<bool>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Version {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// `http_server_config`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    /// Without effect: HTTP/1.1 is spoken to everybody.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) headers: BTreeMap<String, String>,
}

/// `rate_limit`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rate {
    /// As Go writes durations.
    #[serde(deserialize_with = "or_nothing")]
    pub(super) interval: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) burst: i64,
}

/// A key without a value says nothing.
fn or_nothing<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Document {
    /// Reads the file at `path`; relative paths in it begin in its folder.
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let text = fs::read_to_string(path).map_err(|source| Problem::Read {
            field: "",
            path: path.to_owned(),
            source,
        })?;
        let mut document = Self::parse(&text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let Tls { cert_file, key_file, client_ca_file, .. } = &mut document.tls;
        for file in [cert_file, key_file, client_ca_file] {
            if !file.as_os_str().is_empty() {
                *file = folder.join(&*file);
            }
        }
        Ok(document)
    }

    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        // An excerpt of the text in an error might be one of a key.
        let options = serde_saphyr::options! { with_snippet: false };
        let document: Option<Self> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| Problem::Form(error.to_string()))?;
        Ok(document.unwrap_or_default())
    }

    /// The files it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let Tls { cert_file, key_file, client_ca_file, .. } = &self.tls;
        let files = [cert_file, key_file, client_ca_file].into_iter();
        files.map(PathBuf::as_path).filter(|file| !file.as_os_str().is_empty())
    }
}

impl Tls {
    /// Whether TLS is asked for at all.
    pub(super) fn is_enabled(&self) -> bool {
        let texts = [&self.cert, &self.key, &self.client_ca, &self.client_auth_type];
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        texts.into_iter().any(|text| !text.is_empty())
            || files.into_iter().any(|file| !file.as_os_str().is_empty())
    }

    /// Whether no client gets in without a certificate of the authority.
    pub(super) fn verifies_clients(&self) -> bool {
        self.client_auth_type == "RequireAndVerifyClientCert"
    }
}
