//! Reading it back, and refusing what is not whole.

use std::io::{self, Read};

use ring::digest::{Context, SHA256};

use crate::cipher::{Cipher, KEY_BYTES};
use crate::limits::FRAME_BYTES_MAX;
use crate::{DIGEST_BYTES, FORMAT_VERSION, Frame, Kind, MAGIC, Manifest};

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// Something else.
    #[error("it is not a backup of a Twinmesh node")]
    Foreign,
    /// Of a newer release.
    #[error(
        "it has format {0}, this release reads up to {FORMAT_VERSION}: use the release that wrote it, or a newer one"
    )]
    Newer(u32),
    /// It breaks off.
    #[error("it is cut short, after {frames} frames: take another backup, or copy it again")]
    Truncated {
        /// Whole frames in it.
        frames: u64,
    },
    /// It is not what was written.
    #[error("it is damaged ({0}): take another backup, or copy it again")]
    Damaged(String),
    /// Sealed, and not under this key.
    #[error("it cannot be unsealed: give the key of the node that it was taken of (or it is damaged)")]
    NotUnsealed,
    /// The node could not go on with it.
    #[error("the node gave it up: {0}")]
    Failed(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads frames, and checks the digest at the end.
///
/// **Invariant:** [`Reader::next_frame`] says `None` only for a file that is whole to its last byte. Whatever it said before is worth
/// nothing until then.
pub struct Reader<R> {
    from: R,
    digest: Context,
    frames: u64,
    is_sealed: bool,
    cipher: Option<Cipher>,
    is_over: bool,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    pub fn begin(from: R) -> Result<(Self, Manifest), ReadError> {
        let mut reader =
            Self { from, digest: Context::new(&SHA256), frames: 0, is_sealed: false, cipher: None, is_over: false };
        let mut head = [0; 12];
        reader.fill(&mut head)?;
        let (magic, version) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ReadError::Foreign);
        }
        let version = version.try_into().map(u32::from_be_bytes).map_err(|_| ReadError::Foreign)?;
        if version > FORMAT_VERSION {
            return Err(ReadError::Newer(version));
        }
        let (kind, manifest) = reader.payload()?;
        if kind != Kind::Manifest {
            return Err(ReadError::Damaged("it begins with something else than its manifest".to_owned()));
        }
        let manifest: Manifest =
            serde_json::from_slice(&manifest).map_err(|error| ReadError::Damaged(format!("its manifest: {error}")))?;
        reader.is_sealed = manifest.sealed.is_some();
        Ok((reader, manifest))
    }

    /// Opens what is sealed. Without it, a sealed backup can be checked to its end, and not read.
    pub fn unseal(&mut self, key: &[u8; KEY_BYTES]) {
        self.cipher = Some(Cipher::new(key));
    }

    /// The next frame; `None`: that was all, and it is what was written.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ReadError> {
        if self.is_over {
            return Ok(None);
        }
        let (kind, payload) = self.payload()?;
        match kind {
            Kind::End => {
                self.end()?;
                self.is_over = true;
                Ok(None)
            }
            Kind::Failed => Err(ReadError::Failed(String::from_utf8_lossy(&payload).into_owned())),
            kind if self.is_sealed => {
                let Some(cipher) = &self.cipher else { return Ok(Some(Frame::Sealed { bytes: payload.len() })) };
                // The manifest was the first, and this one is counted already.
                let payload = cipher.open(kind, self.frames - 1, payload).ok_or(ReadError::NotUnsealed)?;
                Self::plain(kind, payload)
            }
            kind => Self::plain(kind, payload),
        }
    }

    fn plain(kind: Kind, payload: Vec<u8>) -> Result<Option<Frame>, ReadError> {
        match Frame::read(kind, payload)? {
            Some(frame) => Ok(Some(frame)),
            None => Err(ReadError::Damaged(format!("a frame of kind {} has no place there", kind as u8))),
        }
    }

    /// Kind and payload of a frame; of the end mark, nothing of its payload.
    fn payload(&mut self) -> Result<(Kind, Vec<u8>), ReadError> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        let kind = Kind::from_number(kind)
            .filter(|_| length <= FRAME_BYTES_MAX)
            .ok_or_else(|| ReadError::Damaged(format!("after {} frames comes something else", self.frames)))?;
        if kind == Kind::End {
            return Ok((kind, Vec::new()));
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        self.frames += 1;
        Ok((kind, payload))
    }

    fn end(&mut self) -> Result<(), ReadError> {
        let mut frames = [0; 8];
        self.fill(&mut frames)?;
        let digest = std::mem::replace(&mut self.digest, Context::new(&SHA256)).finish();
        let mut written = [0; DIGEST_BYTES];
        self.fill(&mut written)?;
        if written != digest.as_ref() {
            return Err(ReadError::Damaged("its checksum is another".to_owned()));
        }
        if u64::from_be_bytes(frames) != self.frames {
            return Err(ReadError::Damaged("frames are missing".to_owned()));
        }
        match self.from.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(ReadError::Damaged("something follows its end".to_owned())),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Truncated { frames: self.frames },
            _ => ReadError::Io(error),
        })?;
        self.digest.update(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

    fn manifest() -> Manifest {
        Manifest {
            node: "00".repeat(16),
            created_at: "2026-01-01T00:00:00.000Z".into(),
            release: "0.1.0".into(),
            storage_format: 1,
            lineage: 1,
            keys: true,
            rows_estimate: 3,
            bytes_estimate: 60,
            sealed: None,
        }
    }

    fn frames() -> Vec<Frame> {
        vec![
            Frame::File { name: "ca.pem".into(), content: b"certificate".to_vec() },
            Frame::Group(1),
            Frame::Rows { count: 3, bytes: vec![7; 50] },
            Frame::GroupEnd { group: 1, covered: vec![1, 2, 3] },
        ]
    }

    fn written() -> Vec<u8> {
        let (mut writer, mut out) = Writer::begin(&manifest(), None);
        for frame in frames() {
            out.extend(writer.frame(&frame));
        }
        out.extend(writer.end());
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<Frame>, ReadError> {
        let (mut reader, read) = Reader::begin(bytes)?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        assert_eq!(read, manifest());
        Ok(frames)
    }

    #[test]
    fn what_was_written_reads_back() {
        assert_eq!(read(&written()).unwrap(), frames());
    }

    #[test]
    fn cut_anywhere_it_is_refused() {
        let whole = written();
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(ReadError::Truncated { .. })), "cut at {length}");
        }
    }

    #[test]
    fn with_any_bit_flipped_it_is_refused() {
        let whole = written();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn other_files_newer_formats_and_words_of_the_node_are_named() {
        let said = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(said(b"{\"a\": 1, \"b\": 2}").contains("not a backup"));
        let mut newer = written();
        newer[11] = 9;
        assert!(said(&newer).contains("format 9"), "{}", said(&newer));
        let (writer, mut given_up) = Writer::begin(&manifest(), None);
        given_up.extend(writer.failed("rows change too fast"));
        assert!(said(&given_up).contains("rows change too fast"));
        let mut longer = written();
        longer.push(0);
        assert!(said(&longer).contains("follows its end"));
    }

    #[test]
    fn a_sealed_one_shows_nothing_is_checked_without_its_key_and_read_with_it() {
        let manifest = Manifest { sealed: Some("00".repeat(32)), ..manifest() };
        let key = [7; KEY_BYTES];
        let (mut writer, mut bytes) = Writer::begin(&manifest, Some(&key));
        for frame in frames() {
            bytes.extend(writer.frame(&frame));
        }
        bytes.extend(writer.end());
        assert!(
            !bytes.windows(11).any(|window| window == b"certificate")
                && !bytes.windows(20).any(|window| window == [7; 20])
        );
        let read = |key: Option<&[u8; KEY_BYTES]>, bytes: &[u8]| {
            let (mut reader, _) = Reader::begin(bytes)?;
            if let Some(key) = key {
                reader.unseal(key);
            }
            let mut frames = Vec::new();
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
            Ok::<_, ReadError>(frames)
        };
        assert_eq!(read(Some(&key), &bytes).unwrap(), frames());
        let unread = read(None, &bytes).unwrap();
        assert_eq!(unread.len(), frames().len());
        assert!(unread.iter().all(|frame| matches!(frame, Frame::Sealed { .. })));
        assert!(matches!(read(Some(&[8; KEY_BYTES]), &bytes), Err(ReadError::NotUnsealed)));
        let flipped = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            bytes
        };
        assert!(
            read(None, &flipped(bytes.len() - 60)).is_err() && read(Some(&key), &flipped(bytes.len() - 60)).is_err()
        );
    }
}
