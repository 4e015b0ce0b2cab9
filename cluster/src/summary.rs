//! The gateways of a node in a few numbers, however many there are.

use crate::view::GatewayStatus;

/// Signals that are counted: how many gateways are at or below each.
pub const RSSI_STEPS_DBM: [i16; 5] = [-60, -70, -80, -90, -100];

/// Gateways with sessions, and what they last said of themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GatewaysSummary {
    /// How many.
    pub connected: u64,
    /// Of them, those that proved themselves by a certificate.
    pub by_certificate: u64,
    /// Messages in their outboxes.
    pub backlog_messages: u64,
    /// Bytes in their outboxes.
    pub backlog_bytes: u64,
    /// Age of the oldest message in any of them.
    pub oldest_message_ms: u64,
    /// Those that run on their batteries.
    pub on_battery: u64,
    /// Lowest charge of any battery.
    pub battery_percent_min: Option<u8>,
    /// Those whose uplink's signal is at or below each of [`RSSI_STEPS_DBM`].
    pub rssi_at_most: [u64; RSSI_STEPS_DBM.len()],
    /// Longest round trip.
    pub round_trip_us_max: u64,
    /// Highest load of the last minute, in hundredths of the gateway's own CPUs.
    pub load_percent_max: u64,
}

impl GatewaysSummary {
    /// One more.
    pub(crate) fn add(&mut self, by_certificate: bool, status: Option<GatewayStatus>) {
        self.connected += 1;
        self.by_certificate += u64::from(by_certificate);
        let Some(status) = status else { return };
        let health = status.health;
        // What a gateway claims is up to it.
        self.backlog_messages = self.backlog_messages.saturating_add(status.backlog_messages);
        self.backlog_bytes = self.backlog_bytes.saturating_add(status.backlog_bytes);
        self.oldest_message_ms = self.oldest_message_ms.max(health.oldest_message_ms.unwrap_or(0));
        self.on_battery += u64::from(health.on_battery == Some(true));
        self.battery_percent_min = self.battery_percent_min.into_iter().chain(health.battery_percent).min();
        for (count, step) in self.rssi_at_most.iter_mut().zip(RSSI_STEPS_DBM) {
            *count += u64::from(health.rssi_dbm.is_some_and(|rssi| rssi <= step));
        }
        self.round_trip_us_max = self.round_trip_us_max.max(health.round_trip_us.unwrap_or(0).into());
        let load = u64::from(health.load_hundredths.unwrap_or(0)) / u64::from(health.cpus.unwrap_or(1).max(1));
        self.load_percent_max = self.load_percent_max.max(load);
    }
}

#[cfg(test)]
mod tests {
    use twin_transports::frames::health::Health;

    use super::*;

    fn status(health: Health) -> GatewayStatus {
        GatewayStatus {
            uptime_ms: 1,
            backlog_messages: u64::MAX,
            backlog_bytes: 10,
            backlog_bytes_max: 100,
            dead_letters: 0,
            devices: 0,
            health,
        }
    }

    #[test]
    fn sums_are_sums_and_the_worst_is_the_worst_and_who_says_nothing_counts_as_connected_only() {
        let mut summary = GatewaysSummary::default();
        summary.add(true, None);
        summary.add(false, Some(status(Health::default())));
        let bad = Health {
            oldest_message_ms: Some(5000),
            load_hundredths: Some(800),
            cpus: Some(4),
            rssi_dbm: Some(-85),
            battery_percent: Some(12),
            on_battery: Some(true),
            ..Health::default()
        };
        summary.add(false, Some(status(bad)));
        summary.add(false, Some(status(Health { battery_percent: Some(90), on_battery: Some(false), ..bad })));
        assert_eq!((summary.connected, summary.by_certificate, summary.on_battery), (4, 1, 1));
        assert_eq!((summary.backlog_messages, summary.backlog_bytes), (u64::MAX, 30), "never past the end");
        assert_eq!((summary.oldest_message_ms, summary.battery_percent_min), (5000, Some(12)));
        assert_eq!((summary.rssi_at_most, summary.load_percent_max), ([2, 2, 2, 0, 0], 200));
    }
}
