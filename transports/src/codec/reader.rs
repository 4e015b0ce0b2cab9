//! Frames off a stream.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Frame, FrameError, decode, decode_reading};
use crate::limits::{FRAME_HEADER_BYTES, KEPT_BUFFER_BYTES, READ_BYTES_MIN, READ_CHUNK_BYTES};

/// Reads frames. [`FrameReader::next`] may be dropped half-way (in a `select!`) without losing bytes.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit_bytes: usize,
    skipped: u64,
    bytes: u64,
    last_frame_bytes: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Over a stream; frames are at most `limit_bytes` long, without their length prefix.
    pub fn new(stream: R, limit_bytes: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), limit_bytes, skipped: 0, bytes: 0, last_frame_bytes: 0 }
    }

    /// Changes the limit for the frames that follow, e.g. after authentication.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// Frames of unknown kinds skipped so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes of frames so far, length prefixes included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Length of the frame returned last, its prefix included.
    pub fn last_frame_bytes(&self) -> usize {
        self.last_frame_bytes
    }

    /// The stream back. Bytes that were read ahead are lost.
    pub fn into_inner(self) -> R {
        self.stream
    }

    /// The next frame of a known kind; `None` when the stream ended between frames.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        self.next_as(|bytes| decode(bytes)).await
    }

    /// As [`next`](Self::next), on the stream of readings: see [`decode_reading`].
    pub async fn next_reading(&mut self) -> Result<Option<Frame>, FrameError> {
        self.next_as(decode_reading).await
    }

    /// The next frame that `decode` knows (`None`: it does not). The bytes it is given are the frame's own, not a copy.
    pub(crate) async fn next_as<T>(
        &mut self,
        decode: impl Fn(&Bytes) -> Result<Option<T>, FrameError>,
    ) -> Result<Option<T>, FrameError> {
        loop {
            let need = if self.buffer.len() < FRAME_HEADER_BYTES {
                FRAME_HEADER_BYTES
            } else {
                FRAME_HEADER_BYTES + self.claimed()?
            };
            if need > FRAME_HEADER_BYTES && self.buffer.len() >= need {
                let mut bytes = self.buffer.split_to(need).freeze();
                bytes.advance(FRAME_HEADER_BYTES);
                let frame = decode(&bytes);
                if need > KEPT_BUFFER_BYTES {
                    // A backlog sent after an outage may not leave a megabyte behind in every reader.
                    self.buffer = BytesMut::from(&self.buffer[..]);
                }
                self.bytes += need as u64;
                self.last_frame_bytes = need;
                match frame? {
                    Some(frame) => return Ok(Some(frame)),
                    None => self.skipped += 1,
                }
                continue;
            }
            // Grows with what arrives, not with what is claimed: a claim costs its sender as much as us.
            self.buffer.reserve((need - self.buffer.len()).clamp(READ_BYTES_MIN, READ_CHUNK_BYTES));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(FrameError::Truncated { got_bytes: self.buffer.len(), expected_bytes: need });
            }
        }
    }

    fn claimed(&self) -> Result<usize, FrameError> {
        let mut prefix = [0; FRAME_HEADER_BYTES];
        prefix.copy_from_slice(&self.buffer[..FRAME_HEADER_BYTES]);
        let claimed_bytes = u64::from(u32::from_be_bytes(prefix));
        if claimed_bytes > self.limit_bytes as u64 {
            return Err(FrameError::TooLong { claimed_bytes, limit_bytes: self.limit_bytes });
        }
        if claimed_bytes == 0 {
            return Err(FrameError::malformed("a frame of no bytes"));
        }
        Ok(claimed_bytes as usize)
    }
}
