//! The server: takes connections within bounds, and makes sessions of them.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use twin_core::refusal::Refusal;

use super::backend::{Backend, VerifiedHello};
use super::crediting::first_credit;
use super::downlink::Link;
use super::handshake::{HandshakeError, Takes, Verifier};
use super::options::ServerOptions;
use super::outgoing::outgoing;
use super::places::{Place, Places};
use super::readings::ViewsWaiting;
use super::session::{OpenSession, Session, farewell, run_session};
use super::stats::TransportStats;
use crate::auth::GatewayKey;
use crate::codec::{FrameReader, FrameWriter};
use crate::endpoint::{EndpointError, server_endpoint};
use crate::entropy::{EntropyError, random_array};
use crate::frames::session::Welcome;
use crate::limits::{FAREWELL_TIMEOUT, FRAME_BYTES_MAX, FRAME_BYTES_MAX_UNAUTHENTICATED, SHUTDOWN_TIMEOUT};
use crate::refuse::{RefusalCode, SessionRefusal, is_of_certificate};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The socket has no address.
    #[error("the socket tells no address: {0}")]
    Address(std::io::Error),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Accepts gateways. Bind it, keep a [`ServerHandle`], and [`run`](Server::run) it.
pub struct Server<B: Backend> {
    options: ServerOptions,
    backend: Arc<B>,
    endpoint: Endpoint,
    verifier: Verifier,
    handle: ServerHandle,
    views_waiting: Arc<ViewsWaiting>,
}

/// Tells about a server and stops it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    local_addr: SocketAddr,
    stats: Arc<TransportStats>,
    stop: CancellationToken,
    stopped: CancellationToken,
}

impl ServerHandle {
    /// Where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it counts.
    pub fn stats(&self) -> &Arc<TransportStats> {
        &self.stats
    }

    /// Stops: no new connections, and every session ends with `shutting-down`. Returns when all are gone, after
    /// [`SHUTDOWN_TIMEOUT`] and the farewell at the latest.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.stopped.cancelled().await;
    }
}

impl<B: Backend> Server<B> {
    /// Binds the endpoint. Connections wait (within QUIC's bound) until it runs.
    pub fn bind(options: ServerOptions, backend: Arc<B>) -> Result<Self, ServerError> {
        let quic = match &options.reset_key {
            Some(key) => key.endpoint_config(random_array(&*options.entropy)?),
            None => EndpointConfig::default(),
        };
        let endpoint = server_endpoint(options.addr, options.tls.clone(), quic)?;
        let handle = ServerHandle {
            local_addr: endpoint.local_addr().map_err(ServerError::Address)?,
            stats: Arc::new(TransportStats::default()),
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        };
        let verifier = Verifier::new(&*options.entropy)?;
        Ok(Self { options, backend, endpoint, verifier, handle, views_waiting: Arc::default() })
    }

