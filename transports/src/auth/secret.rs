//! The gateway's key.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::entropy::{Entropy, EntropyError, random_array};

/// Length of a gateway's secret: an Ed25519 seed.
pub const SECRET_BYTES: usize = 32;
/// Length of an Ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// A secret that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a gateway's secret has {SECRET_BYTES} bytes (in base64: 44 characters), this one has {0}")]
pub struct SecretError(pub usize);

/// The seed of a gateway's Ed25519 key pair. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewaySecret([u8; SECRET_BYTES]);

impl GatewaySecret {
    /// A new secret.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        random_array(entropy).map(Self)
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        bytes.try_into().map(Self).map_err(|_| SecretError(bytes.len()))
    }

    /// The bytes, for the credentials file.
    pub fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// What the node keeps.
    pub fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        let mut out = [0; PUBLIC_KEY_BYTES];
        out.copy_from_slice(self.key_pair().public_key().as_ref());
        out
    }

    /// Signs a proof (64 bytes).
    pub fn sign(&self, input: &[u8]) -> Vec<u8> {
        self.key_pair().sign(input).as_ref().to_vec()
    }

    fn key_pair(&self) -> Ed25519KeyPair {
        // Fails only for a seed of another length, which the type rules out.
        Ed25519KeyPair::from_seed_unchecked(&self.0).expect("a seed of 32 bytes makes a key pair")
    }
}

impl fmt::Debug for GatewaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewaySecret(hidden)")
    }
}

/// Does the signature fit the input and the public key?
pub fn verify(public_key: &[u8; PUBLIC_KEY_BYTES], input: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(input, signature).is_ok()
}
