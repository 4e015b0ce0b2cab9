//! Frames onto a stream.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::frame::encode_with;
use super::{Frame, FrameError, encode};
use crate::limits::KEPT_BUFFER_BYTES;

/// Writes frames: [`put`](Self::put) any number into the buffer, then [`flush`](Self::flush) them in one go.
#[derive(Debug)]
pub struct FrameWriter<W> {
    stream: W,
    buffer: BytesMut,
    /// Most bytes that were in the buffer since it was made.
    peak_bytes: usize,
    limit_bytes: usize,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Over a stream; frames are at most `limit_bytes` long, without their length prefix.
    pub fn new(stream: W, limit_bytes: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), peak_bytes: 0, limit_bytes }
    }

    /// Changes the limit for the frames that follow.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// Encodes a frame into the buffer. On an error the buffer is as before.
    pub fn put(&mut self, frame: &Frame) -> Result<(), FrameError> {
        let result = encode(frame, self.limit_bytes, &mut self.buffer);
        self.peak_bytes = self.peak_bytes.max(self.buffer.len());
        result
    }

    /// Puts a frame whose MessagePack `write` appends, as [`put`](Self::put) does. On an error the buffer is as before.
    pub fn put_encoded(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), FrameError> {
        let result = encode_with(self.limit_bytes, &mut self.buffer, |out| {
            write(out);
            Ok(())
        });
        self.peak_bytes = self.peak_bytes.max(self.buffer.len());
        result
    }

    /// Bytes put and not yet flushed.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what was put. May be dropped half-way and called again: what is written leaves the buffer.
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        while self.buffer.has_remaining() {
            if self.stream.write_buf(&mut self.buffer).await? == 0 {
                return Err(FrameError::Io(std::io::ErrorKind::WriteZero.into()));
            }
        }
        if self.peak_bytes > KEPT_BUFFER_BYTES {
            self.buffer = BytesMut::new();
            self.peak_bytes = 0;
        }
        Ok(())
    }

    /// Puts and flushes one frame.
    pub async fn send(&mut self, frame: impl Into<Frame>) -> Result<(), FrameError> {
        self.put(&frame.into())?;
        self.flush().await
    }

    /// The stream.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.stream
    }

    /// The stream back.
    pub fn into_inner(self) -> W {
        self.stream
    }
}
