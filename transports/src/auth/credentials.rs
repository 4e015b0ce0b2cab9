//! The credentials file that a gateway's owner gets once, from `twinctl gateway add` or REST.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use twin_core::ids::{GatewayName, SiteId};

use super::secret::{GatewaySecret, SecretError};
use crate::private_file;
use crate::tls::client_config;

/// Version of the file's format.
const FORMAT_VERSION: u32 = 1;
/// Longest credentials file: the CA's PEM takes about 1 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Everything that a gateway needs to speak for its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its site.
    pub site: SiteId,
    /// Its name in the site.
    pub name: GatewayName,
    /// Product key.
    pub product_key: String,
    /// Its secret.
    pub secret: GatewaySecret,
    /// PEM text of the CA that signs the node's certificate. Nothing else is trusted.
    pub ca: String,
    /// The name in the node's certificate.
    pub server_name: String,
}

/// Why credentials could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file.
    #[error("credentials file {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Not what a credentials file looks like.
    #[error("these are not gateway credentials: {message}; make new ones with `twinctl gateway add`")]
    Format {
        /// What is wrong.
        message: String,
    },
    /// A format of another release.
    #[error("credentials of format version {found}, this release reads {FORMAT_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The secret has the wrong length.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The CA is none.
    #[error(
        "field \"ca\" must be the node's CA certificate as PEM text, but {message}; make new credentials with `twinctl gateway add`"
    )]
    Ca {
        /// What is wrong.
        message: String,
    },
    /// What a file holds.
    #[error("credentials file {path}: {source}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<CredentialsError>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialsFile {
    version: u32,
    site: SiteId,
    name: GatewayName,
    product_key: String,
    secret: String,
    ca: String,
    server_name: String,
}

impl Credentials {
    /// Reads a file. What could never lead to a session is refused here, before any connection.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        let path = path.as_ref();
        let file = |source| CredentialsError::File { path: path.to_owned(), source };
        let content = |source| CredentialsError::Content { path: path.to_owned(), source: Box::new(source) };
        let size = std::fs::metadata(path).map_err(file)?.len();
        if let Some(mode) = private_file::exposed(path) {
            let path = path.display();
            tracing::warn!(
                "{path} has mode {mode:03o}, so others can read the gateway's secret: run `chmod 600 {path}`"
            );
        }
        if size > FILE_BYTES_MAX {
            let message = format!("the file has {size} bytes, credentials have at most {FILE_BYTES_MAX}");
            return Err(content(CredentialsError::Format { message }));
        }
        Self::from_json(&std::fs::read_to_string(path).map_err(file)?).map_err(content)
    }

    /// Writes a file that only its owner may read (mode 0600), atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CredentialsError> {
        let path = path.as_ref();
        private_file::write(path, self.to_json().as_bytes())
            .map_err(|source| CredentialsError::File { path: path.to_owned(), source })
    }

    /// From the file's text.
    pub fn from_json(text: &str) -> Result<Self, CredentialsError> {
        let format = |message: String| CredentialsError::Format { message };
        let file: CredentialsFile = serde_json::from_str(text).map_err(|error| format(error.to_string()))?;
        if file.version != FORMAT_VERSION {
            return Err(CredentialsError::Version { found: file.version });
        }
        let secret = BASE64.decode(&file.secret).map_err(|error| format(format!("secret is not base64: {error}")))?;
        if let Err(error) = client_config(&file.ca) {
            return Err(CredentialsError::Ca { message: error.to_string() });
        }
        Ok(Self {
            site: file.site,
            name: file.name,
            product_key: file.product_key,
            secret: GatewaySecret::from_bytes(&secret)?,
            ca: file.ca,
            server_name: file.server_name,
        })
    }

    /// The file's text. Holds the secret.
    pub fn to_json(&self) -> String {
        let file = CredentialsFile {
            version: FORMAT_VERSION,
            site: self.site.clone(),
            name: self.name.clone(),
            product_key: self.product_key.clone(),
            secret: BASE64.encode(self.secret.as_bytes()),
            ca: self.ca.clone(),
            server_name: self.server_name.clone(),
        };
        let mut text = serde_json::to_string_pretty(&file).expect("strings and a number always serialize");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;
    use crate::tls::{NodeCertificates, SERVER_NAME};

    /// One CA for all: two calls give the same credentials but for the secret.
    fn ca() -> String {
        static CA: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let make = || {
            let folder = tempfile::tempdir().unwrap();
            NodeCertificates::load_or_create(folder.path(), SERVER_NAME, &[]).unwrap().ca_pem()
        };
        CA.get_or_init(make).clone()
    }

    fn credentials() -> Credentials {
        Credentials {
            site: SiteId::new("store-1").unwrap(),
            name: GatewayName::new("gw").unwrap(),
            product_key: "pk".into(),
            secret: GatewaySecret::generate(&SystemEntropy::new()).unwrap(),
            ca: ca(),
            server_name: "twinmesh-node".into(),
        }
    }

    #[test]
    fn a_saved_file_is_read_back_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.json");
        let saved = credentials();
        saved.save(&path).unwrap();
        assert_eq!(Credentials::load(&path).unwrap(), saved);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let credentials = credentials();
        let shown = format!("{credentials:?}");
        assert!(shown.contains("hidden"));
        assert!(!shown.contains(&BASE64.encode(credentials.secret.as_bytes())));
    }

    #[test]
    fn a_secret_of_another_length_and_another_version_are_named() {
        let text = credentials().to_json();
        let short = text.replace(&BASE64.encode(credentials().secret.as_bytes()), "");
        assert!(Credentials::from_json(&short.replacen("\"version\": 1", "\"version\": 9", 1)).is_err());
        let newer = text.replacen("\"version\": 1", "\"version\": 9", 1);
        assert!(matches!(Credentials::from_json(&newer), Err(CredentialsError::Version { found: 9 })));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_for_everybody_is_noticed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.json");
        credentials().save(&path).unwrap();
        assert_eq!(private_file::exposed(&path), None);
        for mode in [0o640, 0o604, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(private_file::exposed(&path), Some(mode));
            // It works all the same: a container may leave no choice.
            Credentials::load(&path).unwrap();
        }
    }

    #[test]
    fn a_ca_that_is_no_certificate_is_refused_by_file_and_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.json");
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
        for ca in ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA", key, empty] {
            Credentials { ca: ca.into(), ..credentials() }.save(&path).unwrap();
            let error = Credentials::load(&path).unwrap_err();
            assert!(
                matches!(&error, CredentialsError::Content { path: of, source } if *of == path && matches!(**source, CredentialsError::Ca { .. })),
                "{ca:?}: {error}"
            );
            let text = error.to_string();
            assert!(text.contains("gw.json") && text.contains("\"ca\""), "{text}");
        }
    }
}
