//! Keeps a session open for as long as the gateway lives.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, Endpoint};
use twin_core::numbers::OutboxId;
use twin_transports::auth::Credentials;
use twin_transports::endpoint::{EndpointError, client_endpoint, connect};
use twin_transports::entropy::random_array;
use twin_transports::refuse::RefusalCode;

use crate::error::OpenError;
use crate::limits::{FAREWELL_TIMEOUT, TURNED_AWAY_PAUSE};
use crate::options::Options;
use crate::session::end::End;
use crate::session::handshake::{Control, Run, handshake};
use crate::session::open::{Over, run_session};
use crate::session::renewal::Renewal;
use crate::session::retry::Retry;
use crate::shared::Shared;

/// Connects, again and again.
pub(crate) struct Connector {
    options: Options,
    shared: Arc<Shared>,
    boot_nonce: [u8; 16],
    retry: Mutex<Retry>,
    renewal: Renewal,
}

/// A connection to the node, on which nothing was said yet.
pub(crate) struct Link {
    endpoint: Endpoint,
    connection: Connection,
    /// What it was made with.
    shown: Arc<Credentials>,
}

/// A search for the node while a session is open. However it ends, the node was found: here, or on the old connection.
struct Search<'a>(&'a Mutex<Retry>);

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.0.lock().found();
    }
}

impl Connector {
    pub(crate) fn new(options: Options, shared: Arc<Shared>) -> Result<Self, OpenError> {
        let boot_nonce = random_array(&*options.entropy)?;
        let renewal = Renewal::new(options.credentials.clone());
        Ok(Self { options, shared, boot_nonce, retry: Mutex::new(Retry::new()), renewal })
    }

    /// Runs until the gateway stops.
    pub(crate) async fn run(self) {
        let mut reached = None;
        while !self.shared.stop.is_cancelled() {
            let begun = self.now();
            let end = match self.once(reached.take()).await {
                Over::Replaced(link) => {
                    tracing::info!("the node answers on a new connection; the session goes on there");
                    reached = Some(link);
                    continue;
                }
                Over::Ended(End::Stopped) => break,
                Over::Ended(end) => end,
            };
            self.shared.readings.lock().away();
            self.note(&end);
            let now = self.now();
            let random = self.shared.with(|core, _| core.draw());
            let delay = self.retry.lock().pause(&end, now.saturating_sub(begun), now, random);
            tracing::info!(%end, delay_ms = delay.as_millis() as u64, "no session; connecting again");
            tokio::select! {
                // The loop looks.
                () = self.shared.stop.cancelled() => {}
                () = self.renewal.renewed_within(delay) => {}
            }
        }
    }

    fn now(&self) -> Duration {
        self.shared.clock.monotonic()
    }

