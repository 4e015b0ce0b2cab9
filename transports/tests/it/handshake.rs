//! Who gets in, and who does not.

use std::time::Duration;

use twin_core::ids::{GatewayName, SiteId};
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::auth::{Credentials, GatewaySecret};
use twin_transports::codec::Frame;
use twin_transports::entropy::SystemEntropy;
use twin_transports::frames::session::{Hello, Open, Refused, StreamClass};
use twin_transports::refuse::RefusalCode;
use twin_transports::tls::{NodeCertificates, SERVER_NAME};

use crate::backend::{owner, until};
use crate::gateway::{Gateway, close_reason, hello};
use crate::server::TestServer;

async fn refusal_of(server: &TestServer, credentials: &Credentials, hello: &Hello) -> Refused {
    let mut gateway = Gateway::connect(server, credentials).await;
    let challenge = gateway.challenged(hello).await;
    let proof = gateway.proof(credentials, hello, &challenge);
    gateway.writer.send(proof).await.unwrap();
    gateway.refused().await
}

#[tokio::test]
async fn a_gateway_with_its_credentials_is_welcome() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, welcome) = Gateway::open(&server, &credentials).await;
    assert_eq!(welcome.owner, owner());
    assert_eq!(welcome.heartbeat_ms, 5_000);
    let opened = server.backend.opened.lock().clone();
    assert_eq!(opened.len(), 1);
    assert_eq!((&opened[0].gateway.site, &opened[0].gateway.name), (&credentials.site, &credentials.name));
    assert_eq!(server.handle.stats().sessions_open.get(), 1);
    gateway.connection.close(0_u32.into(), b"");
    until("the session is closed", || *server.backend.closed.lock() == [welcome.session]).await;
    assert_eq!(server.handle.stats().refusals().map(|(_, count)| count).sum::<u64>(), 0);
}

