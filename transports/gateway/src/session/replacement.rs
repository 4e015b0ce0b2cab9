//! A new connection beside one on which the node has gone silent.
//!
//! Whichever answers first goes on: the old one, if the network only had a hiccup; the new one, if the node was started again or
//! the path to it changed. Neither is given up on suspicion.

use std::future::Future;

use std::time::Duration;

use quinn::Connection;

use crate::limits::{ASK_EVERY_MAX, SILENCE_TICK};
use crate::session::connect::Link;
use crate::session::due::Due;
use crate::session::heartbeat::beat;
use crate::session::liveness::{Counters, Liveness, Sign};
use crate::shared::Shared;

/// Watches a connection, and ends with another that reached the node while this one was silent. While nothing is sent and no
/// answer is due, there is nothing to watch. `reach` makes a connection, however long it takes; it may be dropped half-way.
pub(crate) async fn replacement<F: Future<Output = Link>>(
    shared: &Shared,
    connection: &Connection,
    due: &Due,
    mut reach: impl FnMut() -> F,
) -> Link {
    let random = shared.with(|core, _| core.draw());
    let mut liveness = Liveness::new(counters(connection), random);
    // How long an answer may still take before the node is asked whether it is there; longer with each time that it was.
    let (mut patience, mut answered) = (SILENCE_TICK, 0);
    loop {
        let mut pause = SILENCE_TICK;
        match look(shared, connection, &mut liveness) {
            Sign::Quiet => match due.look() {
                (_, false) => due.something_sent().await,
                (answers, true) => {
                    patience = if answers == answered { (patience * 2).min(ASK_EVERY_MAX) } else { SILENCE_TICK };
                    answered = answers;
                    // What fails here fails the session, in its own loops.
                    drop(beat(shared, connection));
                    pause = patience;
                }
            },
            Sign::Waiting => {}
            Sign::Overdue => drop(beat(shared, connection)),
            Sign::Silent => {
                tracing::info!("the node is silent; trying a new connection beside the old one");
                tokio::select! {
                    link = reach() => return link,
                    () = heard(shared, connection, &mut liveness) => tracing::info!("the node is heard again"),
                }
            }
        }
        wait(pause).await;
    }
}

/// Ends when something comes on the old connection after all.
async fn heard(shared: &Shared, connection: &Connection, liveness: &mut Liveness) {
    loop {
        wait(SILENCE_TICK).await;
        if look(shared, connection, liveness) != Sign::Silent {
            return;
        }
        // QUIC's own probes come ever more seldom; this is answered at once by a node that was started again.
        drop(beat(shared, connection));
    }
}

fn look(shared: &Shared, connection: &Connection, liveness: &mut Liveness) -> Sign {
    liveness.look(counters(connection), shared.clock.monotonic())
}

fn counters(connection: &Connection) -> Counters {
    let stats = connection.stats();
    Counters { sent: stats.udp_tx.datagrams, received: stats.udp_rx.datagrams, round_trip: stats.path.rtt }
}

async fn wait(pause: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + pause).await;
}
