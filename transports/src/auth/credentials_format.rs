//! Credentials as text: with a secret, or with the names of a certificate's files.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use twin_core::ids::{GatewayName, SiteId};

use super::credentials::{Credentials, CredentialsError};
use super::identity::{ClientCertificate, Identity};
use super::secret::GatewaySecret;
use crate::tls::client_config;

/// Version of the file's format where it holds a secret.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Version where it names a certificate's files: a release that knows secrets only refuses it by its version.
pub(super) const FORMAT_VERSION_CERTIFICATE: u32 = 2;

/// The file as it is written: with a secret, or with the names of a certificate's files.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsFile {
    version: u32,
    site: SiteId,
    name: GatewayName,
    product_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    ca: String,
    server_name: String,
}

impl CredentialsFile {
    /// For a gateway with a certificate of its own: it is to lie beside this file as `NAME.crt`, and its key as `NAME.key`.
    pub fn of_certificate(
        site: SiteId,
        name: GatewayName,
        product_key: String,
        ca: String,
        server_name: String,
    ) -> Self {
        let (certificate_file, key_file) = (Some(format!("{name}.crt").into()), Some(format!("{name}.key").into()));
        let version = FORMAT_VERSION_CERTIFICATE;
        Self { version, site, name, product_key, secret: None, certificate_file, key_file, ca, server_name }
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and a number always serialize");
        text.push('\n');
        text
    }

    pub(super) fn read(text: &str) -> Result<Self, CredentialsError> {
        let format = |error: serde_json::Error| CredentialsError::Format { message: error.to_string() };
        /// The version is looked at first: another one may look like nothing that is known.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let found = serde_json::from_str::<Versioned>(text).map_err(format)?.version;
        if ![FORMAT_VERSION, FORMAT_VERSION_CERTIFICATE].contains(&found) {
            return Err(CredentialsError::Version { found });
        }
        let file: Self = serde_json::from_str(text).map_err(format)?;
        if let Err(error) = client_config(&file.ca) {
            return Err(CredentialsError::Ca { message: error.to_string() });
        }
        Ok(file)
    }

    pub(super) fn into_credentials(
        self,
        certificate: impl FnOnce(&Path, &Path) -> Result<ClientCertificate, CredentialsError>,
    ) -> Result<Credentials, CredentialsError> {
        let format = |message: String| CredentialsError::Format { message };
        let missing = |field: &str| format(format!("{field:?} is missing in format version {}", self.version));
        let identity = if self.version == FORMAT_VERSION {
            let text = self.secret.as_ref().ok_or_else(|| missing("secret"))?;
            let secret = BASE64.decode(text).map_err(|error| format(format!("secret is not base64: {error}")))?;
            Identity::Secret(GatewaySecret::from_bytes(&secret)?)
        } else {
            let of = self.certificate_file.as_ref().ok_or_else(|| missing("certificateFile"))?;
            let key = self.key_file.as_ref().ok_or_else(|| missing("keyFile"))?;
            Identity::Certificate(certificate(of, key)?)
        };
        Ok(Credentials {
            site: self.site,
            name: self.name,
            product_key: self.product_key,
            identity,
            ca: self.ca,
            server_name: self.server_name,
            file: None,
        })
    }
}

impl Credentials {
    /// From the file's text. Names of a certificate's files are as seen from the current directory.
    pub fn from_json(text: &str) -> Result<Self, CredentialsError> {
        CredentialsFile::read(text)?.into_credentials(ClientCertificate::load)
    }

    /// From the file's text, with a certificate that is not in files.
    pub fn from_json_with(text: &str, certificate: ClientCertificate) -> Result<Self, CredentialsError> {
        CredentialsFile::read(text)?.into_credentials(|_, _| Ok(certificate))
    }

    /// The file's text. Holds the secret, if there is one.
    pub fn to_json(&self) -> String {
        let (site, name) = (self.site.clone(), self.name.clone());
        let (product_key, ca, server_name) = (self.product_key.clone(), self.ca.clone(), self.server_name.clone());
        let mut file = CredentialsFile::of_certificate(site, name, product_key, ca, server_name);
        match &self.identity {
            Identity::Secret(secret) => {
                (file.version, file.secret) = (FORMAT_VERSION, Some(BASE64.encode(secret.as_bytes())));
                (file.certificate_file, file.key_file) = (None, None);
            }
            Identity::Certificate(certificate) => {
                if let Some((of, key)) = certificate.files() {
                    (file.certificate_file, file.key_file) = (Some(of.clone()), Some(key.clone()));
                }
            }
        }
        file.to_json()
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials_file::tests::credentials;
    use super::*;

    fn secret_text(credentials: &Credentials) -> String {
        match &credentials.identity {
            Identity::Secret(secret) => BASE64.encode(secret.as_bytes()),
            Identity::Certificate(_) => unreachable!("made with a secret"),
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let credentials = credentials();
        let shown = format!("{credentials:?}");
        assert!(shown.contains("hidden"));
        assert!(!shown.contains(&secret_text(&credentials)));
    }

    #[test]
    fn a_secret_of_another_length_and_another_version_are_named() {
        let text = credentials().to_json();
        let short = text.replace(&secret_text(&credentials()), "");
        assert!(Credentials::from_json(&short.replacen("\"version\": 1", "\"version\": 9", 1)).is_err());
        let newer = text.replacen("\"version\": 1", "\"version\": 9", 1);
        assert!(matches!(Credentials::from_json(&newer), Err(CredentialsError::Version { found: 9 })));
    }
}
