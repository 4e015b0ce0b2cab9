//! The figures of a run, each beside its baseline.

use std::fmt;

use serde::Serialize;

use crate::machine::Machine;
use crate::spread::Spread;
use crate::throughput::fleet::{Latencies, latencies};
use crate::throughput::slice::Slice;

/// Others may use this share of the machine before the figures are called noisy.
const OTHERS_SHARE_MAX: f64 = 0.05;

/// What a run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    pub(crate) command: String,
    pub(crate) slices: usize,
    pub(crate) updates_per_s: Spread,
    pub(crate) raw_redb_rows_per_s: Spread,
    /// Updates per second over raw redb rows per second, slice by slice.
    pub(crate) ratio_to_raw_redb: Spread,
    pub(crate) ack_p50_ms: Spread,
    pub(crate) ack_p99_ms: Spread,
    /// Over all slices together.
    pub(crate) ack_p999_ms: f64,
    pub(crate) promise_p50_ms: Spread,
    pub(crate) promise_p99_ms: Spread,
    pub(crate) raw_redb_round_ms: Spread,
    pub(crate) fdatasync_p50_us: Spread,
    pub(crate) fdatasync_p99_us: Spread,
    pub(crate) node_cpu_us_per_update: Spread,
    pub(crate) gateways_cpu_us_per_update: Spread,
    pub(crate) others_share: Spread,
    pub(crate) rows_per_round: Spread,
    pub(crate) rows_per_entry: Spread,
    pub(crate) row_bytes: Spread,
    pub(crate) round_ms: Spread,
    pub(crate) updates_per_batch: Spread,
    /// Why the figures should not be trusted; empty: they may be.
    pub(crate) noise: Vec<String>,
}

impl Figures {
    pub(crate) fn of(machine: Machine, slices: &[Slice]) -> anyhow::Result<Self> {
        let spread = |figure: &dyn Fn(&Slice) -> f64| Spread::of(slices.iter().map(figure));
        let quantile_ms = |latencies: &Latencies, share: f64| latencies.value_at_quantile(share) as f64 / 1e3;
        let mut all = latencies()?;
        for slice in slices {
            all.add(&slice.ack)?;
        }
        let mut figures = Self {
            machine,
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            slices: slices.len(),
            updates_per_s: spread(&|slice| slice.updates_per_s),
            raw_redb_rows_per_s: spread(&|slice| slice.raw.rows_per_s),
            ratio_to_raw_redb: spread(&|slice| slice.updates_per_s / slice.raw.rows_per_s),
            ack_p50_ms: spread(&|slice| quantile_ms(&slice.ack, 0.5)),
            ack_p99_ms: spread(&|slice| quantile_ms(&slice.ack, 0.99)),
            ack_p999_ms: quantile_ms(&all, 0.999),
            promise_p50_ms: spread(&|slice| quantile_ms(&slice.promise, 0.5)),
            promise_p99_ms: spread(&|slice| quantile_ms(&slice.promise, 0.99)),
            raw_redb_round_ms: spread(&|slice| slice.raw.round.as_secs_f64() * 1e3),
            fdatasync_p50_us: spread(&|slice| slice.sync_us.0),
            fdatasync_p99_us: spread(&|slice| slice.sync_us.1),
            node_cpu_us_per_update: spread(&|slice| slice.node_us),
            gateways_cpu_us_per_update: spread(&|slice| slice.gateways_us),
            others_share: spread(&|slice| slice.others_share),
            rows_per_round: spread(&|slice| slice.rows_per_round),
            rows_per_entry: spread(&|slice| slice.rows_per_entry),
            row_bytes: spread(&|slice| slice.row_bytes),
            round_ms: spread(&|slice| slice.round_ms),
            updates_per_batch: spread(&|slice| slice.updates_per_batch),
            noise: Vec::new(),
        };
        figures.noise = figures.find_noise();
        Ok(figures)
    }

    fn find_noise(&self) -> Vec<String> {
        let mut noise = Vec::new();
        if cfg!(debug_assertions) {
            noise.push("this is a debug build".to_owned());
        }
        if self.others_share.max > OTHERS_SHARE_MAX {
            noise.push(format!("others used up to {:.0} % of the machine", self.others_share.max * 100.0));
        }
        for (name, spread) in [("updates per second", &self.updates_per_s), ("raw redb", &self.raw_redb_rows_per_s)] {
            if spread.is_noisy() {
                noise.push(format!("{name} differ between slices: {spread}"));
            }
        }
        noise
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "median (lowest .. highest) of {} slices; load and baselines alternate\n", self.slices)?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, figure: &Spread, baseline: &str| {
            writeln!(f, "{name:<36} {figure:<34} {baseline}")
        };
        let ratio = self.ratio_to_raw_redb;
        row(f, "durable updates/s", &self.updates_per_s, &format!("{ratio} of raw redb"))?;
        row(f, "raw redb, same rows and rounds, /s", &self.raw_redb_rows_per_s, "baseline")?;
        let syncs = self.ack_p50_ms.median * 1e3 / self.fdatasync_p50_us.median;
        row(f, "ack p50, ms", &self.ack_p50_ms, &format!("{syncs:.1} fdatasyncs"))?;
        let syncs = self.ack_p99_ms.median * 1e3 / self.fdatasync_p99_us.median;
        row(
            f,
            "ack p99, ms",
            &self.ack_p99_ms,
            &format!("{syncs:.1} fdatasyncs (p99); p99.9 {:.1} ms", self.ack_p999_ms),
        )?;
        row(f, "promise (durable in outbox) p50, ms", &self.promise_p50_ms, "")?;
        row(f, "promise p99, ms", &self.promise_p99_ms, "")?;
        row(f, "fdatasync of 4 KiB p50, us", &self.fdatasync_p50_us, "baseline")?;
        row(f, "fdatasync p99, us", &self.fdatasync_p99_us, "baseline")?;
        let rounds = self.round_ms.median / self.raw_redb_round_ms.median;
        row(f, "log round, ms", &self.round_ms, &format!("{rounds:.1} raw rounds"))?;
        row(f, "raw redb round, ms", &self.raw_redb_round_ms, "baseline")?;
        row(f, "rows a log round", &self.rows_per_round, "")?;
        row(f, "rows a Raft entry", &self.rows_per_entry, "")?;
        row(f, "bytes a row in the log", &self.row_bytes, "")?;
        row(f, "updates a batch on the wire", &self.updates_per_batch, "")?;
        row(f, "CPU of the node, us an update", &self.node_cpu_us_per_update, "")?;
        row(f, "CPU of gateways, us an update", &self.gateways_cpu_us_per_update, "")?;
        row(f, "share of the machine used by others", &self.others_share, "")?;
        if self.noise.is_empty() {
            write!(f, "quiet enough")
        } else {
            write!(f, "TOO NOISY: {}", self.noise.join("; "))
        }
    }
}
