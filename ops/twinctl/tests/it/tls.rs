//! https, trusting exactly the CA that was given.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use twin_node::{Node, NodeOptions};
use twin_visible_skip::skipped;

use crate::server::{Server, json};
use crate::twinctl::Operator;

/// A CA's certificate as PEM, and a server that it vouches for at 127.0.0.1.
fn node() -> (String, ServerConfig) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    (pem, config)
}

#[test]
fn a_node_is_trusted_by_its_own_ca_only() {
    let (pem, config) = node();
    let (other_pem, _) = node();
    let operator = Operator::new();
    fs::write(operator.path("ca.pem"), pem).unwrap();
    fs::write(operator.path("other.pem"), other_pem).unwrap();
    let server = Server::start_tls([String::new(), json("200 OK", r#"{"sites":[]}"#)], config);
    let url = format!("https://{}", server.address);
    let other = operator.run(&url, &["site", "ls", "--ca", "other.pem"]);
    assert_eq!(other.code, 3, "{other:?}");
    assert!(other.stderr.contains("certificate"), "{other:?}");
    let own = operator.run(&url, &["site", "ls", "--ca", "ca.pem"]);
    assert_eq!(own.code, 0, "{own:?}");
    assert_eq!(server.asked().line, "GET /api/v1/sites");
}

/// The address by which others reach this machine; `None`: it has only loopback. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_is_operated_over_the_network_and_a_wrong_ca_or_name_says_what_to_do() {
    let Some(address) = own_address() else {
        skipped("twinctl beyond loopback: this machine has no other address");
        return;
    };
    let operator = Operator::new();
    let data = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::local(data.path());
    options.http = ([0, 0, 0, 0], 0).into();
    options.tls_names = vec![address.to_string()];
    let node = Node::start(options).await.unwrap();
    node.ready().await;
    let stranger = tempfile::tempdir().unwrap();
    let other = Node::start(NodeOptions::local(stranger.path())).await.unwrap();
    fs::write(operator.path("admin.token"), node.admin_token()).unwrap();
    fs::write(operator.path("ca.pem"), node.ca_pem()).unwrap();
    fs::write(operator.path("other.pem"), other.ca_pem()).unwrap();
    let port = node.http_url().rsplit_once(':').unwrap().1.to_owned();
    let url = format!("https://{address}:{port}");
    let run = |url: &str, arguments: &[&str]| tokio::task::block_in_place(|| operator.run(url, arguments));
    let made = run(&url, &["--ca", "ca.pem", "site", "set", "store-1", "--enrolment", "open"]);
    assert_eq!(made.code, 0, "{made:?}");
    let twin = run(&url, &["--ca", "ca.pem", "twin", "put", "label", "{\"desired\": {\"n\": 1}}", "--site", "store-1"]);
    assert_eq!(twin.code, 0, "{twin:?}");
    let exported = run(&url, &["--ca", "ca.pem", "export"]);
    assert!(exported.code == 0 && exported.stdout.contains("\"label\""), "{exported:?}");

    let wrong = run(&url, &["--ca", "other.pem", "site", "ls"]);
    assert_eq!(wrong.code, 3, "{wrong:?}");
    assert!(wrong.stderr.contains("not of this CA") && wrong.stderr.contains("--ca"), "{wrong:?}");
    // An address of this machine that the certificate does not carry.
    let unnamed = run(&format!("https://127.0.0.3:{port}"), &["--ca", "ca.pem", "site", "ls"]);
    assert_eq!(unnamed.code, 3, "{unnamed:?}");
    assert!(unnamed.stderr.contains("--tls-name"), "{unnamed:?}");
    // In the clear the token does not leave the machine.
    assert_eq!(run(&format!("http://{address}:{port}"), &["site", "ls"]).code, 2);
    other.shutdown().await;
    node.shutdown().await;
}
