//! https, trusting exactly the CA that was given.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;

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
