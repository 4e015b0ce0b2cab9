//! Runs the REST on threads of its own, so that nothing it does can hold up sessions, grains or the log.

use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::App;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::rt::net::TcpStream;
use actix_web::web::{Data, to};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::Rest;
use super::dispatch::Dispatcher;
use super::entered::Entered;
use super::starting::{self, Starting};
use super::strangers::{Stranger, Strangers};
use crate::limits::{
    BACKLOG, BODY_TIMEOUT, CONNECTIONS_MAX, HEAD_TIMEOUT, KEEP_ALIVE, STOP_TIMEOUT, TLS_TIMEOUT, UNREAD_TIMEOUT,
    WORKERS,
};

/// The running REST.
#[derive(Debug)]
pub(crate) struct RestServer {
    handle: ServerHandle,
    /// `None`: it was stopped.
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Who forgets to stop it, or is cut short, leaves no threads and no socket behind.
impl Drop for RestServer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // Told by the call; that it is done need not be waited for.
            drop(self.handle.stop(false));
        }
    }
}

/// What answers.
#[derive(Clone)]
pub(crate) enum Serves {
    /// All of the REST.
    Node(Data<Rest>),
    /// What stands in its place while the node starts.
    Starting(Data<Starting>),
}

impl Serves {
    fn strangers(&self) -> Strangers {
        match self {
            Self::Node(rest) => rest.metrics.strangers.clone(),
            Self::Starting(starting) => starting.strangers.clone(),
        }
    }
}

impl RestServer {
    /// Serves on a bound listener; over TLS if a configuration is given.
    pub(crate) async fn start(
        serves: Serves,
        listener: TcpListener,
        tls: Option<rustls::ServerConfig>,
    ) -> io::Result<Self> {
        let (started, handle) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("twinmesh-rest".to_owned())
            .spawn(move || actix_web::rt::System::new().block_on(serve(serves, listener, tls, started)))?;
        match handle.await {
            Ok(handle) => Ok(Self { handle, thread: Some(thread) }),
            Err(_) => Err(match thread.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => io::Error::other("the REST's thread ended before it served"),
            }),
        }
    }

    /// Accepts nothing more, lets requests in flight finish, ends its threads.
    pub(crate) async fn stop(mut self) {
        self.handle.stop(true).await;
        let Some(thread) = self.thread.take() else { return };
        let joined = tokio::task::spawn_blocking(|| thread.join()).await;
        if !matches!(joined, Ok(Ok(Ok(())))) {
            tracing::warn!(?joined, "the REST did not stop as it should");
        }
    }
}

async fn serve(
    serves: Serves,
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
    started: oneshot::Sender<ServerHandle>,
) -> io::Result<()> {
    // Inherited by what is accepted. actix waits for ever for a client that reads nothing; the system does not.
    socket2::SockRef::from(&listener).set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    // Once more, as the library's own queue of those to be accepted is short, and who finds it full asks again a second later.
    socket2::SockRef::from(&listener).listen(BACKLOG)?;
    let builder = Server::build()
        .workers(WORKERS)
        .worker_max_blocking_threads(1)
        .max_concurrent_connections(CONNECTIONS_MAX / WORKERS)
        .shutdown_timeout(STOP_TIMEOUT.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let server = match tls {
        None => builder.listen("rest", listener, move || plain(&serves, stopping.clone()))?,
        Some(config) => {
            // All of them may be in the midst of TLS: strangers are held by their own bound.
            max_concurrent_tls_connect(CONNECTIONS_MAX / WORKERS);
            builder.listen("rest", listener, move || over_tls(&serves, stopping.clone(), config.clone()))?
        }
    }
    .run();
    // Fails only if whoever started us is gone already.
    let _ = started.send(server.handle());
    server.await
}

/// Like what actix-web's own server does for a plain listener, but that a connection [enters](super::entered) first.
fn plain(
    serves: &Serves,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<> {
    let strangers = serves.strangers();
    fn_service(move |stream: TcpStream| {
        let stream = strangers.enter(stream);
        let peer = stream.peer();
        ready(Ok((stream, Protocol::Http1, peer)))
    })
    .and_then(http(serves.clone(), stopping, Entered::stranger))
}

/// Likewise over TLS. **Invariant:** whoever does not end its handshake is a stranger like any other.
fn over_tls(
    serves: &Serves,
    stopping: GracefulShutdownSignal,
    config: rustls::ServerConfig,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = TlsError<io::Error, DispatchError>, InitError = ()>
+ use<> {
    let strangers = serves.strangers();
    let mut acceptor = Acceptor::new(config);
    acceptor.set_handshake_timeout(TLS_TIMEOUT);
    fn_service(move |stream: TcpStream| ready(Ok(strangers.enter(stream))))
        .and_then(acceptor.map_err(TlsError::into_service_error))
        .and_then(|stream: TlsStream<Entered>| {
            let (entered, tls) = stream.get_ref();
            let protocol = if tls.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
            let peer = entered.peer();
            ready(Ok((stream, protocol, peer)))
        })
        .and_then(
            http(serves.clone(), stopping, |stream: &TlsStream<Entered>| stream.get_ref().0.stranger())
                .map_err(TlsError::Service),
        )
}

/// HTTP over whatever a stranger comes by.
fn http<T: AsyncRead + AsyncWrite + Unpin + 'static>(
    serves: Serves,
    stopping: GracefulShutdownSignal,
    stranger: fn(&T) -> Option<Stranger>,
) -> impl ServiceFactory<(T, Protocol, Option<SocketAddr>), Config = (), Response = (), Error = DispatchError, InitError = ()>
{
    let application = application(serves).into_factory().map_err(|error| error.error_response());
    HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(BODY_TIMEOUT)
        .on_connect_ext(move |connection: &T, extensions| {
            if let Some(stranger) = stranger(connection) {
                extensions.insert(stranger);
            }
        })
        .finish(map_config(application, |()| AppConfig::default()))
}

fn application(
    serves: Serves,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    match serves {
        Serves::Node(rest) => App::new().app_data(rest.clone()).default_service(Dispatcher::new(rest)),
        Serves::Starting(starting) => App::new().app_data(starting).default_service(to(starting::answer)),
    }
}
