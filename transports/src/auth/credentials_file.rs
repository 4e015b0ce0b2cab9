//! Credentials in a file of their owner's, read again when it is replaced.

use std::path::Path;

use twin_small_file::read_small_text;

use super::credentials::{Credentials, CredentialsError};
use super::credentials_format::CredentialsFile;
use super::identity::{ClientCertificate, Identity};
use crate::limits::CREDENTIALS_BYTES_MAX;
use crate::private_file;

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
}

#[cfg(test)]
pub(super) mod tests {
    use twin_core::ids::{GatewayName, SiteId};

    use super::*;
    use crate::auth::GatewaySecret;
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

    pub(in crate::auth) fn credentials() -> Credentials {
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
