//! Every bound of the simulator, with its reason.

use std::time::Duration;

/// Longest row of a recording, line ends inside quotes included. `reported` holds 32 KiB, so nothing longer could be taken; the
/// bound keeps an unclosed quote from pulling a whole file into memory.
pub const ROW_BYTES_MAX: u64 = 64 * 1024;
/// Largest file of a state folder that is read: some hundred bytes for each of a hundred thousand devices.
pub const STATE_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes read from a recording at once. A row's bytes are counted in steps of this.
pub const READ_BYTES: usize = 16 * 1024;
/// Rows appended at once: one commit of the outbox carries them all, one lock is taken for them.
pub const ROWS_AT_ONCE_MAX: usize = 256;
/// Highest `--rate`. Beyond it `max` is meant.
pub const RATE_MAX: f64 = 1e9;
/// After a wait (a full outbox, a sleeping laptop) at most this much of the rate is made up for in one go.
pub const CATCH_UP_MAX: Duration = Duration::from_millis(100);
/// How often a paced replay looks how many rows are due.
pub const PACE_TICK: Duration = Duration::from_millis(5);
/// How often progress is looked at: the bar, the link, devices that wait.
pub const WATCH_EVERY: Duration = Duration::from_millis(100);
/// A replay without a terminal says how far it is this often.
pub const REPORT_EVERY: Duration = Duration::from_secs(10);
/// When what holds it up changes, it says so at once, but not more often than this.
pub const REPORT_CHANGES_EVERY: Duration = Duration::from_secs(1);
/// Reasons listed when rows were refused for good; the rest is counted.
pub const REASONS_LISTED_MAX: usize = 10;
/// Bytes of rows appended at once, at about which it is enough: far below the smallest cap of an outbox.
pub const ROWS_AT_ONCE_BYTES: usize = 64 * 1024;
/// What a row weighs besides its JSON text.
pub const ROW_OVERHEAD_BYTES: usize = 128;
/// How long a replay that was told to stop goes on sending what it has. Whatever is left goes with the next run.
pub const STOP_DRAIN: Duration = Duration::from_millis(500);

/// How often the devices behind a simulated gateway are looked at.
pub const STORE_TICK: Duration = Duration::from_millis(100);
/// A gateway gathers the measurements of this time into one commit of its outbox: ten gateways of a simulated store share one disk,
/// and each commit waits for it.
pub const MEASURE_EVERY: Duration = Duration::from_millis(500);
/// Reports of one gateway at once, at most: what is due beyond was not measured.
pub const REPORTS_AT_ONCE_MAX: usize = 4096;
/// Batches of a gateway whose acks are waited for in order to time them.
pub const MEASURED_BATCHES_MAX: usize = 256;
/// Dead letters of which a replay's folder notes what its owner did with them: four times as many as an outbox keeps, in a megabyte.
pub const HANDLED_MAX: usize = 4 * twin_gateway::limits::DEAD_LETTERS_MAX;
/// Events per second of one device.
pub const DEVICE_EVENTS_PER_S: f64 = 0.002;
/// Shortest time in which a device takes over a desired change.
pub const APPLY_DELAY_MIN: Duration = Duration::from_millis(150);
/// Longest time: e-paper that redraws itself.
pub const APPLY_DELAY_MAX: Duration = Duration::from_millis(1200);
/// Longest latency that is told apart from longer ones.
pub const LATENCY_MAX: Duration = Duration::from_secs(600);
