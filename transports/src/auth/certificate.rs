//! A gateway's certificate, from its owner's own PKI. What is trusted is its public key, which an operator registered: not who
//! signed it, nor what names are in it. So it may be renewed for the same key without a word to the node.

use std::fmt;

use ring::digest::{SHA256, digest};
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{AlgorithmIdentifier, CertificateDer, alg_id};
use twin_core::numbers::WallTime;

use super::der;
use crate::limits::{CERTIFICATE_BYTES_MAX, CERTIFICATE_CHAIN_BYTES_MAX, CERTIFICATE_CHAIN_MAX, RSA_KEY_BYTES_MIN};

/// Length of a SHA-256.
const SHA256_BYTES: usize = 32;

/// What a node keeps of a gateway's credentials: never a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayKey {
    /// Ed25519 public key, whose seed is the gateway's secret.
    Secret([u8; 32]),
    /// SHA-256 of the SubjectPublicKeyInfo of the gateway's certificate.
    Certificate([u8; 32]),
}

impl GatewayKey {
    /// The fingerprint in hexadecimal, of a certificate's key.
    pub fn certificate_sha256(&self) -> Option<String> {
        match self {
            Self::Secret(_) => None,
            Self::Certificate(sha256) => Some(hex(sha256)),
        }
    }
}

/// What a node needs of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateKey {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub sha256: [u8; SHA256_BYTES],
    /// Its end; `None`: it has none.
    pub ends_at: Option<WallTime>,
}

/// A certificate that cannot be a gateway's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Too large.
    #[error(
        "a certificate has {bytes} bytes, the limit is {CERTIFICATE_BYTES_MAX}: issue one with fewer names and extensions"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Too many in the chain.
    #[error(
        "the chain has {certificates} certificates, the limit is {CERTIFICATE_CHAIN_MAX}: the gateway's own one is enough"
    )]
    ChainTooLong {
        /// How many.
        certificates: usize,
    },
    /// Together too large.
    #[error(
        "the chain has {bytes} bytes, the limit is {CERTIFICATE_CHAIN_BYTES_MAX}: the gateway's own certificate is enough"
    )]
    ChainTooLarge {
        /// Of all of them.
        bytes: usize,
    },
    /// Not PEM, or no certificate in it.
    #[error("this is not the PEM text of a certificate: {message}")]
    Pem {
        /// What is wrong.
        message: String,
    },
    /// A private key where it should never be.
    #[error("a private key is beside the certificate: it stays with the gateway, send the certificate alone")]
    PrivateKey,
    /// Not an X.509 version 3 certificate that this node can read.
    #[error("this is not an X.509 version 3 certificate that can be used: {message}")]
    Unreadable {
        /// What is wrong.
        message: String,
    },
    /// A key with which no signature can be verified here.
    #[error(
        "the certificate's key is of a kind that is not taken: use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits"
    )]
    KeyKind,
}

/// Reads a certificate (DER) as far as a node needs it.
pub fn read_certificate(certificate: &CertificateDer<'_>) -> Result<CertificateKey, CertificateError> {
    let unreadable = |message: String| CertificateError::Unreadable { message };
    if certificate.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLarge { bytes: certificate.len() });
    }
    let parsed = ParsedCertificate::try_from(certificate).map_err(|error| unreadable(error.to_string()))?;
    let spki = parsed.subject_public_key_info();
    let (algorithm, key) = der::public_key(&spki).ok_or_else(|| unreadable("its key cannot be read".into()))?;
    let known: [AlgorithmIdentifier; 4] =
        [alg_id::ECDSA_P256, alg_id::ECDSA_P384, alg_id::ED25519, alg_id::RSA_ENCRYPTION];
    let is_rsa = algorithm == &*alg_id::RSA_ENCRYPTION;
    if !known.iter().any(|known| algorithm == &**known) || (is_rsa && key.len() < RSA_KEY_BYTES_MIN) {
        return Err(CertificateError::KeyKind);
    }
    let ends_at = match der::not_after(certificate) {
        Some(der::End::At(ends_at)) => Some(ends_at),
        Some(der::End::Never) => None,
        None => return Err(unreadable("its validity cannot be read".into())),
    };
    Ok(CertificateKey { sha256: sha256(&spki), ends_at })
}

/// The first certificate of a PEM text, which is the gateway's own where a chain follows it.
pub fn read_certificate_pem(pem: &str) -> Result<CertificateKey, CertificateError> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(CertificateError::PrivateKey);
    }
    let chain = chain_of(pem)?;
    check_chain(&chain)?;
    read_certificate(&chain[0])
}

/// The certificates of a PEM text, at least one.
pub(crate) fn chain_of(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let failed = |message: String| CertificateError::Pem { message };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(error.to_string()))?;
    if chain.is_empty() { Err(failed("no certificate in it".into())) } else { Ok(chain) }
}

/// The bounds of a chain.
pub(crate) fn check_chain(chain: &[CertificateDer<'_>]) -> Result<(), CertificateError> {
    if chain.len() > CERTIFICATE_CHAIN_MAX {
        return Err(CertificateError::ChainTooLong { certificates: chain.len() });
    }
    if let Some(large) = chain.iter().find(|certificate| certificate.len() > CERTIFICATE_BYTES_MAX) {
        return Err(CertificateError::TooLarge { bytes: large.len() });
    }
    let bytes = chain.iter().map(|certificate| certificate.len()).sum();
    if bytes > CERTIFICATE_CHAIN_BYTES_MAX { Err(CertificateError::ChainTooLarge { bytes }) } else { Ok(()) }
}

/// In hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn sha256(bytes: &[u8]) -> [u8; SHA256_BYTES] {
    let mut out = [0; SHA256_BYTES];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> rcgen::CertificateParams {
        rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap()
    }

    #[test]
    fn a_certificate_that_is_renewed_for_its_key_has_the_same_fingerprint() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut renewed = params();
        renewed.not_after = rcgen::date_time_ymd(2030, 5, 6);
        let first = read_certificate_pem(&params().self_signed(&key).unwrap().pem()).unwrap();
        let second = read_certificate_pem(&renewed.self_signed(&key).unwrap().pem()).unwrap();
        assert_eq!(first.sha256, second.sha256);
        assert_eq!(second.ends_at, Some(WallTime::new(1_904_256_000_000)));
        let other = read_certificate_pem(&params().self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem());
        assert_ne!(other.unwrap().sha256, first.sha256);
    }

    #[test]
    fn a_private_key_beside_the_certificate_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params().self_signed(&key).unwrap().pem();
        for text in [format!("{pem}{}", key.serialize_pem()), format!("{}{pem}", key.serialize_pem())] {
            assert_eq!(read_certificate_pem(&text), Err(CertificateError::PrivateKey));
        }
    }

    #[test]
    fn what_is_no_certificate_and_what_is_too_much_is_refused_by_name() {
        for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"] {
            let error = read_certificate_pem(text).unwrap_err();
            assert!(matches!(error, CertificateError::Pem { .. } | CertificateError::Unreadable { .. }), "{error}");
        }
        let pem = params().self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let long = pem.repeat(CERTIFICATE_CHAIN_MAX + 1);
        assert_eq!(read_certificate_pem(&long), Err(CertificateError::ChainTooLong { certificates: 5 }));
        let mut large = params();
        let names = (0..1000).map(|n| rcgen::SanType::DnsName(format!("name-{n}.example").try_into().unwrap()));
        large.subject_alt_names.extend(names);
        let large = large.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        assert!(matches!(read_certificate_pem(&large), Err(CertificateError::TooLarge { .. })));
    }
}
