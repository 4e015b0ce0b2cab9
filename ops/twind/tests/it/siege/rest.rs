//! Strangers at the REST.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::crowd::{Arrival, besieged_by};
use super::others::Others;
use super::watched::Watched;
use super::{STRANGERS_MAX, alone, attackers};
use crate::process::Twind;

/// What a stranger does with its connection, until the node closes it.
async fn behave(number: usize, addr: SocketAddr, arrival: Arrival) -> std::io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(addr).await?;
    arrival.connected();
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
fn ten_thousand_connections_without_a_token_hold_up_nobody() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let others = Others::begin(&node);
    let mut watched = Watched::begin(&node);
    let addr = node.door.addr;
    besieged_by(attackers("the REST", 1), &mut watched, move |number, arrival| behave(number, addr, arrival));
    let (open, cut) = (node.metric("twinmesh_http_strangers"), node.metric("twinmesh_http_strangers_cut_total"));
    println!("{open} strangers are connected, {cut} were cut");
    others.went_on();
    assert!(open <= STRANGERS_MAX && cut > 0, "{open} {cut}");
    watched.stayed_in_its_bounds();
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
