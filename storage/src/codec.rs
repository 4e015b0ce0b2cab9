//! How our own records are laid down: a version byte, then compact MessagePack.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of every record that this release writes.
const VERSION: u8 = 1;

/// A record could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("an empty record")]
    Empty,
    #[error("record version {0}, this release reads {VERSION}")]
    Version(u8),
    #[error(transparent)]
    Decode(#[from] rmp_serde::decode::Error),
    #[error(transparent)]
    Encode(#[from] rmp_serde::encode::Error),
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Encodes into a buffer that is reserved once for `size_hint` bytes.
pub(crate) fn encode<T: Serialize>(record: &T, size_hint: usize) -> Result<Vec<u8>, CodecError> {
    let mut buffer = Vec::with_capacity(size_hint + 64);
    buffer.push(VERSION);
    rmp_serde::encode::write(&mut buffer, record)?;
    Ok(buffer)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty),
        Some((&VERSION, body)) => Ok(rmp_serde::from_slice(body)?),
        Some((&version, _)) => Err(CodecError::Version(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_version_is_refused_by_name() {
        let mut bytes = encode(&7_u32, 0).expect("numbers encode");
        assert_eq!(decode::<u32>(&bytes).expect("it was just written"), 7);
        bytes[0] = 2;
        assert!(matches!(decode::<u32>(&bytes), Err(CodecError::Version(2))));
        assert!(matches!(decode::<u32>(&[]), Err(CodecError::Empty)));
    }
}
