//! Certificates and TLS configurations.
//!
//! A node makes its own CA at the first start: `ca.pem` (handed to gateways and REST clients) and `ca.key` (mode 0600). The
//! node's certificate is made anew at each start and reload, lives in memory, and so always carries the names of the configuration.
//! REST clients may be shown another one, from files.
//!
//! **No wall clock decides.** A gateway may boot in 1970. Certificates have no meaningful end (RFC 5280 section 4.1.2.5:
//! 9999-12-31) and a gateway verifies them as of a fixed instant: trust rests on its one pinned CA, not on dates.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use ring::digest::{Context, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use twin_small_file::read_small_text;

use crate::auth::{CertificateAsked, ClientCertificate};
use crate::limits::NODE_PEM_BYTES_MAX;
use crate::private_file;
use crate::reset::ResetKey;
use crate::swap::{CertificateFiles, Swappable};

/// Name of the protocol in TLS's ALPN. The number is the protocol's version.
pub const ALPN: &[u8] = b"twinmesh/1";
/// The name in a node's certificate unless configured otherwise. Gateways verify this name whatever address they dial.
pub const SERVER_NAME: &str = "twinmesh-node";

/// File name of the CA's certificate in the data directory.
pub const CA_FILE: &str = "ca.pem";
/// File name of the CA's private key.
pub const CA_KEY_FILE: &str = "ca.key";

const CA_NAME: &str = "Twinmesh node CA";
/// 2026-01-01T00:00:00Z: when a gateway believes it is, as far as certificates go.
const VERIFIED_AS_OF: Duration = Duration::from_secs(1_767_225_600);

/// Why certificates could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// `ca.pem` without its key.
    #[error(
        "{path} is missing or empty but ca.pem is there: restore it from a backup, or, if it is lost, remove ca.pem too and start once with \
         --new-ca (every gateway then needs new credentials)"
    )]
    KeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// The directory was a node's, and the CA that its gateways trust is not in it.
    #[error(
        "{pem} and {key} are missing or empty, but this directory is in use, and its gateways trust only the CA that was in them: put both \
         back, from a backup if need be (`twind restore` writes them), or, to go on with a new CA, start once with --new-ca (every gateway \
         then needs new credentials)"
    )]
    CaLost {
        /// Where the certificate should be.
        pem: PathBuf,
        /// Where the key should be.
        key: PathBuf,
    },
    /// Asked to begin a new CA where there is one.
    #[error(
        "--new-ca was given, but {present} is there: start without it, or, if no gateway is to trust that CA any more, move ca.pem and \
         ca.key away first"
    )]
    CaPresent {
        /// What is there.
        present: PathBuf,
    },
    /// The key of another CA.
    #[error(
        "{path} is not the key of ca.pem beside it, so no gateway would trust this node: put the two that belong together here, from one backup \
         (`twind restore --from FILE --data-dir DIR` writes them), or move both away and start once with --new-ca (every gateway then needs \
         new credentials)"
    )]
    KeyMismatch {
        /// The key.
        path: PathBuf,
    },
    /// A certificate and key that do not go together, or are none.
    #[error("{path} {message}; the certificate in use stays")]
    Pair {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// `ca.pem` is gone.
    #[error("{path} is missing: restore it; the certificate in use stays")]
    CaMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Not PEM, or no certificate in it.
    #[error("the CA is not a PEM certificate: {message}")]
    Pem {
        /// What is wrong.
        message: String,
    },
    /// TLS refuses the configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A node's CA and its certificates: the one that gateways see, issued by that CA, and the one that REST clients see, which is the
/// same unless it comes from files of its own.
pub struct NodeCertificates {
    dir: PathBuf,
    server_name: String,
    extra_names: Vec<String>,
    ca_pem: RwLock<String>,
    /// SHA-256 of key and certificate of the CA that issued what gateways see.
    issued_by: RwLock<Vec<u8>>,
    quic: Arc<Swappable>,
    rest: Option<(CertificateFiles, Arc<Swappable>)>,
    reset_key: ResetKey,
}

/// What to do about a CA that is not in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsentCa {
    /// It is made: nobody trusts another one.
    IsMade,
    /// The directory is refused: gateways trust the one that was there.
    IsRefused,
    /// Its operator says that a new one is to be made. One that is there is refused, so that the word is given once a loss.
    IsGivenUp,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The CA is another one than before: gateways need credentials that carry it.
    pub ca_changed: bool,
    /// SHA-256 of the certificate that gateways see.
    pub quic_sha256: String,
    /// SHA-256 of the certificate that REST clients see, where the REST is TLS.
    pub rest_sha256: String,
}

