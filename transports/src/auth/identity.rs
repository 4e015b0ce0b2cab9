//! What a gateway proves itself by.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use twin_small_file::read_small_text;

use super::certificate::{CertificateError, chain_of, check_chain, read_certificate};
use super::credentials::CredentialsError;
use super::secret::GatewaySecret;
use crate::limits::PEM_BYTES_MAX;
use crate::private_file;
use crate::tls::{TlsError, certified};

/// What a gateway proves itself by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A secret that the node made.
    Secret(GatewaySecret),
    /// A certificate of the owner's PKI, and its key.
    Certificate(ClientCertificate),
}

impl Identity {
    /// Signs a proof by the secret; `None`: there is none, as TLS proves a certificate.
    pub fn sign(&self, input: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Secret(secret) => Some(secret.sign(input)),
            Self::Certificate(_) => None,
        }
    }

    /// The certificate that TLS shows, where there is one.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        match self {
            Self::Secret(_) => None,
            Self::Certificate(certificate) => Some(certificate),
        }
    }
}

impl From<GatewaySecret> for Identity {
    fn from(secret: GatewaySecret) -> Self {
        Self::Secret(secret)
    }
}

/// A certificate with its private key, which is never shown by `Debug`. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The gateway's own one first.
    chain: Arc<[CertificateDer<'static>]>,
    key: Arc<PrivateKeyDer<'static>>,
    /// Where they were read from: certificate and key.
    files: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ClientCertificate {
    /// From PEM texts. Its dates are not looked at: a gateway may boot in 1970.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CredentialsError> {
        Self::made(chain_from(certificate)?, key_from(key)?)
            .map_err(|error| CredentialsError::Key { message: error.to_string() })
    }

    /// From files. An error names the one that it is about: where the two do not go together, the key's.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CredentialsError> {
        let in_file = |path: &Path| {
            let path = path.to_owned();
            |source| CredentialsError::Content { path, source: Box::new(source) }
        };
        let chain = chain_from(&read(certificate)?).map_err(in_file(certificate))?;
        let made = Self::made(chain, key_from(&read(key)?).map_err(in_file(key))?).map_err(|error| {
            let of = certificate.display();
            let message = format!("it is not the key of the certificate in {of} ({error})");
            in_file(key)(CredentialsError::Key { message })
        })?;
        Ok(Self { files: Some((certificate.to_owned(), key.to_owned())), ..made })
    }

    /// If they go together.
    fn made(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let made = Self { chain: chain.into(), key: Arc::new(key), files: None };
        certified(&made)?;
        Ok(made)
    }

    /// Says so where others than their owner can read the key.
    pub(crate) fn warn_if_exposed(&self) {
        let Some((_, key)) = &self.files else { return };
        if let Some(mode) = private_file::exposed(key) {
            let path = key.display();
            tracing::warn!("{path} has mode {mode:03o}, so others can read the gateway's key: run `chmod 600 {path}`");
        }
    }

    pub(crate) fn files(&self) -> Option<&(PathBuf, PathBuf)> {
        self.files.as_ref()
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.to_vec()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

fn chain_from(pem: &str) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let unfit = |error: CertificateError| CredentialsError::Certificate { message: error.to_string() };
    let chain = chain_of(pem).map_err(unfit)?;
    check_chain(&chain).map_err(unfit)?;
    read_certificate(&chain[0]).map_err(unfit)?;
    Ok(chain)
}

fn key_from(pem: &str) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| CredentialsError::Key {
        message: format!("it is not a PEM private key without a password: {error}"),
    })
}

fn read(path: &Path) -> Result<String, CredentialsError> {
    read_small_text(path, PEM_BYTES_MAX).map_err(|source| CredentialsError::File { path: path.to_owned(), source })
}
