//! What a batch came to, for the audit log.

use tokio::sync::oneshot;

/// Items of one batch that were answered, by whether they were carried out. Tells so when it is dropped, which is when the batch ends,
/// however that comes about.
pub(super) struct Tally {
    pub(super) done: u64,
    pub(super) refused: u64,
    tell: Option<oneshot::Sender<String>>,
}

impl Tally {
    /// And who hears of its end.
    pub(super) fn new() -> (Self, oneshot::Receiver<String>) {
        let (tell, ended) = oneshot::channel();
        (Self { done: 0, refused: 0, tell: Some(tell) }, ended)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            // A batch that only reads is not in the log, and nobody listens.
            let _ = tell.send(format!("{} items applied, {} refused", self.done, self.refused));
        }
    }
}