#[tokio::test]
async fn wrong_credentials_of_any_kind_get_the_same_words_and_reach_nothing() {
    let server = TestServer::start();
    let good = server.gateway("store-1", "gw-1");
    let other_site = server.gateway("store-2", "gw-2");

    let mut wrong_secret = good.clone();
    wrong_secret.identity = GatewaySecret::generate(&SystemEntropy::new()).unwrap().into();
    let mut unknown = good.clone();
    unknown.name = GatewayName::new("nobody").unwrap();
    let mut wrong_product = good.clone();
    wrong_product.product_key.push('x');
    let mut speaks_for_another = other_site.clone();
    speaks_for_another.site = SiteId::new("store-1").unwrap();

    let mut words = Vec::new();
    for credentials in [&wrong_secret, &unknown, &wrong_product, &speaks_for_another] {
        words.push(refusal_of(&server, credentials, &hello(credentials)).await);
    }
    assert_eq!(words[0].code, "bad-credential");
    assert!(words.iter().all(|refused| *refused == words[0]), "{words:?}");
    let stats = server.handle.stats();
    until("all are counted", || stats.refused(RefusalCode::BadCredential) == 4).await;
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_hello_that_was_changed_after_signing_does_not_fit_its_proof() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let said = hello(&credentials);
    let mut signed = said.clone();
    signed.boot = signed.boot.next();
    let mut gateway = Gateway::connect(&server, &credentials).await;
    let challenge = gateway.challenged(&said).await;
    let proof = gateway.proof(&credentials, &signed, &challenge);
    gateway.writer.send(proof).await.unwrap();
    assert_eq!(gateway.refused().await.code, "bad-credential");
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_proof_is_of_no_use_on_another_connection() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let hello = hello(&credentials);
    let mut victim = Gateway::connect(&server, &credentials).await;
    let mut thief = Gateway::connect(&server, &credentials).await;
    let _challenge = victim.challenged(&hello).await;
    // The thief has the victim sign the thief's own challenge, as a man in the middle would: all but the channel is right.
    let challenge = thief.challenged(&hello).await;
    let proof = victim.proof(&credentials, &hello, &challenge);
    thief.writer.send(proof).await.unwrap();
    assert_eq!(thief.refused().await.code, "bad-credential");
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn another_protocol_version_is_refused_by_name() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let mut gateway = Gateway::connect(&server, &credentials).await;
    let mut newer = hello(&credentials);
    newer.protocol = 7;
    gateway.writer.send(Open { class: StreamClass::Control }).await.unwrap();
    gateway.writer.send(newer).await.unwrap();
    let refused = gateway.refused().await;
    assert_eq!((refused.code.as_str(), refused.retry_after_ms), ("unsupported-protocol", None));
    assert!(refused.message.contains("protocol 1") && refused.message.contains('7'), "{}", refused.message);
    server.refused_once(RefusalCode::UnsupportedProtocol).await;
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_node_with_another_ca_is_not_trusted() {
    let server = TestServer::start();
    let mut credentials = server.gateway("store-1", "gw-1");
    let dir = tempfile::tempdir().unwrap();
    let other = NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).unwrap();
    credentials.ca = other.ca_pem();
    let endpoint = twin_transports::endpoint::client_endpoint(server.addr()).unwrap();
    assert!(twin_transports::endpoint::connect(&endpoint, server.addr(), &credentials).await.is_err());
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_restarted_node_keeps_its_ca_and_old_credentials_hold() {
    let dir = tempfile::tempdir().unwrap();
    let first = NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).unwrap();
    let again = NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &["10.0.0.1".into()]).unwrap();
    assert_eq!(first.ca_pem(), again.ca_pem());
    // Lost in a crash between the two files: the key makes a certificate that old credentials still accept.
    std::fs::remove_file(dir.path().join("ca.pem")).unwrap();
    let server = TestServer::start_with(|options| {
        let remade = NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).unwrap();
        options.tls = remade.quic_server_config().unwrap();
    });
    let mut credentials = server.gateway("store-1", "gw-1");
    credentials.ca = first.ca_pem();
    let _gateway = Gateway::open(&server, &credentials).await;
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    assert!(NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).is_err(), "never a new CA in silence");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_ended() {
    let server = TestServer::start_with(|options| options.handshake_timeout = Duration::from_millis(200));
    let credentials = server.gateway("store-1", "gw-1");
    let silent = Gateway::connect(&server, &credentials).await;
    assert_eq!(close_reason(&silent.connection).await, "handshake-timeout");
    let mut half_way = Gateway::connect(&server, &credentials).await;
    let _challenge = half_way.challenged(&hello(&credentials)).await;
    assert_eq!(half_way.refused().await.code, "handshake-timeout");
    assert_eq!(server.handle.stats().refused(RefusalCode::HandshakeTimeout), 2);
}

#[tokio::test]
async fn unauthenticated_connections_have_a_bound_and_free_their_place() {
    let server = TestServer::start_with(|options| options.unauthenticated_max = 1);
    let credentials = server.gateway("store-1", "gw-1");
    let first = Gateway::connect(&server, &credentials).await;
    let endpoint = twin_transports::endpoint::client_endpoint(server.addr()).unwrap();
    assert!(twin_transports::endpoint::connect(&endpoint, server.addr(), &credentials).await.is_err());
    server.refused_once(RefusalCode::Busy).await;
    first.connection.close(0_u32.into(), b"");
    let stats = server.handle.stats();
    until("the place is free", || stats.connections_open.get() == 0).await;
    // An open session takes no place among the unauthenticated.
    let (_one, _) = Gateway::open(&server, &credentials).await;
    let (_two, _) = Gateway::open(&server, &credentials).await;
}

#[tokio::test]
async fn in_a_crowd_a_gateway_that_can_be_reached_at_its_address_gets_in() {
    let server = TestServer::start_with(|options| options.unauthenticated_max = 8);
    let credentials = server.gateway("store-1", "gw-1");
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(Gateway::connect(&server, &credentials).await);
    }
    let (_gateway, _) = Gateway::open(&server, &credentials).await;
    assert_eq!(server.handle.stats().refused(RefusalCode::Busy), 0);
    assert_eq!(server.handle.stats().retries.get(), 1);
}

