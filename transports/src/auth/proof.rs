//! What is signed.

use crate::frames::session::{Challenge, Hello};

/// Label of the TLS exporter that binds a proof to its connection.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-twinmesh-gateway-v1";
/// First bytes of what is signed: no signature made for another purpose fits.
const DOMAIN: &[u8] = b"twinmesh gateway proof v1\0";

/// Length of the exported channel binding.
pub const EXPORTER_BYTES: usize = 32;

/// The TLS session gave no exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLS session exports no keying material; without it a proof cannot be bound to the connection")]
pub struct ExportError;

/// The connection's channel binding: the same on both ends, different for every connection.
pub fn export(connection: &quinn::Connection) -> Result<[u8; EXPORTER_BYTES], ExportError> {
    let mut out = [0; EXPORTER_BYTES];
    connection.export_keying_material(&mut out, EXPORTER_LABEL, &[]).map_err(|_| ExportError)?;
    Ok(out)
}

/// The bytes that the gateway signs. Every field of variable length has its length in front, so that no two hellos share them.
pub fn proof_input(hello: &Hello, challenge: &Challenge, exporter: &[u8; EXPORTER_BYTES]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(DOMAIN);
    let mut field = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    field(&hello.protocol.to_be_bytes());
    field(hello.site.as_str().as_bytes());
    field(hello.name.as_str().as_bytes());
    field(hello.product_key.as_bytes());
    field(&hello.nonce);
    field(&hello.outbox.0);
    field(&hello.boot.get().to_be_bytes());
    field(&hello.boot_nonce);
    field(&challenge.nonce);
    field(exporter);
    out
}
