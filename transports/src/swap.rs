//! Certificates that can be replaced while connections are open: those that are open go on, new ones get the new.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use ring::digest::{SHA256, digest};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use twin_small_file::read_small_file;

use crate::limits::NODE_PEM_BYTES_MAX;
use crate::tls::TlsError;

/// The certificate of the next handshake.
#[derive(Debug)]
pub(crate) struct Swappable(RwLock<Arc<CertifiedKey>>);

impl Swappable {
    pub(crate) fn new(certificate: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(certificate))))
    }

    pub(crate) fn swap(&self, certificate: CertifiedKey) {
        *self.0.write() = Arc::new(certificate);
    }

    /// SHA-256 of the certificate itself, in hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        let current = Arc::clone(&self.0.read());
        let certificate = current.cert.first().map(AsRef::as_ref).unwrap_or_default();
        digest(&SHA256, certificate).as_ref().iter().fold(String::new(), |mut text, byte| {
            use std::fmt::Write as _;
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl ResolvesServerCert for Swappable {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// A certificate that comes from elsewhere: PEM files of the chain, its own first, and of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its CA.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads both. A chain without a certificate, and a key of another certificate, are refused.
    pub(crate) fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let bad = |path: &Path, message: String| TlsError::Pair { path: path.to_owned(), message };
        let read = |path: &Path| {
            read_small_file(path, NODE_PEM_BYTES_MAX)
                .map_err(|error| TlsError::File { path: path.to_owned(), source: error.into() })
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&self.chain)?)
            .collect::<Result<_, _>>()
            .map_err(|error| bad(&self.chain, format!("is not PEM ({error})")))?;
        if chain.is_empty() {
            return Err(bad(&self.chain, "has no certificate in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|error| bad(&self.key, format!("has no private key in it ({error})")))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            bad(&self.key, format!("is not the key of the first certificate in {} ({error})", self.chain.display()))
        })
    }
}