    /// Its handle.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Accepts until the handle stops it.
    pub async fn run(self) {
        let stopped = self.handle.stopped.clone();
        let _on_any_way_out = stopped.drop_guard();
        let places = Places::new(self.options.unauthenticated_max);
        let connections = Arc::new(Semaphore::new(self.options.connections_max));
        let tasks = TaskTracker::new();
        let endpoint = self.endpoint.clone();
        let server = Arc::new(self);
        loop {
            let incoming = tokio::select! {
                biased;
                () = server.handle.stop.cancelled() => break,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            // Costs whoever can receive at its source address one round trip.
            if places.are_crowded() && !incoming.remote_address_validated() && incoming.may_retry() {
                server.handle.stats.retries.add(1);
                let _retried = incoming.retry();
                continue;
            }
            let place = (places.take(incoming.remote_address().ip()), connections.clone().try_acquire_owned());
            let (Some(unauthenticated_place), Ok(connection_place)) = place else {
                server.handle.stats.count_refusal(RefusalCode::Busy);
                incoming.refuse();
                continue;
            };
            tasks.spawn(server.clone().connection(incoming, unauthenticated_place, connection_place));
        }
        tasks.close();
        let _ended_or_late = tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await;
        let refusal = SessionRefusal::new(RefusalCode::ShuttingDown, "the node stops");
        endpoint.close(refusal.code.close_number().into(), refusal.code.as_str().as_bytes());
        let _idle_or_late = tokio::time::timeout(FAREWELL_TIMEOUT, endpoint.wait_idle()).await;
    }

    async fn connection(
        self: Arc<Self>,
        incoming: Incoming,
        unauthenticated: Place,
        _connection_place: OwnedSemaphorePermit,
    ) {
        let stats = self.handle.stats.clone();
        let peer = incoming.remote_address();
        let span =
            tracing::info_span!("session", %peer, gateway = tracing::field::Empty, session = tracing::field::Empty);
        let timeout = self.options.handshake_timeout;
        async {
            // TLS: certificates, names and ALPN are QUIC's business, and so are its refusals.
            let Ok(connected) = tokio::time::timeout(timeout, incoming).await else { return };
            let connection = match connected {
                Ok(connection) => connection,
                Err(ConnectionError::TransportError(error)) if is_of_certificate(error.code) => {
                    tracing::info!(%error, "connection refused: its certificate is not taken");
                    return stats.count_refusal(RefusalCode::BadCertificate);
                }
                Err(_) => return,
            };
            stats.connections.add(1);
            let _open = stats.connections_open.enter();
            self.serve(&connection, unauthenticated).await;
        }
        .instrument(span)
        .await;
    }

    async fn serve(&self, connection: &Connection, unauthenticated: Place) {
        let stats = &self.handle.stats;
        let deadline = tokio::time::Instant::now() + self.options.handshake_timeout;
        let too_late = || SessionRefusal::new(RefusalCode::HandshakeTimeout, "the handshake took too long");
        let stopping = || SessionRefusal::new(RefusalCode::ShuttingDown, "the node stops");
        let refuse = |refusal: &SessionRefusal| {
            tracing::info!(code = refusal.code.as_str(), message = refusal.message, "connection refused");
            stats.count_refusal(refusal.code);
        };

        let first = tokio::select! {
            biased;
            () = self.handle.stop.cancelled() => Err(stopping()),
            first = tokio::time::timeout_at(deadline, connection.accept_bi()) => match first {
                Ok(Ok(streams)) => Ok(streams),
                Ok(Err(_gone)) => return,
                Err(_) => Err(too_late()),
            },
        };
        let (send, recv) = match first {
            Ok(streams) => streams,
            Err(refusal) => {
                refuse(&refusal);
                return refusal.close(connection);
            }
        };
        let mut reader = FrameReader::new(recv, FRAME_BYTES_MAX_UNAUTHENTICATED);
        let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
        let (out, queue) = outgoing();
        let link = Arc::new(Link::new(out, stats.clone()));
        let handshake = async {
            let (hello, takes) = self
                .verifier
                .handshake(&*self.backend, &*self.options.entropy, connection, &mut reader, &mut writer)
                .await?;
            link.takes(&takes);
            let by_certificate = matches!(hello.key, GatewayKey::Certificate(_));
            let (session, open) = self.open(hello, link.clone(), &takes).await?;
            Ok((session, open, by_certificate))
        };
        let opened = tokio::select! {
            biased;
            () = self.handle.stop.cancelled() => Err(stopping().into()),
            opened = tokio::time::timeout_at(deadline, handshake) => opened.unwrap_or_else(|_| Err(too_late().into())),
            // Nothing but the handshake, before it is over.
            second = connection.accept_bi() => Err(match second {
                Ok(_) => {
                    let message = "a second stream was opened before the handshake was over";
                    SessionRefusal::new(RefusalCode::NotAuthenticated, message).into()
                }
                Err(_) => HandshakeError::Gone,
            }),
        };
        let (session, open, by_certificate) = match opened {
            Ok(opened) => opened,
            Err(HandshakeError::Gone) => return connection.close(0_u32.into(), b""),
            Err(HandshakeError::Refused(refusal)) => {
                refuse(&refusal);
                farewell(writer, &refusal).await;
                return refusal.close(connection);
            }
        };
        drop(unauthenticated);
        tracing::Span::current().record("gateway", tracing::field::display(&session.gateway));
        tracing::Span::current().record("session", session.grant.session);
        tracing::info!(by_certificate, "session opened");
        reader.set_limit(FRAME_BYTES_MAX);
        let welcome = Welcome {
            session: session.grant.session,
            owner: session.grant.owner,
            heartbeat_ms: u32::try_from(self.options.heartbeat_interval.as_millis()).unwrap_or(u32::MAX),
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            alarms: true,
            credit: session.first_credit,
        };
        if !matches!(tokio::time::timeout_at(deadline, writer.send(welcome)).await, Ok(Ok(()))) {
            return connection.close(0_u32.into(), b"");
        }
        stats.sessions.add(1);
        if by_certificate {
            stats.sessions_by_certificate.add(1);
        }
        let _open = stats.sessions_open.enter();
        let link = session.link.clone();
        tokio::select! {
            biased;
            () = run_session(session, open, connection, reader, writer, queue) => {}
            () = async {
                self.handle.stop.cancelled().await;
                link.ending.refuse(stopping());
                std::future::pending::<()>().await;
            } => {}
        }
    }

    /// Opens the session at the backend. In a task of its own: if the gateway leaves meanwhile, the backend still hears that
    /// the session it opened is over.
    async fn open(
        &self,
        hello: VerifiedHello,
        link: Arc<Link>,
        takes: &Takes,
    ) -> Result<(Arc<Session<B>>, OpenSession<B>), HandshakeError> {
        let (backend, gateway, outbox) = (self.backend.clone(), hello.gateway.clone(), hello.outbox);
        let downlink = link.clone();
        let opening = tokio::spawn(async move {
            let gateway = hello.gateway.clone();
            let grant = backend.open_session(hello, downlink).await?;
            Ok(OpenSession { backend, gateway, grant })
        });
        let open = match opening.await {
            Ok(Ok(open)) => open,
            Ok(Err(refusal)) => return Err(not_opened(refusal).into()),
            Err(failed) => {
                tracing::error!(error = %failed, "opening the session failed");
                return Err(SessionRefusal::new(RefusalCode::Internal, "the node failed to open the session").into());
            }
        };
        link.owned_by(open.grant.owner);
        let first_credit = takes.credit.then(|| first_credit(&*self.backend, &self.handle.stats));
        let session = Session {
            backend: self.backend.clone(),
            gateway,
            outbox,
            grant: open.grant,
            link,
            on_traceparent: self.options.on_traceparent,
            views_waiting: self.views_waiting.clone(),
            first_credit,
        };
        Ok((Arc::new(session), open))
    }
}

/// The backend's refusal, in a session's terms.
fn not_opened(refusal: Refusal) -> SessionRefusal {
    let code = match &refusal {
        Refusal::GatewayNotFound { .. } | Refusal::SiteNotFound { .. } => return SessionRefusal::bad_credential(),
        Refusal::Busy { .. } => RefusalCode::Busy,
        Refusal::Unavailable { .. } => RefusalCode::Unavailable,
        Refusal::OtherSite { .. } => RefusalCode::OtherSite,
        Refusal::StaleBoot { .. } => RefusalCode::StaleBoot,
        Refusal::CredentialInUse { .. } => RefusalCode::CredentialInUse,
        _ => RefusalCode::Internal,
    };
    let mut session = SessionRefusal::new(code, refusal.to_string());
    session.retry_after = refusal.retry_after().or(session.retry_after);
    session
}
