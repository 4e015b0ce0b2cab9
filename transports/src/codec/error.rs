//! What can be wrong with a frame.

/// Why a frame could not be read or written. After any of these the stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than the limit that holds for this stream now. Nothing was allocated for it.
    #[error("a frame claims {claimed_bytes} bytes, the limit is {limit_bytes}; split the batch or shorten the text")]
    TooLong {
        /// What its length says.
        claimed_bytes: u64,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended after {got_bytes} of a frame's {expected_bytes} bytes")]
    Truncated {
        /// Bytes that arrived, the length prefix included.
        got_bytes: usize,
        /// Bytes that were announced, the length prefix included.
        expected_bytes: usize,
    },
    /// Not MessagePack, not `[kind, body]`, or a body that does not fit its kind.
    #[error("malformed frame: {message}")]
    Malformed {
        /// What is wrong, and where.
        message: String,
    },
    /// The stream failed below the frames.
    #[error("the stream failed: {0}")]
    Io(#[from] std::io::Error),
}

impl FrameError {
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed { message: message.into() }
    }
}
