//! What only the gateway's developer knows of the box, and what the operating system tells.

use std::sync::OnceLock;

use twin_transports::frames::health::Health;

/// How the box is, as far as the SDK cannot know: `None` is "not known", or "has none". Told to the operators by the next heartbeat; see
/// [`crate::Gateway::set_health`]. (What a *device* says of its battery and its radio belongs into its reported state.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayHealth {
    /// Signal of the box's own uplink radio in dBm, from -200 to 50.
    pub rssi_dbm: Option<i16>,
    /// Charge of its battery or UPS, from 0 to 100.
    pub battery_percent: Option<u8>,
    /// Does it run on it now?
    pub on_battery: Option<bool>,
}

impl GatewayHealth {
    pub(crate) fn put_into(self, health: &mut Health) {
        health.rssi_dbm = self.rssi_dbm;
        health.battery_percent = self.battery_percent;
        health.on_battery = self.on_battery;
    }
}

/// Load average of the last minute in hundredths; `None` where the system has none.
pub(crate) fn load_hundredths() -> Option<u32> {
    parsed(&std::fs::read_to_string("/proc/loadavg").ok()?)
}

fn parsed(text: &str) -> Option<u32> {
    let load: f64 = text.split(' ').next()?.parse().ok()?;
    (load.is_finite() && load >= 0.0).then(|| (load * 100.0).round() as u32)
}

/// CPUs that this process may use.
pub(crate) fn cpus() -> Option<u16> {
    static CPUS: OnceLock<Option<u16>> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().ok().and_then(|cpus| u16::try_from(cpus.get()).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_read_and_what_is_none_is_not() {
        assert_eq!(parsed("1.57 0.98 0.50 2/1234 5678\n"), Some(157));
        assert_eq!((parsed(""), parsed("x"), parsed("-1 0 0"), parsed("inf 0 0")), (None, None, None, None));
    }
}
