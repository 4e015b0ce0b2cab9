//! The credentials file that a gateway's owner gets once, from `twinctl gateway add` or REST.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use twin_core::ids::{GatewayId, GatewayName, SiteId};
use twin_small_file::{SmallFileError, read_small_text};

use super::identity::{ClientCertificate, Identity};
use super::secret::{GatewaySecret, SecretError};
use crate::limits::CREDENTIALS_BYTES_MAX;
use crate::private_file;
use crate::tls::client_config;

/// Version of the file's format where it holds a secret.
const FORMAT_VERSION: u32 = 1;
/// Version where it names a certificate's files: a release that knows secrets only refuses it by its version.
const FORMAT_VERSION_CERTIFICATE: u32 = 2;

/// Everything that a gateway needs to speak for its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its site.
    pub site: SiteId,
    /// Its name in the site.
    pub name: GatewayName,
    /// Product key.
    pub product_key: String,
    /// What it proves itself by.
    pub identity: Identity,
    /// PEM text of the CA that signs the node's certificate. Nothing else is trusted.
    pub ca: String,
    /// The name in the node's certificate.
    pub server_name: String,
    /// The file that they were read from, which is looked at again by [`Self::renewed`].
    pub file: Option<PathBuf>,
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
        source: SmallFileError,
    },
    /// Not what a credentials file looks like.
    #[error("these are not gateway credentials: {message}; make new ones with `twinctl gateway add`")]
    Format {
        /// What is wrong.
        message: String,
    },
    /// A format of another release.
    #[error(
        "credentials of format version {found}, this release reads {FORMAT_VERSION} and {FORMAT_VERSION_CERTIFICATE}"
    )]
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
    /// The certificate.
    #[error("the gateway's certificate cannot be used: {message}")]
    Certificate {
        /// What is wrong.
        message: String,
    },
    /// Its key.
    #[error("the key of the gateway's certificate cannot be used: {message}")]
    Key {
        /// What is wrong.
        message: String,
    },
    /// The file is another gateway's now.
    #[error(
        "these are the credentials of gateway {found} now, and this is {expected}, which it stays until it is started again"
    )]
    OtherGateway {
        /// Whose they are.
        found: GatewayId,
        /// Whose they were.
        expected: GatewayId,
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

    fn read(text: &str) -> Result<Self, CredentialsError> {
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

    fn into_credentials(
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
    /// Reads a file, and a certificate and key that it names: a relative name is one beside it. What could never lead to a session is
    /// refused here, before any connection.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        let loaded = Self::read(path.as_ref())?;
        loaded.warn_if_exposed();
        Ok(loaded)
    }

    fn read(path: &Path) -> Result<Self, CredentialsError> {
        let content = |source| CredentialsError::Content { path: path.to_owned(), source: Box::new(source) };
        let text = read_small_text(path, CREDENTIALS_BYTES_MAX)
            .map_err(|source| CredentialsError::File { path: path.to_owned(), source })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside =
            |certificate: &Path, key: &Path| ClientCertificate::load(&folder.join(certificate), &folder.join(key));
        let read = CredentialsFile::read(&text).and_then(|written| written.into_credentials(beside));
        Ok(Self { file: Some(path.to_owned()), ..read.map_err(content)? })
    }

    /// Says so where others than their owner can read what is secret.
    fn warn_if_exposed(&self) {
        match (&self.identity, &self.file) {
            (Identity::Certificate(certificate), _) => certificate.warn_if_exposed(),
            (Identity::Secret(_), Some(path)) => {
                if let Some(mode) = private_file::exposed(path) {
                    let path = path.display();
                    tracing::warn!(
                        "{path} has mode {mode:03o}, so others can read the gateway's secret: run `chmod 600 {path}`"
                    );
                }
            }
            (Identity::Secret(_), None) => {}
        }
    }

    /// Writes a file that only its owner may read (mode 0600), atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CredentialsError> {
        let path = path.as_ref();
        private_file::write(path, self.to_json().as_bytes())
            .map_err(|error| CredentialsError::File { path: path.to_owned(), source: error.into() })
    }

    /// From the file's text. Names of a certificate's files are as seen from the current directory.
    pub fn from_json(text: &str) -> Result<Self, CredentialsError> {
        CredentialsFile::read(text)?.into_credentials(ClientCertificate::load)
    }

    /// From the file's text, with a certificate that is not in files.
    pub fn from_json_with(text: &str, certificate: ClientCertificate) -> Result<Self, CredentialsError> {
        CredentialsFile::read(text)?.into_credentials(|_, _| Ok(certificate))
    }

    /// As their files are now, where they came from files; `None`: they hold what these are. Files that cannot be used are an error (also
    /// while somebody writes them), and so is one that is another gateway's now.
    pub fn renewed(&self) -> Result<Option<Self>, CredentialsError> {
        let now = match (&self.file, self.identity.certificate().and_then(ClientCertificate::files)) {
            (Some(file), _) => Self::read(file)?,
            (None, Some((certificate, key))) => {
                Self { identity: Identity::Certificate(ClientCertificate::load(certificate, key)?), ..self.clone() }
            }
            (None, None) => return Ok(None),
        };
        if now == *self {
            return Ok(None);
        }
        let (found, expected) = (now.gateway(), self.gateway());
        if found != expected {
            return Err(CredentialsError::OtherGateway { found, expected });
        }
        now.warn_if_exposed();
        Ok(Some(now))
    }

    /// Whose they are.
    pub fn gateway(&self) -> GatewayId {
        GatewayId { site: self.site.clone(), name: self.name.clone() }
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
            identity: GatewaySecret::generate(&SystemEntropy::new()).unwrap().into(),
            ca: ca(),
            server_name: "twinmesh-node".into(),
            file: None,
        }
    }

    fn secret_text(credentials: &Credentials) -> String {
        match &credentials.identity {
            Identity::Secret(secret) => BASE64.encode(secret.as_bytes()),
            Identity::Certificate(_) => unreachable!("made with a secret"),
        }
    }

    #[test]
    fn a_saved_file_is_read_back_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.json");
        let saved = credentials();
        saved.save(&path).unwrap();
        assert_eq!(Credentials::load(&path).unwrap(), Credentials { file: Some(path.clone()), ..saved });
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

    /// A certificate and its key, as PEM.
    fn certificate() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["gw".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_and_its_key_are_read_beside_the_file_and_again_when_they_are_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.json");
        let of = credentials();
        let file = CredentialsFile::of_certificate(of.site, of.name, of.product_key, of.ca, of.server_name);
        std::fs::write(&path, file.to_json()).unwrap();
        let missing = Credentials::load(&path).unwrap_err().to_string();
        assert!(missing.contains("gw.crt"), "{missing}");
        let write = |(certificate, key): (String, String)| {
            private_file::write(&folder.path().join("gw.crt"), certificate.as_bytes()).unwrap();
            private_file::write(&folder.path().join("gw.key"), key.as_bytes()).unwrap();
        };
        write(certificate());
        let loaded = Credentials::load(&path).unwrap();
        assert!(matches!(loaded.identity, Identity::Certificate(_)));
        assert_eq!(loaded.renewed().unwrap(), None);
        let again = folder.path().join("again.json");
        loaded.save(&again).unwrap();
        assert_eq!(Credentials::load(&again).unwrap(), Credentials { file: Some(again), ..loaded.clone() });
        // Half written: what is there goes on.
        std::fs::write(folder.path().join("gw.crt"), certificate().0).unwrap();
        let half = loaded.renewed().unwrap_err().to_string();
        assert!(half.contains("gw.key"), "{half}");
        write(certificate());
        let renewed = loaded.renewed().unwrap().unwrap();
        assert_ne!(renewed, loaded);
        assert_eq!(renewed, Credentials::load(&path).unwrap());
    }

    #[test]
    fn a_file_with_new_credentials_is_read_again_and_one_of_another_gateway_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw.json");
        credentials().save(&path).unwrap();
        let loaded = Credentials::load(&path).unwrap();
        assert_eq!(loaded.renewed().unwrap(), None);
        let renewed = credentials();
        renewed.save(&path).unwrap();
        assert_eq!(loaded.renewed().unwrap().unwrap().identity, renewed.identity);
        Credentials { name: GatewayName::new("other").unwrap(), ..credentials() }.save(&path).unwrap();
        let error = loaded.renewed().unwrap_err();
        assert!(matches!(error, CredentialsError::OtherGateway { .. }), "{error}");
        std::fs::write(&path, "{").unwrap();
        assert!(loaded.renewed().unwrap_err().to_string().contains("gw.json"));
        // What was in no file stays what it is.
        assert_eq!(renewed.renewed().unwrap(), None);
    }

    #[test]
    fn an_error_names_the_file_that_it_is_about() {
        let folder = tempfile::tempdir().unwrap();
        let (of, key) = (folder.path().join("gw.crt"), folder.path().join("gw.key"));
        let ((pem, pem_key), (_, other_key)) = (certificate(), certificate());
        std::fs::write(&of, &pem).unwrap();
        for (text, word) in
            [("", "not a PEM private key"), (&pem, "not a PEM private key"), (&other_key, "is not the key of")]
        {
            std::fs::write(&key, text).unwrap();
            let error = ClientCertificate::load(&of, &key).unwrap_err();
            assert!(matches!(&error, CredentialsError::Content { path, .. } if *path == key), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
        std::fs::write(&key, &pem_key).unwrap();
        std::fs::write(&of, &pem_key).unwrap();
        let error = ClientCertificate::load(&of, &key).unwrap_err();
        assert!(matches!(&error, CredentialsError::Content { path, .. } if *path == of), "{error}");
    }

    /// The device never ends, and nobody ever writes into the pipe.
    #[cfg(unix)]
    #[test]
    fn endless_files_pipes_and_directories_are_refused_by_name_wherever_a_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (pem, key) = certificate();
        let long = "x".repeat(64 * 1024 + 1);
        for (name, text) in [("gw.crt", &pem), ("gw.key", &key), ("long", &long)] {
            std::fs::write(at(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        for (bad, word) in [
            (at("zero"), "device"),
            (at("pipe"), "pipe"),
            (folder.path().to_owned(), "directory"),
            (at("long"), "65536"),
        ] {
            for error in [
                Credentials::load(&bad).unwrap_err(),
                ClientCertificate::load(&bad, &at("gw.key")).unwrap_err(),
                ClientCertificate::load(&at("gw.crt"), &bad).unwrap_err(),
            ] {
                assert!(matches!(&error, CredentialsError::File { path, .. } if *path == bad), "{error}");
                assert!(error.to_string().contains(word), "{error}");
            }
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_and_never_shown() {
        let ((of, _), (_, key)) = (certificate(), certificate());
        let error = ClientCertificate::from_pem(&of, &key).unwrap_err();
        assert!(matches!(error, CredentialsError::Key { .. }), "{error}");
        let (of, key) = certificate();
        let shown = format!("{:?}", ClientCertificate::from_pem(&of, &key).unwrap());
        assert!(!shown.contains("key"), "{shown}");
    }
}
