//! Runs the REST on threads of its own, so that nothing it does can hold up sessions, grains or the log.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use tokio::sync::oneshot;

use super::Rest;
use super::dispatch::Dispatcher;
use crate::limits::{
    BACKLOG, BODY_TIMEOUT, CONNECTIONS_MAX, HEAD_TIMEOUT, KEEP_ALIVE, STOP_TIMEOUT, TLS_TIMEOUT, UNREAD_TIMEOUT,
    WORKERS,
};

/// The running REST.
#[derive(Debug)]
pub(crate) struct RestServer {
    handle: ServerHandle,
    thread: JoinHandle<io::Result<()>>,
}

impl RestServer {
    /// Serves on a bound listener; over TLS if a configuration is given.
    pub(crate) async fn start(
        rest: Arc<Rest>,
        listener: TcpListener,
        tls: Option<rustls::ServerConfig>,
    ) -> io::Result<Self> {
        let (started, handle) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("twinmesh-rest".to_owned())
            .spawn(move || actix_web::rt::System::new().block_on(serve(Data::from(rest), listener, tls, started)))?;
        match handle.await {
            Ok(handle) => Ok(Self { handle, thread }),
            Err(_) => Err(match thread.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => io::Error::other("the REST's thread ended before it served"),
            }),
        }
    }

    /// Accepts nothing more, lets requests in flight finish, ends its threads.
    pub(crate) async fn stop(self) {
        self.handle.stop(true).await;
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        if !matches!(joined, Ok(Ok(Ok(())))) {
            tracing::warn!(?joined, "the REST did not stop as it should");
        }
    }
}

async fn serve(
    rest: Data<Rest>,
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    started: oneshot::Sender<ServerHandle>,
) -> io::Result<()> {
    let strangers = rest.metrics.strangers.clone();
    let server =
        HttpServer::new(move || App::new().app_data(rest.clone()).default_service(Dispatcher::new(rest.clone())))
            .workers(WORKERS)
            .worker_max_blocking_threads(1)
            .max_connections(CONNECTIONS_MAX / WORKERS)
            // All of them may be in the midst of TLS: strangers are told from others only behind it.
            .max_connection_rate(CONNECTIONS_MAX / WORKERS)
            .tls_handshake_timeout(TLS_TIMEOUT)
            .on_connect(move |connection, extensions| {
                if let Some(stranger) = strangers.enter(connection) {
                    extensions.insert(stranger);
                }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(BODY_TIMEOUT)
            .shutdown_timeout(STOP_TIMEOUT.as_secs())
            .disable_signals();
    // Inherited by what is accepted. actix waits for ever for a client that reads nothing; the system does not.
    socket2::SockRef::from(&listener).set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    // Once more, as the library's own queue of those to be accepted is short, and who finds it full asks again a second later.
    socket2::SockRef::from(&listener).listen(BACKLOG)?;
    let server = match tls {
        None => server.listen(listener)?,
        Some(config) => server.listen_rustls_0_23(listener, config)?,
    }
    .run();
    // Fails only if whoever started us is gone already.
    let _ = started.send(server.handle());
    server.await
}
