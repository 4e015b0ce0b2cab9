//! Gateways that are away, come and go, or have something to say.

use serde::Deserialize;
use ureq::http::StatusCode;

use super::finding::{Findings, Level};
use super::load::Metrics;
use super::moment::{Moment, from_date_header, from_rfc3339};
use crate::api_path::ApiPath;
use crate::client::Client;
use crate::failure::Failure;
use crate::limits::{
    BACKLOG_AGE_MS_MAX, BATTERY_PERCENT_MIN, BUDGET_SHARE_MAX, CERTIFICATE_DAYS_MIN, FLAP_CONNECTED_S_MAX,
    FLAP_SESSIONS_PER_HOUR_MAX, FLAP_UPTIME_MS_MIN, LOSS_SHARE_MAX, NAMES_LISTED_MAX, PACKETS_SENT_MIN,
};

#[derive(Deserialize)]
struct Sites {
    sites: Vec<Site>,
}

#[derive(Deserialize)]
struct Site {
    id: String,
    gateways: Vec<Gateway>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gateway {
    name: String,
    connected: bool,
    connected_at: Option<String>,
    certificate_ends_at: Option<String>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    uptime_ms: u64,
    backlog_bytes: u64,
    backlog_bytes_max: u64,
    dead_letters: u64,
    oldest_message_ms: Option<u64>,
    battery_percent: Option<u8>,
    on_battery: Option<bool>,
    packets_sent: Option<u64>,
    packets_lost: Option<u64>,
}

impl Status {
    /// Is it lost more often than a link that works?
    fn loses_packets(&self) -> bool {
        let (Some(sent), Some(lost)) = (self.packets_sent, self.packets_lost) else { return false };
        sent >= PACKETS_SENT_MIN && lost as f64 > LOSS_SHARE_MAX * sent as f64
    }
}

impl Gateway {
    /// Has it a young session though it runs for long?
    fn came_back(&self, now: Option<Moment>) -> bool {
        let connected_at = self.connected_at.as_deref().and_then(from_rfc3339);
        let (Some(now), Some(at), Some(status)) = (now, connected_at, &self.status) else { return false };
        self.connected && now.since(at) <= FLAP_CONNECTED_S_MAX && status.uptime_ms >= FLAP_UPTIME_MS_MIN
    }

    fn says(&self, what: impl Fn(&Status) -> bool) -> bool {
        self.connected && self.status.as_ref().is_some_and(what)
    }

    fn certificate_ends_soon(&self, now: Option<Moment>) -> bool {
        let ends_at = self.certificate_ends_at.as_deref().and_then(from_rfc3339);
        let (Some(now), Some(ends_at)) = (now, ends_at) else { return false };
        ends_at.since(now) < CERTIFICATE_DAYS_MIN * 24 * 3600
    }

