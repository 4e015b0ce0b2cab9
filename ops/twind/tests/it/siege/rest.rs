//! Strangers at the REST.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::others::Others;
use super::{STRANGERS_MAX, alone, attackers, stayed_small};
use crate::process::Twind;

/// How long the siege goes on once all were there.
const SIEGE: Duration = Duration::from_secs(6);

/// What a stranger does with its connection, until the node closes it.
async fn behave(number: usize, addr: SocketAddr) -> std::io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(addr).await?;
    match number % 32 {
        // Asks for long answers and reads none.
        0 => {
            let asked = "GET /openapi.json HTTP/1.1\r\nHost: node\r\n\r\n".repeat(32);
            stream.write_all(asked.as_bytes()).await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        // Dawdles: a byte of the head now and then.
        1..8 => {
            for byte in
                b"GET /api/v1/twins HTTP/1.1\r\nHost: node\r\nX-Long: ".iter().chain(std::iter::repeat_n(&b'x', 1_000))
            {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        // Says nothing.
        _ => {}
    }
    stream.read(&mut [0]).await.map(|_| ())
}

#[test]
fn thousands_of_connections_without_a_token_hold_up_nobody() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let others = Others::begin(&node);
    let (before, count) = (node.resident_bytes(), attackers(3_000));
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let most = runtime.block_on(async {
        let tried = Arc::new(AtomicUsize::new(0));
        for number in 0..count {
            let tried = tried.clone();
            tokio::spawn(async move {
                loop {
                    tried.fetch_add(1, Ordering::Relaxed);
                    let _ = behave(number, addr).await;
                    // Whoever was cut comes again; all of them together a thousand times a second.
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            });
            if number % 64 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let (mut most, begun) = (0, Instant::now());
        while begun.elapsed() < SIEGE {
            most = most.max(node.resident_bytes());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(tried.load(Ordering::Relaxed) >= count);
        most
    });
    let (open, cut) = (node.metric("twinmesh_http_strangers"), node.metric("twinmesh_http_strangers_cut_total"));
    println!("{open} strangers are connected, {cut} were cut");
    others.went_on();
    assert!(open <= STRANGERS_MAX && cut > 0, "{open} {cut}");
    stayed_small(&node, before, most);
    drop(runtime);
    node.kill();
}

#[test]
fn a_head_or_a_body_that_arrives_byte_by_byte_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap();
    let head = format!(
        "PUT /api/v1/twins/slow HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 1000\r\n\r\n",
        node.token
    );
    // What is sent at once, and how long the node may wait for the rest: its bound is 5 s for a head and 10 s for a body.
    for (at_once, patience) in [("PUT /api/v1/twins/slow HTTP/1.1\r\nX-Long: ", 5), (head.as_str(), 10)] {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(at_once.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let (begun, mut answer) = (Instant::now(), Vec::new());
        let took = loop {
            assert!(begun.elapsed() < Duration::from_secs(patience + 15), "it waits for ever");
            // The other side may have closed it.
            let _ = stream.write_all(b" ");
            match stream.read(&mut [0; 1024]) {
                Ok(0) => break begun.elapsed(),
                Ok(length) => answer.push(length),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break begun.elapsed(),
            }
        };
        println!("given up after {took:?}");
        assert!(!answer.is_empty(), "it is told why");
        assert!(took >= Duration::from_secs(patience - 1), "{took:?}");
    }
    assert_eq!(node.request("GET", "twins/slow", None).0, 404);
    node.kill();
}
