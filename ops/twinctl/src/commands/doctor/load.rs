//! What `/metrics` tells of room, pressure and restarts.

use std::collections::BTreeMap;

use super::finding::{Findings, Level};
use crate::failure::Failure;
use crate::limits::{BUDGET_SHARE_MAX, BUSY_SHARE_MAX, DISK_FREE_BYTES_MIN, UPTIME_S_MIN};

/// Sums of the samples, by name.
#[derive(Debug, Default)]
pub(super) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(super) fn read(text: &str) -> Self {
        let mut sums = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            // No sample of a node has a timestamp behind its value.
            if let Some(value) = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()) {
                *sums.entry(name.to_owned()).or_insert(0.0) += value;
            }
        }
        Self(sums)
    }

    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}

pub(super) fn look(findings: &mut Findings, metrics: &Metrics) -> Result<(), Failure> {
    let Some(uptime_s) = metrics.get("twinmesh_uptime_seconds") else {
        return findings.add(
            Level::Warning,
            "metrics",
            "there are none",
            "is a proxy in between? /metrics must reach the node",
        );
    };
    if uptime_s < UPTIME_S_MIN {
        let remedy = "if nobody did that, `journalctl -u twind` says why it ended before";
        findings.add(Level::Warning, "uptime", &format!("started {uptime_s:.0} s ago"), remedy)?;
    } else {
        findings.fine("uptime", &format!("{:.1} h", uptime_s / 3600.0))?;
    }
    disk(findings, metrics)?;
    let mut pressed = false;
    for (what, used, budget, remedy) in [
        (
            "commands not answered",
            "twinmesh_admitted_bytes",
            "twinmesh_admitted_bytes_max",
            "more comes in than is committed",
        ),
        (
            "log not purged",
            "twinmesh_log_bytes",
            "twinmesh_log_bytes_max",
            "it waits for checkpoints: is the disk slow?",
        ),
        (
            "rows without a checkpoint",
            "twinmesh_dirty_bytes",
            "twinmesh_dirty_bytes_max",
            "checkpoints do not keep up: is the disk slow?",
        ),
    ] {
        let (Some(used), Some(budget)) = (metrics.get(used), metrics.get(budget)) else { continue };
        if budget > 0.0 && used > BUDGET_SHARE_MAX * budget {
            pressed = true;
            let found = format!("{what}: {used:.0} bytes of a budget of {budget:.0}");
            findings.add(Level::Warning, "pressure", &found, remedy)?;
        }
    }
    let busy = metrics.get("twinmesh_commands_busy_total").unwrap_or(0.0);
    let taken = metrics.get("twinmesh_commands_total").unwrap_or(0.0);
    if busy > BUSY_SHARE_MAX * (busy + taken) {
        pressed = true;
        let found =
            format!("{busy:.0} of {:.0} commands since its start were refused for want of budget", busy + taken);
        findings.add(
            Level::Warning,
            "pressure",
            &found,
            "their senders try again; spread the load, or give it a faster disk",
        )?;
    }
    if !pressed {
        findings.fine("pressure", "none")?;
    }
    match metrics.get("twinmesh_chain_poisonings_total") {
        Some(times) if times > 0.0 => {
            let found = format!("the chain broke {times:.0} times since its start");
            findings.add(
                Level::Warning,
                "chain",
                &found,
                "nothing acknowledged is lost; the node's log says which entry, and why",
            )
        }
        _ => Ok(()),
    }
}

fn disk(findings: &mut Findings, metrics: &Metrics) -> Result<(), Failure> {
    let free = metrics.get("twinmesh_disk_free_bytes");
    if metrics.get("twinmesh_disk_full") == Some(1.0) {
        let found = format!("no room, so writes are refused ({:.0} bytes free)", free.unwrap_or(0.0));
        return findings.add(Level::Wrong, "disk", &found, super::MAKE_ROOM);
    }
    match free {
        Some(free) if free < DISK_FREE_BYTES_MIN => {
            let remedy = "make room on the disk of the data directory before writes are refused";
            findings.add(Level::Warning, "disk", &format!("{free:.0} bytes free"), remedy)
        }
        Some(free) => findings.fine("disk", &format!("{:.1} GB free", free / 1e9)),
        // It does not tell.
        None => Ok(()),
    }
}
