//! What is shown: text made of figures.

use std::fmt::Write as _;
use std::time::Duration;

use twin_sim::store::{Latencies, StoreView};

use super::convergence::Tally;
use super::sparkline::Sparkline;

/// The figures of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) up: Duration,
    pub(crate) store: StoreView,
    /// Acks per second, lately.
    pub(crate) rate: f64,
    pub(crate) rates: Sparkline,
    /// Lately.
    pub(crate) latencies: Latencies,
    pub(crate) tally: Tally,
    pub(crate) entries_per_s: f64,
    pub(crate) grains: u64,
    pub(crate) log_bytes: u64,
    pub(crate) state_bytes: u64,
    pub(crate) memory_bytes: Option<u64>,
}

/// Text with or without colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn in_code(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.in_code("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.in_code("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.in_code("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.in_code("31", text)
    }

    pub(crate) fn figure(self, text: &str) -> String {
        self.in_code("1;36", text)
    }
}

/// The picture, redrawn a few times a second.
pub(crate) fn picture(moment: &Moment, paint: Paint) -> String {
    let Moment { store, tally, latencies, .. } = moment;
    let mut out = String::with_capacity(1024);
    let mut row = |name: &str, text: String| {
        let _ = writeln!(out, "  {} {text}", paint.dim(&format!("{name:<9}")));
    };
    row("up", clock_text(moment.up));
    let rate = paint.figure(&format!("{:>7}/s", grouped(moment.rate.round() as u64)));
    row("reports", format!("{rate}  {}  {} acked", paint.good(&moment.rates.to_string()), grouped(store.acked)));
    let p50 = paint.figure(&format!("{:>9}", duration_text(latencies.p50)));
    row("ack", format!("{p50} p50  {} p99   on disk before it is acked", duration_text(latencies.p99)));
    let commits = format!("{:>7}/s", grouped(moment.entries_per_s.round() as u64));
    row("commits", format!("{commits}  Raft entries, each one write for all that came meanwhile"));
    let all_there = store.connected == store.gateways && store.attached == store.devices;
    let there = format!(
        "{}/{} connected · {}/{} devices attached",
        store.connected,
        store.gateways,
        grouped(store.attached),
        grouped(store.devices)
    );
    row("gateways", if all_there { paint.good(&there) } else { there });
    let refused = format!("{} refused", grouped(store.dead_letters));
    let refused = if store.dead_letters > 0 { paint.bad(&refused) } else { refused };
    let full = if store.refused_at_cap > 0 {
        format!(" · {} at the cap", grouped(store.refused_at_cap))
    } else {
        String::new()
    };
    row(
        "outboxes",
        format!("{} waiting ({}) · {refused}{full}", grouped(store.backlog_messages), bytes_text(store.backlog_bytes)),
    );
    let mut prices = format!(
        "{} set → {} delivered → {}",
        grouped(tally.set),
        grouped(tally.delivered),
        paint.good(&format!("{} applied", grouped(tally.applied)))
    );
    let _ = write!(prices, " · {} rejected · {} on their way", grouped(tally.rejected), grouped(tally.on_their_way));
    if let Some(p50) = tally.applied_p50 {
        let _ = write!(prices, " · p50 {}", duration_text(p50));
    }
    row("prices", prices);
    row("events", format!("{} of devices · {} method calls", grouped(tally.device_events), grouped(store.calls)));
    let memory =
        moment.memory_bytes.map_or(String::new(), |bytes| format!(" · {} memory, store included", bytes_text(bytes)));
    row(
        "node",
        format!(
            "{} twins active · log {} · state {}{memory}",
            grouped(moment.grains),
            bytes_text(moment.log_bytes),
            bytes_text(moment.state_bytes)
        ),
    );
    out.truncate(out.trim_end().len());
    out
}

/// One line for a file.
pub(crate) fn line(moment: &Moment) -> String {
    let Moment { store, tally, latencies, .. } = moment;
    format!(
        "up={}s acked={} reports/s={:.0} p50={} p99={} attached={}/{} waiting={} set={} delivered={} applied={} rejected={}",
        moment.up.as_secs(),
        store.acked,
        moment.rate,
        duration_text(latencies.p50),
        duration_text(latencies.p99),
        store.attached,
        store.devices,
        store.backlog_messages,
        tally.set,
        tally.delivered,
        tally.applied,
        tally.rejected
    )
}

/// The last line.
pub(crate) fn summary(acked_s: Duration, store: &StoreView, latencies: Latencies, tally: &Tally) -> String {
    let rate = store.acked as f64 / acked_s.as_secs_f64().max(0.001);
    format!(
        "acked={} reports/s={rate:.0} p50={} p99={} set={} delivered={} applied={} rejected={} waiting={} refused={}",
        store.acked,
        duration_text(latencies.p50),
        duration_text(latencies.p99),
        tally.set,
        tally.delivered,
        tally.applied,
        tally.rejected,
        store.backlog_messages,
        store.dead_letters
    )
}

/// 1234567 -> 1,234,567
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Milliseconds below ten seconds, seconds above; no space, so that it is one word of a line.
fn duration_text(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}ms"),
        ms if ms < 10_000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1000.0),
    }
}

fn bytes_text(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1024.0 => format!("{bytes:.0} B"),
        bytes if bytes < 1024.0 * 1024.0 => format!("{:.0} KiB", bytes / 1024.0),
        bytes => format!("{:.1} MiB", bytes / (1024.0 * 1024.0)),
    }
}

fn clock_text(up: Duration) -> String {
    let seconds = up.as_secs();
    match seconds / 3600 {
        0 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Moment {
        Moment {
            up: Duration::from_secs(75),
            store: StoreView {
                gateways: 10,
                connected: 10,
                devices: 1000,
                attached: 1000,
                acked: 41_223,
                ..StoreView::default()
            },
            rate: 1012.4,
            rates: Sparkline::new(10),
            latencies: Latencies { count: 9, p50: Duration::from_micros(3140), p99: Duration::from_millis(12) },
            tally: Tally { set: 7, delivered: 7, applied: 5, rejected: 1, on_their_way: 1, ..Tally::default() },
            entries_per_s: 88.0,
            grains: 1000,
            log_bytes: 3 << 20,
            state_bytes: 900_000,
            memory_bytes: None,
        }
    }

    #[test]
    fn the_picture_fits_a_terminal_of_100_columns_and_has_no_colours_unless_wanted() {
        let plain = picture(&moment(), Paint(false));
        assert!(plain.lines().all(|line| line.chars().count() <= 100), "{plain}");
        assert!(!plain.contains('\x1b'));
        for figure in [
            "01:15",
            "1,012/s",
            "41,223 acked",
            "3.14ms p50",
            "12ms p99",
            "7 set → 7 delivered → 5 applied",
            "1 rejected",
        ] {
            assert!(plain.contains(figure), "{figure} in\n{plain}");
        }
        assert!(picture(&moment(), Paint(true)).contains('\x1b'));
    }

    #[test]
    fn the_summary_is_made_of_words_that_a_script_can_split() {
        let Moment { store, latencies, tally, .. } = moment();
        let text = summary(Duration::from_secs(40), &store, latencies, &tally);
        assert!(text.starts_with("acked=41223 reports/s=1031 p50=3.14ms p99=12ms set=7 "), "{text}");
        assert!(text.contains(" applied=5 "));
        assert!(text.split(' ').all(|word| word.contains('=')));
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
