//! Alive, and how it is: datagrams that need no ack.

use std::time::Duration;

use quinn::{Connection, SendDatagramError};
use tokio::time::MissedTickBehavior;
use twin_transports::codec::encode_datagram;
use twin_transports::limits::LOAD_HUNDREDTHS_MAX;

use crate::core::Core;
use crate::health::{cpus, load_hundredths};
use crate::limits::HEARTBEAT_INTERVALS;
use crate::session::due::Due;
use crate::session::end::End;
use crate::shared::Shared;

/// Sends heartbeats as often as the node asked. Ends with the connection only.
pub(crate) async fn heartbeats(shared: &Shared, connection: &Connection, every_ms: u32, due: &Due) -> End {
    let every = Duration::from_millis(every_ms.into());
    let mut ticks = tokio::time::interval(every.clamp(*HEARTBEAT_INTERVALS.start(), *HEARTBEAT_INTERVALS.end()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        match beat(shared, connection) {
            Ok(()) => due.sent(),
            Err(SendDatagramError::TooLarge) => {}
            Err(SendDatagramError::ConnectionLost(error)) => return error.into(),
            // The node takes none: the session is good without.
            Err(SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled) => {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Says how things stand, now. Also the last thing a gateway says: what a node shows of it afterwards would otherwise be up to an
/// interval old.
pub(crate) fn beat(shared: &Shared, connection: &Connection) -> Result<(), SendDatagramError> {
    let mut heartbeat = shared.with(Core::next_heartbeat);
    let path = connection.stats().path;
    let health = &mut heartbeat.health;
    health.load_hundredths = load_hundredths().map(|load| load.min(LOAD_HUNDREDTHS_MAX));
    health.cpus = cpus();
    health.round_trip_us = Some(u32::try_from(path.rtt.as_micros()).unwrap_or(u32::MAX));
    (health.packets_sent, health.packets_lost) = (Some(path.sent_packets), Some(path.lost_packets));
    connection.send_datagram(encode_datagram(&heartbeat))
}
