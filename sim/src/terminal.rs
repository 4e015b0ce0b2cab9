//! A bar on a terminal; elsewhere a line every few seconds.

use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};
use twin_core::clock::{Clock, SystemClock};
use twin_sim::limits::{REPORT_CHANGES_EVERY, REPORT_EVERY};
use twin_sim::replay::{Progress, Standing};
use twin_sim::traces::Traces;

const TEMPLATE: &str = "{bar:32.cyan/dim} {human_pos}/{human_len} rows  {per_sec:>12}  {elapsed}  {wide_msg:.dim}";

/// The progress of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    line: ProgressBar,
    clock: SystemClock,
    told: std::sync::Arc<Mutex<Told>>,
}

/// The last line that was written, where there is no bar.
#[derive(Debug, Default)]
struct Told {
    at: Duration,
    note: String,
}

impl Told {
    /// Is it time for a line? What holds the replay up is told as soon as it changes, within reason.
    fn is_due(&self, now: Duration, note: &str) -> bool {
        let since = now.saturating_sub(self.at);
        since >= REPORT_EVERY || (since >= REPORT_CHANGES_EVERY && !note.is_empty() && note != self.note)
    }
}

impl Bar {
    pub(crate) fn new() -> Self {
        // Hides itself where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { line: bar, clock: SystemClock::new(), told: std::sync::Arc::default() }
    }

    /// Sends logs to standard error, above the bar, and spans to where they are exported.
    pub(crate) fn log(&self, traces: Option<&Traces>) {
        // What the bar says need not be said twice.
        let usual = if self.line.is_hidden() { "warn,twin_sim=info" } else { "error" };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
        let lines = tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_ansi(false)
            .with_writer(self.clone())
            .with_filter(filter);
        tracing_subscriber::registry().with(traces.map(Traces::layer)).with(lines).init();
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
        let note = note(standing);
        let mut told = self.told.lock();
        if told.is_due(now, &note) {
            *told = Told { at: now, note: note.clone() };
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
