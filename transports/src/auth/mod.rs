//! How a gateway proves who it is.
//!
//! The gateway holds a 32-byte secret, the seed of an Ed25519 key pair; the node keeps the public key only. The node sends a
//! nonce, the gateway signs [`proof_input`], which covers the whole hello, both nonces and this connection's TLS exporter.
//!
//! **Why that is safe.** The secret never crosses the wire. A proof is of use on one connection only: the exporter (RFC 8446
//! section 7.5) differs for every TLS session, so a man in the middle, who has two sessions, cannot pass a proof on, and a
//! recorded proof fits no later connection. A node whose disk is stolen leaks public keys.
//!
//! The other way in is a certificate of the owner's own PKI: then TLS proves, for this connection only, that the gateway holds its
//! key (`asked.rs`), the node keeps the SHA-256 of the public key, and nobody but the gateway ever had a secret.

mod asked;
mod certificate;
mod credentials;
mod credentials_file;
mod credentials_format;
mod der;
mod identity;
mod proof;
mod secret;

pub(crate) use asked::CertificateAsked;
pub(crate) use certificate::hex;
pub use certificate::{CertificateError, CertificateKey, GatewayKey, read_certificate, read_certificate_pem};
pub use credentials::{Credentials, CredentialsError};
pub use credentials_format::CredentialsFile;
pub use identity::{ClientCertificate, Identity};
pub use proof::{EXPORTER_BYTES, ExportError, export, proof_input};
pub use secret::{GatewaySecret, PUBLIC_KEY_BYTES, SECRET_BYTES, SecretError, verify};
