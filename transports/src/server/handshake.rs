//! From a connection to a verified hello.

use quinn::{Connection, RecvStream, SendStream};
use twin_core::ids::GatewayId;

use super::backend::{Backend, VerifiedHello};
use crate::auth::{GatewaySecret, export, proof_input, verify};
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
        let challenge = Challenge { nonce: random_array(entropy)? };
        writer.send(challenge.clone()).await?;
        let proof = match next(reader).await? {
            Frame::Proof(proof) => proof,
            other => return Err(unexpected("Proof", &other)),
        };
        let gateway = GatewayId { site: hello.site.clone(), name: hello.name.clone() };
        let public_key = self.verify(backend, connection, &gateway, &hello, &challenge, &proof).await?;
        let takes = Takes { desired_many: hello.desired_many, credit: hello.credit };
        let verified = VerifiedHello {
            gateway,
            outbox: hello.outbox,
            boot: hello.boot,
            boot_nonce: hello.boot_nonce,
            agent: hello.agent,
            peer: connection.remote_address().to_string(),
            public_key,
        };
        Ok((verified, takes))
    }

    /// An unknown gateway costs the same signature checks as a known one and gets the same words: there are always two, as a gateway
    /// may have two keys. Gives the key that the proof was made with.
    async fn verify<B: Backend>(
        &self,
        backend: &B,
        connection: &Connection,
        gateway: &GatewayId,
        hello: &Hello,
        challenge: &Challenge,
        proof: &Proof,
    ) -> Result<[u8; 32], HandshakeError> {
        let exporter =
            export(connection).map_err(|error| SessionRefusal::new(RefusalCode::Internal, error.to_string()))?;
        let credential = backend.credential(gateway).await;
        let (known, public_key, ending_key, product_key) = match &credential {
            Some(credential) => (true, credential.public_key, credential.ending_key, credential.product_key.as_str()),
            None => (false, self.dummy_key, None, ""),
        };
        let input = proof_input(hello, challenge, &exporter);
        let signed = verify(&public_key, &input, &proof.signature);
        let before = ending_key.unwrap_or(self.dummy_key);
        let signed_before = verify(&before, &input, &proof.signature) & ending_key.is_some();
        let product = bool::from(subtle::ConstantTimeEq::ct_eq(product_key.as_bytes(), hello.product_key.as_bytes()));
        let proven = signed | signed_before;
        if known & proven & product {
            return Ok(if signed { public_key } else { before });
        }
        backend.credential_refused(gateway, connection.remote_address());
        Err(SessionRefusal::bad_credential().into())
    }
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
