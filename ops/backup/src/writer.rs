//! Making the stream.

use ring::digest::{Context, SHA256};

use crate::cipher::{Cipher, KEY_BYTES};
use crate::{FORMAT_VERSION, Frame, Kind, MAGIC, Manifest};

/// Lays frames one behind the other, and keeps the digest of all of them. Does no I/O: what it returns is to be written in order.
pub struct Writer {
    digest: Context,
    frames: u64,
    cipher: Option<Cipher>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl Writer {
    /// The beginning of a backup. With a key, which must be this backup's alone, what follows is sealed.
    pub fn begin(manifest: &Manifest, key: Option<&[u8; KEY_BYTES]>) -> (Self, Vec<u8>) {
        let mut writer = Self { digest: Context::new(&SHA256), frames: 0, cipher: key.map(Cipher::new) };
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        // Text and numbers always make JSON.
        let manifest = serde_json::to_vec(manifest).unwrap_or_default();
        put(&mut out, Kind::Manifest, &[&manifest]);
        writer.frames += 1;
        writer.digest.update(&out);
        (writer, out)
    }

    /// One frame more.
    pub fn frame(&mut self, frame: &Frame) -> Vec<u8> {
        let (mut head, rest) = frame.parts();
        let mut out = Vec::with_capacity(5 + head.len() + rest.len() + 16);
        match &self.cipher {
            None => put(&mut out, frame.kind(), &[&head, rest]),
            Some(cipher) => {
                head.extend_from_slice(rest);
                cipher.seal(frame.kind(), self.frames, &mut head);
                put(&mut out, frame.kind(), &[&head]);
            }
        }
        self.frames += 1;
        self.digest.update(&out);
        out
    }

    /// Instead of an end: why there is no more.
    pub fn failed(self, why: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, Kind::Failed, &[why.as_bytes()]);
        out
    }

    /// The end mark.
    pub fn end(mut self) -> Vec<u8> {
        let mut out = vec![Kind::End as u8];
        out.extend_from_slice(&((8 + crate::DIGEST_BYTES) as u32).to_be_bytes());
        out.extend_from_slice(&self.frames.to_be_bytes());
        self.digest.update(&out);
        out.extend_from_slice(self.digest.finish().as_ref());
        out
    }
}

fn put(out: &mut Vec<u8>, kind: Kind, parts: &[&[u8]]) {
    out.push(kind as u8);
    out.extend_from_slice(&(parts.iter().map(|part| part.len()).sum::<usize>() as u32).to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}