impl std::fmt::Debug for NodeCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeCertificates").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl NodeCertificates {
    /// Loads the CA from `dir` or makes it there, then issues the node's certificate for `server_name`, loopback and
    /// `extra_names` (host names or addresses).
    pub fn load_or_create(dir: &Path, server_name: &str, extra_names: &[String]) -> Result<Self, TlsError> {
        Self::open(dir, server_name, extra_names, AbsentCa::IsMade)
    }

    /// As [`Self::load_or_create`], for a directory that may have been a node's.
    pub fn open(dir: &Path, server_name: &str, extra_names: &[String], absent: AbsentCa) -> Result<Self, TlsError> {
        let (ca_key, ca_pem) = open_ca(dir, absent)?;
        let reset_key = ResetKey::derive(&ca_key.serialize_der());
        Ok(Self {
            issued_by: RwLock::new(digest_of(&ca_key, &ca_pem)),
            dir: dir.to_owned(),
            server_name: server_name.to_owned(),
            extra_names: extra_names.to_vec(),
            ca_pem: RwLock::new(ca_pem),
            quic: Swappable::new(issue(ca_key, server_name, extra_names)?),
            rest: None,
            reset_key,
        })
    }

    /// REST clients see the certificate in these files.
    pub fn with_rest_files(self, files: CertificateFiles) -> Result<Self, TlsError> {
        let certificate = Swappable::new(files.load(&provider())?);
        Ok(Self { rest: Some((files, certificate)), ..self })
    }

    /// Reads the files again, issues a new certificate for gateways if the CA is another one, and shows new connections the new ones.
    /// Either all of it or nothing: what is bad is refused, and the certificates in use stay.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let pem_path = self.dir.join(CA_FILE);
        if read_if_there(&pem_path)?.is_none() {
            return Err(TlsError::CaMissing { path: pem_path });
        }
        let (ca_key, ca_pem) = open_ca(&self.dir, AbsentCa::IsRefused)?;
        let issued_by = digest_of(&ca_key, &ca_pem);
        let quic = if issued_by == *self.issued_by.read() {
            // Whoever pins what a node shows would take a new one for another node.
            None
        } else {
            Some(issue(ca_key, &self.server_name, &self.extra_names)?)
        };
        let rest = self.rest.as_ref().map(|(files, _)| files.load(&provider())).transpose()?;
        // From here nothing fails.
        if let Some(quic) = quic {
            self.quic.swap(quic);
            *self.issued_by.write() = issued_by;
        }
        if let (Some(rest), Some((_, current))) = (rest, &self.rest) {
            current.swap(rest);
        }
        let ca_changed = std::mem::replace(&mut *self.ca_pem.write(), ca_pem.clone()) != ca_pem;
        let (quic_sha256, rest_sha256) = (self.quic.fingerprint(), self.rest_certificate().fingerprint());
        Ok(Reloaded { ca_changed, quic_sha256, rest_sha256 })
    }

    /// PEM text of the CA, for credentials and REST clients.
    pub fn ca_pem(&self) -> String {
        self.ca_pem.read().clone()
    }

    /// The name that gateways verify.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// For the QUIC endpoint: lasts as long as the CA that the process started with.
    pub fn reset_key(&self) -> ResetKey {
        self.reset_key.clone()
    }

    fn rest_certificate(&self) -> &Arc<Swappable> {
        self.rest.as_ref().map_or(&self.quic, |(_, certificate)| certificate)
    }

    /// For the QUIC endpoint: TLS 1.3 and our protocol only. A client is asked for a certificate, and may have none. No session
    /// tickets: sessions are long, and without resumption each connection has keys of its own.
    ///
    /// **Invariant:** a certificate is proven on each connection anew. Without tickets nothing is resumed, and there is no early data.
    pub fn quic_server_config(&self) -> Result<ServerConfig, TlsError> {
        let provider = provider();
        let asked = CertificateAsked::new(provider.signature_verification_algorithms);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(asked)
            .with_cert_resolver(Arc::clone(&self.quic) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// For REST over TLS.
    pub fn https_server_config(&self) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self.rest_certificate()) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn digest_of(ca_key: &KeyPair, ca_pem: &str) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(&ca_key.serialize_der());
    context.update(ca_pem.as_bytes());
    context.finish().as_ref().to_vec()
}

