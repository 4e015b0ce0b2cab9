//! A bar on a terminal; elsewhere a line every few seconds.

use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use twin_core::clock::{Clock, SystemClock};
use twin_sim::limits::REPORT_EVERY;
use twin_sim::replay::{Progress, Standing};

const TEMPLATE: &str = "{bar:32.cyan/dim} {human_pos}/{human_len} rows  {per_sec:>12}  {elapsed}  {wide_msg:.dim}";

/// The progress of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    line: ProgressBar,
    clock: SystemClock,
    /// When the last line was written, where there is no bar.
    told_at: std::sync::Arc<Mutex<std::time::Duration>>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        // Hides itself where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { line: bar, clock: SystemClock::new(), told_at: std::sync::Arc::default() }
    }

    /// Sends logs to standard error, above the bar.
    pub(crate) fn log(&self) {
        // What the bar says need not be said twice.
        let usual = if self.line.is_hidden() { "warn,twin_sim=info" } else { "error" };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .with_ansi(false)
            .with_writer(self.clone())
            .init();
    }

    pub(crate) fn start(&self, rows: u64) {
        self.line.set_length(rows);
    }

    pub(crate) fn finish(&self) {
        self.line.abandon();
    }
}

/// What holds a replay up, if anything.
fn note(standing: &Standing) -> String {
    match standing {
        _ if standing.acked == standing.rows => String::new(),
        Standing { refusal: Some(refusal), .. } => format!("refused by the node: {refusal}"),
        Standing { connected: false, failure: Some(failure), .. } => format!("waiting for the node: {failure}"),
        Standing { connected: false, .. } => "waiting for the node".to_owned(),
        Standing { unregistered: 0, .. } => String::new(),
        Standing { unregistered, .. } => {
            format!("{unregistered} devices are not registered: PUT their twins, or set the site's enrolment to open")
        }
    }
}

impl Progress for Bar {
    fn show(&self, standing: &Standing) {
        if !self.line.is_hidden() {
            self.line.set_position(standing.acked);
            self.line.set_message(note(standing));
            return;
        }
        let now = self.clock.monotonic();
        let mut told_at = self.told_at.lock();
        if now.saturating_sub(*told_at) >= REPORT_EVERY {
            *told_at = now;
            let note = note(standing);
            tracing::info!(
                rows = standing.rows,
                reported = standing.reported,
                acked = standing.acked,
                note,
                "replaying"
            );
        }
    }
}

impl<'a> MakeWriter<'a> for Bar {
    type Writer = AboveBar;

    fn make_writer(&'a self) -> AboveBar {
        AboveBar(self.line.clone())
    }
}

/// Standard error, with the bar out of the way.
pub(crate) struct AboveBar(ProgressBar);

impl io::Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
