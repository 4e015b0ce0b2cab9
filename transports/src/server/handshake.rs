//! From a connection to a verified hello.

use quinn::{Connection, RecvStream, SendStream};
use rustls_pki_types::CertificateDer;
use twin_core::ids::GatewayId;
use twin_core::numbers::WallTime;

use super::backend::{Backend, VerifiedHello};
use crate::auth::{GatewayKey, GatewaySecret, export, hex, proof_input, read_certificate, verify};
use crate::codec::{Frame, FrameError, FrameReader, FrameWriter};
use crate::entropy::{Entropy, EntropyError, random_array};
use crate::frames::session::{Challenge, Hello, Open, PROTOCOL_VERSION, Proof, StreamClass};
use crate::limits::{AGENT_BYTES_MAX, PRODUCT_KEY_BYTES_MAX};
use crate::refuse::{RefusalCode, SessionRefusal};

/// Why there is no session.
pub(super) enum HandshakeError {
    /// The gateway is told.
    Refused(SessionRefusal),
    /// The link failed.
    Gone,
}

impl From<SessionRefusal> for HandshakeError {
    fn from(refusal: SessionRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<FrameError> for HandshakeError {
    fn from(error: FrameError) -> Self {
        SessionRefusal::from_frame_error(&error).map_or(Self::Gone, Self::Refused)
    }
}

impl From<EntropyError> for HandshakeError {
    fn from(error: EntropyError) -> Self {
        Self::Refused(SessionRefusal::new(RefusalCode::Internal, error.to_string()))
    }
}

/// What the gateway's release understands, by its hello.
pub(super) struct Takes {
    /// [`DesiredMany`](crate::frames::device::DesiredMany).
    pub(super) desired_many: bool,
    /// [`crate::credit`].
    pub(super) credit: bool,
}

/// Verifies proofs.
pub(super) struct Verifier {
    /// A public key that belongs to nobody, for gateways that do not exist.
    dummy_key: [u8; 32],
}

impl Verifier {
    pub(super) fn new(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { dummy_key: GatewaySecret::generate(entropy)?.public_key() })
    }

    /// Reads the hello, challenges it and verifies the proof. The control stream's `Open` comes first.
    pub(super) async fn handshake<B: Backend>(
        &self,
        backend: &B,
        entropy: &dyn Entropy,
        connection: &Connection,
        reader: &mut FrameReader<RecvStream>,
        writer: &mut FrameWriter<SendStream>,
    ) -> Result<(VerifiedHello, Takes), HandshakeError> {
        match next(reader).await? {
            Frame::Open(Open { class: StreamClass::Control }) => {}
            Frame::Open(Open { class }) => {
                let message = format!("a {class:?} stream was opened before the control stream's handshake");
                return Err(SessionRefusal::new(RefusalCode::NotAuthenticated, message).into());
            }
            other => return Err(unexpected("Open", &other)),
        }
        let hello = match next(reader).await? {
            Frame::Hello(hello) => hello,
            other => return Err(unexpected("Hello", &other)),
        };
        check_hello(&hello)?;
        let gateway = GatewayId { site: hello.site.clone(), name: hello.name.clone() };
        let (key, ends_at) = if hello.by_certificate {
            // TLS has verified the possession of its key, on this connection: there is nothing to be challenged.
            by_certificate(backend, connection, &gateway, &hello).await?
        } else {
            let challenge = Challenge { nonce: random_array(entropy)? };
            writer.send(challenge.clone()).await?;
            let proof = match next(reader).await? {
                Frame::Proof(proof) => proof,
                other => return Err(unexpected("Proof", &other)),
            };
            (self.verify(backend, connection, &gateway, &hello, &challenge, &proof).await?, None)
        };
        let takes = Takes { desired_many: hello.desired_many, credit: hello.credit };
        let verified = VerifiedHello {
            gateway,
            outbox: hello.outbox,
            boot: hello.boot,
            boot_nonce: hello.boot_nonce,
            agent: hello.agent,
            peer: connection.remote_address().to_string(),
            key,
            ends_at,
        };
        Ok((verified, takes))
    }

    /// An unknown gateway costs the same signature checks as a known one and gets the same words, and so does one that has a certificate:
    /// there are always two, as a gateway may have two keys. Gives the key that the proof was made with.
    async fn verify<B: Backend>(
        &self,
        backend: &B,
        connection: &Connection,
        gateway: &GatewayId,
        hello: &Hello,
        challenge: &Challenge,
        proof: &Proof,
    ) -> Result<GatewayKey, HandshakeError> {
        let exporter =
            export(connection).map_err(|error| SessionRefusal::new(RefusalCode::Internal, error.to_string()))?;
        let credential = backend.credential(gateway).await;
        let product_key = credential.as_ref().map_or("", |credential| credential.product_key.as_str());
        let input = proof_input(hello, challenge, &exporter);
        let signed = |key: Option<GatewayKey>| {
            let public_key = match key {
                Some(GatewayKey::Secret(public_key)) => Some(public_key),
                Some(GatewayKey::Certificate(_)) | None => None,
            };
            let holds = verify(&public_key.unwrap_or(self.dummy_key), &input, &proof.signature);
            key.filter(|_| holds & public_key.is_some())
        };
        let current = signed(credential.as_ref().map(|credential| credential.key));
        let before = signed(credential.as_ref().and_then(|credential| credential.ending_key));
        let product = bool::from(subtle::ConstantTimeEq::ct_eq(product_key.as_bytes(), hello.product_key.as_bytes()));
        if let Some(key) = current.or(before).filter(|_| product) {
            return Ok(key);
        }
        backend.credential_refused(gateway, connection.remote_address(), "its secret or product key is wrong");
        Err(SessionRefusal::bad_credential().into())
    }
}

/// Is the key of the certificate that TLS showed the gateway's? Gives it, and when the certificate ends.
///
/// A gateway that is unknown, revoked or has a secret gets the words of one that has another certificate, so that nobody learns which
/// gateways exist. They name the key that was shown: whoever showed it knows it.
async fn by_certificate<B: Backend>(
    backend: &B,
    connection: &Connection,
    gateway: &GatewayId,
    hello: &Hello,
) -> Result<(GatewayKey, Option<WallTime>), HandshakeError> {
    let refused = |code: RefusalCode, message: String| {
        backend.credential_refused(gateway, connection.remote_address(), &message);
        HandshakeError::from(SessionRefusal::new(code, message))
    };
    let identity = connection.peer_identity().and_then(|it| it.downcast::<Vec<CertificateDer<'static>>>().ok());
    let Some(certificate) = identity.as_ref().and_then(|chain| chain.first()) else {
        let message =
            "the hello is by certificate, but the connection showed none: give the gateway its certificate and key";
        return Err(refused(RefusalCode::CertificateMissing, message.into()));
    };
    let shown =
        read_certificate(certificate).map_err(|error| refused(RefusalCode::BadCertificate, error.to_string()))?;
    let key = GatewayKey::Certificate(shown.sha256);
    let sha256 = hex(&shown.sha256);
    let unknown = || {
        let message = format!(
            "the certificate's public key (SHA-256 {sha256}) is not registered for gateway {gateway}: register the certificate, or show the one that is"
        );
        refused(RefusalCode::CertificateUnknown, message)
    };
    let Some(credential) = backend.credential(gateway).await else { return Err(unknown()) };
    if credential.key != key && credential.ending_key != Some(key) {
        return Err(unknown());
    }
    if credential.product_key != hello.product_key {
        let message =
            "the certificate is right, but the product key is another cluster's: get the credentials file anew";
        return Err(refused(RefusalCode::BadCredential, message.into()));
    }
    if shown.ends_at.is_some_and(|ends_at| ends_at <= credential.now) {
        let message = format!(
            "the certificate (public key SHA-256 {sha256}) has ended by the node's clock: renew it; for the same key nothing needs to be told to the node"
        );
        return Err(refused(RefusalCode::CertificateExpired, message));
    }
    Ok((key, shown.ends_at))
}

async fn next(reader: &mut FrameReader<RecvStream>) -> Result<Frame, HandshakeError> {
    reader.next().await?.ok_or(HandshakeError::Gone)
}

fn unexpected(expected: &str, found: &Frame) -> HandshakeError {
    let message = format!("the handshake expects a {expected} here, not a {}", found.kind_name());
    SessionRefusal::new(RefusalCode::NotAuthenticated, message).into()
}

fn check_hello(hello: &Hello) -> Result<(), SessionRefusal> {
    if hello.protocol != PROTOCOL_VERSION {
        let message = format!(
            "this node speaks protocol {PROTOCOL_VERSION}, the gateway speaks {}; bring both to the same release",
            hello.protocol
        );
        return Err(SessionRefusal::new(RefusalCode::UnsupportedProtocol, message));
    }
    for (what, text, max) in
        [("product key", &hello.product_key, PRODUCT_KEY_BYTES_MAX), ("agent", &hello.agent, AGENT_BYTES_MAX)]
    {
        if text.len() > max {
            let message = format!("the {what} in the hello has {} bytes, the limit is {max}", text.len());
            return Err(SessionRefusal::new(RefusalCode::BadFrame, message));
        }
    }
    Ok(())
}
