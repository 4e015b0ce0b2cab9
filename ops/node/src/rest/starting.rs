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
    match budgets.disk_pressure() {
        Some(pressure) => tracing::warn!(%pressure, "the start may have to wait for room on the disk"),
        None => tracing::info!("the start takes a while"),
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    use twin_storage::{Options, Storage};

    use super::*;

    fn ask(addr: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_that_waits_for_room_says_so_and_then_hands_its_socket_over() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { disk_reserve_bytes: u64::MAX - 1, ..Options::in_directory(dir.path()) };
        let budgets = Storage::open(options).unwrap().budgets();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (finish, finished) = tokio::sync::oneshot::channel();
        let asked = tokio::task::spawn_blocking(move || {
            let answers = ["/healthz", "/readyz", "/api/v1/twins/t"].map(|path| ask(addr, path));
            finish.send(7).unwrap();
            answers
        });
        let (done, asked) = tokio::join!(answering(budgets, &listener, None, finished), asked);
        let [health, ready, twin] = asked.unwrap();
        assert_eq!(done, Ok(7));
        assert!(health.starts_with("HTTP/1.1 200") && health.contains("alive"), "{health}");
        for answer in [ready, twin] {
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 2"), "{answer}");
            assert!(answer.contains("disk-full") && answer.contains(dir.path().to_str().unwrap()), "{answer}");
        }
        // Whoever comes now is the next one's.
        let next = tokio::task::spawn_blocking(move || TcpStream::connect(addr).unwrap());
        listener.set_nonblocking(false).unwrap();
        tokio::task::spawn_blocking(move || listener.accept().unwrap()).await.unwrap();
        next.await.unwrap();
    }

    #[tokio::test]
    async fn a_usual_start_is_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        let budgets = Storage::open(Options::in_directory(dir.path())).unwrap().budgets();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(answering(budgets, &listener, None, async { 7 }).await, 7);
    }
}
