//! Numbers that other parts count, read at each scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::Semaphore;
use twin_cluster::{Cluster, RSSI_STEPS_DBM};
use twin_core::clock::Clock;
use twin_storage::{Budgets, LATENCY_BUCKETS_US, Latency, StorageStats};
use twin_transports::server::{Backend as _, TransportStats};

use super::process::resident_bytes;
use crate::limits::{BATCHES_MAX, OBSERVERS_MAX};

/// Where the numbers are.
pub(crate) struct Sources {
    pub(crate) cluster: Cluster,
    pub(crate) storage: Arc<StorageStats>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) admitted_bytes_max: u64,
    pub(crate) transport: Arc<TransportStats>,
    pub(crate) observers: Arc<Semaphore>,
    pub(crate) batches: Arc<Semaphore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started: std::time::Duration,
}

/// Reads [`Sources`] when asked.
pub(crate) struct Collected(Sources);

impl Collected {
    pub(crate) fn new(sources: Sources) -> Self {
        Self(sources)
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn latency(&mut self, name: &str, help: &str, latency: &Latency) -> fmt::Result {
        let counts = latency.buckets();
        let bounds = LATENCY_BUCKETS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        encoder.encode_histogram::<NoLabelSet>(latency.sum_ns() as f64 / 1e9, counts.iter().sum(), &buckets, None)
    }
}

impl Collector for Collected {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer(encoder);
        self.node(&mut out)?;
        self.cluster(&mut out)?;
        self.transport(&mut out)?;
        self.storage(&mut out)
    }
}

impl Collected {
    fn node(&self, out: &mut Writer<'_>) -> fmt::Result {
        let up = self.0.clock.monotonic().saturating_sub(self.0.started);
        out.gauge("twinmesh_ready", "1 if a write would commit now", u64::from(self.0.cluster.is_ready()))?;
        out.gauge("twinmesh_uptime_seconds", "Time since the node was started", up.as_secs())?;
        let observers = OBSERVERS_MAX.saturating_sub(self.0.observers.available_permits());
        out.gauge("twinmesh_observers", "Open event streams", observers as u64)?;
        let waiting = self.0.cluster.followers() as u64;
        out.gauge("twinmesh_changes_waiting", "Changes over REST that wait for their devices", waiting)?;
        let batches = BATCHES_MAX.saturating_sub(self.0.batches.available_permits());
        out.gauge("twinmesh_batch_updates_open", "Batches under way", batches as u64)?;
        if let Some(bytes) = resident_bytes() {
            out.gauge("process_resident_memory_bytes", "Resident memory of the process", bytes)?;
        }
        Ok(())
    }

    fn cluster(&self, out: &mut Writer<'_>) -> fmt::Result {
        let stats = self.0.cluster.stats();
        out.gauge("twinmesh_grains_active", "Grains in memory now", stats.grains_active)?;
        out.counter("twinmesh_grain_activations", "Grains started", stats.activations)?;
        out.counter("twinmesh_grain_passivations", "Grains stopped for idleness or for room", stats.passivations)?;
        out.counter("twinmesh_commands", "Commands given to grains", stats.commands)?;
        out.counter("twinmesh_commands_busy", "Commands refused for want of budget", stats.commands_busy)?;
        out.counter("twinmesh_alarms_busy", "Batches of alarms among them", stats.alarms_busy)?;
        let limit = self.0.admitted_bytes_max;
        out.gauge("twinmesh_admitted_bytes_max", "Budget of twinmesh_admitted_bytes", limit)?;
        out.gauge("twinmesh_admitted_bytes", "Bytes of commands admitted and not yet answered", stats.admitted_bytes)?;
        out.counter("twinmesh_entries", "Raft entries committed", stats.entries)?;
        out.counter("twinmesh_entry_changes", "Row changes in committed entries", stats.entry_changes)?;
        out.counter("twinmesh_entry_bytes", "Bytes in committed entries", stats.entry_bytes)?;
        out.gauge("twinmesh_entries_in_flight", "Raft entries proposed and not yet applied", stats.entries_in_flight)?;
        out.counter(
            "twinmesh_chain_poisonings",
            "How often a rejected or unknown entry poisoned its chain",
            stats.poisonings,
        )?;
        out.counter("twinmesh_method_calls", "Method calls made", stats.method_calls)?;
        out.gauge("twinmesh_gateway_sessions", "Open gateway sessions", stats.sessions)?;
        self.gateways(out)
    }