    /// One attempt and, if it works, one session. The connection may have been made already.
    async fn once(&self, reached: Option<Link>) -> Over {
        let begun = self.now();
        let patience = self.retry.lock().patience();
        let opening = async { tokio::time::timeout(patience, self.open(reached)).await };
        let opened = tokio::select! {
            () = self.shared.stop.cancelled() => return Over::Ended(End::Stopped),
            opened = opening => opened,
        };
        let (link, control) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(end)) => return Over::Ended(end),
            Err(_) => return Over::Ended(End::Failed(format!("no session within {patience:?}"))),
        };
        self.retry.lock().connected(self.now().saturating_sub(begun));
        let over = run_session(&self.shared, &link.connection, control, || self.reach()).await;
        if matches!(over, Over::Ended(End::Stopped)) {
            // So that the node hears of it at once rather than by its idle timeout. Nobody waits otherwise: an endpoint ends
            // with the last of its connections.
            drop(tokio::time::timeout(FAREWELL_TIMEOUT, link.endpoint.wait_idle()).await);
        }
        over
    }

    async fn open(&self, reached: Option<Link>) -> Result<(Link, Control), End> {
        let link = match reached {
            Some(link) => link,
            None => self.connect().await?,
        };
        let run = {
            let core = self.shared.core.lock();
            Run { outbox: core.outbox, boot: core.boot, boot_nonce: self.boot_nonce }
        };
        let control = handshake(&link.connection, &link.shown, run, &self.options.agent, &*self.shared.entropy).await;
        // A frame that cannot be sent or read may only be the first sign of a close, which says why: so does TLS's refusal of a
        // certificate, which comes when this side takes the connection for made.
        let control = control.map_err(|end| match (end, link.connection.close_reason()) {
            (End::Failed(_), Some(reason)) => reason.into(),
            (end, _) => end,
        })?;
        Ok((link, control))
    }

    /// Connects, however often it takes, while a session is open that may be dead.
    async fn reach(&self) -> Link {
        let _search = Search(&self.retry);
        self.retry.lock().lost(self.now());
        loop {
            let patience = self.retry.lock().patience();
            let end = match tokio::time::timeout(patience, self.connect()).await {
                Ok(Ok(link)) => return link,
                Ok(Err(end)) => end,
                Err(_) => End::Failed(format!("no connection within {patience:?}")),
            };
            let random = self.shared.with(|core, _| core.draw());
            let delay = self.retry.lock().pause(&end, Duration::ZERO, self.now(), random);
            tracing::debug!(%end, delay_ms = delay.as_millis() as u64, "no new connection");
            // Whatever wakes it, it tries again.
            drop(tokio::time::timeout(delay, std::future::pending::<()>()).await);
        }
    }

    /// Looks the node up anew, as it may have moved, and tries its addresses in turn.
    async fn connect(&self) -> Result<Link, End> {
        let node = &self.options.node;
        let addresses = tokio::net::lookup_host(node)
            .await
            .map_err(|error| End::Failed(format!("cannot look up {node:?} (host:port): {error}")))?;
        let mut last = End::Failed(format!("{node:?} has no address"));
        // Credentials whose files were replaced are shown from the next connection on.
        let shown = self.renewal.to_show();
        for address in addresses {
            let endpoint = client_endpoint(address).map_err(End::failed)?;
            match connect(&endpoint, address, &shown).await {
                Ok(connection) => return Ok(Link { endpoint, connection, shown }),
                Err(error) => last = not_connected(error),
            }
        }
        Err(last)
    }

    /// Remembers for people why there is no session, and mends what can be mended.
    fn note(&self, end: &End) {
        self.shared.with(|core, _| core.session_failure = Some(end.to_string()));
        let End::Refused { code, message, .. } = end else { return };
        self.shared.with(|core, _| core.session_refusal = Some((code.clone(), message.clone())));
        if end.is(RefusalCode::StaleBoot) {
            match random_array(&*self.shared.entropy) {
                Ok(outbox) => {
                    tracing::error!(
                        "the node has heard of this outbox what it does not know of itself, or of another outbox since: it was rolled back or \
                         copied, or a second process speaks with this gateway's credentials. It goes on under a new identity, and what \
                         earlier boots left are dead letters. Let one process run for a gateway, with one state directory, and give any \
                         other one credentials of its own (`twinctl gateway add`)"
                    );
                    self.shared.with(|core, now: Duration| core.renew_outbox(OutboxId(outbox), now));
                }
                Err(error) => tracing::error!(%error, "the outbox needs a new identity"),
            }
        }
    }
}

/// TLS alerts by which our own side says that it does not trust the node's certificate: bad certificate, unknown CA, and a
/// signature that is not the CA's (each node's CA has the same name).
const NOT_TRUSTED: [u8; 3] = [42, 48, 51];

/// A node that has as many connections as it takes says so in QUIC's own words.
fn not_connected(error: EndpointError) -> End {
    match &error {
        EndpointError::Connection { source: ConnectionError::TransportError(failed), .. }
            if NOT_TRUSTED.iter().any(|alert| failed.code == quinn::TransportErrorCode::crypto(*alert)) =>
        {
            End::Failed(format!("{error}; the CA in the credentials is not that of the node at this address"))
        }
        EndpointError::Connection { source: ConnectionError::ConnectionClosed(close), .. }
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
        {
            End::Refused {
                code: RefusalCode::Busy.as_str().to_owned(),
                message: error.to_string(),
                retry_after: Some(TURNED_AWAY_PAUSE),
            }
        }
        EndpointError::Connection { source, .. } => match End::from(source.clone()) {
            refused @ End::Refused { .. } => refused,
            _ => End::failed(error),
        },
        _ => End::failed(error),
    }
}