    fn is_full(&self) -> bool {
        let of = |status: &Status| status.backlog_bytes as f64 > BUDGET_SHARE_MAX * status.backlog_bytes_max as f64;
        self.status.as_ref().is_some_and(of)
    }
}

pub(super) fn look(findings: &mut Findings, client: &Client, metrics: &Metrics) -> Result<(), Failure> {
    let seen = match client.look(ApiPath::new("sites")) {
        Ok(seen) if seen.status == StatusCode::OK => seen,
        // Said already where the node is not ready.
        _ => return Ok(()),
    };
    let Ok(Sites { sites }) = serde_json::from_str::<Sites>(&seen.body) else {
        let remedy = "use the twinctl of the node's release";
        return findings.add(Level::Warning, "gateways", "the list of sites is not understood", remedy);
    };
    let now = seen.date.as_deref().and_then(from_date_header);
    let all: Vec<(&Site, &Gateway)> =
        sites.iter().flat_map(|site| site.gateways.iter().map(move |gateway| (site, gateway))).collect();
    let connected = all.iter().filter(|(_, gateway)| gateway.connected).count();
    let mut quiet = true;
    for (what, holds, remedy) in [
        (
            "not connected",
            &(|gateway: &Gateway| !gateway.connected) as &dyn Fn(&Gateway) -> bool,
            "look at the box and its WAN; one that is gone for good is removed by `twinctl gateway rm`",
        ),
        (
            "connected again within the last minute though running for long",
            &|gateway: &Gateway| gateway.came_back(now),
            "if it goes on: a bad link, or two boxes with one credential",
        ),
        (
            "with an outbox that is nearly full",
            &Gateway::is_full,
            "its reports wait for the node or for the link; at the cap the oldest state is merged and callers wait",
        ),
        (
            "with a backlog whose oldest message is older than a minute",
            &|gateway: &Gateway| {
                gateway.says(|status| status.oldest_message_ms.is_some_and(|ms| ms >= BACKLOG_AGE_MS_MAX))
            },
            "if it grows (`twinctl site show`): a slow or lossy link, a node that is busy, or a device that waits to be registered",
        ),
        (
            "on battery",
            &|gateway: &Gateway| gateway.says(|status| status.on_battery == Some(true)),
            "its power is gone: see to it before its charge is",
        ),
        (
            "with a battery that is nearly empty",
            &|gateway: &Gateway| {
                gateway.says(|status| status.battery_percent.is_some_and(|percent| percent < BATTERY_PERCENT_MIN))
            },
            "it ends soon if it runs on it; what it holds stays in its outbox",
        ),
        (
            "whose links lose packets",
            &|gateway: &Gateway| gateway.says(Status::loses_packets),
            "look at its uplink's signal (`twinctl site show`) and its WAN",
        ),
        (
            "with certificates that end within 30 days",
            &|gateway: &Gateway| gateway.certificate_ends_soon(now),
            "renew them; for the same key nothing needs to be told to the node, another one is registered by `twinctl gateway rotate`",
        ),
        (
            "with dead letters",
            &|gateway: &Gateway| gateway.status.as_ref().is_some_and(|status| status.dead_letters > 0),
            "the gateway's owner sees there what was refused for good, and why",
        ),
    ] {
        let names: Vec<String> = all
            .iter()
            .filter(|(_, gateway)| holds(gateway))
            .map(|(site, gateway)| format!("{}/{}", site.id, gateway.name))
            .collect();
        if !names.is_empty() {
            quiet = false;
            findings.add(Level::Warning, "gateways", &format!("{} {what}: {}", names.len(), listed(&names)), remedy)?;
        }
    }
    if let Some(an_hour) = sessions_an_hour(metrics, all.len())
        && an_hour > FLAP_SESSIONS_PER_HOUR_MAX
    {
        quiet = false;
        let found = format!("each came again {an_hour:.0} times an hour: new sessions, one after the other");
        findings.add(
            Level::Warning,
            "gateways",
            &found,
            "gateways come and go: a bad link, or two boxes with one credential",
        )?;
    }
    if quiet { findings.fine("gateways", &format!("{connected} connected")) } else { Ok(()) }
}

/// How often each gateway came again.
fn sessions_an_hour(metrics: &Metrics, gateways: usize) -> Option<f64> {
    let opened = metrics.get("twinmesh_quic_sessions_total")?;
    // Each comes once after a start of the node; those that are away now did, too.
    let again = opened - gateways as f64;
    // Of a shorter time it would be a rate that nobody saw: one new session within ten minutes would be six an hour.
    let hours = (metrics.get("twinmesh_uptime_seconds")? / 3600.0).max(1.0);
    Some(again / hours / gateways.max(1) as f64)
}

fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(NAMES_LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_LISTED_MAX {
        text.push_str(", ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_only_of_an_hour_or_more_and_of_all_gateways() {
        let rate = |uptime_s: u64, opened: u64, gateways| {
            let text = format!("twinmesh_uptime_seconds {uptime_s}\ntwinmesh_quic_sessions_total {opened}\n");
            sessions_an_hour(&Metrics::read(&text), gateways).unwrap()
        };
        // A short run with a restart or two of each gateway, or one whose gateways have gone again.
        assert!(rate(60, 30, 10) <= FLAP_SESSIONS_PER_HOUR_MAX);
        assert!(rate(300, 10, 10) <= 0.0);
        // What goes on in the first minutes is seen before they are an hour, where it is much.
        assert!(rate(600, 100, 10) > FLAP_SESSIONS_PER_HOUR_MAX);
        assert!(rate(36_000, 1_000, 10) > FLAP_SESSIONS_PER_HOUR_MAX);
        assert!(rate(36_000, 100, 10) <= 1.0);
    }
}
