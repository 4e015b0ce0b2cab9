//! Asking a gateway for a certificate within TLS.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError as TlsCertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerMisbehaved, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::{CertificateError, check_chain, read_certificate};

/// Asks for a client's certificate and lets it have none.
///
/// **Why that is safe.** TLS verifies with [`Self::verify_tls13_signature`] that whoever shows a certificate holds its private key, over
/// this handshake's transcript: nobody can show one that is not his, on this connection or another. Whether the key is anybody's
/// is not decided here but when the hello says who it wants to be (`server/handshake.rs`): a certificate alone opens nothing.
#[derive(Debug)]
pub(crate) struct CertificateAsked(WebPkiSupportedAlgorithms);

impl CertificateAsked {
    pub(crate) fn new(algorithms: WebPkiSupportedAlgorithms) -> Arc<Self> {
        Arc::new(Self(algorithms))
    }
}

impl ClientCertVerifier for CertificateAsked {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// Bounds what is kept with the connection. Dates and names are left alone.
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(end_entity).chain(intermediates).map(|der| CertificateDer::from(&**der)).collect();
        check_chain(&chain).map_err(refused)?;
        read_certificate(end_entity).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // QUIC is TLS 1.3.
        Err(Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// QUIC carries the text of a TLS error to the other side; rustls shows what it does not know by `Debug`.
struct Told(CertificateError);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Told {}

fn refused(error: CertificateError) -> Error {
    Error::InvalidCertificate(TlsCertificateError::Other(OtherError(Arc::new(Told(error)))))
}