    /// In sum: with a label for each gateway there would be ten thousand series.
    fn gateways(&self, out: &mut Writer<'_>) -> fmt::Result {
        let all = self.0.cluster.gateways_summary();
        let help = "Messages in the outboxes of connected gateways";
        out.gauge("twinmesh_gateway_backlog_messages", help, all.backlog_messages)?;
        let help = "Bytes in the outboxes of connected gateways";
        out.gauge("twinmesh_gateway_backlog_bytes", help, all.backlog_bytes)?;
        let help = "Age of the oldest message in the outbox of any connected gateway";
        out.gauge("twinmesh_gateway_backlog_age_seconds_max", help, all.oldest_message_ms / 1000)?;
        out.gauge("twinmesh_gateways_on_battery", "Connected gateways that run on their batteries", all.on_battery)?;
        let help = "Longest round trip of any connected gateway";
        out.seconds("twinmesh_gateway_round_trip_seconds_max", help, all.round_trip_us_max as f64 / 1e6)?;
        let help = "Highest load average of any connected gateway, in percent of its CPUs";
        out.gauge("twinmesh_gateway_load_percent_max", help, all.load_percent_max)?;
        let help = "Connected gateways whose uplink's signal is at or below so many dBm";
        let mut family = out.0.encode_descriptor("twinmesh_gateways_rssi_at_most", help, None, MetricType::Gauge)?;
        for (step, count) in RSSI_STEPS_DBM.iter().zip(all.rssi_at_most) {
            let labels = [("dbm", step.to_string())];
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn transport(&self, out: &mut Writer<'_>) -> fmt::Result {
        let stats = &self.0.transport;
        out.counter("twinmesh_quic_connections", "QUIC connections accepted", stats.connections.get())?;
        let retries = "QUIC connections asked to show that they receive at their address";
        out.counter("twinmesh_quic_retries", retries, stats.retries.get())?;
        out.gauge("twinmesh_quic_connections_open", "QUIC connections open now", stats.connections_open.get())?;
        out.counter("twinmesh_quic_sessions", "Gateway sessions opened", stats.sessions.get())?;
        let by_certificate = stats.sessions_by_certificate.get();
        let help = "Gateway sessions opened by a certificate rather than a secret";
        out.counter("twinmesh_quic_sessions_by_certificate", help, by_certificate)?;
        out.counter("twinmesh_frames_received", "Frames received", stats.frames_received.get())?;
        out.counter("twinmesh_frame_bytes_received", "Bytes of frames received", stats.bytes_received.get())?;
        out.counter(
            "twinmesh_frames_skipped",
            "Frames of unknown kinds that were skipped",
            stats.frames_skipped.get(),
        )?;
        out.counter("twinmesh_frames_sent", "Frames sent", stats.frames_sent.get())?;
        out.counter("twinmesh_frames_unsendable", "Frames too long to be sent", stats.frames_unsendable.get())?;
        out.counter("twinmesh_batches", "Batches received", stats.batches.get())?;
        out.counter("twinmesh_batch_acks", "Batches acknowledged", stats.acks.get())?;
        out.counter("twinmesh_messages", "Messages received in batches", stats.messages.get())?;
        out.counter(
            "twinmesh_credit_withheld",
            "Times that a gateway's stream had used its credit and the node was too full to give more",
            stats.credit_withheld.get(),
        )?;
        out.counter("twinmesh_credit_frames", "Credit given later, when there was room", stats.credit_frames.get())?;
        let window = self.0.cluster.load().window_bytes(stats.sessions_open.get());
        out.gauge("twinmesh_credit_window_bytes", "What a gateway's stream may have under way now", window)?;
        out.counter("twinmesh_alarms", "Alarms among them", stats.alarms.get())?;
        out.counter(
            "twinmesh_messages_duplicate",
            "Messages that had been taken before, and took no effect again",
            stats.messages_duplicate.get(),
        )?;
        out.counter(
            "twinmesh_messages_refused",
            "Messages of batches that were refused",
            stats.messages_refused.get(),
        )?;
        out.counter("twinmesh_heartbeats", "Heartbeats received", stats.heartbeats.get())?;
        out.counter("twinmesh_desired_sent", "Desired changes sent down", stats.desired_sent.get())?;
        out.counter("twinmesh_calls_sent", "Method calls sent down", stats.calls_sent.get())?;
        let name = "twinmesh_sessions_refused";
        let help = "Connections and sessions refused or ended, by code";
        let mut family = out.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (code, count) in stats.refusals() {
            let labels = [("code", code.as_str())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn storage(&self, out: &mut Writer<'_>) -> fmt::Result {
        let stats = &self.0.storage;
        out.counter("twinmesh_log_rounds", "Durable commits of the log file", stats.rounds.get())?;
        out.counter("twinmesh_log_entries", "Raft entries made durable", stats.entries.get())?;
        out.counter("twinmesh_log_entry_bytes", "Encoded bytes of Raft entries made durable", stats.entry_bytes.get())?;
        out.counter("twinmesh_log_disk_reads", "Raft entries read back from the log file", stats.log_disk_reads.get())?;
        out.latency("twinmesh_log_round_duration_seconds", "Time of a durable round of the log", &stats.round_latency)?;
        out.latency(
            "twinmesh_log_commit_duration_seconds",
            "Time of the log file's durable commit alone",
            &stats.commit_latency,
        )?;
        out.counter("twinmesh_checkpoints", "Durable commits of the state file", stats.checkpoints.get())?;
        out.counter("twinmesh_checkpoint_rows", "Rows that checkpoints wrote", stats.checkpoint_rows.get())?;
        out.counter("twinmesh_checkpoint_bytes", "Bytes that checkpoints wrote", stats.checkpoint_bytes.get())?;
        out.latency("twinmesh_checkpoint_duration_seconds", "Time of a checkpoint", &stats.checkpoint_latency)?;
        out.counter("twinmesh_applied_rows", "Rows applied to the state", stats.applied_rows.get())?;
        out.counter(
            "twinmesh_chain_refused",
            "Committed entries that did not fit the chain",
            stats.chain_refused.get(),
        )?;
        let budgets = &self.0.budgets;
        out.gauge("twinmesh_dirty_bytes", "Applied bytes that wait for a checkpoint", budgets.dirty_bytes())?;
        out.gauge("twinmesh_dirty_bytes_max", "Budget of twinmesh_dirty_bytes", budgets.dirty_bytes_max())?;
        out.gauge("twinmesh_log_bytes", "Bytes of log that are not purged", budgets.log_bytes())?;
        out.gauge("twinmesh_log_bytes_max", "Budget of twinmesh_log_bytes", budgets.log_bytes_max())?;
        if let Some(bytes) = budgets.disk_free_bytes() {
            out.gauge("twinmesh_disk_free_bytes", "What is free on the disk of the data directory", bytes)?;
        }
        let full = u64::from(budgets.disk_is_full());
        out.gauge("twinmesh_disk_full", "1 while nothing is admitted for want of room on the disk", full)?;
        out.counter("twinmesh_disk_waits", "How often a file began to wait for room", stats.disk_waits.get())
    }
}
