//! How a session ends: once, for the first reason given.

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::codec::FrameError;
use crate::refuse::SessionRefusal;

/// Shared by all tasks of a session.
pub(super) struct Ending {
    token: CancellationToken,
    refusal: Mutex<Option<SessionRefusal>>,
}

impl Ending {
    pub(super) fn new() -> Self {
        Self { token: CancellationToken::new(), refusal: Mutex::new(None) }
    }

    /// Ends the session with words for the gateway.
    pub(super) fn refuse(&self, refusal: SessionRefusal) {
        let mut first = self.refusal.lock();
        if !self.token.is_cancelled() {
            *first = Some(refusal);
            self.token.cancel();
        }
    }

    /// Ends the session: the gateway is gone, or said goodbye.
    pub(super) fn gone(&self) {
        let _first = self.refusal.lock();
        self.token.cancel();
    }

    /// Ends the session for what a stream brought.
    pub(super) fn frame_error(&self, error: &FrameError) {
        match SessionRefusal::from_frame_error(error) {
            Some(refusal) => self.refuse(refusal),
            None => self.gone(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.token.is_cancelled()
    }

    pub(super) async fn over(&self) {
        self.token.cancelled().await;
    }

    pub(super) fn refusal(&self) -> Option<SessionRefusal> {
        self.refusal.lock().clone()
    }
}
