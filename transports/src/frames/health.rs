//! How a gateway's box and its link are, as its heartbeats tell.

use twin_core::record;

use crate::limits::{BATTERY_PERCENT_MAX, LOAD_HUNDREDTHS_MAX, RSSI_DBM_MAX, RSSI_DBM_MIN};

record! {
    /// What is known of the box. All of it may be missing: an operating system that does not tell, a box without a battery.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Health {
        /// For how long the oldest message has been in the outbox, in this run of the gateway, in milliseconds.
        pub oldest_message_ms: Option<u64> = None,
        /// Load average of the last minute, in hundredths of a CPU.
        pub load_hundredths: Option<u32> = None,
        /// CPUs that the gateway may use.
        pub cpus: Option<u16> = None,
        /// Round trip to the node, in microseconds, as QUIC measures it.
        pub round_trip_us: Option<u32> = None,
        /// Packets sent on this connection...
        pub packets_sent: Option<u64> = None,
        /// ...and those of them that were lost.
        pub packets_lost: Option<u64> = None,
        /// Signal of the box's own uplink, in dBm.
        pub rssi_dbm: Option<i16> = None,
        /// Charge of the box's battery or UPS.
        pub battery_percent: Option<u8> = None,
        /// Does it run on it now?
        pub on_battery: Option<bool> = None,
    }
}

/// A value that none can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {value}, but it is from {min} to {max}")]
pub struct HealthError {
    /// Which.
    pub what: &'static str,
    /// Its value.
    pub value: i64,
    /// Lowest value.
    pub min: i64,
    /// Highest value.
    pub max: i64,
}

impl Health {
    /// Is each value one that it can have?
    pub fn check(&self) -> Result<(), HealthError> {
        let bounds = [
            ("rssi_dbm", self.rssi_dbm.map(i64::from), i64::from(RSSI_DBM_MIN), i64::from(RSSI_DBM_MAX)),
            ("battery_percent", self.battery_percent.map(i64::from), 0, i64::from(BATTERY_PERCENT_MAX)),
            ("load_hundredths", self.load_hundredths.map(i64::from), 0, i64::from(LOAD_HUNDREDTHS_MAX)),
        ];
        for (what, value, min, max) in bounds {
            if let Some(value) = value.filter(|value| !(min..=max).contains(value)) {
                return Err(HealthError { what, value, min, max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_none_can_have_is_refused_by_name_value_and_bound() {
        let fine = Health { rssi_dbm: Some(-67), battery_percent: Some(100), ..Health::default() };
        assert_eq!((fine.check(), Health::default().check()), (Ok(()), Ok(())));
        let error = Health { battery_percent: Some(101), ..fine }.check().unwrap_err();
        assert_eq!(error.to_string(), "battery_percent is 101, but it is from 0 to 100");
        for wrong in [
            Health { rssi_dbm: Some(-201), ..fine },
            Health { rssi_dbm: Some(51), ..fine },
            Health { load_hundredths: Some(u32::MAX), ..fine },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
