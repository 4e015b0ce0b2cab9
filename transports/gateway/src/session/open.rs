//! An open session: its loops run until the first of them ends.

use std::future::Future;
use std::sync::Arc;

use quinn::{Connection, VarInt};

use crate::core::Session;
use crate::limits::GOODBYE_PAUSE;
use crate::outbox::format::Class;
use crate::session::connect::Link;
use crate::session::control::control;
use crate::session::downlink::downlink;
use crate::session::due::Due;
use crate::session::end::End;
use crate::session::handshake::Control;
use crate::session::heartbeat::{beat, heartbeats};
use crate::session::readings::readings;
use crate::session::replacement::replacement;
use crate::session::uplink::uplink;
use crate::shared::Shared;

/// How a session went.
pub(crate) enum Over {
    /// It ended.
    Ended(End),
    /// The node had gone silent, and answers on this connection.
    Replaced(Link),
}

/// Tells the core that the session is over, however that came about.
struct Disconnect<'a>(&'a Shared);

impl Drop for Disconnect<'_> {
    fn drop(&mut self) {
        self.0.with(|core, _| core.disconnected());
        self.0.readings.lock().disconnected();
    }
}

/// Runs the session until it ends. `reach` makes another connection to the node, should it go silent on this one.
pub(crate) async fn run_session<F: Future<Output = Link>>(
    shared: &Arc<Shared>,
    connection: &Connection,
    opened: Control,
    reach: impl FnMut() -> F,
) -> Over {
    let Control { welcome, writer, reader } = opened;
    let session =
        Session { number: welcome.session, owner: welcome.owner, alarms: welcome.alarms, credit: welcome.credit };
    if !shared.with(|core, now| core.connected(session, now)) {
        connection.close(VarInt::from_u32(0), b"stale owner");
        return Over::Ended(End::Failed(
            "the node's place in the order of owners is lower than one seen before".into(),
        ));
    }
    tracing::info!(session = welcome.session, "session open");
    let _disconnect = Disconnect(shared);
    shared.readings.lock().connected();
    shared.readings_wake.notify_one();
    let due = Due::default();
    let end = tokio::select! {
        biased;
        end = goodbye(shared, connection) => end,
        end = downlink(shared, reader, &due) => end,
        end = uplink(shared, connection, Class::Alarm, &due) => end,
        end = uplink(shared, connection, Class::State, &due) => end,
        end = uplink(shared, connection, Class::Event, &due) => end,
        end = readings(shared, connection, &due) => end,
        end = control(shared, writer, &due) => end,
        end = heartbeats(shared, connection, welcome.heartbeat_ms, &due) => end,
        link = replacement(shared, connection, &due, reach) => {
            connection.close(VarInt::from_u32(0), b"replaced");
            shared.readings.lock().replacing();
            return Over::Replaced(link);
        }
    };
    // A stream that ends may only be the first sign of a close, which says why.
    let end = match (end, connection.close_reason()) {
        (End::Failed(_), Some(reason)) => reason.into(),
        (end, _) => end,
    };
    connection.close(VarInt::from_u32(0), b"bye");
    Over::Ended(end)
}

/// Waits for the gateway to stop, then says how things stand while the streams are still open: the node ends the session with the
/// first stream that goes.
async fn goodbye(shared: &Shared, connection: &Connection) -> End {
    shared.stop.cancelled().await;
    if beat(shared, connection).is_ok() {
        // A close overtakes what is not yet sent. A moment is all it takes, and nothing depends on it.
        let moment = tokio::time::Instant::now() + GOODBYE_PAUSE;
        tokio::time::sleep_until(moment).await;
    }
    End::Stopped
}
