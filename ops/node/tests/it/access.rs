//! The token, and what is open without it.

use std::os::unix::fs::PermissionsExt as _;

use twin_node::{Node, NodeError, NodeOptions};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn everything_under_the_api_needs_the_token() {
    let world = World::start().await;
    let client = world.client();
    let good = format!("Bearer {}", client.token);
    for path in ["twins", "twins/t", "twins/t/desired/a", "sites", "nodes", "events", "twins/t/events", "nothing"] {
        let refused = client.send_bare("GET", path, &[], None);
        assert_eq!(refused.problem(401), "unauthorized", "{path}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    let other = if good.ends_with('A') { 'B' } else { 'A' };
    let same_length = format!("{}{other}", &good[..good.len() - 1]);
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        &same_length,
        "Basic abc",
        &good[..good.len() - 1],
        &format!("{good}x"),
        &client.token,
    ] {
        client.send_bare("GET", "twins", &[("Authorization", wrong)], None).problem(401);
    }
    client.send_bare("PUT", "twins/t", &[("Content-Type", "application/json")], Some(b"{}")).problem(401);
    client.send_bare("GET", "twins", &[("Authorization", &good), ("Authorization", "Bearer x")], None).problem(401);
    client.send_bare("GET", "twins", &[("Authorization", &good)], None).expect(200);
    client.send_bare("GET", "twins", &[("authorization", &format!("bearer {}", client.token))], None).expect(200);
    client.get("twins/t").problem(404);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_documentation_are_open() {
    let world = World::start().await;
    let client = world.client();
    for path in
        ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs/", "/docs/index.html", "/docs/swagger-ui.css"]
    {
        let response = client.send_bare("GET", path, &[], None).expect(200);
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(!response.body.is_empty());
    }
    assert_eq!(client.send_bare("GET", "/docs", &[], None).expect(308).header("location"), Some("/docs/"));
    client.send_bare("GET", "/docs/nothing", &[], None).problem(404);
    let initializer = client.send_bare("GET", "/docs/swagger-initializer.js", &[], None).expect(200);
    assert!(String::from_utf8(initializer.body).unwrap().contains("/openapi.json"));
    assert_eq!(client.get("nothing").header("x-content-type-options"), Some("nosniff"));
    assert_eq!(client.send_bare("GET", "twins", &[], None).header("x-content-type-options"), Some("nosniff"));
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_with_a_token_that_others_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("admin.token");
    std::fs::write(&token, "0123456789012345678901234567890123456789012\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Node::start(NodeOptions::local(dir.path())).await.unwrap_err();
    assert!(matches!(error, NodeError::Token(_)), "{error}");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let node = Node::start(NodeOptions::local(dir.path())).await.unwrap();
    assert_eq!(node.admin_token(), "0123456789012345678901234567890123456789012");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_the_rest_is_tls() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::local(dir.path());
    options.http = ([0, 0, 0, 0], 0).into();
    let node = Node::start(options).await.unwrap();
    assert!(node.http_url().starts_with("https://0.0.0.0:"), "{}", node.http_url());
    assert_eq!(std::fs::read_to_string(dir.path().join("ca.pem")).unwrap(), node.ca_pem());
    let port: u16 = node.http_url().rsplit_once(':').unwrap().1.parse().unwrap();
    let config = std::sync::Arc::new(
        twin_transports::tls::client_config(&node.ca_pem())
            .map(|mut config| {
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                config
            })
            .unwrap(),
    );
    let token = node.admin_token().to_owned();
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut connection = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let request = format!(
            "GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    });
    assert_eq!(answer.await.unwrap(), "HTTP/1.1 200");
    node.shutdown().await;
}
