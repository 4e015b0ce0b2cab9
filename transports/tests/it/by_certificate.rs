//! Gateways that prove themselves by certificates of their owner's PKI.

use std::sync::Arc;

use quinn::{Connection, Endpoint};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use twin_core::ids::{GatewayId, GatewayName, SiteId};
use twin_transports::auth::{ClientCertificate, Credentials, GatewayKey, Identity, read_certificate_pem};
use twin_transports::codec::{Frame, FrameReader, FrameWriter};
use twin_transports::endpoint::client_endpoint;
use twin_transports::frames::session::{Hello, Open, Refused, StreamClass};
use twin_transports::limits::{CERTIFICATE_CHAIN_MAX, FRAME_BYTES_MAX};
use twin_transports::refuse::{RefusalCode, SessionRefusal};
use twin_transports::tls::{SERVER_NAME, client_config};

use crate::backend::until;
use crate::gateway::{Gateway, hello};
use crate::server::TestServer;

/// A self-signed certificate and its key, as PEM. Who signed it makes no difference.
fn certificate(ends: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap();
    params.not_after = date_time_ymd(ends, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

impl TestServer {
    /// A gateway that is registered with this certificate.
    fn certified(&self, name: &str, (pem, key): &(String, String)) -> Credentials {
        let mut credentials = self.gateway("store-1", name);
        let id = GatewayId { site: SiteId::new("store-1").unwrap(), name: GatewayName::new(name).unwrap() };
        let registered = GatewayKey::Certificate(read_certificate_pem(pem).unwrap().sha256);
        self.backend.register(&id, &credentials.product_key, registered);
        credentials.identity = Identity::Certificate(ClientCertificate::from_pem(pem, key).unwrap());
        credentials
    }
}

fn showing(credentials: &Credentials, (pem, key): &(String, String)) -> Credentials {
    let identity = Identity::Certificate(ClientCertificate::from_pem(pem, key).unwrap());
    Credentials { identity, ..credentials.clone() }
}

fn hello_by_certificate(credentials: &Credentials) -> Hello {
    Hello { by_certificate: true, ..hello(credentials) }
}

/// What the node says to this hello, over a connection that shows what the credentials have.
async fn answer(server: &TestServer, credentials: &Credentials, hello: Hello) -> (Gateway, Frame) {
    let mut gateway = Gateway::connect(server, credentials).await;
    gateway.writer.send(Open { class: StreamClass::Control }).await.unwrap();
    gateway.writer.send(hello).await.unwrap();
    let frame = gateway.next().await;
    (gateway, frame)
}

async fn refused(server: &TestServer, credentials: &Credentials) -> Refused {
    match answer(server, credentials, hello_by_certificate(credentials)).await.1 {
        Frame::Refused(refused) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_gateway_with_the_registered_certificate_is_welcome_without_a_challenge() {
    let server = TestServer::start();
    let credentials = server.certified("gw-1", &certificate(9999));
    let (gateway, frame) = answer(&server, &credentials, hello_by_certificate(&credentials)).await;
    assert!(matches!(frame, Frame::Welcome(_)), "{frame:?}");
    let opened = server.backend.opened.lock().clone();
    assert!(matches!(opened[0].key, GatewayKey::Certificate(_)), "{opened:?}");
    assert_eq!(server.handle.stats().sessions_by_certificate.get(), 1);
    drop(gateway);
    // One with a secret, from a release that knows of no certificates or not, is as welcome as before.
    let secret = server.gateway("store-1", "gw-2");
    let _session = Gateway::open(&server, &secret).await;
    assert_eq!((server.handle.stats().sessions.get(), server.handle.stats().sessions_by_certificate.get()), (2, 1));
}

#[tokio::test]
async fn a_key_that_is_not_the_registered_one_is_named_and_nobody_learns_which_gateways_exist() {
    let server = TestServer::start();
    let (mine, other) = (certificate(9999), certificate(9999));
    let credentials = server.certified("gw-1", &mine);
    let others = server.certified("gw-2", &other);
    let with_secret = server.gateway("store-1", "gw-3");
    let mut nobody = credentials.clone();
    nobody.name = GatewayName::new("nobody").unwrap();

    let sha256 = GatewayKey::Certificate(read_certificate_pem(&other.0).unwrap().sha256).certificate_sha256().unwrap();
    for of in [&credentials, &with_secret, &nobody] {
        let refused = refused(&server, &showing(of, &other)).await;
        assert_eq!(refused.code, "certificate-unknown");
        assert!(refused.message.contains(&sha256), "{refused:?}");
        let same = refused.message.replace(of.name.as_str(), "gw-1");
        assert!(same.contains("is not registered for gateway store-1/gw-1"), "{same}");
    }
    // A gateway's certificate opens no session of another one, and the other way round.
    let mut speaks_for_another = others.clone();
    speaks_for_another.name = credentials.name.clone();
    assert_eq!(refused(&server, &speaks_for_another).await.code, "certificate-unknown");
    // The right certificate, but credentials of another cluster.
    let mut product = credentials.clone();
    product.product_key.push('x');
    assert_eq!(refused(&server, &product).await.code, "bad-credential");
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_hello_by_certificate_without_one_and_a_hello_by_secret_of_a_certified_gateway_are_refused() {
    let server = TestServer::start();
    let secret = server.gateway("store-1", "gw-1");
    let missing = refused(&server, &secret).await;
    assert_eq!((missing.code.as_str(), missing.retry_after_ms), ("certificate-missing", Some(60_000)));

    let certified = server.certified("gw-1", &certificate(9999));
    let mut gateway = Gateway::connect(&server, &certified).await;
    let frame = gateway.handshake(&secret, &hello(&secret)).await;
    assert!(matches!(&frame, Frame::Refused(refused) if refused.code == "bad-credential"), "{frame:?}");
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused_by_name_but_only_to_whoever_holds_the_right_one() {
    let server = TestServer::start();
    // By the server's clock it is 1970.
    let ended = certificate(1970);
    let credentials = server.certified("gw-1", &ended);
    let told = refused(&server, &credentials).await;
    assert_eq!(told.code, "certificate-expired");
    assert!(told.message.contains("renew"), "{told:?}");
    let other = server.gateway("store-1", "gw-2");
    assert_eq!(refused(&server, &showing(&other, &ended)).await.code, "certificate-unknown");
    // One that begins in 2000 is taken in 1970: its beginning is not looked at.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    let early = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    let credentials = server.certified("gw-3", &early);
    let frame = answer(&server, &credentials, hello_by_certificate(&credentials)).await.1;
    assert!(matches!(frame, Frame::Welcome(_)), "{frame:?}");
}

/// Shows a chain and signs with a key, whether they go together or not, and takes tickets if it gets any.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn config(server: &TestServer, chain: Vec<CertificateDer<'static>>, key: &str) -> ClientConfig {
    let mut config = client_config(&server.certificates.ca_pem()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = config.crypto_provider().key_provider.load_private_key(key).unwrap();
    config.client_auth_cert_resolver = Arc::new(Shows(Arc::new(CertifiedKey::new(chain, key))));
    config.resumption = rustls::client::Resumption::default();
    config.enable_early_data = true;
    config
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

async fn connection(server: &TestServer, config: &quinn::ClientConfig) -> (Endpoint, Connection) {
    let endpoint = client_endpoint(server.addr()).unwrap();
    let connecting = endpoint.connect_with(config.clone(), server.addr(), SERVER_NAME).unwrap();
    // Nothing to send early: there was no ticket.
    let connecting = connecting.into_0rtt().err().expect("a connection with early data");
    let connection = connecting.await.unwrap();
    (endpoint, connection)
}

fn quic(config: ClientConfig) -> quinn::ClientConfig {
    quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap()))
}

#[tokio::test]
async fn whoever_shows_a_certificate_without_its_key_or_with_a_giant_chain_gets_no_connection_and_is_told() {
    let server = TestServer::start();
    let (mine, thief) = (certificate(9999), certificate(9999));
    server.certified("gw-1", &mine);
    let giant = vec![der(&thief.0); CERTIFICATE_CHAIN_MAX + 1];
    let mut padded = CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap();
    let names = (0..600).map(|n| rcgen::SanType::DnsName(format!("name-{n}.example").try_into().unwrap()));
    padded.subject_alt_names.extend(names);
    let key = KeyPair::generate().unwrap();
    let padded = (padded.self_signed(&key).unwrap().pem(), key.serialize_pem());
    for (chain, key, words) in [
        (vec![der(&mine.0)], &thief.1, "BadSignature"),
        (giant, &thief.1, "the chain has 5 certificates, the limit is 4"),
        (vec![der(&padded.0)], &padded.1, "the limit is 8192"),
    ] {
        let (_endpoint, connection) = connection(&server, &quic(config(&server, chain, key))).await;
        let closed = connection.closed().await;
        let refusal = SessionRefusal::from_connection_error(&closed).unwrap_or_else(|| panic!("{closed:?}"));
        assert_eq!(refusal.code, RefusalCode::BadCertificate);
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
    let stats = server.handle.stats();
    until("all are counted", || stats.refused(RefusalCode::BadCertificate) == 3).await;
    assert!(server.backend.saw_nothing());
}

#[tokio::test]
async fn a_second_connection_proves_the_certificate_anew_as_there_is_nothing_to_resume() {
    let server = TestServer::start();
    let mine = certificate(9999);
    let credentials = server.certified("gw-1", &mine);
    let with = quic(config(&server, vec![der(&mine.0)], &mine.1));
    for _ in 0..2 {
        let (_endpoint, connection) = connection(&server, &with).await;
        let (send, recv) = connection.open_bi().await.unwrap();
        let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
        let mut reader = FrameReader::new(recv, FRAME_BYTES_MAX);
        writer.send(Open { class: StreamClass::Control }).await.unwrap();
        writer.send(hello_by_certificate(&credentials)).await.unwrap();
        let frame = reader.next().await.unwrap().unwrap();
        assert!(matches!(frame, Frame::Welcome(_)), "{frame:?}");
    }
}
