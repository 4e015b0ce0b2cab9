//! How far a bulk command is, on standard error: only where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that is drawn over and over.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of so many bytes, if that is known. Bytes are the position, items the message.
    pub(super) fn new(total_bytes: Option<u64>) -> Self {
        let template = match total_bytes {
            Some(_) => "{bar:30} {percent:>3}% {msg} {bytes_per_sec} {elapsed}, {eta} left",
            None => "{spinner} {msg} {bytes} {bytes_per_sec} {elapsed}",
        };
        // Not drawn at all where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many items, and so many bytes of them, are done.
    pub(super) fn at(&self, items: u64, bytes: u64) {
        // Rendering a message costs, and nobody reads so fast.
        if items.is_multiple_of(64) && !self.0.is_hidden() {
            self.0.set_message(format!("{items} twins"));
        }
        self.0.set_position(bytes);
    }

    /// Writes a line to standard error beside it.
    pub(super) fn say(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
