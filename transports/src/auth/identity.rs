//! What a gateway proves itself by.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::{chain_of, check_chain, read_certificate};
use super::credentials::CredentialsError;
use super::secret::GatewaySecret;
use crate::limits::PEM_BYTES_MAX;
use crate::private_file;

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
        let unfit = |message: String| CredentialsError::Certificate { message };
        let chain = chain_of(certificate).map_err(|error| unfit(error.to_string()))?;
        check_chain(&chain).map_err(|error| unfit(error.to_string()))?;
        read_certificate(&chain[0]).map_err(|error| unfit(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| unfit(format!("its key is not a PEM private key without a password: {error}")))?;
        let made = Self { chain: chain.into(), key: Arc::new(key), files: None };
        crate::tls::certified(&made).map_err(|error| unfit(error.to_string()))?;
        Ok(made)
    }

    /// From files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CredentialsError> {
        if let Some(mode) = private_file::exposed(key) {
            let path = key.display();
            tracing::warn!("{path} has mode {mode:03o}, so others can read the gateway's key: run `chmod 600 {path}`");
        }
        let made = Self::from_pem(&read(certificate)?, &read(key)?)
            .map_err(|source| CredentialsError::Content { path: certificate.to_owned(), source: Box::new(source) })?;
        Ok(Self { files: Some((certificate.to_owned(), key.to_owned())), ..made })
    }

    /// As its files are now, where it came from files; `None`: they hold what this is, or nothing that can be used.
    pub fn renewed(&self) -> Option<Self> {
        let (certificate, key) = self.files.as_ref()?;
        match Self::load(certificate, key) {
            Ok(now) => (now != *self).then_some(now),
            Err(error) => {
                tracing::warn!(%error, "the gateway goes on with the certificate that it has");
                None
            }
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

fn read(path: &Path) -> Result<String, CredentialsError> {
    let file = |source| CredentialsError::File { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(file)?.len();
    if size > PEM_BYTES_MAX {
        let message = format!("the file has {size} bytes, the limit is {PEM_BYTES_MAX}");
        let source = Box::new(CredentialsError::Certificate { message });
        return Err(CredentialsError::Content { path: path.to_owned(), source });
    }
    std::fs::read_to_string(path).map_err(file)
}
