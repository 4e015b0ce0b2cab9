//! Keeps a session open for as long as the gateway lives.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint};
use twin_core::numbers::OutboxId;
use twin_transports::endpoint::{client_endpoint, connect};
use twin_transports::entropy::random_array;
use twin_transports::refuse::RefusalCode;

use crate::backoff::Backoff;
use crate::error::OpenError;
use crate::limits::{CONNECT_TIMEOUT, FAREWELL_TIMEOUT};
use crate::options::Options;
use crate::session::end::End;
use crate::session::handshake::{Control, Run, handshake};
use crate::session::open::run_session;
use crate::session::pause::pause;
use crate::shared::Shared;

/// Connects, again and again.
pub(crate) struct Connector {
    options: Options,
    shared: Arc<Shared>,
    boot_nonce: [u8; 16],
}

impl Connector {
    pub(crate) fn new(options: Options, shared: Arc<Shared>) -> Result<Self, OpenError> {
        let boot_nonce = random_array(&*options.entropy)?;
        Ok(Self { options, shared, boot_nonce })
    }

    /// Runs until the gateway stops.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::default();
        while !self.shared.stop.is_cancelled() {
            let begun = self.shared.clock.monotonic();
            let end = self.once().await;
            if end == End::Stopped {
                break;
            }
            self.note(&end);
            let lived = self.shared.clock.monotonic().saturating_sub(begun);
            let random = self.shared.with(|core, _| core.draw());
            let delay = pause(&end, lived, &mut backoff, random);
            tracing::info!(%end, delay_ms = delay.as_millis() as u64, "no session; connecting again");
            // Stopped or over: the loop looks.
            drop(tokio::time::timeout(delay, self.shared.stop.cancelled()).await);
        }
    }

    /// One attempt and, if it works, one session.
    async fn once(&self) -> End {
        let opening = async { tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await };
        let opened = tokio::select! {
            () = self.shared.stop.cancelled() => return End::Stopped,
            opened = opening => opened,
        };
        let (endpoint, connection, control) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(end)) => return end,
            Err(_) => return End::Failed(format!("no session within {CONNECT_TIMEOUT:?}")),
        };
        let end = run_session(&self.shared, &connection, control).await;
        // So that the node hears of it at once rather than by its idle timeout.
        drop(tokio::time::timeout(FAREWELL_TIMEOUT, endpoint.wait_idle()).await);
        end
    }

    async fn open(&self) -> Result<(Endpoint, Connection, Control), End> {
        let (endpoint, connection) = self.connect().await?;
        let run = {
            let core = self.shared.core.lock();
            Run { outbox: core.outbox, boot: core.boot, boot_nonce: self.boot_nonce }
        };
        let credentials = &self.options.credentials;
        let control = handshake(&connection, credentials, run, &self.options.agent, &*self.shared.entropy).await?;
        Ok((endpoint, connection, control))
    }

    /// Looks the node up anew, as it may have moved, and tries its addresses in turn.
    async fn connect(&self) -> Result<(Endpoint, Connection), End> {
        let node = &self.options.node;
        let addresses = tokio::net::lookup_host(node)
            .await
            .map_err(|error| End::Failed(format!("cannot look up {node:?} (host:port): {error}")))?;
        let mut last = End::Failed(format!("{node:?} has no address"));
        for address in addresses {
            let endpoint = client_endpoint(address).map_err(End::failed)?;
            match connect(&endpoint, address, &self.options.credentials).await {
                Ok(connection) => return Ok((endpoint, connection)),
                Err(error) => last = End::failed(error),
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
                        "the outbox was rolled back or copied: it goes on under a new identity, and what earlier boots left are dead letters"
                    );
                    self.shared.with(|core, now: Duration| core.renew_outbox(OutboxId(outbox), now));
                }
                Err(error) => tracing::error!(%error, "the outbox needs a new identity"),
            }
        }
    }
}