/// A new key and a certificate of it.
fn issue(ca_key: KeyPair, server_name: &str, extra_names: &[String]) -> Result<CertifiedKey, TlsError> {
    let issuer = Issuer::new(ca_params(), ca_key);
    let mut names = vec![server_name.to_owned(), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    names.extend(extra_names.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    let mut params = CertificateParams::new(names)?;
    never_ending(&mut params);
    params.distinguished_name = named(server_name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(CertifiedKey::from_der(vec![certificate.der().clone()], der, &provider())?)
}

/// For a gateway: trusts the given CA (PEM text) and nothing else.
pub fn client_config(ca_pem: &str) -> Result<ClientConfig, TlsError> {
    client_config_as(ca_pem, None)
}

/// For a gateway that shows this certificate. Its own dates are not looked at.
pub fn client_config_as(ca_pem: &str, shown: Option<&ClientCertificate>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsError::Pem { message: error.to_string() })?;
        roots.add(certificate)?;
    }
    if roots.is_empty() {
        return Err(TlsError::Pem { message: "no certificate in it".into() });
    }
    let config = ClientConfig::builder_with_details(provider(), Arc::new(FixedTime))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(certificate) => config.with_client_auth_cert(certificate.chain(), certificate.key())?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Do a gateway's certificate and key go together?
pub(crate) fn certified(certificate: &ClientCertificate) -> Result<CertifiedKey, TlsError> {
    Ok(CertifiedKey::from_der(certificate.chain(), certificate.key(), &provider())?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(VERIFIED_AS_OF))
    }
}

/// **Invariant:** where gateways may trust a CA, no other one takes its place without a word.
fn open_ca(dir: &Path, absent: AbsentCa) -> Result<(KeyPair, String), TlsError> {
    let (key_path, pem_path) = (dir.join(CA_KEY_FILE), dir.join(CA_FILE));
    let (pem, key) = (read_if_there(&pem_path)?, read_if_there(&key_path)?);
    if absent == AbsentCa::IsGivenUp && (pem.is_some() || key.is_some()) {
        return Err(TlsError::CaPresent { present: if pem.is_some() { pem_path } else { key_path } });
    }
    let key = match key {
        Some(text) => KeyPair::from_pem(&text)?,
        None if pem.is_some() => return Err(TlsError::KeyMissing { path: key_path }),
        None if absent == AbsentCa::IsRefused => return Err(TlsError::CaLost { pem: pem_path, key: key_path }),
        None => {
            let key = KeyPair::generate()?;
            let text = key.serialize_pem();
            private_file::write(&key_path, text.as_bytes())
                .map_err(|source| TlsError::File { path: key_path.clone(), source })?;
            key
        }
    };
    if let Some(pem) = pem {
        return if is_key_of(&key, &pem)? { Ok((key, pem)) } else { Err(TlsError::KeyMismatch { path: key_path }) };
    }
    // Also after a crash between the two files: the same key and name make an equally good certificate.
    let pem = ca_params().self_signed(&key)?.pem();
    fs::write(&pem_path, &pem).map_err(|source| TlsError::File { path: pem_path.clone(), source })?;
    if absent == AbsentCa::IsRefused {
        tracing::warn!(
            path = %pem_path.display(),
            "the CA's certificate was missing and is made again of its key: gateways trust it as before"
        );
    }
    Ok((key, pem))
}

/// Is there a certificate of this key?
fn is_key_of(key: &KeyPair, pem: &str) -> Result<bool, TlsError> {
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| TlsError::Pem { message: error.to_string() })?;
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        match CertifiedKey::from_der(vec![certificate], der, &provider()) {
            Ok(_) => return Ok(true),
            Err(rustls::Error::InconsistentKeys(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(false)
}

fn read_if_there(path: &Path) -> Result<Option<String>, TlsError> {
    match read_small_text(path, NODE_PEM_BYTES_MAX).map_err(io::Error::from) {
        // A crash may have left an empty file behind.
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::File { path: path.to_owned(), source }),
    }
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    never_ending(&mut params);
    params.distinguished_name = named(CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn never_ending(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