#[tokio::test]
async fn a_host_that_takes_every_place_it_can_keeps_no_other_out() {
    let server = TestServer::start_with(|options| options.unauthenticated_max = 8);
    let credentials = server.gateway("store-1", "gw-1");
    // All of 127/8 is this machine: a host of its own.
    let endpoint = quinn::Endpoint::client((std::net::Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let mut silent = Vec::new();
    while let Ok(connection) = twin_transports::endpoint::connect(&endpoint, server.addr(), &credentials).await {
        silent.push(connection);
        assert!(silent.len() < 8);
    }
    assert_eq!(silent.len(), 6);
    server.refused_once(RefusalCode::Busy).await;
    let (_gateway, _) = Gateway::open(&server, &credentials).await;
}

#[tokio::test]
async fn the_backends_refusals_have_their_own_codes() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let unavailable = Refusal::Unavailable { message: "no leader".into(), retry_after_ms: 300 };
    *server.backend.refuse_open.lock() = Some(unavailable);
    let refused = refusal_of(&server, &credentials, &hello(&credentials)).await;
    assert_eq!((refused.code.as_str(), refused.retry_after_ms), ("unavailable", Some(300)));
    let (boot, committed) = (twin_core::numbers::Boot::new(1), twin_core::numbers::Boot::new(2));
    *server.backend.refuse_open.lock() = Some(Refusal::StaleBoot { boot, committed });
    let refused = refusal_of(&server, &credentials, &hello(&credentials)).await;
    assert_eq!((refused.code.as_str(), refused.retry_after_ms), ("stale-boot", None));
    assert!(server.backend.closed.lock().is_empty(), "what was not opened is not closed");
}

#[tokio::test]
async fn a_second_stream_before_the_welcome_is_refused() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let mut gateway = Gateway::connect(&server, &credentials).await;
    let _challenge = gateway.challenged(&hello(&credentials)).await;
    let _early = gateway.stream(StreamClass::State).await;
    assert_eq!(gateway.refused().await.code, "not-authenticated");
    server.refused_once(RefusalCode::NotAuthenticated).await;
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_session_cannot_begin_with_anything_but_the_handshake() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let mut gateway = Gateway::connect(&server, &credentials).await;
    gateway.writer.send(Open { class: StreamClass::State }).await.unwrap();
    assert_eq!(gateway.refused().await.code, "not-authenticated");

    let mut gateway = Gateway::connect(&server, &credentials).await;
    gateway.writer.send(Open { class: StreamClass::Control }).await.unwrap();
    let twin = twin_core::ids::TwinId::new("esl-1").unwrap();
    let call = twin_transports::frames::device::CallOutcome::Answered { status: 200, payload: Value::Null };
    let result =
        twin_transports::frames::device::CallResult { twin, call: twin_core::numbers::CallNo::new(1), outcome: call };
    gateway.writer.send(result).await.unwrap();
    assert_eq!(gateway.refused().await.code, "not-authenticated");
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_stopping_node_says_so() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, welcome) = Gateway::open(&server, &credentials).await;
    let handle = server.handle.clone();
    let stopping = tokio::spawn(async move { handle.shutdown().await });
    let refused = gateway.refused().await;
    assert_eq!(refused.code, "shutting-down");
    assert!(refused.retry_after_ms.is_some());
    tokio::time::timeout(crate::server::WAIT, stopping).await.unwrap().unwrap();
    assert_eq!(*server.backend.closed.lock(), [welcome.session]);
}

#[tokio::test]
async fn the_backend_can_end_a_session_with_a_code() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    server.backend.link().close(RefusalCode::Revoked.as_str(), "the gateway was removed");
    let refused = gateway.refused().await;
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("revoked", "the gateway was removed"));
    server.refused_once(RefusalCode::Revoked).await;
}

#[test]
fn every_refusal_code_is_read_back() {
    for code in RefusalCode::ALL {
        assert_eq!(RefusalCode::from_code(code.as_str()), Some(*code));
    }
    let frame = Frame::from(twin_transports::refuse::SessionRefusal::bad_credential().to_frame());
    assert_eq!(frame.kind_name(), "Refused");
}
