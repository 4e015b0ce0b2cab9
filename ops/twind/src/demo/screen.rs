//! A picture that is redrawn in place on a terminal; elsewhere a line now and then.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Standard output.
pub(crate) struct Screen {
    live: Option<ProgressBar>,
    colours: bool,
    told_at: Duration,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let live = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { live, colours, told_at: Duration::ZERO }
    }

    /// Are colours wanted?
    pub(crate) fn colours(&self) -> bool {
        self.colours
    }

    /// Writes text that stays.
    pub(crate) fn write(&self, text: &str) {
        // Whoever closed our output does not want to see it.
        let write = || drop(std::io::stdout().lock().write_all(text.as_bytes()));
        match &self.live {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows the picture, or the line if it is time for one.
    pub(crate) fn show(&mut self, up: Duration, picture: impl FnOnce() -> String, line: impl FnOnce() -> String) {
        if let Some(bar) = &self.live {
            bar.set_message(picture());
            bar.tick();
        } else if up.saturating_sub(self.told_at) >= LINE_EVERY {
            self.told_at = up;
            self.write(&format!("{}\n", line()));
        }
    }

    /// Leaves the last picture standing.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.live.take() {
            bar.abandon();
            self.write("\n\n");
        }
    }
}
