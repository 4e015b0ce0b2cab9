//! New certificates without a restart.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use twin_node::{CertificateFiles, Node, NodeOptions};
use twin_transports::tls::{NodeCertificates, client_config};

/// A connection to the REST that trusts this CA, and the certificate that it was shown.
struct Tls {
    connection: rustls::ClientConnection,
    socket: TcpStream,
}

impl Tls {
    fn open(port: u16, ca: &str) -> Result<Self, String> {
        let mut config = client_config(ca).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut connection = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.complete_io(&mut socket).map_err(|error| error.to_string())?;
        Ok(Self { connection, socket })
    }

    fn shown(&self) -> Vec<u8> {
        self.connection.peer_certificates().unwrap()[0].to_vec()
    }

    /// One request on this connection; status and body.
    fn ask(&mut self, method: &str, path: &str, token: &str) -> (u16, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        );
        let mut stream = rustls::Stream::new(&mut self.connection, &mut self.socket);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let head = String::from_utf8(answer).unwrap();
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap())
    }
}

async fn start(options: NodeOptions) -> (Node, u16, String) {
    let node = Node::start(options).await.unwrap();
    node.ready().await;
    let port = node.http_url().rsplit_once(':').unwrap().1.parse().unwrap();
    let token = node.admin_token().to_owned();
    (node, port, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_see_the_new_certificate_and_open_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::local(dir.path());
    options.http = ([0, 0, 0, 0], 0).into();
    let (node, port, token) = start(options).await;
    let ca = node.ca_pem();
    let mut open = Tls::open(port, &ca).unwrap();
    assert_eq!(open.ask("GET", "/api/v1/nodes", &token).0, 200);
    let (status, body) = open.ask("POST", "/api/v1/certificates:reload", &token);
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"caChanged\":false"), "{body}");
    assert_eq!(open.ask("GET", "/api/v1/nodes", &token).0, 200, "the open connection goes on");
    let mut new = Tls::open(port, &ca).unwrap();
    assert_eq!(new.shown(), open.shown(), "nothing changed, so whoever pins it sees the same");
    // Another CA, and the first again.
    let other = tempfile::tempdir().unwrap();
    NodeCertificates::load_or_create(other.path(), "localhost", &[]).unwrap();
    let own = tempfile::tempdir().unwrap();
    let swap = |from: &std::path::Path, to: &std::path::Path| {
        for file in ["ca.pem", "ca.key"] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    };
    swap(dir.path(), own.path());
    swap(other.path(), dir.path());
    let (status, body) = new.ask("POST", "/api/v1/certificates:reload", &token);
    assert_eq!((status, body.contains("\"caChanged\":true")), (200, true), "{body}");
    let others_ca = std::fs::read_to_string(other.path().join("ca.pem")).unwrap();
    assert_ne!(Tls::open(port, &others_ca).unwrap().shown(), open.shown());
    assert_eq!(open.ask("GET", "/api/v1/nodes", &token).0, 200, "the open connection goes on");
    swap(own.path(), dir.path());
    assert_eq!(new.ask("POST", "/api/v1/certificates:reload", &token).0, 200);
    let mut new = Tls::open(port, &ca).unwrap();

    // What is bad is refused, and what was there stays.
    let key = dir.path().join("ca.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let (status, body) = new.ask("POST", "/api/v1/certificates:reload", &token);
    assert_eq!((status, body.contains("bad-certificate")), (409, true), "{body}");
    assert_eq!(Tls::open(port, &ca).unwrap().shown(), new.shown());
    std::fs::remove_file(&key).unwrap();
    assert_eq!(new.ask("POST", "/api/v1/certificates:reload", &token).0, 409);
    std::fs::rename(dir.path().join("ca.pem"), dir.path().join("away")).unwrap();
    let (status, body) = new.ask("POST", "/api/v1/certificates:reload", &token);
    assert_eq!((status, body.contains("missing")), (409, true), "{body}");
    assert!(!key.exists(), "no new CA is made");
    std::fs::write(&key, kept).unwrap();
    std::fs::rename(dir.path().join("away"), dir.path().join("ca.pem")).unwrap();
    assert_eq!(new.ask("POST", "/api/v1/certificates:reload", &token).0, 200);
    let logged = new.ask("GET", "/api/v1/audit?kind=changes", &token).1;
    assert_eq!(logged.matches("bad-certificate").count(), 3, "{logged}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_from_elsewhere_is_read_again_and_one_that_does_not_fit_its_key_is_refused() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Two CAs of somebody else's, whose own certificates do as any other.
    let theirs = |name: &str| {
        let folder = elsewhere.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        NodeCertificates::load_or_create(&folder, "localhost", &[]).unwrap();
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        (read("ca.pem"), read("ca.key"))
    };
    let (first, second) = (theirs("first"), theirs("second"));
    let files = CertificateFiles { chain: elsewhere.path().join("rest.pem"), key: elsewhere.path().join("rest.key") };
    let write = |chain: &str, key: &str| {
        std::fs::write(&files.chain, chain).unwrap();
        std::fs::write(&files.key, key).unwrap();
    };
    write(&first.0, &first.1);
    let mut options = NodeOptions::local(dir.path());
    options.http = ([0, 0, 0, 0], 0).into();
    options.rest_certificate = Some(files.clone());
    let (node, ..) = start(options.clone()).await;
    let shown = node.reload_certificates("signal").await.unwrap();
    write(&second.0, &second.1);
    let changed = node.reload_certificates("signal").await.unwrap();
    assert_ne!(changed.rest_sha256, shown.rest_sha256);
    assert_ne!(changed.quic_sha256, changed.rest_sha256, "gateways see the node's own");
    write(&second.0, &first.1);
    let refused = node.reload_certificates("signal").await.unwrap_err().to_string();
    assert!(refused.contains("rest.key") && refused.contains("stays"), "{refused}");
    write("no PEM", &first.1);
    assert!(node.reload_certificates("signal").await.is_err());
    node.shutdown().await;
    assert!(Node::start(options).await.is_err(), "and no node starts with it");
}
