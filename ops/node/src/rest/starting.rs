//! What a node answers while it starts, where that takes a while: a log to apply again, or a disk without room for its vote.
//!
//! It stands in the REST's place, on the REST's socket, and knows no twins: `/healthz` says that the process lives, everything else is 503
//! and says what the start waits for. Then the REST takes the socket over; who came in between is answered by it.

use std::future::{Future, Ready, ready};
use std::net::TcpListener;
use std::sync::Arc;

use actix_http::ConnectionType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use twin_storage::Budgets;

use super::health::{alive, not_ready};
use super::server::{RestServer, Serves};
use super::strangers::Strangers;
use crate::limits::STARTING_QUIETLY;

/// What is known of a node that starts.
pub(crate) struct Starting {
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) strangers: Strangers,
}

/// Does the work of a start, and answers in its place once it takes longer than [`STARTING_QUIETLY`].
pub(crate) async fn answering<T>(
    budgets: Arc<Budgets>,
    listener: &TcpListener,
    tls: Option<rustls::ServerConfig>,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    if let Ok(done) = tokio::time::timeout(STARTING_QUIETLY, &mut work).await {
        return done;
    }
    let starting = Data::new(Starting { budgets: Arc::clone(&budgets), strangers: Strangers::default() });
    let server = async { RestServer::start(Serves::Starting(starting), listener.try_clone()?, tls).await };
    // Nothing but answers is lost by it: the start goes on.
    let server = server.await.inspect_err(|error| tracing::warn!(%error, "nobody is answered during the start")).ok();
    if let Some(pressure) = budgets.disk_pressure() {
        tracing::warn!(%pressure, "the start may have to wait for room on the disk");
    } else {
        tracing::info!("the start takes a while");
    }
    let done = work.await;
    if let Some(server) = server {
        server.stop().await;
    }
    done
}

/// The answer to whatever is asked.
pub(crate) fn answer(request: HttpRequest, starting: Data<Starting>) -> Ready<HttpResponse> {
    let mut response = if request.path() == "/healthz" {
        alive().unwrap_or_else(|problem| problem.response())
    } else {
        not_ready(&starting.budgets, "the node is starting").response()
    };
    // The REST that comes next has connections of its own.
    response.head_mut().set_connection_type(ConnectionType::Close);
    ready(response)
}
